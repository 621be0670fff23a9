//! The records of a text file: cells with delimiters between them, or at fixed places.

use std::io::{self, Read};

use encoding_rs::Encoding;

use super::Rows;
use super::file_format::{About, Asked, FileFormat, Input, Take};
use super::lines::{Line, Lines, decode};
use crate::data_access::csv::{LONGEST_RECORD, SplitError};
use crate::domain::source::layout::{Dialect, Field, Format, TextLines};
use crate::domain::source::model::Source;
use crate::domain::source::row::{Row, RowFault};
use crate::domain::source::split::{Cutting, cut_fixed};

/// How far a quote may reach in the lines before a table; one that reaches further is content.
const LONGEST_HEADER: usize = 1024 * 1024;

/// How a line becomes cells.
#[derive(Clone, Debug)]
pub enum Cut {
    /// At delimiters.
    Delimited(Dialect),
    /// At fixed places; cells that a line ends in count where the flag says so.
    Fixed(Vec<Field>, bool),
}

/// The records of a text file.
pub struct TextRows<R> {
    lines: Lines<R>,
    cut: Cut,
    comment: Option<char>,
    comments: u64,
    /// The length of the first line of the last record, in bytes of the file and of its text.
    first: (usize, usize),
}

impl<R: Read> TextRows<R> {
    /// Begins to read `source`.
    ///
    /// # Errors
    /// What `source` answers to the first read.
    pub fn new(source: R, form: TextLines, cut: Cut) -> io::Result<Self> {
        let lines = Lines::new(source, form)?;
        Ok(Self { lines, cut, comment: form.comment, comments: 0, first: (0, 0) })
    }

    /// The encoding of the text: the one that is declared, unless a byte order mark says another one.
    #[must_use]
    pub fn encoding(&self) -> &'static Encoding {
        self.lines.encoding()
    }

    /// Reads a line, which is no comment, as the beginning of a record.
    fn begin(&mut self, row: &mut Row) -> Result<Option<Line>, SplitError> {
        loop {
            let Some(line) = self.lines.read()? else { return Ok(None) };
            row.begin(line.number, line.offset);
            self.append(row, &line, None);
            if self.comment.is_none_or(|comment| !row.text().starts_with(comment)) {
                self.first = (row.raw.len(), row.text().len());
                return Ok(Some(line));
            }
            self.comments += 1;
        }
    }

    /// Appends a line to a record; before it, the end of the line that it goes on from.
    fn append(&mut self, row: &mut Row, line: &Line, before: Option<&[u8]>) {
        for bytes in before.into_iter().chain([self.lines.content(line)]) {
            row.raw.extend_from_slice(bytes);
        }
        if !self.lines.append(line, before, row.text_mut()) {
            row.fault = Some(RowFault::Encoding);
        }
    }

    /// Reads further lines until the record is complete. Returns whether it is; if it is not, the file or `most` bytes ended.
    fn complete(
        &mut self,
        row: &mut Row,
        mut line: Line,
        dialect: &Dialect,
        most: usize,
    ) -> Result<Option<usize>, SplitError> {
        let mut cutting = Cutting::default();
        while !dialect.cut(row, &mut cutting) {
            if row.raw.len() > most {
                return Ok(cutting.open_quote());
            }
            let end = self.lines.end(&line).to_vec();
            let Some(next) = self.lines.read()? else { return Ok(cutting.open_quote()) };
            self.append(row, &next, Some(&end));
            line = next;
        }
        Ok(None)
    }

    fn read_record(&mut self, row: &mut Row, before_table: bool) -> Result<bool, SplitError> {
        let Some(line) = self.begin(row)? else { return Ok(false) };
        // A NUL is in every encoding and in no text.
        let cut = std::mem::replace(&mut self.cut, Cut::Fixed(Vec::new(), false));
        let outcome = match &cut {
            Cut::Fixed(fields, shorter) => {
                cut_fixed(row, fields, *shorter);
                Ok(())
            }
            Cut::Delimited(dialect) => self.read_delimited(row, line, dialect, before_table),
        };
        self.cut = cut;
        outcome?;
        if row.fault.is_none() && memchr::memchr(0, row.text().as_bytes()).is_some() {
            row.fault = Some(RowFault::Encoding);
        }
        Ok(true)
    }

    fn read_delimited(
        &mut self,
        row: &mut Row,
        line: Line,
        dialect: &Dialect,
        before_table: bool,
    ) -> Result<(), SplitError> {
        if before_table {
            self.lines.mark();
        }
        let most = if before_table { LONGEST_HEADER } else { LONGEST_RECORD };
        let open = self.complete(row, line, dialect, most);
        match open? {
            None => Ok(()),
            Some(_) if before_table => {
                self.keep_first(row, dialect);
                Ok(())
            }
            Some(_) if row.raw.len() > most => Err(SplitError::TooLong(row.line, most)),
            Some(quote) => {
                let lines = memchr::memchr_iter(b'\n', &row.text().as_bytes()[..quote]).count();
                Err(SplitError::OpenQuote(row.line + i64::try_from(lines).unwrap_or(0)))
            }
        }
    }

    fn keep_first(&mut self, row: &mut Row, dialect: &Dialect) {
        let (raw, text) = self.first;
        if row.raw.len() > raw {
            row.raw.truncate(raw);
            row.restart(text);
            dialect.cut_plainly(row);
            self.lines.back();
        } else if row.is_empty() {
            row.restart(text);
            dialect.cut_plainly(row);
        }
    }
}

/// Text: lines of cells with delimiters between them, or at fixed places.
pub struct TextFormat;

impl TextFormat {
    fn cut_of(source: &Source) -> Option<(TextLines, Cut)> {
        match &source.format {
            Format::Delimited(lines, dialect) => Some((*lines, Cut::Delimited(dialect.clone()))),
            Format::Fixed(lines, fields) => Some((*lines, Cut::Fixed(fields.clone(), source.layout.shorter))),
            _ => None,
        }
    }
}

impl FileFormat for TextFormat {
    fn is_of(&self, declared: &Format) -> bool {
        matches!(declared, Format::Delimited(..) | Format::Fixed(..))
    }

    fn has_kinds(&self) -> bool {
        false
    }

    fn read(&self, file: Input<'_>, asked: &Asked<'_>, take: Take<'_>) -> io::Result<()> {
        let Some((lines, cut)) = Self::cut_of(asked.source) else { return Ok(()) };
        let mut rows = TextRows::new(file.stream(), lines, cut)?;
        let about = About { encoding: rows.encoding(), sheet: "" };
        take(&mut rows, about)
    }

    fn cut(&self, source: &Source, row: &mut Row) {
        if let Some((lines, cut)) = Self::cut_of(source) {
            cut_record(row, lines, &cut);
        }
    }
}

/// Cuts the bytes of a record, which are known to be one, into cells again.
fn cut_record(row: &mut Row, form: TextLines, cut: &Cut) {
    let raw = std::mem::take(&mut row.raw);
    if !decode(form.encoding, &raw, row.text_mut()) || memchr::memchr(0, row.text().as_bytes()).is_some() {
        row.fault = Some(RowFault::Encoding);
    }
    row.raw = raw;
    match cut {
        Cut::Delimited(dialect) => {
            if !dialect.cut(row, &mut Cutting::default()) {
                dialect.cut_plainly(row);
            }
        }
        Cut::Fixed(fields, shorter) => cut_fixed(row, fields, *shorter),
    }
}

impl<R: Read + Send> Rows for TextRows<R> {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        self.lines.unmark();
        self.read_record(row, false)
    }

    fn read_before_table(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        self.read_record(row, true)
    }

    fn keep_first_line(&mut self, row: &mut Row) {
        if let Cut::Delimited(dialect) = self.cut.clone() {
            self.keep_first(row, &dialect);
        }
    }

    fn comments(&self) -> u64 {
        self.comments
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GB18030, UTF_8};
    use proptest::prelude::*;

    use super::*;

    const FORM: TextLines = TextLines { encoding: UTF_8, cr_ends_line: false, comment: None };

    fn rows(text: &str) -> TextRows<&[u8]> {
        TextRows::new(text.as_bytes(), FORM, Cut::Delimited(Dialect::plain())).unwrap()
    }

    fn cells(row: &Row) -> Vec<&str> {
        row.cells().map(|cell| cell.text).collect()
    }

    #[test]
    fn a_record_knows_its_line_its_bytes_and_its_cells() {
        let text = "\u{feff}a,b\r\n\r\n\"x\r\ny\",2\n\n3,\"q\"\"\"\n";
        let mut rows = rows(text);
        let mut row = Row::default();
        let mut seen = Vec::new();
        while rows.read(&mut row).unwrap() {
            let raw = String::from_utf8(row.raw.clone()).unwrap();
            seen.push((row.line, row.offset, raw, cells(&row).join("|")));
        }
        let of = |line, offset, raw: &str, cells: &str| (line, offset, raw.to_owned(), cells.to_owned());
        assert_eq!(
            seen,
            [
                of(1, 3, "a,b", "a|b"),
                of(2, 8, "", ""),
                of(3, 10, "\"x\r\ny\",2", "x\r\ny|2"),
                of(5, 19, "", ""),
                of(6, 20, "3,\"q\"\"\"", "3|q\"")
            ]
        );
    }

    #[test]
    fn an_open_quote_names_the_line_where_it_opened() {
        for (text, line) in [("a,b\n1,\"x\n2,y\n", 2), ("a,b\n1,2\n\"x\ny\",\"z\nw", 4), ("\"", 1)] {
            let (mut rows, mut row) = (rows(text), Row::default());
            let failed = loop {
                match rows.read(&mut row) {
                    Ok(true) => {}
                    Ok(false) => panic!("{text:?} was read"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(failed, SplitError::OpenQuote(found) if found == line), "{text:?}: {failed:?}");
        }
    }

    #[test]
    fn quotes_before_a_table_hide_no_line() {
        let text = "it is 5\" long\n\"open, and never closed\n\"one\ntwo\",c\nlast\n";
        let (mut rows, mut row) = (rows(text), Row::default());
        let mut seen = Vec::new();
        while rows.read_before_table(&mut row).unwrap() {
            seen.push((row.line, cells(&row).join("|")));
            if row.line == 2 {
                rows.keep_first_line(&mut row);
                seen.push((row.line, cells(&row).join("|")));
            }
        }
        let of = |line, cells: &str| (line, cells.to_owned());
        // On line 2 a quote opens that the one on line 3 closes.
        let joined = "open, and never closed\n|c";
        assert_eq!(seen[0], of(1, "it is 5\" long"));
        assert_eq!(seen[1].0, 2);
        assert_ne!(seen[1].1, joined);
        assert_eq!(seen[2], of(2, "\"open| and never closed"));
        assert_eq!(seen[3..], [of(3, "one\ntwo|c"), of(5, "last")]);
    }

    #[test]
    fn bytes_that_are_not_in_the_encoding_spoil_their_record_alone() {
        let bytes = b"a,b\n1,\xff\n2,\0\n3,x\n";
        let mut rows = TextRows::new(&bytes[..], FORM, Cut::Delimited(Dialect::plain())).unwrap();
        let mut row = Row::default();
        let mut faults = Vec::new();
        while rows.read(&mut row).unwrap() {
            faults.push((row.line, row.len(), row.fault));
        }
        let bad = Some(RowFault::Encoding);
        assert_eq!(faults, [(1, 2, None), (2, 2, bad), (3, 2, bad), (4, 2, None)]);
    }

    #[test]
    fn a_delimiter_is_never_half_a_character() {
        // The second byte of 亅 in GB18030 is a bar.
        let (bytes, ..) = GB18030.encode("亅|b\n");
        let dialect = Dialect { delimiter: "|".into(), ..Dialect::plain() };
        let form = TextLines { encoding: GB18030, ..FORM };
        let mut rows = TextRows::new(&bytes[..], form, Cut::Delimited(dialect)).unwrap();
        let mut row = Row::default();
        assert!(rows.read(&mut row).unwrap());
        assert_eq!(cells(&row), ["亅", "b"]);
    }

    #[test]
    fn comments_are_no_records() {
        let form = TextLines { comment: Some('#'), ..FORM };
        let mut rows = TextRows::new(&b"# one\na,b\n#two\n"[..], form, Cut::Delimited(Dialect::plain())).unwrap();
        let mut row = Row::default();
        assert!(rows.read(&mut row).unwrap() && row.line == 2);
        assert!(!rows.read(&mut row).unwrap());
        assert_eq!(rows.comments(), 2);
    }

    proptest! {
        /// Every table comes back from every dialect and encoding, and the byte ranges cut the records out of the file.
        #[test]
        fn a_table_comes_back_from_every_dialect_and_encoding(
            table in prop::collection::vec(prop::collection::vec("[a;,\"\r\n 价é]{0,6}", 3), 1..12),
            delimiter in prop::sample::select(vec![",", ";", "\t", "||"]),
            encoding in prop::sample::select(vec![UTF_8, GB18030]),
            crlf in any::<bool>(),
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let record = |cells: &Vec<String>| cells.iter().map(quoted).collect::<Vec<_>>().join(delimiter);
            let records: Vec<String> = table.iter().map(record).collect();
            let text = records.join(end) + end;
            let bytes = encoding.encode(&text).0.into_owned();
            let dialect = Dialect { delimiter: delimiter.into(), ..Dialect::plain() };
            let mut rows = TextRows::new(&bytes[..], TextLines { encoding, ..FORM }, Cut::Delimited(dialect)).unwrap();
            let mut row = Row::default();
            let mut line = 1;
            for (expected, record) in table.iter().zip(&records) {
                prop_assert!(rows.read(&mut row).unwrap());
                prop_assert_eq!(&cells(&row), expected);
                prop_assert_eq!((row.line, row.fault), (line, None));
                let start = usize::try_from(row.offset).unwrap();
                prop_assert_eq!(&bytes[start..start + row.raw.len()], &row.raw[..]);
                line += i64::try_from(record.matches('\n').count()).unwrap() + 1;
            }
            prop_assert!(!rows.read(&mut row).unwrap());
        }
    }
}
