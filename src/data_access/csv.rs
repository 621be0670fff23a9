//! Splits CSV (RFC 4180) into records while it is read, and knows the position of each record.
//!
//! The state machine is `csv-core`. This module adds what it does not report: the bytes and the physical line of a
//! record, an open quote at the end of the file, and which carriage returns belong to a line end.

use std::io::{self, Read};
use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use crate::domain::source::row::MOST_CELLS;

/// A longer record is taken for a quote that was never closed.
pub(super) const LONGEST_RECORD: usize = 64 * 1024 * 1024;
/// A longer header is taken for a quote that was never closed.
pub const LONGEST_HEADER: usize = 1024 * 1024;
/// The most columns of a file: as many as a spreadsheet has.
pub const MOST_COLUMNS: usize = MOST_CELLS - 1;
/// A record may have more fields than that. The rest are only counted: this many spare places are overwritten again and
/// again.
const SPARE: usize = 1024;
const BUFFER: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record: its fields without quotes, and its position.
#[derive(Debug)]
pub struct Record<'a> {
    /// The bytes of the record, without its line end.
    pub raw: &'a [u8],
    /// How many bytes of the unpacked file come before the record.
    pub offset: u64,
    /// The physical line on which the record begins, from 1.
    pub line: i64,
    /// The number of blank lines between the previous record and this one.
    pub blank_lines: i64,
    /// Whether every quoted field ends at its closing quote.
    pub well_quoted: bool,
    fields: usize,
    text: &'a [u8],
    /// Where each of the first [`MOST_COLUMNS`] fields ends in `text`.
    ends: &'a [usize],
    /// How many bytes are between two fields in `text`.
    between: usize,
}

impl<'a> Record<'a> {
    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether the record has no fields. A record that was read has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// The fields in the order of the file, at most [`MOST_COLUMNS`].
    pub fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.ends.len()).map(|index| self.field(index))
    }

    /// The text of all fields, one after another. `None` if it is not UTF-8 or contains a NUL.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        let text = simdutf8::basic::from_utf8(self.text).ok()?;
        let whole = memchr::memchr(0, self.text).is_none() && self.ends.iter().all(|end| text.is_char_boundary(*end));
        whole.then_some(text)
    }

    /// Returns the field at `index`, from the result of [`Record::text`].
    ///
    /// # Panics
    /// If there is no such field in [`Record::fields`], or if `text` belongs to another record.
    #[must_use]
    pub fn cell<'t>(&self, text: &'t str, index: usize) -> &'t str {
        &text[self.range(index)]
    }

    /// Returns the field at `index`.
    ///
    /// # Panics
    /// If there is no such field in [`Record::fields`].
    #[must_use]
    pub fn field(&self, index: usize) -> &'a [u8] {
        &self.text[self.range(index)]
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] + self.between };
        start..self.ends[index]
    }
}

/// Why a file cannot be split any further.
#[derive(Debug)]
pub enum SplitError {
    /// Reading failed.
    Read(io::Error),
    /// A quote was opened on this line and never closed.
    OpenQuote(i64),
    /// The record that begins on this line does not end within this many bytes.
    TooLong(i64, usize),
    /// The section that has ended begins once more on this line.
    SectionAgain(i64),
}

impl From<io::Error> for SplitError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The records of a file. The header is the first.
pub struct Records<R> {
    source: R,
    parser: Reader,
    buffer: Vec<u8>,
    /// Where the current record begins in `buffer`, how far it is parsed, and how far the buffer is filled.
    begin: usize,
    parsed: usize,
    filled: usize,
    at_end: bool,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// How many bytes of the file come before `begin`, and the line that `begin` is on.
    offset: u64,
    line: i64,
    blank_lines: i64,
}

/// What is known of a record once its end is found.
struct Parsed {
    /// The length of its text in `text`. `None` if its fields lie in `buffer` as they are, with a comma between two.
    text: Option<usize>,
    fields: usize,
    /// For how many of the fields the end is kept.
    kept: usize,
}

/// The size to which a buffer grows: twice its size, but not more than the longest record needs.
fn larger(length: usize) -> usize {
    (length * 2).min(LONGEST_RECORD + 2 * BUFFER)
}

impl<R: Read> Records<R> {
    /// Starts splitting `source`. A byte order mark is skipped.
    ///
    /// # Errors
    /// The errors of the first read of `source`.
    pub fn new(source: R) -> io::Result<Self> {
        let mut records = Self {
            source,
            parser: parser(),
            buffer: vec![0; BUFFER],
            begin: 0,
            parsed: 0,
            filled: 0,
            at_end: false,
            text: vec![0; 4096],
            ends: vec![0; 64],
            offset: 0,
            line: 1,
            blank_lines: 0,
        };
        while records.filled < BYTE_ORDER_MARK.len() && !records.at_end {
            records.fill()?;
        }
        if records.buffer[..records.filled].starts_with(BYTE_ORDER_MARK) {
            records.advance(BYTE_ORDER_MARK.len());
            records.parsed = records.begin;
        }
        Ok(records)
    }

    /// Returns the next record, which may not be longer than a header.
    ///
    /// # Errors
    /// The same as those of [`Records::next_record`].
    pub fn header(&mut self) -> Result<Option<Record<'_>>, SplitError> {
        self.record_within(LONGEST_HEADER)
    }

    /// Returns the next record that is not a blank line, or `None` at the end.
    ///
    /// # Errors
    /// [`SplitError`]. After an error the rest of the file cannot be interpreted.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SplitError> {
        self.record_within(LONGEST_RECORD)
    }

    fn record_within(&mut self, longest: usize) -> Result<Option<Record<'_>>, SplitError> {
        loop {
            let parsed = match self.plain_record() {
                None => self.parse_record(longest)?,
                plain => plain,
            };
            let Some(parsed) = parsed else { return Ok(None) };
            let record = self.begin..self.parsed;
            let raw = &self.buffer[record.clone()];
            let line_end = match raw {
                [.., b'\r', b'\n'] => 2,
                [.., b'\n'] => 1,
                _ => 0,
            };
            let length = raw.len() - line_end;
            if length > longest {
                return Err(SplitError::TooLong(self.line + Quotes::of(raw).lines_before_last, longest));
            }
            let (offset, line) = (self.offset, self.line);
            match parsed.text {
                None => self.pass(record.len(), 1),
                Some(_) => self.advance(record.len()),
            }
            if length == 0 {
                self.blank_lines += 1;
                continue;
            }
            if line_end == 2 && parsed.fields == parsed.kept {
                // The parser counted this CR as the last character of the last field.
                self.ends[parsed.kept - 1] -= 1;
            }
            let raw = &self.buffer[record.start..record.start + length];
            let (text, between) = parsed.text.map_or((raw, 1), |length| (&self.text[..length], 0));
            return Ok(Some(Record {
                raw,
                well_quoted: parsed.text.is_none() || memchr::memchr(b'"', raw).is_none() || Quotes::of(raw).closed,
                offset,
                line,
                blank_lines: std::mem::take(&mut self.blank_lines),
                fields: parsed.fields,
                text,
                ends: &self.ends[..parsed.kept],
                between,
            }));
        }
    }

    /// Takes the current record without the parser if all of it is in the buffer and no quote is in it. Returns `None` for any other.
    ///
    /// The first record is the parser's, because that looks for a byte order mark in what it reads first.
    fn plain_record(&mut self) -> Option<Parsed> {
        self.skip_blank_lines();
        let rest = &self.buffer[self.begin..self.filled];
        let length = memchr::memchr2(b'\n', b'"', rest).filter(|end| rest[*end] == b'\n' && self.parser.line() > 1)?;
        let (mut fields, raw) = (0, &rest[..length]);
        let commas = raw.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
        for end in commas.chain([length]) {
            if fields == MOST_COLUMNS {
                return None;
            }
            if fields == self.ends.len() {
                self.ends.resize(fields * 2, 0);
            }
            self.ends[fields] = end;
            fields += 1;
        }
        self.parsed = self.begin + length + 1;
        Some(Parsed { text: None, fields, kept: fields })
    }

    /// Parses up to the end of the current record.
    fn parse_record(&mut self, longest: usize) -> Result<Option<Parsed>, SplitError> {
        // `counted` is the number of fields whose ends were overwritten.
        let (mut text_length, mut fields, mut counted) = (0, 0, 0);
        loop {
            if fields == 0 && text_length == 0 {
                self.skip_blank_lines();
            }
            if self.parsed == self.filled && !self.at_end {
                if self.parsed - self.begin > longest {
                    let raw = &self.buffer[self.begin..self.filled];
                    return Err(SplitError::TooLong(self.line + Quotes::of(raw).lines_before_last, longest));
                }
                self.fill()?;
                continue;
            }
            let ended = self.parsed == self.filled;
            if ended && self.begin == self.filled {
                return Ok(None);
            }
            // At the end of the file an extra LF closes the last record, unless a quote is open.
            let input = if ended { &b"\n"[..] } else { &self.buffer[self.parsed..self.filled] };
            let (result, consumed, written, ends) =
                self.parser.read_record(input, &mut self.text[text_length..], &mut self.ends[fields..]);
            if !ended {
                self.parsed += consumed;
            }
            text_length += written;
            fields += ends;
            match result {
                ReadRecordResult::Record => {
                    let kept = if counted > 0 { MOST_COLUMNS } else { fields.min(MOST_COLUMNS) };
                    return Ok(Some(Parsed { text: Some(text_length), fields: fields + counted, kept }));
                }
                ReadRecordResult::OutputFull => {
                    self.text.resize(larger(self.text.len()), 0);
                }
                ReadRecordResult::OutputEndsFull if fields < MOST_COLUMNS + SPARE => {
                    self.ends.resize((fields * 2).min(MOST_COLUMNS + SPARE), 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    counted += fields - MOST_COLUMNS;
                    fields = MOST_COLUMNS;
                }
                ReadRecordResult::InputEmpty if ended => {
                    let raw = &self.buffer[self.begin..self.filled];
                    return Err(SplitError::OpenQuote(self.line + Quotes::of(raw).lines_before_last));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// Skips line feeds between records, which belong to neither of them.
    fn skip_blank_lines(&mut self) {
        if self.parsed != self.begin {
            return;
        }
        let blank = self.buffer[self.begin..self.filled].iter().take_while(|byte| **byte == b'\n').count();
        self.blank_lines += i64::try_from(blank).unwrap_or(i64::MAX);
        self.advance(blank);
        self.parsed = self.begin;
    }

    /// Moves the beginning forward by `length` bytes of the buffer.
    fn advance(&mut self, length: usize) {
        let passed = &self.buffer[self.begin..self.begin + length];
        self.pass(length, memchr::memchr_iter(b'\n', passed).count());
    }

    /// Does the same where it is known how many line feeds there are.
    fn pass(&mut self, length: usize, line_feeds: usize) {
        self.line += i64::try_from(line_feeds).unwrap_or(i64::MAX);
        self.offset += length as u64;
        self.begin += length;
    }

    /// Reads more bytes into the buffer, and keeps the whole current record in it.
    fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.filled, 0);
            self.parsed -= self.begin;
            self.filled -= self.begin;
            self.begin = 0;
            if self.filled > self.buffer.len() / 2 {
                self.buffer.resize(larger(self.buffer.len()), 0);
            }
        }
        let length = loop {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        self.at_end = length == 0;
        self.filled += length;
        Ok(())
    }
}

/// Returns the fields of one record, given its bytes; at most [`MOST_COLUMNS`].
#[must_use]
pub fn fields_of(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut parser = parser();
    let mut text = vec![0; raw.len() + 1];
    let most = memchr::memchr_iter(b',', raw).count().min(MOST_COLUMNS - 1) + 1;
    let mut ends = vec![0; most];
    let (mut written, mut count) = (0, 0);
    // Without the first line feed, a byte order mark in the record would be taken for that of a file. The last one ends
    // the record.
    for input in [b"\n", raw, b"\n"] {
        let (_, _, length, fields) = parser.read_record(input, &mut text[written..], &mut ends[count..]);
        written += length;
        count += fields;
        if count == most {
            break;
        }
    }
    let mut start = 0;
    let fields = ends[..count].iter().map(|end| text[std::mem::replace(&mut start, *end)..*end].to_vec());
    fields.collect()
}

/// Returns the cells of one record as they were written, with their quotes.
pub fn cells_of(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    // A doubled quote closes the cell and opens it again.
    raw.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
}

/// A lone CR is content. So only LF ends a line for the parser, and [`Records`] removes a CR before it.
fn parser() -> Reader {
    ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build()
}

/// What the quotes of one record show.
struct Quotes {
    /// The number of line feeds before the last quote that was opened.
    lines_before_last: i64,
    /// Whether every quoted field ends at its closing quote. If text follows the quote, the parser would drop the
    /// quote.
    closed: bool,
}

impl Quotes {
    fn of(raw: &[u8]) -> Self {
        enum State {
            FieldStart,
            Unquoted,
            Quoted,
            QuoteInQuoted,
        }
        let mut quotes = Self { lines_before_last: 0, closed: true };
        let (mut line, mut state) = (0, State::FieldStart);
        for byte in raw {
            state = match (state, byte) {
                (State::FieldStart, b'"') => {
                    quotes.lines_before_last = line;
                    State::Quoted
                }
                (State::Quoted, b'"') => State::QuoteInQuoted,
                (State::Quoted, _) | (State::QuoteInQuoted, b'"') => State::Quoted,
                (_, b',') => State::FieldStart,
                (State::QuoteInQuoted, _) => {
                    quotes.closed = false;
                    State::Unquoted
                }
                _ => State::Unquoted,
            };
            line += i64::from(*byte == b'\n');
        }
        quotes
    }
}

#[cfg(test)]
mod tests;
