//! A record as it was sent, whatever its file consists of. One row is filled again and again, so that reading allocates nothing.

use super::cell_form::{Cell, CellKind};
use crate::domain::violation;

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
                "the line is no JSON object whose members come once each, are no more than 16384, and have texts, numbers, \
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

    /// How many cells it has.
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
    pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
        let place = self.cells.get(index)?;
        let text = if place.copied { &self.copies } else { &self.text };
        Some(Cell { text: &text[place.start..place.end], kind: place.kind })
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
