//! Where a file's data is cut into chunks, so that equal stretches of different files become equal chunks.
//!
//! The places are those of containers/storage, so that its layers and ours share chunks: long runs of zeros are chunks of
//! their own, and elsewhere a rolling checksum over 64 bytes decides. Unlike there, a chunk has a largest size.

/// Runs of at least so many zeros are chunks.
const HOLE_MIN: u64 = 1 << 10;
/// A cut is where so many low bits of the checksum are ones: every 64 KiB on average.
const BITS: u32 = 16;
/// The most bytes of a chunk that is no run of zeros.
pub(super) const CHUNK_MAX: u64 = 4 << 20;
const WINDOW: usize = 64;
const CHAR_OFFSET: u32 = 31;

/// What is done with a file's data.
pub(super) trait Cuts {
    /// Takes data.
    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// A chunk of `size` bytes ends here.
    fn chunk(&mut self, size: u64, content: Content) -> std::io::Result<()>;
}

/// What a chunk consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Data,
    Zeros,
}

/// The checksum of the last 64 bytes, bup's by way of Perkeep.
struct Rolling {
    s1: u32,
    s2: u32,
    window: [u8; WINDOW],
    at: usize,
}

impl Rolling {
    fn new() -> Self {
        let size = WINDOW as u32;
        Self {
            s1: size * CHAR_OFFSET,
            s2: size * (size - 1) * CHAR_OFFSET,
            window: [0; WINDOW],
            at: 0,
        }
    }

    fn roll(&mut self, byte: u8) {
        let dropped = u32::from(std::mem::replace(&mut self.window[self.at], byte));
        self.s1 = self.s1.wrapping_add(u32::from(byte)).wrapping_sub(dropped);
        self.s2 = self
            .s2
            .wrapping_add(self.s1)
            .wrapping_sub(WINDOW as u32 * (dropped + CHAR_OFFSET));
        self.at = (self.at + 1) % WINDOW;
    }

    fn is_cut(&self) -> bool {
        let mask = (1 << BITS) - 1;
        self.s2 & mask == mask
    }
}

/// The data of one file on its way into chunks.
pub(super) struct Chunker {
    rolling: Rolling,
    /// Bytes of the chunk so far.
    size: u64,
    /// Zeros of which it is not known yet whether they are enough for a chunk.
    zeros: u64,
}

const ZEROS: [u8; 16 << 10] = [0; 16 << 10];

impl Chunker {
    pub(super) fn new() -> Self {
        Self {
            rolling: Rolling::new(),
            size: 0,
            zeros: 0,
        }
    }

    /// Takes the next bytes of the file.
    pub(super) fn feed(&mut self, bytes: &[u8], cuts: &mut impl Cuts) -> std::io::Result<()> {
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == 0 {
                // What stands before goes first; it is data whatever becomes of the zeros.
                self.data(&bytes[start..at], cuts)?;
                let run = bytes[at..].iter().take_while(|byte| **byte == 0).count();
                self.zeros += run as u64;
                at += run;
                start = at;
            } else {
                self.settle_zeros(cuts)?;
                at += 1;
            }
        }
        self.data(&bytes[start..], cuts)
    }

    /// Ends the file.
    pub(super) fn finish(mut self, cuts: &mut impl Cuts) -> std::io::Result<()> {
        self.settle_zeros(cuts)?;
        self.cut(Content::Data, cuts)
    }

    /// Decides on zeros that have come to an end.
    fn settle_zeros(&mut self, cuts: &mut impl Cuts) -> std::io::Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        if zeros < HOLE_MIN {
            return self.data(&ZEROS[..zeros as usize], cuts);
        }
        self.cut(Content::Data, cuts)?;
        // The checksum stands still once its window is full of zeros.
        for _ in 0..WINDOW {
            self.rolling.roll(0);
        }
        let turned = (zeros - WINDOW as u64) % WINDOW as u64;
        self.rolling.at = (self.rolling.at + turned as usize) % WINDOW;
        let mut left = zeros;
        while left > 0 {
            let count = left.min(ZEROS.len() as u64);
            cuts.bytes(&ZEROS[..count as usize])?;
            left -= count;
        }
        self.size = zeros;
        self.cut(Content::Zeros, cuts)
    }

    fn data(&mut self, bytes: &[u8], cuts: &mut impl Cuts) -> std::io::Result<()> {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            self.rolling.roll(*byte);
            self.size += 1;
            if self.rolling.is_cut() || self.size == CHUNK_MAX {
                cuts.bytes(&bytes[start..=at])?;
                start = at + 1;
                self.cut(Content::Data, cuts)?;
            }
        }
        cuts.bytes(&bytes[start..])
    }

    fn cut(&mut self, content: Content, cuts: &mut impl Cuts) -> std::io::Result<()> {
        match std::mem::take(&mut self.size) {
            0 => Ok(()),
            size => cuts.chunk(size, content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen {
        bytes: Vec<u8>,
        chunks: Vec<(u64, Content)>,
    }

    impl Cuts for Seen {
        fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            self.bytes.extend_from_slice(bytes);
            Ok(())
        }

        fn chunk(&mut self, size: u64, content: Content) -> std::io::Result<()> {
            self.chunks.push((size, content));
            Ok(())
        }
    }

    fn cut(input: &[u8], step: usize) -> Vec<(u64, Content)> {
        let (mut seen, mut chunker) = (Seen::default(), Chunker::new());
        for piece in input.chunks(step) {
            chunker.feed(piece, &mut seen).unwrap();
        }
        chunker.finish(&mut seen).unwrap();
        assert!(seen.bytes == input);
        let sum: u64 = seen.chunks.iter().map(|(size, _)| size).sum();
        assert_eq!(sum, input.len() as u64);
        seen.chunks
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 24) as u8).max(1)
        })
        .take(size)
        .collect()
    }

    #[test]
    fn zeros_are_chunks_when_there_are_enough() {
        use Content::{Data, Zeros};
        let join = |parts: &[&[u8]]| parts.concat();
        for (input, expected) in [
            (vec![], vec![]),
            (vec![1], vec![(1, Data)]),
            (vec![0; 1023], vec![(1023, Data)]),
            (vec![0; 1024], vec![(1024, Zeros)]),
            (join(&[&[1], &[0; 1023], &[2]]), vec![(1025, Data)]),
            (
                join(&[&[1], &[0; 50_000], &[2]]),
                vec![(1, Data), (50_000, Zeros), (1, Data)],
            ),
            (
                join(&[&[0; 2000], &[2], &[0; 5]]),
                vec![(2000, Zeros), (6, Data)],
            ),
        ] {
            for step in [1, 7, 1 << 20] {
                assert_eq!(cut(&input, step), expected, "{} by {step}", input.len());
            }
        }
    }

    #[test]
    fn places_depend_on_the_content_only() {
        let input = noise(3_000_000);
        let chunks = cut(&input, 1 << 20);
        assert_eq!(cut(&input, 4097), chunks);
        assert!((20..90).contains(&chunks.len()), "{}", chunks.len());
        // Something put in front moves all but the first cut with it.
        let moved = cut(&[b"in front".as_slice(), &input].concat(), 1 << 16);
        assert_eq!(moved[moved.len() - 15..], chunks[chunks.len() - 15..]);
    }

    #[test]
    fn no_chunk_is_too_large() {
        let chunks = cut(&vec![b'x'; 10 << 20], 1 << 20);
        assert!(
            chunks.iter().all(|(size, _)| *size <= CHUNK_MAX),
            "{chunks:?}"
        );
    }
}
