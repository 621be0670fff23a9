//! A bounded part of a file: all of a small one; the head, the tail and pieces between of a large one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A file up to this size is looked at as a whole.
const WHOLE: u64 = 1536 * 1024;
const HEAD: usize = 512 * 1024;
const TAIL: usize = 128 * 1024;
const PIECES: u64 = 24;
const PIECE: usize = 24 * 1024;

/// The bytes that were looked at.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// All of the file, or its head.
    pub(super) head: Vec<u8>,
    /// Pieces between, and the tail; each begins and ends anywhere.
    pub(super) pieces: Vec<Vec<u8>>,
    /// Bytes of the file.
    pub(super) size: u64,
}

impl Sample {
    /// Whether the head is the whole file.
    pub(super) fn is_whole(&self) -> bool {
        self.head.len() as u64 == self.size
    }

    /// What was looked at, for people.
    pub(super) fn describe(&self) -> String {
        if self.is_whole() {
            return "all of it was looked at".into();
        }
        let seen = self.head.len() + self.pieces.iter().map(Vec::len).sum::<usize>();
        format!("{seen} of {} bytes were looked at: its head, its tail and {PIECES} pieces between", self.size)
    }
}

/// Reads a sample of a file.
pub(super) fn read(path: &Path) -> io::Result<Sample> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut sample = Sample { size, ..Sample::default() };
    if size <= WHOLE {
        file.read_to_end(&mut sample.head)?;
        sample.size = sample.head.len() as u64;
        return Ok(sample);
    }
    sample.head = piece(&mut file, 0, HEAD)?;
    let (from, to) = (HEAD as u64, size - TAIL as u64);
    for nth in 0..PIECES {
        // An even place, so that signs of two bytes are not cut.
        let at = (from + (to - from) / PIECES * nth) & !1;
        sample.pieces.push(piece(&mut file, at, PIECE)?);
    }
    sample.pieces.push(piece(&mut file, to & !1, TAIL + 1)?);
    Ok(sample)
}

fn piece(file: &mut File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
