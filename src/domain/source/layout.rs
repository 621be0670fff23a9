//! How a sender lays a table out in a file: what is a record, where the header is, where the table ends.

use encoding_rs::Encoding;

/// What a file consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Lines of cells with a delimiter between them.
    Delimited(TextLines, Dialect),
    /// Lines of cells at fixed positions.
    Fixed(TextLines, Vec<Field>),
    /// A JSON object in each line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// A workbook: `xlsx` or `xls`.
    Workbook(Workbook),
}

/// How a text file is cut into lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLines {
    /// The encoding, unless a byte order mark says another one.
    pub encoding: &'static Encoding,
    /// Whether a CR alone ends a line.
    pub cr_ends_line: bool,
    /// The character that begins a comment. Such a line is not part of the table.
    pub comment: Option<char>,
}

/// How a line is cut into cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Between two cells.
    pub delimiter: String,
    /// Around a cell that has delimiters, line ends or quotes; doubled inside of it unless there is an escape.
    pub quote: Option<u8>,
    /// Before a quote, a delimiter or itself, where they are content.
    pub escape: Option<u8>,
    /// Whether blanks and tabs may stand between a quote and a delimiter.
    pub padded: bool,
}

impl Dialect {
    /// The dialect of the plain form.
    #[must_use]
    pub fn plain() -> Self {
        Self { delimiter: ",".into(), quote: Some(b'"'), escape: None, padded: false }
    }
}

/// Where a cell stands in a line of fixed width, in characters from 0; the end is the first that is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its first character.
    pub from: usize,
    /// The character after its last.
    pub to: usize,
}

/// What of a workbook is read, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Workbook {
    /// The sheet, or all that a pattern matches; the first where the source does not say.
    pub sheet: Option<Sheet>,
    /// To how many significant digits numbers are kept. Excel shows 15 of the 17 that it writes.
    pub significant_digits: Option<usize>,
}

/// Which sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sheet {
    /// By its name, or a glob of names.
    Named(String),
    /// By its place, from 1.
    Numbered(usize),
}

/// Where a table is in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that a user declares")]
pub struct Layout {
    /// Where the header is.
    pub header: Header,
    /// How many lines the header has.
    pub header_lines: usize,
    /// The first cell of the line that begins the section of this table, where a file has several.
    pub section: Option<String>,
    /// How the table ends.
    pub end: End,
    /// Whether all that follows the end is a footer. Otherwise a record there that is not a footer is refused.
    pub anything_after_end: bool,
    /// Whether empty cells at the end of a line do not count.
    pub trailing_delimiter: bool,
    /// Whether cells after the last column of the header are ignored.
    pub longer: bool,
    /// Whether cells that a record lacks at its end are empty.
    pub shorter: bool,
    /// Lines between the records that are none.
    pub between: Between,
    /// Whether a blank stands between any two cells at fixed places. A record in which two cells touch is refused.
    pub blank_between: bool,
}

/// Which lines between the records of a table are no records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// The header again, as on every page of a printed list.
    pub header: bool,
    /// Lines of nothing but dashes and signs like them.
    pub ruled: bool,
    /// Lines whose first cell that is not blank is one of these.
    pub first_cells: Vec<FirstCell>,
}

impl Between {
    /// Checks whether every line is a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a first cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstCell {
    /// Exactly this text.
    Is(String),
    /// A text that begins so.
    Begins(String),
}

impl FirstCell {
    /// Checks whether a cell is so.
    #[must_use]
    pub fn is(&self, cell: &str) -> bool {
        match self {
            Self::Is(text) => cell == text,
            Self::Begins(text) => cell.starts_with(text.as_str()),
        }
    }
}

/// Checks whether a cell has nothing but the signs of which lines are drawn.
#[must_use]
pub fn is_drawn(cell: &str) -> bool {
    cell.chars()
        .all(|c| matches!(c, '-' | '=' | '_' | '+' | ':' | '|' | '—' | '–' | '─' | '━' | '═') || c.is_whitespace())
}

/// Where the header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The first record.
    First,
    /// On this line of the file.
    Line(u64),
    /// The first record that names every column that the source needs.
    Find,
    /// Nowhere: columns are told by their position.
    None,
}

/// How a table ends before its file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It does not.
    Never,
    /// With a record whose first cell begins so.
    Cells(Vec<String>),
    /// With a blank line.
    Blank,
    /// Before the last lines, so many of them that are not blank.
    LastLines(usize),
}
