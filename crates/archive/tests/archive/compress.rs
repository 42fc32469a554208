//! Compressed output: the same bytes for any number of threads, and input that comes back.

use std::io::{BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use cooper_archive::{Compression, Cores, Encoder, decode};
use proptest::prelude::*;

/// Bytes that compress a little, the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 & 0x3f
    })
    .take(size)
    .collect()
}

/// Compresses `input`, handed over in pieces of `step` bytes, with flushes in between.
fn encode(
    input: &[u8],
    kind: Compression,
    level: Option<i32>,
    cores: &Cores,
    step: usize,
) -> Vec<u8> {
    let mut encoder = Encoder::with_cores(Vec::new(), kind, level, cores).unwrap();
    for (number, piece) in input.chunks(step.max(1)).enumerate() {
        encoder.write_all(piece).unwrap();
        if number % 7 == 3 {
            encoder.flush().unwrap();
        }
    }
    let encoded = encoder.finish().unwrap();
    assert!(encoded.annotations.is_empty());
    encoded.out
}

fn decoded(bytes: &[u8]) -> (Compression, Vec<u8>) {
    let (kind, mut reader) = decode(BufReader::new(bytes)).unwrap();
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    (kind, out)
}

/// What a program of the system makes of compressed bytes.
fn piped(program: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("{} is needed: {err}", program[0]));
    let mut stdin = child.stdin.take().unwrap();
    let input = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", program[0]);
    output.stdout
}

#[test]
fn bytes_depend_on_nothing_but_the_input() {
    for (kind, sizes) in [
        (
            Compression::Gzip,
            [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20],
        ),
        (
            Compression::Zstd,
            [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 13 << 20],
        ),
    ] {
        for size in sizes {
            let input = noise(size as u64 + 1, size);
            let reference = encode(&input, kind, Some(1), &Cores::new(1), 1 << 16);
            for (threads, step) in [(2, 1 << 20), (3, 4097), (16, usize::MAX)] {
                let again = encode(&input, kind, Some(1), &Cores::new(threads), step);
                assert!(again == reference, "{kind:?} {size} {threads}");
            }
            let (found, back) = decoded(&reference);
            assert!((found, back == input) == (kind, true), "{kind:?} {size}");
        }
    }
}

#[test]
fn known_bytes_stay_the_same() {
    // Other bytes would make every layer of an unchanged image a new blob: an update of a library that changes them
    // is to be told to users.
    let input = [noise(1, 2_500_000), b"words and ".repeat(300_000)].concat();
    for (kind, level, expected) in [
        (
            Compression::Gzip,
            None,
            "4ef3004626557af6cf6779de86c5656e1d85c0fdda451c71b440b148f95bd293",
        ),
        (
            Compression::Gzip,
            Some(9),
            "83dbcc7110d247dc1a901456d1b8072737e52a72338021fdf2745bcde7e5142a",
        ),
        (
            Compression::Zstd,
            None,
            "ce9579a0fa7b35df05971d3bb4b7dd450f218c785a1ee53cce8a894c9d5cfa94",
        ),
        (
            Compression::Zstd,
            Some(19),
            "2a02593ff9e57f18f7b5cb9691fab801b28c9780495b7a1617c7182aeda38785",
        ),
    ] {
        let bytes = encode(&input, kind, level, &Cores::all(), 1 << 18);
        let digest = model::Digest::sha256(&bytes);
        assert_eq!(digest.hex(), expected, "{kind:?} {level:?}");
    }
}

#[test]
fn every_level_of_a_format_is_read_back() {
    let input = [noise(3, 700_000), vec![0; 700_000]].concat();
    let cores = Cores::new(2);
    for (kind, levels) in [
        (Compression::Gzip, vec![-1, 0, 1, 6, 9, 12]),
        (Compression::Zstd, vec![-7, 1, 3, 15, 22]),
    ] {
        for level in levels {
            let bytes = encode(&input, kind, Some(level), &cores, 1 << 20);
            assert!(decoded(&bytes).1 == input, "{kind:?} {level}");
        }
        for level in [-8, 23] {
            let error = Encoder::new(Vec::new(), kind, Some(level)).err().unwrap();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("compression level"), "{error}");
        }
    }
    for kind in [Compression::Bzip2, Compression::Xz] {
        let error = Encoder::new(Vec::new(), kind, None).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    }
}

/// Takes a few bytes and then none.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(self.0);
        self.0 -= count;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_output_is_told_and_an_unfinished_stream_leaves_nothing_behind() {
    let input = noise(5, 6 << 20);
    for kind in [Compression::Gzip, Compression::Zstd] {
        let cores = Cores::new(2);
        let mut encoder = Encoder::with_cores(Full(100_000), kind, Some(1), &cores).unwrap();
        let error = match encoder.write_all(&input) {
            Err(error) => error,
            Ok(()) => encoder.finish().map(|_| ()).unwrap_err(),
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        let mut dropped = Encoder::with_cores(Vec::new(), kind, Some(1), &cores).unwrap();
        dropped.write_all(&input).unwrap();
        drop(dropped);
        assert!(decoded(&encode(&input, kind, Some(1), &cores, 1 << 20)).1 == input);
    }
}

#[test]
fn several_streams_share_the_threads() {
    let cores = Cores::new(2);
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let cores = &cores;
            scope.spawn(move || {
                let input = noise(seed, 3_000_000);
                let bytes = encode(&input, Compression::Gzip, Some(1), cores, 1 << 16);
                assert!(decoded(&bytes).1 == input);
            });
        }
    });
}

#[test]
fn peer_programs_of_the_system_read_it() {
    let input = [noise(9, 3_000_000), vec![b'x'; 3_000_000]].concat();
    let cores = Cores::new(2);
    let gzip = encode(&input, Compression::Gzip, None, &cores, 1 << 20);
    let zstd = encode(&input, Compression::Zstd, None, &cores, 1 << 20);
    let python =
        "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for (program, bytes) in [
        (&["gzip", "-dc"][..], &gzip),
        (&["python3", "-c", python], &gzip),
        (&["zstd", "-dc"], &zstd),
    ] {
        assert!(piped(program, bytes) == input, "{program:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_goes_in_comes_out(
        input in proptest::collection::vec(any::<u8>(), 0..200_000),
        times in 1_usize..30,
        zstd: bool,
        step in 1_usize..100_000,
    ) {
        let kind = if zstd { Compression::Zstd } else { Compression::Gzip };
        let input = input.repeat(times);
        let bytes = encode(&input, kind, Some(1), &Cores::all(), step);
        prop_assert_eq!(decoded(&bytes).0, kind);
        prop_assert!(decoded(&bytes).1 == input);
    }
}
