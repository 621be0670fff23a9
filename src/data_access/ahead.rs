//! Reads on a thread of its own, while what was read before is being worked on.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use tracing::Span;

const BLOCK: usize = 256 * 1024;
/// How many blocks may wait.
const BLOCKS_AHEAD: usize = 4;

/// Calls `work` with a reader of `source`, which another thread reads a few blocks ahead.
pub fn read_ahead<T>(mut source: impl Read + Send, work: impl FnOnce(Ahead) -> T) -> T {
    std::thread::scope(|scope| {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        let span = Span::current();
        scope.spawn(move || {
            span.in_scope(|| {
                loop {
                    let block = read_block(&mut source);
                    let is_last = block.as_ref().map_or(true, Vec::is_empty);
                    // Without a receiver nobody wants the rest.
                    if sender.send(block).is_err() || is_last {
                        break;
                    }
                }
            });
        });
        work(Ahead { blocks, block: Vec::new(), taken: 0, at_end: false })
    })
}

fn read_block(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK];
    loop {
        match source.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            length => {
                block.truncate(length?);
                return Ok(block);
            }
        }
    }
}

/// What another thread reads.
pub struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    /// How much of `block` was taken.
    taken: usize,
    at_end: bool,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() && !self.at_end {
            // A reader that panicked has sent no end.
            self.block = self.blocks.recv().map_err(|_| io::Error::other("reading ahead panicked"))??;
            (self.taken, self.at_end) = (0, self.block.is_empty());
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

    /// Returns a few bytes at a time, then perhaps an error.
    struct Source(Vec<u8>, Option<io::Error>);

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return self.1.take().map_or(Ok(0), Err);
            }
            let length = self.0.len().min(buffer.len()).min(1000);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    #[test]
    fn everything_comes_in_its_order_and_the_end_stays_the_end() {
        let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(10_000).collect();
        let read = read_ahead(Source(text.clone(), None), |mut ahead| {
            let mut read = Vec::new();
            ahead.read_to_end(&mut read).unwrap();
            assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0);
            read
        });
        assert_eq!(read, text);
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        let source = Source(vec![7; 3000], Some(io::Error::other("broken")));
        let (read, error) = read_ahead(source, |mut ahead| {
            let mut read = Vec::new();
            (ahead.read_to_end(&mut read).unwrap_err(), read.len())
        });
        assert_eq!((read.to_string(), error), ("broken".into(), 3000));
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
