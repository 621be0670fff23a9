//! The records of a file that were looked at.

use super::shape::{Shape, shape};
use crate::domain::source::cell_form::CellKind;

/// What stands between the cells of a row of a workbook in the text of its record.
pub const BETWEEN_CELLS: char = '\u{1f}';

/// A cell as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleCell {
    /// Its text.
    pub text: String,
    /// What it holds.
    pub kind: CellKind,
}

/// A record, whatever its file consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The line on which it begins, from 1.
    pub line: i64,
    /// Its cells.
    pub cells: Vec<SampleCell>,
    /// Its text, of which cells are parts.
    pub text: String,
}

impl Record {
    /// A record of these cells of text.
    #[must_use]
    pub fn of(line: i64, cells: &[&str]) -> Self {
        let cell = |text: &&str| SampleCell { text: (*text).to_owned(), kind: CellKind::Text };
        Self { line, cells: cells.iter().map(cell).collect(), text: cells.join(",") }
    }

    /// The text of the cell at `index`; empty if there are not so many.
    #[must_use]
    pub fn cell(&self, index: usize) -> &str {
        self.cells.get(index).map_or("", |cell| &cell.text)
    }

    /// Checks whether all cells are blank.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| cell.text.trim().is_empty())
    }

    /// How many cells there are up to the last that is not blank.
    #[must_use]
    pub fn span(&self) -> usize {
        self.cells.iter().rposition(|cell| !cell.text.trim().is_empty()).map_or(0, |last| last + 1)
    }

    /// The first cell that is not blank, trimmed; empty if all are.
    #[must_use]
    pub fn first_filled(&self) -> &str {
        self.cells.iter().map(|cell| cell.text.trim()).find(|text| !text.is_empty()).unwrap_or("")
    }

    /// How many cells are not blank.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.text.trim().is_empty()).count()
    }

    /// How many cells look like numbers, dates or times.
    #[must_use]
    pub fn values(&self) -> usize {
        self.cells.iter().filter(|cell| cell.kind != CellKind::Text || shape(&cell.text) == Shape::Value).count()
    }
}
