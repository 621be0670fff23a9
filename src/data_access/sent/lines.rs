//! The lines of a text in any encoding, with their own bytes and the place where each stands.

use std::io::{self, Read};
use std::ops::Range;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::data_access::csv::{LONGEST_RECORD, SplitError};
use crate::domain::source::layout::TextLines;

const BUFFER: usize = 256 * 1024;
/// As many bytes as the longest byte order mark has.
const LONGEST_MARK: usize = 3;

/// The lines of a text.
pub struct Lines<R> {
    source: R,
    encoding: &'static Encoding,
    cr_ends_line: bool,
    buffer: Vec<u8>,
    filled: usize,
    at_end: bool,
    next: Place,
    /// A place to which the reader may go back; the bytes from there on are kept.
    marked: Option<Place>,
    decoded: Decoded,
}

/// The text of lines that are in the buffer, decoded at once.
#[derive(Default)]
struct Decoded {
    text: String,
    /// How far the text was taken, and the place in the buffer of what follows it.
    taken: usize,
    next: usize,
    /// Where the text ends in the buffer.
    end: usize,
}

/// A place in the text: in the buffer, in the file, and on which line.
#[derive(Clone, Copy, Debug)]
struct Place {
    buffered: usize,
    offset: u64,
    number: i64,
}

/// A line of the text. Its bytes are in the reader until the next one is read.
#[derive(Clone, Debug)]
pub struct Line {
    /// Bytes of the text before it.
    pub offset: u64,
    /// Its number, from 1.
    pub number: i64,
    content: Range<usize>,
    end: Range<usize>,
}

impl<R: Read> Lines<R> {
    /// Begins to read `source`. A byte order mark is skipped, and tells the encoding.
    ///
    /// # Errors
    /// What `source` answers to the first read.
    pub fn new(source: R, form: TextLines) -> io::Result<Self> {
        let mut lines = Self {
            source,
            encoding: form.encoding,
            cr_ends_line: form.cr_ends_line,
            buffer: vec![0; BUFFER],
            filled: 0,
            at_end: false,
            next: Place { buffered: 0, offset: 0, number: 1 },
            marked: None,
            decoded: Decoded::default(),
        };
        while lines.filled < LONGEST_MARK && !lines.at_end {
            lines.fill()?;
        }
        if let Some((encoding, length)) = Encoding::for_bom(&lines.buffer[..lines.filled]) {
            lines.encoding = encoding;
            lines.next = Place { buffered: length, offset: length as u64, number: 1 };
        }
        Ok(lines)
    }

    /// The encoding: the declared one, unless a byte order mark says another.
    #[must_use]
    pub fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// `Read`, and `TooLong` for a line that does not end.
    pub fn read(&mut self) -> Result<Option<Line>, SplitError> {
        let mut searched = 0;
        loop {
            let rest = &self.buffer[self.next.buffered..self.filled];
            if let Some(found) = self.line_end(rest, searched) {
                return Ok(Some(self.take(found)));
            }
            // A CR or half a character at the end may belong to what is read next.
            searched = rest.len().saturating_sub(2) & !1;
            if rest.len() > LONGEST_RECORD {
                return Err(SplitError::TooLong(self.next.number, LONGEST_RECORD));
            }
            if self.at_end {
                let length = rest.len();
                return Ok((length > 0).then(|| self.take(length..length)));
            }
            self.fill()?;
        }
    }

    /// The first line end in `bytes`, none of which stands before `from`.
    fn line_end(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        let wide = self.unit();
        let mut from = from;
        loop {
            let rest = &bytes[from..];
            let found =
                if self.cr_ends_line { memchr::memchr2(b'\n', b'\r', rest) } else { memchr::memchr(b'\n', rest) };
            let at = from + found?;
            let start = if wide == 1 { at } else { at & !1 };
            let sign = bytes[at];
            match bytes.get(start..start + wide) {
                Some(character) if wide == 1 || self.is_unit(character, sign) => {
                    let (mut start, mut end) = (start, start + wide);
                    let is = |at: Option<usize>, sign: u8| {
                        at.and_then(|at| bytes.get(at..at + wide)).is_some_and(|unit| self.is_unit(unit, sign))
                    };
                    if sign == b'\r' {
                        // An LF after it belongs to it, and may not have been read yet.
                        if bytes.len() < end + wide && !self.at_end {
                            return None;
                        }
                        end += if is(Some(end), b'\n') { wide } else { 0 };
                    } else if is(start.checked_sub(wide), b'\r') {
                        start -= wide;
                    }
                    return Some(start..end);
                }
                _ => from = at + 1,
            }
        }
    }

    /// How many bytes a sign has.
    fn unit(&self) -> usize {
        if self.encoding == UTF_16LE || self.encoding == UTF_16BE { 2 } else { 1 }
    }

    fn is_unit(&self, bytes: &[u8], sign: u8) -> bool {
        match bytes {
            [one] => *one == sign,
            [low, high] if self.encoding == UTF_16LE => (*low, *high) == (sign, 0),
            [high, low] => (*low, *high) == (sign, 0),
            _ => false,
        }
    }

    fn take(&mut self, end: Range<usize>) -> Line {
        let begin = self.next;
        let length = end.end;
        let at = |index: usize| begin.buffered + index;
        let line = Line {
            offset: begin.offset,
            number: begin.number,
            content: at(0)..at(end.start),
            end: at(end.start)..at(length),
        };
        let ended = i64::from(!end.is_empty());
        self.next = Place { buffered: at(length), offset: begin.offset + length as u64, number: begin.number + ended };
        line
    }

    /// The bytes of the line that was read last, without its end.
    #[must_use]
    pub fn content(&self, line: &Line) -> &[u8] {
        &self.buffer[line.content.clone()]
    }

    /// The bytes that end that line.
    #[must_use]
    pub fn end(&self, line: &Line) -> &[u8] {
        &self.buffer[line.end.clone()]
    }

    /// Appends the text of a line to `text`, and before it that of the line end `before`. Returns whether all bytes are in the encoding;
    /// those that are not become U+FFFD.
    pub fn append(&mut self, line: &Line, before: Option<&[u8]>, text: &mut String) -> bool {
        let is_good = before.is_none_or(|end| decode(self.encoding, end, text));
        if self.encoding == UTF_8 || !self.encoding.is_ascii_compatible() {
            return decode(self.encoding, self.content(line), text) && is_good;
        }
        if self.decoded.next != line.content.start || self.decoded.end < line.end.end {
            self.decode_lines(line);
        }
        match self.decoded.take(line, self.cr_ends_line) {
            Some(decoded) => {
                text.push_str(decoded);
                is_good
            }
            None => decode(self.encoding, &self.buffer[line.content.clone()], text) && is_good,
        }
    }

    /// Decodes from the line on to the last line end in the buffer. In an encoding that has ASCII in it no character goes on after a
    /// line end, so that each line means what it means alone. A line with bytes that are not in the encoding ends the text before it.
    fn decode_lines(&mut self, line: &Line) {
        let start = line.content.start;
        let rest = &self.buffer[start..self.filled];
        let length = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1).max(line.end.end - start);
        let mut text = std::mem::take(&mut self.decoded.text);
        text.clear();
        let length = if decode_exactly(self.encoding, &rest[..length], &mut text) {
            length
        } else {
            text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
            let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
            let last = lines.checked_sub(1).and_then(|last| memchr::memchr_iter(b'\n', rest).nth(last));
            last.map_or(0, |at| at + 1)
        };
        self.decoded = Decoded { text, taken: 0, next: start, end: start + length };
    }

    /// Marks what comes next as the place to go [back](Self::back) to.
    pub fn mark(&mut self) {
        self.marked = Some(self.next);
    }

    /// Goes back to the marked place.
    pub fn back(&mut self) {
        if let Some(marked) = self.marked {
            self.next = marked;
        }
    }

    /// Forgets the mark.
    pub fn unmark(&mut self) {
        self.marked = None;
    }

    fn fill(&mut self) -> io::Result<()> {
        // What is in the buffer may move.
        self.decoded.end = 0;
        let kept = self.marked.map_or(self.next.buffered, |marked| marked.buffered.min(self.next.buffered));
        if self.filled == self.buffer.len() {
            if kept == 0 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            } else {
                // Signs of two bytes keep to even places of the file: what is kept moves by an even number.
                let kept = kept & !1;
                self.buffer.copy_within(kept..self.filled, 0);
                self.filled -= kept;
                self.next.buffered -= kept;
                if let Some(marked) = &mut self.marked {
                    marked.buffered -= kept;
                }
            }
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
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

impl Decoded {
    /// The text of a line without its end; `None` if the line is not the next one of those that were decoded.
    fn take(&mut self, line: &Line, cr_ends_line: bool) -> Option<&str> {
        if self.next != line.content.start || self.end < line.end.end {
            return None;
        }
        let rest = &self.text[self.taken..];
        let bytes = rest.as_bytes();
        let end = if cr_ends_line { memchr::memchr2(b'\n', b'\r', bytes) } else { memchr::memchr(b'\n', bytes) };
        let sign = end.unwrap_or(bytes.len());
        // A CR before the LF is a part of the line end.
        let content = sign.saturating_sub(usize::from(!cr_ends_line && line.end.len() == 2));
        self.taken += content + line.end.len();
        self.next = line.end.end;
        Some(&rest[..content])
    }
}

/// Decodes `bytes` and appends the text to `text`. Returns whether all of them are in the encoding.
fn decode_exactly(encoding: &'static Encoding, bytes: &[u8], text: &mut String) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let Some(most) = decoder.max_utf8_buffer_length_without_replacement(bytes.len()) else { return false };
    text.reserve(most);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, text, true);
    result == encoding_rs::DecoderResult::InputEmpty
}

/// Appends the text of `bytes` to `text`. Returns whether all of them are in the encoding; those that are not become U+FFFD.
pub fn decode(encoding: &'static Encoding, bytes: &[u8], text: &mut String) -> bool {
    if encoding == UTF_8 || encoding.is_ascii_compatible() && bytes.is_ascii() {
        if let Ok(decoded) = std::str::from_utf8(bytes) {
            text.push_str(decoded);
            return true;
        }
        text.push_str(&String::from_utf8_lossy(bytes));
        return false;
    }
    let start = text.len();
    if decode_exactly(encoding, bytes, text) {
        return true;
    }
    text.truncate(start);
    text.push_str(&encoding.decode_without_bom_handling(bytes).0);
    false
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GB18030, SHIFT_JIS, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    /// Hands out one byte at a time, as the worst network would.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn form(encoding: &'static Encoding) -> TextLines {
        TextLines { encoding, cr_ends_line: false, comment: None }
    }

    /// The number, offset and text of each line; text with bytes that are not in the encoding begins with `!`.
    fn lines(bytes: &[u8], form: TextLines) -> Vec<(i64, u64, String)> {
        let mut lines = Lines::new(Trickle(bytes), form).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            let mut text = String::new();
            if !lines.append(&line, None, &mut text) {
                text.insert(0, '!');
            }
            all.push((line.number, line.offset, text));
        }
        all
    }

    fn line(number: i64, offset: u64, text: &str) -> (i64, u64, String) {
        (number, offset, text.to_owned())
    }

    #[test]
    fn lines_end_with_lf_or_crlf() {
        let expected = [line(1, 0, "a"), line(2, 3, ""), line(3, 4, "b\rc"), line(4, 8, "d\r")];
        assert_eq!(lines(b"a\r\n\nb\rc\nd\r", form(UTF_8)), expected);
    }

    #[test]
    fn a_cr_ends_a_line_where_that_is_declared() {
        let form = TextLines { cr_ends_line: true, ..form(UTF_8) };
        assert_eq!(
            lines(b"a\rb\r\nc\n\rd\r", form),
            [line(1, 0, "a"), line(2, 2, "b"), line(3, 5, "c"), line(4, 7, ""), line(5, 8, "d")]
        );
    }

    #[test]
    fn a_text_is_read_in_its_encoding() {
        let (bytes, _, _) = GB18030.encode("代码\r\n价格\n");
        assert_eq!(lines(&bytes, form(GB18030)), [line(1, 0, "代码"), line(2, 6, "价格")]);
        assert_eq!(lines(b"caf\xe9\n", form(WINDOWS_1252)), [line(1, 0, "café")]);
        // A trail byte of Shift_JIS may be a backslash, and of GB18030 a bar.
        assert_eq!(lines(b"\x83\x5c\n", form(SHIFT_JIS)), [line(1, 0, "ソ")]);
        assert_eq!(lines(b"\x81\x7c|\n", form(GB18030)), [line(1, 0, "亅|")]);
    }

    #[test]
    fn bytes_that_are_not_in_the_encoding_spoil_their_line_alone() {
        assert_eq!(lines(b"a\n\xff\nb\n", form(UTF_8)), [line(1, 0, "a"), line(2, 2, "!\u{fffd}"), line(3, 4, "b")]);
        assert_eq!(lines(b"\xd6\n\xd6\xd0\n", form(GB18030)), [line(1, 0, "!\u{fffd}"), line(2, 2, "中")]);
    }

    #[test]
    fn bad_lines_among_many_spoil_no_others() {
        let (good, _, _) = GB18030.encode("价格\r\n");
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for number in 1..=3000_i64 {
            let offset = bytes.len() as u64;
            match number % 7 {
                0 => bytes.extend_from_slice(b"x\xff\n"),
                3 => bytes.extend_from_slice(b"x\xd6\n"),
                _ => bytes.extend_from_slice(&good),
            }
            let text = if [0, 3].contains(&(number % 7)) { "!x\u{fffd}" } else { "价格" };
            expected.push(line(number, offset, text));
        }
        let mut found = Vec::new();
        let mut lines = Lines::new(&bytes[..], form(GB18030)).unwrap();
        while let Some(line) = lines.read().unwrap() {
            let mut text = String::new();
            if !lines.append(&line, None, &mut text) {
                text.insert(0, '!');
            }
            found.push((line.number, line.offset, text));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_byte_order_mark_wins() {
        assert_eq!(lines(b"\xef\xbb\xbf\xe4\xb8\xad\n", form(GB18030)), [line(1, 3, "中")]);
        assert_eq!(lines(b"\xff\xfea\0\r\0\n\0\x0a\x0a\n\0", form(UTF_8)), [line(1, 2, "a"), line(2, 8, "\u{a0a}")]);
        assert_eq!(lines(b"\xfe\xff\0a\0\n\x0a\0", form(UTF_8)), [line(1, 2, "a"), line(2, 6, "\u{a00}")]);
    }

    #[test]
    fn half_a_character_at_the_end_is_not_in_the_encoding() {
        assert_eq!(lines(b"a\0\n\0b", form(UTF_16LE)), [line(1, 0, "a"), line(2, 4, "!\u{fffd}")]);
    }

    #[test]
    fn a_line_may_be_larger_than_the_buffer_and_read_twice() {
        let long = "x".repeat(3 * BUFFER);
        let text = format!("a\n{long}\nb\n");
        let mut lines = Lines::new(text.as_bytes(), form(UTF_8)).unwrap();
        lines.read().unwrap();
        lines.mark();
        for _ in 0..2 {
            let found = lines.read().unwrap().unwrap();
            assert_eq!((lines.content(&found).len(), found.number), (long.len(), 2));
            let found = lines.read().unwrap().unwrap();
            assert_eq!((lines.content(&found), found.number), (&b"b"[..], 3));
            assert!(lines.read().unwrap().is_none());
            lines.back();
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_refused() {
        let mut lines = Lines::new(io::repeat(b'x'), form(UTF_8)).unwrap();
        assert!(matches!(lines.read(), Err(SplitError::TooLong(1, LONGEST_RECORD))));
    }

    proptest! {
        /// Lines in any encoding come back, and their places cut the very bytes out of the file.
        #[test]
        fn lines_come_back_from_every_encoding(
            texts in prop::collection::vec("[a价é,\\|亅\u{a0a} ]{0,9}", 0..12),
            encoding in prop::sample::select(vec![UTF_8, GB18030, UTF_16LE, UTF_16BE]),
            crlf in any::<bool>(),
            marked in any::<bool>(),
        ) {
            let encode = |text: &str| -> Vec<u8> {
                match encoding {
                    e if e == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                    e if e == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                    e => e.encode(text).0.into_owned(),
                }
            };
            let mut bytes = if marked && encoding != GB18030 { encode("\u{feff}") } else { Vec::new() };
            let mut expected = Vec::new();
            for (text, number) in texts.iter().zip(1..) {
                expected.push((number, bytes.len() as u64, text.clone()));
                bytes.extend(encode(text));
                bytes.extend(encode(if crlf { "\r\n" } else { "\n" }));
            }
            prop_assert_eq!(&lines(&bytes, form(encoding)), &expected);
            let mut at_once = Lines::new(&bytes[..], form(encoding)).unwrap();
            for (.., expected) in &expected {
                let mut text = String::new();
                let line = at_once.read().unwrap().unwrap();
                prop_assert!(at_once.append(&line, None, &mut text));
                prop_assert_eq!(&text, expected);
            }
        }
    }
}
