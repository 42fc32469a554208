//! Random identifiers and names, in the alphabets that other tools expect.

use std::str::FromStr;

use model::{ContainerId, ImageId, LayerId};

/// Fills a buffer with random bytes of the kernel.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => unreachable!("getrandom without flags fails only when interrupted: {err}"),
        }
    }
    bytes
}

/// Returns 64 hex digits that do not start like a decimal number, since container IDs become
/// host names.
fn random_hex() -> String {
    loop {
        let text: String = random_bytes::<32>()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        if !text[..12].bytes().all(|b| b.is_ascii_digit()) {
            return text;
        }
    }
}

fn parsed<T: FromStr>() -> T
where
    T::Err: std::fmt::Debug,
{
    random_hex()
        .parse()
        .expect("64 hex digits are an identifier")
}

/// A new identifier for a container's layer.
pub(crate) fn layer() -> LayerId {
    parsed()
}

/// A new identifier for a container.
pub(crate) fn container() -> ContainerId {
    parsed()
}

/// A new identifier for an image that has no config, such as a manifest list.
pub(crate) fn image() -> ImageId {
    parsed()
}

/// Some decimal digits for the name of a temporary file.
pub(crate) fn random_digits() -> u32 {
    u32::from_le_bytes(random_bytes())
}

/// A new name for the short links under `overlay/l`: 26 characters of base32.
pub(crate) fn link_name() -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bytes = random_bytes::<17>();
    (0..26)
        .map(|i| {
            let bit = i * 5;
            let pair = u16::from(bytes[bit / 8]) << 8
                | u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
            char::from(ALPHABET[usize::from(pair >> (11 - bit % 8) & 31)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_use_the_base32_alphabet() {
        for _ in 0..100 {
            let name = link_name();
            assert_eq!(name.len(), 26);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
            );
        }
    }
}
