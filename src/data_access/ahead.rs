//! Reads on a thread of its own, while what was read before is being worked on.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use tracing::Span;

const BLOCK: usize = 256 * 1024;
/// How many blocks may wait.
const BLOCKS_AHEAD: usize = 4;

/// Calls `work` with what `next` returns, which another thread calls until it returns nothing. So many of these may wait.
pub fn ahead<B: Send, T>(
    most: usize,
    mut next: impl FnMut() -> Option<B> + Send,
    work: impl FnOnce(Receiver<B>) -> T,
) -> T {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(most);
        let span = Span::current();
        // Without a receiver nobody wants the rest.
        scope.spawn(move || span.in_scope(|| while next().is_some_and(|next| sender.send(next).is_ok()) {}));
        work(receiver)
    })
}

/// Calls `work` with a reader of `source`, which another thread reads a few blocks ahead.
pub fn read_ahead<T>(mut source: impl Read + Send, work: impl FnOnce(Ahead) -> T) -> T {
    let mut at_end = false;
    let next = move || {
        if at_end {
            return None;
        }
        let mut block = Vec::with_capacity(BLOCK);
        let outcome = source.by_ref().take(BLOCK as u64).read_to_end(&mut block);
        at_end = block.is_empty() || outcome.is_err();
        Some((block, outcome.err()))
    };
    ahead(BLOCKS_AHEAD, next, |blocks| work(Ahead { blocks, block: Vec::new(), taken: 0, failed: None, at_end: false }))
}

/// What another thread reads.
pub struct Ahead {
    /// Each with what failed behind it.
    blocks: Receiver<(Vec<u8>, Option<io::Error>)>,
    block: Vec<u8>,
    /// How much of `block` was taken.
    taken: usize,
    failed: Option<io::Error>,
    at_end: bool,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() && !self.at_end {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            // A reader that panicked has sent no end.
            let next = self.blocks.recv().map_err(|_| io::Error::other("reading ahead panicked"))?;
            (self.block, self.failed) = next;
            self.taken = 0;
            if self.block.is_empty() {
                self.at_end = true;
                return self.failed.take().map_or(Ok(0), Err);
            }
        }
        let length = buffer.len().min(self.block.len() - self.taken);
        buffer[..length].copy_from_slice(&self.block[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a few bytes at a time, and then perhaps an error.
    struct Source(io::Cursor<Vec<u8>>, Option<io::Error>);

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1000);
            match self.0.read(&mut buffer[..most])? {
                0 => self.1.take().map_or(Ok(0), Err),
                length => Ok(length),
            }
        }
    }

    #[test]
    fn everything_comes_in_its_order_and_the_end_stays_the_end() {
        let text: Vec<u8> = (0..u32::MAX).flat_map(u32::to_le_bytes).take((BLOCKS_AHEAD + 3) * BLOCK + 7).collect();
        let read = read_ahead(Source(io::Cursor::new(text.clone()), None), |mut ahead| {
            let mut read = Vec::new();
            ahead.read_to_end(&mut read).unwrap();
            assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0);
            read
        });
        assert_eq!(read, text);
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        let source = Source(io::Cursor::new(vec![7; 3000]), Some(io::Error::other("broken")));
        let (error, read) = read_ahead(source, |mut ahead| {
            let mut read = Vec::new();
            (ahead.read_to_end(&mut read).unwrap_err(), read.len())
        });
        assert_eq!((error.to_string(), read), ("broken".into(), 3000));
    }

    #[test]
    fn a_reader_that_is_no_longer_wanted_ends() {
        let first = read_ahead(io::repeat(7), |mut ahead| {
            let mut first = [0; 3];
            ahead.read_exact(&mut first).unwrap();
            first
        });
        assert_eq!(first, [7; 3]);
    }
}
