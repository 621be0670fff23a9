//! The form of rejects of a declared source: their sender's dialect, with columns of ours before those of the sender.

use std::fmt::Write as _;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use serde_json::Value;

use super::reading::shown;
use crate::data_access::sent::format::format_of;
use crate::domain::source::binding::{Surroundings, groups};
use crate::domain::source::layout::{Between, Dialect, End, Format, Header, Sheet, TextLines};
use crate::domain::source::model::{Origin, Outside, Source};
use crate::domain::source::row::Row;

pub(super) const LOAD: &str = "_load_id";
pub(super) const RECORD: &str = "_record";
pub(super) const SOURCE: &str = "_source";
/// The columns before those of the sender, besides what the file told around its table.
pub(super) const OWN: [&str; 5] = [LOAD, RECORD, "_line", SOURCE, "_errors"];
/// Characters of which some follow the name of a source in its rejects, if it declares another encoding than UTF-8: their bytes show
/// whether the file still has the encoding in which it was written, or was saved as UTF-8.
const MARKS: [char; 10] = ['中', 'é', '€', 'ž', 'я', 'あ', '가', 'α', 'א', 'ا'];
const MOST_MARKS: usize = 3;
/// Where the ledger keeps the encoding of a file whose byte order mark disagrees with its source.
const ENCODING: &str = "_encoding";

/// The sheet of a workbook of rejects.
pub(super) const SHEET: &str = "_rejects";

/// What a file of rejects consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectsForm {
    /// Text.
    Text,
    /// A workbook, whose cells themselves say what they hold.
    Workbook,
}

/// What a source asks of a file besides the cells of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// The object's key.
    Key,
    /// The member, sheet or section.
    Part,
    /// Lines before the table.
    Preamble,
    /// The number of the record.
    Record,
    /// The line of the record.
    Line,
    /// What the cells hold, where they are not text alone.
    Cells,
}

impl Around {
    /// All that a source asks for of rejects in that form.
    pub(super) fn of(source: &Source, form: RejectsForm) -> Vec<Self> {
        let asks = |outside| {
            source.columns.iter().any(|column| {
                matches!(&column.origin, Origin::Outside(known, _) if *known == outside)
                    || column.year.as_ref().is_some_and(|year| year.origin == outside)
            })
        };
        let has = |is: fn(&Origin) -> bool| source.columns.iter().any(|column| is(&column.origin));
        [
            (Self::Key, asks(Outside::Key)),
            (Self::Part, asks(Outside::Part)),
            (Self::Preamble, asks(Outside::Preamble)),
            (Self::Record, has(|origin| matches!(origin, Origin::Record))),
            (Self::Line, has(|origin| matches!(origin, Origin::Line))),
            (Self::Cells, form == RejectsForm::Text && format_of(source).has_kinds()),
        ]
        .into_iter()
        .filter_map(|(around, asked)| asked.then_some(around))
        .collect()
    }

    /// What it is called in a file of rejects.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Key => "_key",
            Self::Part => "_part",
            Self::Preamble => "_preamble",
            Self::Record => "_first_record",
            Self::Line => "_first_line",
            Self::Cells => "_cells",
        }
    }
}

/// What a file told around its table, as far as its source asks for it: for the ledger.
pub(super) fn told_by(source: &Source, around: &Surroundings, declared: &'static Encoding) -> Value {
    let mut told = serde_json::Map::new();
    for asked in Around::of(source, RejectsForm::Text) {
        let text = match asked {
            Around::Key => around.key.clone(),
            Around::Part => around.part.clone(),
            Around::Preamble => asked_lines(source, &around.preamble).join("\n"),
            Around::Record | Around::Line | Around::Cells => continue,
        };
        told.insert(asked.name().to_owned(), text.into());
    }
    let encoding = lines_of(source).encoding;
    if encoding != declared {
        told.insert(ENCODING.to_owned(), encoding.name().into());
    }
    Value::Object(told)
}

/// The lines of a preamble that tell a value: no others are kept anywhere.
fn asked_lines(source: &Source, preamble: &[String]) -> Vec<String> {
    let patterns = source.columns.iter().flat_map(|column| {
        let own = match &column.origin {
            Origin::Outside(Outside::Preamble, pattern) => pattern.as_ref(),
            _ => None,
        };
        let year = column.year.as_ref().filter(|year| year.origin == Outside::Preamble).map(|year| &year.pattern);
        own.into_iter().chain(year)
    });
    let mut asked: Vec<usize> =
        patterns.filter_map(|pattern| preamble.iter().position(|line| groups(line, pattern).is_some())).collect();
    asked.sort_unstable();
    asked.dedup();
    asked.into_iter().map(|index| preamble[index].clone()).collect()
}

/// The encoding in which a file of a source was written, as the ledger has it.
pub(super) fn told_encoding(told: &Value) -> Option<&'static Encoding> {
    Encoding::for_label(told[ENCODING].as_str()?.as_bytes())
}

/// What follows the name of a source in its rejects.
pub(super) fn mark_of(source: &Source) -> String {
    let declared = lines_of(source).encoding;
    let marks = MARKS.into_iter().filter(|mark| declared != UTF_8 && has(declared, *mark));
    marks.take(MOST_MARKS).collect()
}

/// The columns that are ours, in their order.
pub(super) fn own_columns(source: &Source, form: RejectsForm) -> Vec<&'static str> {
    OWN.into_iter().chain(Around::of(source, form).into_iter().map(Around::name)).collect()
}

pub(super) fn lines_of(source: &Source) -> TextLines {
    match &source.format {
        Format::Delimited(lines, _) | Format::Fixed(lines, _) => *lines,
        _ => TextLines { encoding: UTF_8, cr_ends_line: false, comment: None },
    }
}

/// The same source, of a file in this encoding.
pub(super) fn encoded_as(source: &Source, encoding: &'static Encoding) -> Source {
    let mut source = source.clone();
    if let Format::Delimited(lines, _) | Format::Fixed(lines, _) = &mut source.format {
        lines.encoding = encoding;
    }
    source
}

/// How the rejects of a source are written: as the sender writes, and else in the plain form.
pub(super) fn dialect_of(source: &Source) -> Dialect {
    match &source.format {
        Format::Delimited(_, dialect) => dialect.clone(),
        _ => Dialect::plain(),
    }
}

/// A source that reads what was written of its rejects: a header first, nothing before or after the table.
pub(super) fn as_rejects(source: &Source, form: RejectsForm) -> Source {
    let own = own_columns(source, form).len();
    let lines = TextLines { comment: None, cr_ends_line: false, ..lines_of(source) };
    let mut again = source.clone();
    again.member = None;
    match (form, &mut again.format) {
        (RejectsForm::Workbook, Format::Workbook(book)) => book.sheet = Some(Sheet::Named(SHEET.to_owned())),
        (_, format) => *format = Format::Delimited(lines, dialect_of(source)),
    }
    again.layout.header = Header::First;
    again.layout.header_lines = 1;
    again.layout.section = None;
    again.layout.end = End::Never;
    again.layout.between = Between::default();
    again.layout.blank_between = false;
    again.totals.clear();
    for column in &mut again.columns {
        if let Origin::Position(index) = &mut column.origin {
            *index += own;
        }
    }
    again
}

/// Cuts the bytes of a record into cells again.
pub(super) fn cut(source: &Source, raw: &[u8], line: i64) -> Row {
    let mut row = Row::default();
    row.begin(line, 0);
    row.raw.extend_from_slice(raw);
    format_of(source).cut(source, &mut row);
    row
}

/// The bytes of a text in an encoding, which has all of its characters.
pub(super) fn encoded(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    match encoding {
        utf16 if utf16 == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        utf16 if utf16 == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        other => other.encode(text).0.into_owned(),
    }
}

fn has(encoding: &'static Encoding, character: char) -> bool {
    let mut buffer = [0; 4];
    encoding.output_encoding() == UTF_8 || !encoding.encode(character.encode_utf8(&mut buffer)).2
}

/// A text of ours for a cell: what the cell cannot hold is escaped, and with `exact` [`unescaped`] gives the text back.
pub(super) fn escaped(dialect: &Dialect, encoding: &'static Encoding, text: &str, exact: bool) -> String {
    let mut cell = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '\n' => cell.push_str("\\n"),
            '\r' => cell.push_str("\\r"),
            '\\' if exact => cell.push_str("\\\\"),
            _ if dialect.quote.is_none() && rest.starts_with(&dialect.delimiter) => {
                length = dialect.delimiter.len();
                cell.push_str(&numbered(&dialect.delimiter));
            }
            other if other.is_control() || !has(encoding, other) => cell.push_str(&numbered(&other.to_string())),
            other => cell.push(other),
        }
        rest = &rest[length..];
    }
    cell
}

fn numbered(text: &str) -> String {
    let mut numbers = String::new();
    for character in text.chars() {
        numbers.push_str("\\u{");
        let _ = write!(numbers, "{:x}}}", u32::from(character));
    }
    numbers
}

/// What was escaped.
pub(super) fn unescaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut rest = cell;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let number = rest.strip_prefix("u{").and_then(|number| number.split_once('}'));
        let character = number.and_then(|(digits, _)| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
        let (character, after) = match (rest.chars().next(), number, character) {
            (Some('n'), ..) => ('\n', &rest[1..]),
            (Some('r'), ..) => ('\r', &rest[1..]),
            (Some('\\'), ..) => ('\\', &rest[1..]),
            (_, Some((_, after)), Some(character)) => (character, after),
            _ => ('\\', rest),
        };
        text.push(character);
        rest = after;
    }
    text + rest
}

/// A cell as the dialect writes it.
pub(super) fn quoted(dialect: &Dialect, cell: &str) -> String {
    let escape = dialect.escape.map(char::from);
    let Some(quote) = dialect.quote.map(char::from) else {
        let cell = cell.replace(&dialect.delimiter, " ").replace(['\n', '\r'], " ");
        return escape.map_or(cell.clone(), |escape| cell.replace(escape, &format!("{escape}{escape}")));
    };
    let special = |sign: char| sign.is_control() || sign == quote || Some(sign) == escape;
    if !cell.contains(special) && !cell.contains(&dialect.delimiter) && !cell.starts_with(' ') {
        return cell.to_owned();
    }
    let inner = match escape {
        None => cell.replace(quote, &format!("{quote}{quote}")),
        Some(escape) => cell.replace(escape, &format!("{escape}{escape}")).replace(quote, &format!("{escape}{quote}")),
    };
    format!("{quote}{inner}{quote}")
}

/// A record of these cells, as the source's rejects are written.
pub(super) fn line_of<'c>(source: &Source, cells: impl Iterator<Item = &'c str>) -> Vec<u8> {
    let dialect = dialect_of(source);
    let cells: Vec<String> = cells.map(|cell| quoted(&dialect, cell)).collect();
    encoded(lines_of(source).encoding, &cells.join(&dialect.delimiter))
}

/// The header of a file, as its sender wrote it where that is one line of text; else its names, or the numbers of its columns. A name that the
/// source does not read is no longer than may be shown.
pub(super) fn header_line(source: &Source, header: &[Row], names: &[String]) -> Vec<u8> {
    let is_short = |name: &String| source.reads(name) || shown(name) == *name;
    match (header, &source.format) {
        ([one], Format::Delimited(..)) if names.iter().all(is_short) => one.raw.clone(),
        ([], _) | (_, Format::Fixed(..)) => {
            let numbers: Vec<String> = (1..=source.width()).map(|number| number.to_string()).collect();
            line_of(source, numbers.iter().map(String::as_str))
        }
        _ => {
            let names: Vec<String> =
                names.iter().map(|name| if is_short(name) { name.clone() } else { shown(name) }).collect();
            line_of(source, names.iter().map(String::as_str))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodings by which a file may be declared, with all others that look like it at first.
    #[test]
    fn the_marks_of_an_encoding_differ_from_those_that_another_one_would_read() {
        let labels = [
            "gb18030",
            "gbk",
            "big5",
            "shift_jis",
            "euc-jp",
            "euc-kr",
            "windows-1250",
            "windows-1251",
            "windows-1252",
            "windows-1253",
            "windows-1254",
            "windows-1255",
            "windows-1256",
            "windows-1257",
            "windows-1258",
            "windows-874",
            "iso-8859-2",
            "iso-8859-5",
            "iso-8859-7",
            "iso-8859-8",
            "iso-8859-15",
            "koi8-r",
            "koi8-u",
            "macintosh",
            "x-mac-cyrillic",
            "ibm866",
        ];
        for label in labels {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let marks: String = MARKS.into_iter().filter(|mark| has(encoding, *mark)).take(MOST_MARKS).collect();
            assert!(!marks.is_empty(), "{label}");
            let bytes = encoded(encoding, &marks);
            assert!(!bytes.starts_with(marks.as_bytes()), "{label}");
            assert_ne!(encoding.decode(marks.as_bytes()).0, marks, "{label}");
        }
    }
}
