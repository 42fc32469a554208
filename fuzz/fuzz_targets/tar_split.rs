//! tar-split over arbitrary bytes: the reader never panics, and whatever segments are written are read back, so that
//! the raw bytes of a stream without data are its split's, in order.
#![no_main]

use std::io::Write;

use archive::{Compression, Encoder, Segment, TarSplitReader, TarSplitWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // As lines of text in gzip, past the checksums that the fuzzer cannot guess.
    let mut gzip = Encoder::new(Vec::new(), Compression::Gzip, Some(1)).expect("gzip is written");
    gzip.write_all(bytes).expect("memory takes all");
    let packed = gzip.finish().expect("memory takes all").out;
    for split in [bytes, &packed] {
        let mut reader = TarSplitReader::new(split);
        while let Ok(Some(_)) = reader.next_segment() {}
    }

    // As a stream: each piece is raw bytes or a member's data, by its first byte.
    let mut writer = TarSplitWriter::new(Vec::new());
    let (mut raw, mut files) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(97) {
        if piece[0] & 1 == 0 {
            writer.raw(piece).expect("memory takes all");
            raw.extend_from_slice(piece);
        } else {
            writer
                .begin_file(&piece[1..], piece.len() as u64)
                .expect("memory takes all");
            writer.data(piece).expect("memory takes all");
            files.push((piece[1..].to_vec(), piece.len() as u64));
        }
    }
    let split = writer.finish().expect("memory takes all");
    let mut reader = TarSplitReader::new(&split[..]);
    let (mut raw_again, mut files_again) = (Vec::new(), Vec::new());
    while let Some(segment) = reader.next_segment().expect("written by us") {
        match segment {
            Segment::Raw(bytes) => raw_again.extend_from_slice(&bytes),
            Segment::File { name, size, .. } => files_again.push((name, size)),
        }
    }
    assert_eq!(raw, raw_again);
    assert_eq!(files, files_again);
});
