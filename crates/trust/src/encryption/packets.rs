//! The framing of OpenPGP's packets (RFC 9580, section 4.2).

/// The most packets of a message.
const COUNT_MAX: usize = 1024;

/// Returns a message of packets whose lengths are all said beforehand. The peers' writer begins packets of unknown
/// length with pieces that are shorter than the format allows, which a careful reader refuses.
pub(super) fn definite(mut message: &[u8]) -> Option<Vec<u8>> {
    let mut packets = Vec::new();
    let mut count = 0;
    while let Some((&tag, mut rest)) = message.split_first() {
        // Only the newer form of packets has pieces.
        if tag & 0xc0 != 0xc0 {
            packets.extend(message);
            break;
        }
        count += 1;
        if count > COUNT_MAX {
            return None;
        }
        let mut body: Vec<u8> = Vec::new();
        loop {
            let (length, after) = length(rest)?;
            let size = match length {
                Length::Last(size) | Length::Piece(size) => size,
            };
            let (piece, after) = after.split_at_checked(size)?;
            body.extend(piece);
            rest = after;
            if matches!(length, Length::Last(_)) {
                break;
            }
        }
        packets.push(tag);
        packets.push(0xff);
        packets.extend(u32::try_from(body.len()).ok()?.to_be_bytes());
        packets.extend(body);
        message = rest;
    }
    Some(packets)
}

enum Length {
    Piece(usize),
    Last(usize),
}

fn length(bytes: &[u8]) -> Option<(Length, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    Some(match first {
        0..192 => (Length::Last(usize::from(first)), rest),
        192..224 => {
            let (&second, rest) = rest.split_first()?;
            let size = (usize::from(first) - 192) * 256 + usize::from(second) + 192;
            (Length::Last(size), rest)
        }
        224..255 => (Length::Piece(1 << (first & 0x1f)), rest),
        255 => {
            let (size, rest) = rest.split_first_chunk::<4>()?;
            let size = u32::from_be_bytes(*size).try_into().ok()?;
            (Length::Last(size), rest)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined() {
        let check = |message: &[u8], expected: Option<&[u8]>| {
            assert_eq!(definite(message).as_deref(), expected, "{message:?}");
        };
        check(b"", Some(b""));
        check(b"\xcb\x02ab", Some(b"\xcb\xff\0\0\0\x02ab"));
        // Two pieces of one byte, and the rest.
        check(
            b"\xcb\xe0a\xe0b\x01c\xd2\x01x",
            Some(b"\xcb\xff\0\0\0\x03abc\xd2\xff\0\0\0\x01x"),
        );
        check(b"\xcb\xff\0\0\0\x01a", Some(b"\xcb\xff\0\0\0\x01a"));
        // The older form stays.
        check(b"\x85\x01\x02", Some(b"\x85\x01\x02"));
        for broken in [
            &b"\xcb"[..],
            b"\xcb\x02a",
            b"\xcb\xe0a",
            b"\xcb\xfe",
            b"\xcb\xff\0\0",
        ] {
            check(broken, None);
        }
    }
}
