//! Cuts the text of a record into cells, by delimiters and quotes or at fixed places.

use super::cell_form::CellKind;
use super::layout::{Dialect, Field};
use super::row::{MOST_CELLS, Place, Row, RowFault};

/// How far a record is cut, where its text goes on with another line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cutting {
    /// Where the present cell begins.
    start: usize,
    quoted: Option<Quoted>,
}

/// A cell whose closing quote is still to come.
#[derive(Clone, Copy, Debug)]
struct Quoted {
    /// Where its content begins, what of it has not been copied yet, and what has not been looked at.
    content: usize,
    rest: usize,
    scanned: usize,
    /// Where its copy begins, if it has one.
    copy: Option<usize>,
}

impl Cutting {
    /// Where the quote stands that is open, in bytes of the record's text.
    #[must_use]
    pub fn open_quote(&self) -> Option<usize> {
        self.quoted.map(|quoted| quoted.content - 1)
    }
}

impl Dialect {
    /// Cuts the text of `row`, or what was appended to it since the last call. Returns whether the record is complete; if it
    /// is not, a quote is open, and the text goes on with the line end and the next line.
    pub fn cut(&self, row: &mut Row, cutting: &mut Cutting) -> bool {
        let is_first = cutting.start == 0 && cutting.quoted.is_none();
        let has_quote = |text: &str| self.quote.is_some_and(|quote| memchr::memchr(quote, text.as_bytes()).is_some());
        if is_first && self.escape.is_none() && !has_quote(&row.text) {
            self.cut_plainly(row);
            return true;
        }
        loop {
            if cutting.quoted.is_none() {
                let start = self.skip_blanks(&row.text, cutting.start);
                if self.quote.is_some() && row.text.as_bytes().get(start) == self.quote.as_ref() {
                    let content = start + 1;
                    cutting.quoted = Some(Quoted { content, rest: content, scanned: content, copy: None });
                }
            }
            let end = match cutting.quoted {
                None => self.unquoted(row, cutting.start),
                Some(mut quoted) => {
                    let close = self.closing(row, &mut quoted);
                    cutting.quoted = Some(quoted);
                    let Some(close) = close else { return false };
                    cutting.quoted = None;
                    self.quoted(row, &quoted, close)
                }
            };
            if end == row.text.len() {
                return true;
            }
            cutting.start = end + self.delimiter.len();
        }
    }

    /// Takes the whole text for one line in which quotes are content, as lines before a table are.
    pub fn cut_plainly(&self, row: &mut Row) {
        let Row { text, cells, .. } = row;
        cells.clear();
        let mut start = 0;
        let mut push = |end: usize| {
            cells.push(Place { start, end, kind: CellKind::Text, copied: false });
            start = end + self.delimiter.len();
        };
        match self.delimiter.as_bytes() {
            [one] => memchr::memchr_iter(*one, text.as_bytes()).take(MOST_CELLS - 1).for_each(&mut push),
            many => memchr::memmem::find_iter(text.as_bytes(), many).take(MOST_CELLS - 1).for_each(&mut push),
        }
        push(text.len());
    }

    fn skip_blanks(&self, text: &str, from: usize) -> usize {
        if !self.padded {
            return from;
        }
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t') && !self.delimiter.as_bytes().starts_with(&[**byte]);
        from + text.as_bytes()[from..].iter().take_while(is_blank).count()
    }

    /// The next delimiter from `from` on, or the end of the text.
    fn delimiter_from(&self, text: &str, from: usize) -> usize {
        let delimiter = self.delimiter.as_bytes();
        let found = match delimiter {
            [one] => memchr::memchr(*one, &text.as_bytes()[from..]),
            _ => memchr::memmem::find(&text.as_bytes()[from..], delimiter),
        };
        found.map_or(text.len(), |at| from + at)
    }

    /// Adds the cell without quotes that begins at `start`; returns where it ends.
    fn unquoted(&self, row: &mut Row, start: usize) -> usize {
        let mut end = self.delimiter_from(&row.text, start);
        let mut place = Place { start, end, kind: CellKind::Text, copied: false };
        if let Some(escape) = self.escape {
            let (mut rest, mut scanned) = (start, start);
            let copy = row.copies.len();
            while let Some(at) = memchr::memchr(escape, &row.text.as_bytes()[scanned..end]).map(|at| scanned + at) {
                let Some(length) = self.escaped(&row.text[at + 1..]) else {
                    scanned = at + 1;
                    continue;
                };
                row.copies.push_str(&row.text[rest..at]);
                (rest, scanned) = (at + 1, at + 1 + length);
                end = self.delimiter_from(&row.text, scanned);
            }
            place.end = end;
            if rest > start {
                row.copies.push_str(&row.text[rest..end]);
                place = Place { start: copy, end: row.copies.len(), kind: CellKind::Text, copied: true };
            }
        }
        row.push(place);
        end
    }

    /// The length of what an escape before `text` makes content, if it is a quote, a delimiter or an escape.
    fn escaped(&self, text: &str) -> Option<usize> {
        let first = text.as_bytes().first().copied()?;
        if Some(first) == self.quote || Some(first) == self.escape {
            return Some(1);
        }
        text.starts_with(&self.delimiter).then_some(self.delimiter.len())
    }

    /// Looks for the closing quote of a cell, and copies it if quotes in it are doubled or escaped.
    fn closing(&self, row: &mut Row, quoted: &mut Quoted) -> Option<usize> {
        let quote = self.quote?;
        loop {
            let bytes = row.text.as_bytes();
            let found = match self.escape {
                Some(escape) => memchr::memchr2(quote, escape, &bytes[quoted.scanned..]),
                None => memchr::memchr(quote, &bytes[quoted.scanned..]),
            };
            let Some(at) = found.map(|at| quoted.scanned + at) else {
                quoted.scanned = bytes.len();
                return None;
            };
            let content = if Some(bytes[at]) == self.escape {
                let Some(length) = self.escaped(&row.text[at + 1..]) else {
                    // An escape before anything else is either content or a writer's own code: nobody can tell.
                    row.fault = row.fault.or(Some(RowFault::Quoting));
                    quoted.scanned = at + 1;
                    continue;
                };
                length
            } else if self.escape.is_none() && bytes.get(at + 1) == Some(&quote) {
                1
            } else {
                return Some(at);
            };
            quoted.copy.get_or_insert(row.copies.len());
            row.copies.push_str(&row.text[quoted.rest..at]);
            (quoted.rest, quoted.scanned) = (at + 1, at + 1 + content);
        }
    }

    /// Adds the cell that is closed at `close`; returns where the delimiter after it stands.
    fn quoted(&self, row: &mut Row, quoted: &Quoted, close: usize) -> usize {
        let place = match quoted.copy {
            None => Place { start: quoted.content, end: close, kind: CellKind::Text, copied: false },
            Some(copy) => {
                row.copies.push_str(&row.text[quoted.rest..close]);
                Place { start: copy, end: row.copies.len(), kind: CellKind::Text, copied: true }
            }
        };
        row.push(place);
        let end = self.skip_blanks(&row.text, close + 1);
        if end == row.text.len() || row.text[end..].starts_with(&self.delimiter) {
            return end;
        }
        row.fault = row.fault.or(Some(RowFault::Quoting));
        self.delimiter_from(&row.text, end)
    }
}

/// Cuts a line of fixed width. One that ends before the last field does has no cells, unless `shorter` says that it has; what
/// follows the last field, if it is not blank, is one cell more.
pub fn cut_fixed(row: &mut Row, fields: &[Field], shorter: bool) {
    let length = if row.text.is_ascii() { row.text.len() } else { row.text.chars().count() };
    let ascii = length == row.text.len();
    let byte = |character: usize| {
        if ascii {
            return character.min(length);
        }
        row.text.char_indices().nth(character).map_or(row.text.len(), |(at, _)| at)
    };
    let end = fields.iter().map(|field| field.to).max().unwrap_or(0);
    if length < end && !shorter {
        return;
    }
    let place =
        |from: usize, to: usize| Place { start: byte(from), end: byte(to), kind: CellKind::Text, copied: false };
    let mut places: Vec<Place> = fields.iter().map(|field| place(field.from, field.to)).collect();
    let rest = place(end, usize::MAX);
    if !row.text[rest.start..].trim().is_empty() {
        places.push(rest);
    }
    row.cells.extend(places);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cuts a text line by line, as it comes from a file; `None` if a quote stays open.
    fn cut(dialect: &Dialect, text: &str) -> Option<(Vec<String>, Option<RowFault>)> {
        let (mut row, mut cutting) = (Row::default(), Cutting::default());
        row.begin(1, 0);
        let mut lines = text.split_inclusive('\n').chain(text.is_empty().then_some(""));
        let mut end = "";
        loop {
            let line = lines.next()?;
            let content = line.trim_end_matches('\n');
            row.text.push_str(end);
            row.text.push_str(content);
            end = &line[content.len()..];
            if dialect.cut(&mut row, &mut cutting) {
                return Some((row.cells().map(|cell| cell.text.to_owned()).collect(), row.fault));
            }
        }
    }

    fn cells(dialect: &Dialect, text: &str) -> Vec<String> {
        let (cells, fault) = cut(dialect, text).unwrap();
        assert_eq!(fault, None, "{text:?}");
        cells
    }

    #[test]
    fn cells_are_cut_at_delimiters_outside_of_quotes() {
        let plain = Dialect::plain();
        assert_eq!(cells(&plain, "a,b,,"), ["a", "b", "", ""]);
        assert_eq!(cells(&plain, ""), [""]);
        assert_eq!(cells(&plain, r#""a,b","say ""hi""",c"d,"""#), ["a,b", r#"say "hi""#, "c\"d", ""]);
        assert_eq!(cells(&plain, "\"a\nb\",\"\"\"\n\"\"\",c"), ["a\nb", "\"\n\"", "c"]);
        assert_eq!(cells(&plain, "=\"000037\",x"), ["=\"000037\"", "x"]);
    }

    #[test]
    fn a_cell_that_goes_on_after_its_quote_is_noted() {
        let plain = Dialect::plain();
        assert_eq!(cut(&plain, "\"a\"b,c").unwrap(), (vec!["a".into(), "c".into()], Some(RowFault::Quoting)));
        assert_eq!(cut(&plain, "\"a\" ,c").unwrap().1, Some(RowFault::Quoting));
        assert_eq!(cut(&plain, "\"a,b"), None);
    }

    #[test]
    fn blanks_around_quotes_are_padding_where_cells_are_trimmed() {
        let padded = Dialect { padded: true, ..Dialect::plain() };
        assert_eq!(cells(&padded, " \"a,b\" ,\t\"c\",d "), ["a,b", "c", "d "]);
        let tabs = Dialect { delimiter: "\t".into(), ..padded };
        assert_eq!(cells(&tabs, "\"a\"\t\t \"b\""), ["a", "", "b"]);
    }

    #[test]
    fn any_delimiter_and_quote_will_do() {
        let of =
            |delimiter: &str, quote: Option<u8>| Dialect { delimiter: delimiter.into(), quote, ..Dialect::plain() };
        assert_eq!(cells(&of(";", Some(b'\'')), "'a;b';c''d"), ["a;b", "c''d"]);
        assert_eq!(cells(&of("||", Some(b'"')), "a|b||\"c||d\"||"), ["a|b", "c||d", ""]);
        assert_eq!(cells(&of("，", Some(b'"')), "a，b"), ["a", "b"]);
        assert_eq!(cells(&of("\t", None), "\"a\tb\""), ["\"a", "b\""]);
    }

    #[test]
    fn an_escape_makes_signs_content() {
        let escaping = Dialect { escape: Some(b'\\'), ..Dialect::plain() };
        assert_eq!(cells(&escaping, r#""say \"hi\"","a\\",b\,c,\N"#), [r#"say "hi""#, r"a\", "b,c", r"\N"]);
        assert_eq!(cut(&escaping, r#""a\n",b"#).unwrap().1, Some(RowFault::Quoting));
        assert_eq!(cut(&escaping, r#""a""b""#).unwrap().1, Some(RowFault::Quoting));
    }

    #[test]
    fn a_line_of_fixed_width_is_cut_by_its_characters() {
        let fields = [Field { from: 0, to: 4 }, Field { from: 4, to: 6 }];
        let cut = |text: &str, shorter: bool| {
            let mut row = Row::default();
            row.text.push_str(text);
            cut_fixed(&mut row, &fields, shorter);
            row.cells().map(|cell| cell.text.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cut("abcdef", false), ["abcd", "ef"]);
        assert_eq!(cut("买入  12", false), ["买入  ", "12"]);
        assert!(cut("abcde", false).is_empty());
        assert_eq!(
            (cut("abcde", true), cut("a", true)),
            (vec!["abcd".into(), "e".into()], vec!["a".into(), String::new()])
        );
        assert_eq!(cut("abcdef  ", false).len(), 2);
        assert_eq!(cut("abcdefg", false).len(), 3);
    }

    proptest! {
        /// What is written in any dialect is read back.
        #[test]
        fn cells_come_back_from_every_dialect(
            row in prop::collection::vec("[a;,|\"'\\\\\n\t 价]{0,8}", 1..6),
            delimiter in prop::sample::select(vec![",", ";", "\t", "|", "||", "，"]),
            quote in prop::sample::select(vec![b'"', b'\'']),
            escape in prop::sample::select(vec![None, Some(b'\\')]),
        ) {
            let dialect = Dialect { delimiter: delimiter.into(), quote: Some(quote), escape, padded: false };
            let sign = char::from(quote).to_string();
            let cell = |cell: &String| {
                let inner = match escape {
                    None => cell.replace(&sign, &format!("{sign}{sign}")),
                    Some(_) => cell.replace('\\', "\\\\").replace(&sign, &format!("\\{sign}")),
                };
                format!("{sign}{inner}{sign}")
            };
            let text = row.iter().map(cell).collect::<Vec<_>>().join(delimiter);
            prop_assert_eq!(cut(&dialect, &text), Some((row, None)));
        }

        /// The plain dialect is that of the `csv` crate.
        #[test]
        fn cells_are_those_of_the_csv_crate(text in "[ab,\" ]{0,12}") {
            let Some((cells, None)) = cut(&Dialect::plain(), &text) else { return Ok(()) };
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            if let Some(record) = reader.records().next() {
                let record = record.unwrap();
                prop_assert_eq!(record.iter().collect::<Vec<_>>(), cells);
            }
        }
    }
}
