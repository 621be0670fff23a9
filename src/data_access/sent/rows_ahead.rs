//! Records, read on a thread of their own while those before them are being worked on.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::data_access::ahead::ahead;
use crate::data_access::csv::SplitError;
use crate::domain::source::row::{Row, RowBlock};

/// How many bytes a block has, at least but for the last one: threads seldom wait for each other, and all blocks stay in a processor's cache.
const BLOCK: usize = 512 * 1024;
/// How many blocks may wait.
const BLOCKS_AHEAD: usize = 2;
/// A block that is larger than this is not filled again.
const LARGEST_BLOCK: usize = 4 * 1024 * 1024;

/// Calls `work` with the records that `read` returns, of which another thread reads some ahead.
pub fn rows_ahead<T>(
    mut read: impl FnMut(&mut Row) -> Result<bool, SplitError> + Send,
    work: impl FnOnce(&mut RowsAhead) -> T,
) -> T {
    let (spent, reusable) = channel::<Block>();
    let (mut row, mut is_over) = (Row::default(), false);
    let next = move || {
        if is_over {
            return None;
        }
        let mut block = reusable.try_recv().unwrap_or_default();
        block.fill(&mut read, &mut row);
        is_over = block.is_last;
        Some(block)
    };
    ahead(BLOCKS_AHEAD, next, |blocks| work(&mut RowsAhead { blocks, spent, block: Block::default() }))
}

/// Records that another thread reads.
pub struct RowsAhead {
    blocks: Receiver<Block>,
    /// Blocks to fill again.
    spent: Sender<Block>,
    block: Block,
}

/// Some records, and what failed after them.
#[derive(Default)]
struct Block {
    rows: RowBlock,
    failed: Option<SplitError>,
    is_last: bool,
}

impl RowsAhead {
    /// Reads the next record into `row`. Returns whether there was one.
    ///
    /// # Errors
    /// [`SplitError`]; after it the rest of the file has no meaning.
    pub fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        while !self.block.rows.take(row) {
            if let Some(error) = self.block.failed.take() {
                return Err(error);
            }
            if self.block.is_last {
                return Ok(false);
            }
            let panicked = |_| SplitError::Read(std::io::Error::other("reading ahead panicked"));
            let spent = std::mem::replace(&mut self.block, self.blocks.recv().map_err(panicked)?);
            if spent.rows.size() <= LARGEST_BLOCK {
                // Once all is read, nobody takes it.
                let _ = self.spent.send(spent);
            }
        }
        Ok(true)
    }
}

impl Block {
    /// Fills it with the next records that `read` returns in `row`.
    fn fill(&mut self, read: &mut impl FnMut(&mut Row) -> Result<bool, SplitError>, row: &mut Row) {
        self.rows.clear();
        while self.rows.size() < BLOCK {
            match read(row) {
                Ok(true) => self.rows.push(row),
                ended => {
                    (self.is_last, self.failed) = (true, ended.err());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::cell_form::CellKind;

    /// Returns rows of one cell, as many as these lengths, and then perhaps an error.
    fn rows(lengths: Vec<usize>, failed: bool) -> impl FnMut(&mut Row) -> Result<bool, SplitError> + Send {
        let mut lengths = lengths.into_iter().zip(1..);
        move |row| match lengths.next() {
            Some((length, line)) => {
                row.begin(line, 0);
                row.push_cell(&"x".repeat(length), CellKind::Text);
                Ok(true)
            }
            None if failed => Err(SplitError::OpenQuote(7)),
            None => Ok(false),
        }
    }

    fn read_all(rows: &mut RowsAhead) -> (Vec<usize>, Result<(), SplitError>) {
        let (mut row, mut lengths) = (Row::default(), Vec::new());
        loop {
            match rows.read(&mut row) {
                Ok(true) => {
                    lengths.push(row.first().len());
                    assert_eq!(row.line, i64::try_from(lengths.len()).unwrap());
                }
                Ok(false) => return (lengths, Ok(())),
                Err(error) => return (lengths, Err(error)),
            }
        }
    }

    #[test]
    fn every_record_comes_in_its_order() {
        // Some are larger than a block, and than a block that is filled again.
        let lengths: Vec<usize> =
            (0..3000).map(|number| number * number % 2500).chain([LARGEST_BLOCK + 1, 0, BLOCK, 3]).collect();
        let (read, ended) = rows_ahead(rows(lengths.clone(), false), read_all);
        assert_eq!(read, lengths);
        assert!(ended.is_ok());
    }

    #[test]
    fn an_error_comes_after_the_records_before_it() {
        let (read, ended) = rows_ahead(rows(vec![1, 2], true), read_all);
        assert_eq!(read, [1, 2]);
        assert!(matches!(ended, Err(SplitError::OpenQuote(7))));
    }

    #[test]
    fn records_that_are_no_longer_wanted_are_not_read() {
        let endless = |row: &mut Row| {
            row.begin(1, 0);
            row.push_cell("x", CellKind::Text);
            Ok(true)
        };
        assert!(rows_ahead(endless, |rows| rows.read(&mut Row::default())).unwrap());
    }
}
