//! Files as their senders write them, read into rows: text in any encoding, workbooks, members of archives.

mod bombs;
#[cfg(test)]
mod conformance;
pub mod file_format;
pub mod format;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod hostile;
pub mod json_rows;
pub mod kept;
pub mod lines;
pub mod members;
#[cfg(test)]
mod page;
pub mod parquet_rows;
pub mod percentages;
pub mod rows_ahead;
pub mod sheet_writer;
#[cfg(test)]
mod sheets;
pub mod table;
pub mod text_rows;
#[cfg(test)]
mod ways;
pub mod workbook;
pub mod workbook_error;

use super::csv::SplitError;
use crate::domain::source::row::Row;

impl<R: Rows + ?Sized> Rows for &mut R {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        (**self).read(row)
    }

    fn read_before_table(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        (**self).read_before_table(row)
    }

    fn keep_first_line(&mut self, row: &mut Row) {
        (**self).keep_first_line(row);
    }

    fn comments(&self) -> u64 {
        (**self).comments()
    }

    fn absent(&self) -> Vec<String> {
        (**self).absent()
    }

    fn others(&self) -> Vec<String> {
        (**self).others()
    }
}

/// Reads the records of a file one after the other, each into the same row.
pub trait Rows: Send {
    /// Reads the next record, which may be a blank line. Returns whether there was one.
    ///
    /// # Errors
    /// [`SplitError`]; after it the rest of the file has no meaning.
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError>;

    /// Reads the next record where no table has begun yet. Quotes that do not close are content there.
    ///
    /// # Errors
    /// Those of [`Rows::read`].
    fn read_before_table(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        self.read(row)
    }

    /// Gives the last record of [`Rows::read_before_table`] back, but for its first line.
    fn keep_first_line(&mut self, _row: &mut Row) {}

    /// How many lines were comments so far.
    fn comments(&self) -> u64 {
        0
    }

    /// The columns that the source needs and no record had, once all are read.
    fn absent(&self) -> Vec<String> {
        Vec::new()
    }

    /// The names of columns that the source does not read and the header does not name, once all records are read.
    fn others(&self) -> Vec<String> {
        Vec::new()
    }
}
