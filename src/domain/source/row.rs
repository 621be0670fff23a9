//! A record as it was sent, whatever its file consists of. One row is filled again and again, so that reading allocates nothing.

use super::cell_form::{Cell, CellKind};
use crate::domain::violation;

/// A record is cut into no more cells: one more than a table may have columns.
pub const MOST_CELLS: usize = 16_385;

/// A record, its cells and its place.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The line on which it begins, from 1; of a workbook the row of its sheet.
    pub line: i64,
    /// Bytes of the (unpacked) file before it.
    pub offset: u64,
    /// Its own bytes, without its line end.
    pub raw: Vec<u8>,
    /// What is wrong with the record as a whole.
    pub fault: Option<RowFault>,
    pub(super) text: String,
    /// The text of cells that do not stand so in the text of the record: doubled quotes are one.
    pub(super) copies: String,
    pub(super) cells: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: CellKind,
    /// Whether it stands in `copies`.
    pub(super) copied: bool,
}

/// Copies of rows, one after the other. What one processor core wrote in one piece reaches another core faster than what it wrote here and there.
#[derive(Clone, Debug, Default)]
pub struct RowBlock {
    raw: Vec<u8>,
    text: String,
    copies: String,
    cells: Vec<Place>,
    rows: Vec<RowEnd>,
    /// How many of them were taken out.
    taken: usize,
}

/// A row of a block, and where it ends there.
#[derive(Clone, Copy, Debug, Default)]
struct RowEnd {
    line: i64,
    offset: u64,
    fault: Option<RowFault>,
    raw: usize,
    text: usize,
    copies: usize,
    cells: usize,
}

impl RowBlock {
    /// Takes all rows out.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.text.clear();
        self.copies.clear();
        self.cells.clear();
        self.rows.clear();
        self.taken = 0;
    }

    /// Adds a row.
    pub fn push(&mut self, row: &Row) {
        self.raw.extend_from_slice(&row.raw);
        self.text.push_str(&row.text);
        self.copies.push_str(&row.copies);
        self.cells.extend_from_slice(&row.cells);
        self.rows.push(RowEnd {
            line: row.line,
            offset: row.offset,
            fault: row.fault,
            raw: self.raw.len(),
            text: self.text.len(),
            copies: self.copies.len(),
            cells: self.cells.len(),
        });
    }

    /// Takes the next row out, into `row`. Returns whether there was one.
    pub fn take(&mut self, row: &mut Row) -> bool {
        let Some(end) = self.rows.get(self.taken).copied() else { return false };
        let start = self.taken.checked_sub(1).map_or(RowEnd::default(), |before| self.rows[before]);
        self.taken += 1;
        row.begin(end.line, end.offset);
        row.fault = end.fault;
        row.raw.extend_from_slice(&self.raw[start.raw..end.raw]);
        row.text.push_str(&self.text[start.text..end.text]);
        row.copies.push_str(&self.copies[start.copies..end.copies]);
        row.cells.extend_from_slice(&self.cells[start.cells..end.cells]);
        true
    }

    /// How many bytes its rows have.
    #[must_use]
    pub fn size(&self) -> usize {
        self.raw.len() + self.text.len() + self.copies.len() + self.cells.len() * size_of::<Place>()
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFault {
    /// It has bytes that are not in the encoding.
    Encoding,
    /// A quoted cell goes on after its closing quote.
    Quoting,
    /// It stands after the end of the table and is not a footer.
    AfterEnd,
    /// It is not an object of plain values.
    NotAnObject,
    /// No blank stands between two cells at fixed places, although its source says that one does.
    Touching,
}

impl RowFault {
    /// The rule that the record breaks.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Encoding => violation::ENCODING,
            Self::Quoting => violation::QUOTING,
            Self::AfterEnd => violation::END,
            Self::NotAnObject => violation::JSON,
            Self::Touching => violation::FIELD_COUNT,
        }
    }
}

impl RowFault {
    /// What is wrong with the record, and what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Encoding => "the record has a NUL or bytes that are not in the encoding that its source declares",
            Self::Quoting => {
                "a field goes on after its closing quote; double a quote that is content, or escape it if its source declares an escape"
            }
            Self::AfterEnd => {
                "the record stands after the end of the table and is not a footer; say with end what footers begin with"
            }
            Self::NotAnObject => {
                "the line is not a JSON object whose members come once each, are no more than 16384, and have texts, numbers, \
                 true, false or null for columns; write one object in a line"
            }
            Self::Touching => {
                "a value is wider than its place: no blank stands between it and the next one; widen the places (at) of the source"
            }
        }
    }
}

impl Row {
    /// Makes it an empty record at a place.
    pub fn begin(&mut self, line: i64, offset: u64) {
        (self.line, self.offset, self.fault) = (line, offset, None);
        self.raw.clear();
        self.text.clear();
        self.copies.clear();
        self.cells.clear();
    }

    /// Adds a cell, if it has not too many.
    pub(super) fn push(&mut self, cell: Place) {
        if self.cells.len() < MOST_CELLS {
            self.cells.push(cell);
        }
    }

    /// How many cells it has, at most [`MOST_CELLS`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cell at `index`, if there are so many.
    #[must_use]
    #[inline]
    pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
        let place = self.cells.get(index)?;
        let text = if place.copied { &self.copies } else { &self.text };
        Some(Cell { text: &text[place.start..place.end], kind: place.kind })
    }

    /// The cell at `index`; an empty one if there are not so many.
    #[inline]
    #[must_use]
    pub fn cell_or_empty(&self, index: usize) -> Cell<'_> {
        // Taken apart, it stays in registers.
        let (text, kind) = self.cell(index).map_or(("", CellKind::Text), |cell| (cell.text, cell.kind));
        Cell { text, kind }
    }

    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..self.cells.len()).filter_map(|index| self.cell(index))
    }

    /// Whether nothing but white space is in its cells, or in its text if it could not be cut into any.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        if self.is_empty() {
            return self.text.trim().is_empty();
        }
        self.cells().all(|cell| cell.text.trim().is_empty())
    }

    /// The text of the first cell, or of the record if it could not be cut into any.
    #[must_use]
    pub fn first(&self) -> &str {
        self.cell(0).map_or(&self.text, |cell| cell.text)
    }

    /// The text of the record, of which cells are parts.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, to append to it.
    pub fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Appends a cell to the text and adds it.
    pub fn push_cell(&mut self, text: &str, kind: CellKind) {
        let start = self.text.len();
        self.text.push_str(text);
        self.cells.push(Place { start, end: self.text.len(), kind, copied: false });
    }

    /// Makes a cell of text what it was before it was written as text, if it still reads like that.
    pub fn restore_kind(&mut self, index: usize, kind: CellKind) {
        let Some(text) = self.cell(index).map(|cell| cell.text) else { return };
        let reads_so = match kind {
            // Whatever a plain cell has become, it is one.
            CellKind::Text | CellKind::Typed => true,
            CellKind::Number => {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let plain = text.strip_prefix('-').unwrap_or(text);
                plain.split_once('.').map_or(digits(plain), |(whole, rest)| digits(whole) && digits(rest))
            }
            CellKind::Moment => {
                let sign = |byte: u8| byte.is_ascii_digit() || b"-:.T".contains(&byte);
                text.contains(':') && text.bytes().all(sign)
            }
            CellKind::Error => text.starts_with('#'),
            CellKind::Null => text.is_empty(),
            CellKind::Literal => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
        };
        if reads_so {
            self.cells[index].kind = kind;
        }
    }

    /// Takes all cells away and keeps the first `length` bytes of the text, to cut it anew.
    pub fn restart(&mut self, length: usize) {
        self.cells.clear();
        self.copies.clear();
        self.text.truncate(length);
        self.fault = self.fault.filter(|fault| *fault == RowFault::Encoding);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::source::layout::Dialect;
    use crate::domain::source::split::Cutting;

    fn row(line: i64, text: &str) -> Row {
        let mut row = Row::default();
        row.begin(line, line.unsigned_abs() * 10);
        row.raw.extend_from_slice(text.as_bytes());
        row.text.push_str(text);
        if !Dialect::plain().cut(&mut row, &mut Cutting::default()) {
            row.fault = Some(RowFault::Quoting);
        }
        row
    }

    proptest! {
        #[test]
        fn rows_come_out_of_a_block_as_they_were(texts in prop::collection::vec("[a价,\"]{0,9}", 0..9)) {
            let rows: Vec<Row> = (1..).zip(&texts).map(|(line, text)| row(line, text)).collect();
            let (mut block, mut out) = (RowBlock::default(), row(0, "left,over"));
            for _ in 0..2 {
                block.clear();
                for row in &rows {
                    block.push(row);
                }
                for row in &rows {
                    prop_assert!(block.take(&mut out));
                    prop_assert_eq!((out.line, out.offset, &out.raw, out.text()), (row.line, row.offset, &row.raw, row.text()));
                    prop_assert_eq!(out.fault, row.fault);
                    prop_assert!(out.cells().eq(row.cells()));
                }
                prop_assert!(!block.take(&mut out));
            }
        }
    }
}
