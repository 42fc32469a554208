//! Pieces of a stream, compressed side by side and written one after the other.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};

use super::codec::Codec;
use super::cores::{Cores, Share};

/// Input and output of one job. Both buffers come back and serve again.
#[derive(Default)]
struct Piece {
    input: Vec<u8>,
    /// Where in the input a member or frame ends, and how long it has become.
    frames: Vec<(usize, usize)>,
    output: Vec<u8>,
}

/// Something that wants to know where the frames lie in the output.
pub(super) trait Watch {
    /// A frame of `size` bytes was written.
    fn frame(&mut self, size: usize);
}

/// Nobody wants to know.
impl Watch for () {
    fn frame(&mut self, _size: usize) {}
}

/// How much input is compressed at once, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// From this many on a piece is sent off when a frame ends.
    pub(super) enough: usize,
    /// A frame ends where a piece has this many.
    pub(super) most: usize,
}

/// The writing end of a compressed stream.
pub(super) struct Pieces<W, N = ()> {
    out: W,
    watch: N,
    codec: Codec,
    size: Size,
    share: Share,
    filling: Piece,
    begun: usize,
    spare: Vec<Piece>,
    under_way: VecDeque<Receiver<io::Result<Piece>>>,
}

impl<W: Write, N: Watch> Pieces<W, N> {
    /// Starts a stream whose frames end after equal amounts of input.
    pub(super) fn new(out: W, watch: N, codec: Codec, cores: &Cores) -> Self {
        let (enough, most) = (codec.piece(), codec.piece());
        Self::sized(out, watch, codec, Size { enough, most }, cores)
    }

    /// Starts a stream whose frames end where they are cut.
    pub(super) fn sized(out: W, watch: N, codec: Codec, size: Size, cores: &Cores) -> Self {
        Self {
            out,
            watch,
            codec,
            size,
            begun: 0,
            share: cores.enter(),
            filling: Piece::default(),
            spare: Vec::new(),
            under_way: VecDeque::new(),
        }
    }

    /// Takes bytes; a frame ends wherever a piece is full.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.size.most - self.filling.input.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.filling.input.extend_from_slice(now);
            bytes = later;
            if self.filling.input.len() == self.size.most {
                self.end_frame();
                self.send()?;
            }
        }
        Ok(())
    }

    /// Ends the frame here, if it has content, and returns how many there are before the next one.
    pub(super) fn cut(&mut self) -> io::Result<usize> {
        self.end_frame();
        if self.filling.input.len() >= self.size.enough {
            self.send()?;
        }
        Ok(self.begun)
    }

    fn end_frame(&mut self) {
        let end = self.filling.input.len();
        let start = self.filling.frames.last().map_or(0, |(end, _)| *end);
        if end > start {
            self.filling.frames.push((end, 0));
            self.begun += 1;
        }
    }

    /// Ends the stream, which has at least one frame.
    pub(super) fn finish(mut self) -> io::Result<(W, N)> {
        self.end_frame();
        if self.filling.frames.is_empty() && self.is_fresh() {
            self.filling.frames.push((0, 0));
        }
        self.send()?;
        while !self.under_way.is_empty() {
            self.receive()?;
        }
        Ok((self.out, self.watch))
    }

    /// Writes out what is ready, without ending a frame: where frames end must not depend on when somebody flushes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Whether nothing was compressed so far.
    fn is_fresh(&self) -> bool {
        self.under_way.is_empty() && self.spare.is_empty()
    }

    fn send(&mut self) -> io::Result<()> {
        if self.filling.frames.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= self.share.pieces(self.size.most) {
            self.receive()?;
        }
        let next = self.spare.pop().unwrap_or_default();
        let mut piece = std::mem::replace(&mut self.filling, next);
        let codec = self.codec;
        let (done, receiver) = mpsc::sync_channel(1);
        self.share.submit(Box::new(move |tools| {
            let mut start = 0;
            for (end, size) in &mut piece.frames {
                match tools.compress(codec, &piece.input[start..*end], &mut piece.output) {
                    Ok(compressed) => *size = compressed,
                    Err(error) => {
                        // Nobody listens any more if the encoder was dropped.
                        let _ = done.send(Err(error));
                        return;
                    }
                }
                start = *end;
            }
            let _ = done.send(Ok(piece));
        }));
        self.under_way.push_back(receiver);
        Ok(())
    }

    /// Waits for the oldest piece and writes it.
    fn receive(&mut self) -> io::Result<()> {
        let Some(receiver) = self.under_way.pop_front() else {
            return Ok(());
        };
        let lost = |_| io::Error::other("a thread that compresses has ended unexpectedly");
        let mut piece = receiver.recv().map_err(lost)??;
        self.out.write_all(&piece.output)?;
        for (_, size) in piece.frames.drain(..) {
            self.watch.frame(size);
        }
        piece.input.clear();
        piece.output.clear();
        self.spare.push(piece);
        Ok(())
    }
}
