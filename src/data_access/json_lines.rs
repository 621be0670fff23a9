//! JSON lines: the object in each line becomes a CSV record with the columns of a dataset in their order. So both forms
//! are checked in the same way, and a bad row is kept and sent back to be mended in the same way. The format:
//! <https://jsonlines.org>.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::csv::{LONGEST_RECORD, MOST_COLUMNS};
use crate::domain::Column;
use crate::error::{Error, Reason};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BYTES_AT_ONCE: usize = 64 * 1024;
/// The most names that are kept of members without a column.
const MOST_OTHERS: usize = 100;
const LONGEST_OTHER: usize = 200;

/// The names of members without a column, complete once everything is read. Only objects that have every required
/// column count: in any other object, a name could really be a value.
#[derive(Debug, Default)]
pub struct OtherNames {
    /// The first names.
    pub names: BTreeSet<String>,
    /// Whether there are more names, or names that are too long.
    pub more: bool,
}

/// The names, shared by the reader and the code that reports them.
pub type Others = Arc<Mutex<OtherNames>>;

/// Reads JSON lines and returns CSV: a header, then a record for each line. A line that is not an object of plain
/// values becomes a record with one field, the line itself. A blank line stays a blank line.
pub struct JsonLines<R> {
    source: BufReader<R>,
    name: String,
    columns: Columns,
    null: String,
    others: Others,
    lines: i64,
    out: Cursor<Vec<u8>>,
}

/// The columns of a dataset.
struct Columns {
    places: HashMap<String, usize>,
    required: Vec<bool>,
    /// For each column, whether its cells are JSON themselves.
    json: Vec<bool>,
}

impl<R: Read> JsonLines<R> {
    /// Reads `source`, which messages call `name`. The cell for null is `null`.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(source: R, name: &str, dataset: &[Column], null: &str) -> io::Result<Self> {
        let mut header = writer();
        header.write_record(dataset.iter().map(|column| &column.name))?;
        let (source, others) = (BufReader::with_capacity(BYTES_AT_ONCE, source), Others::default());
        let places = dataset.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        let required = dataset.iter().map(|column| column.required).collect();
        let json = dataset.iter().map(|column| column.kind.is_json()).collect();
        let columns = Columns { places, required, json };
        let out = Cursor::new(bytes(header)?);
        Ok(Self { source, name: name.to_owned(), columns, null: null.to_owned(), others, lines: 0, out })
    }

    /// The names of members without a column, collected while the file is read.
    #[must_use]
    pub fn others(&self) -> Others {
        Arc::clone(&self.others)
    }

    /// Converts some lines. Returns false at the end.
    fn convert(&mut self) -> io::Result<bool> {
        let (mut records, mut line, mut read, mut blank) = (writer(), Vec::new(), 0, 0);
        while read < BYTES_AT_ONCE {
            line.clear();
            let most = LONGEST_RECORD as u64 + 1;
            if self.source.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.lines += 1;
            if line.len() > LONGEST_RECORD {
                return Err(self.malformed("the line is longer than 64 MiB"));
            }
            read += line.len();
            let mark = if self.lines == 1 && line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            let line = line[mark..].trim_ascii();
            if line.is_empty() {
                blank += 1;
                continue;
            }
            if blank > 0 {
                records = after_blank_lines(records, std::mem::take(&mut blank))?;
            }
            match self.cells(line) {
                Some(cells) => records.write_record(cells)?,
                None if line.len() + memchr::memchr_iter(b'"', line).count() + 2 > LONGEST_RECORD => {
                    return Err(
                        self.malformed("the line cannot be read, and with its quotes doubled it is longer than 64 MiB")
                    );
                }
                None => records.write_record([line])?,
            }
        }
        self.out = Cursor::new(bytes(after_blank_lines(records, blank)?)?);
        Ok(read > 0)
    }

    /// Returns the cells of an object in the order of the columns; `None` if the line is not an object, or if a value
    /// is not plain.
    fn cells(&self, line: &[u8]) -> Option<Vec<String>> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let object = self.columns.deserialize(&mut json).ok()?;
        json.end().ok()?;
        let cell = |(value, is_json): (Option<&RawValue>, &bool)| {
            value.map_or_else(|| Some(self.null.clone()), |value| self.cell(value, *is_json))
        };
        let cells = object.values.iter().copied().zip(&self.columns.json).map(cell).collect::<Option<Vec<String>>>()?;
        let mut has_all = object.values.iter().zip(&self.columns.required);
        if !object.others.is_empty() && has_all.all(|(value, required)| value.is_some() || !required) {
            self.keep(object.others);
        }
        Some(cells)
    }

    fn malformed(&self, what: &str) -> io::Error {
        io::Error::other(Error::file(Reason::Malformed, format!("{} line {}: {what}", self.name, self.lines)))
    }

    fn keep(&self, names: BTreeSet<String>) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if name.len() > LONGEST_OTHER || (others.names.len() == MOST_OTHERS && !others.names.contains(&name)) {
                others.more = true;
            } else {
                others.names.insert(name);
            }
        }
    }

    /// Returns a value as the text of a cell. A number keeps the digits in which it was written, and a cell of JSON
    /// stays as it was written.
    fn cell(&self, raw: &RawValue, is_json: bool) -> Option<String> {
        match raw.get().as_bytes().first()? {
            b'n' => Some(self.null.clone()),
            _ if is_json => Some(raw.get().to_owned()),
            b'"' => serde_json::from_str(raw.get()).ok(),
            b'{' | b'[' => None,
            _ => Some(raw.get().to_owned()),
        }
    }
}

impl<R: Read> Read for JsonLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.out.read(buffer)?;
            if length > 0 || buffer.is_empty() || !self.convert()? {
                return Ok(length);
            }
        }
    }
}

fn writer() -> ::csv::Writer<Vec<u8>> {
    ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new())
}

fn bytes(records: ::csv::Writer<Vec<u8>>) -> io::Result<Vec<u8>> {
    records.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

fn after_blank_lines(records: ::csv::Writer<Vec<u8>>, lines: usize) -> io::Result<::csv::Writer<Vec<u8>>> {
    let mut bytes = bytes(records)?;
    bytes.extend(std::iter::repeat_n(b'\n', lines));
    Ok(::csv::WriterBuilder::new().flexible(true).from_writer(bytes))
}

/// The members of an object, as they were written.
struct Object<'de> {
    /// The values for the columns, in the order of the columns.
    values: Vec<Option<&'de RawValue>>,
    /// The names of all other members.
    others: BTreeSet<String>,
}

/// An object in which a member comes twice is ambiguous, and an error. So is an object with more members than a file
/// may have columns: the names must fit into memory to be compared with each other.
impl<'de> DeserializeSeed<'de> for &Columns {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Columns {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object { values: vec![None; self.required.len()], others: BTreeSet::new() };
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let is_new = match self.places.get(&name) {
                Some(place) => object.values[*place].replace(value).is_none(),
                None => object.others.len() < MOST_COLUMNS && object.others.insert(name),
            };
            if !is_new {
                return Err(A::Error::custom("a member comes twice, or there are too many"));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::types::{Options, registration, text};

    fn column(name: &str, required: bool) -> Column {
        Column { name: name.into(), kind: text(), required, constraints: Vec::new(), encrypt: false }
    }

    #[test]
    fn a_column_of_json_has_its_member_as_it_was_written() {
        let json = registration("json").unwrap().kind(&Options::default()).unwrap();
        let columns = [column("id", true), Column { kind: json, ..column("doc", false) }];
        let lines =
            "{\"id\":\"a\",\"doc\":{\"b\": [1.0]}}\n{\"id\":\"b\",\"doc\":\"c\"}\n{\"id\":\"d\",\"doc\":null}\n";
        let mut text = String::new();
        JsonLines::new(lines.as_bytes(), "docs.jsonl", &columns, "").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "id,doc\na,\"{\"\"b\"\": [1.0]}\"\nb,\"\"\"c\"\"\"\nd,\n");
    }

    fn read(lines: &str) -> (String, OtherNames) {
        let columns = [column("id", true), column("price", false), column("note", false)];
        let mut reader = JsonLines::new(lines.as_bytes(), "orders.jsonl", &columns, "").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let others = std::mem::take(&mut *reader.others().lock().unwrap());
        (text, others)
    }

    fn as_csv(lines: &str) -> String {
        read(lines).0
    }

    #[test]
    fn each_line_is_a_record_and_numbers_keep_their_digits() {
        let lines = concat!(
            "\u{feff}{\"id\":\"a\",\"price\":0.10000000000000000001,\"note\":\"x,\\\"y\\\"\\n\"}\r\n",
            "{\"price\":1e3,\"id\":7,\"extra\":{\"a\":[1]}}\n",
            "{\"id\":null,\"note\":true}\n\n",
        );
        let expected = "id,price,note\na,0.10000000000000000001,\"x,\"\"y\"\"\n\"\n7,1e3,\n,,true\n\n";
        assert_eq!(as_csv(lines), expected);
    }

    #[test]
    fn other_members_are_reported_if_the_object_has_every_required_column() {
        let (_, others) =
            read("{\"id\":1,\"b\":{\"a\":[1]},\"a\":2}\n{\"price\":1,\"7261\":2}\n[7261]\n{\"id\":2,\"a\":1}\n");
        assert_eq!((others.names.into_iter().collect::<Vec<_>>(), others.more), (vec!["a".into(), "b".into()], false));
        let many = (0..MOST_OTHERS + 20).fold(String::new(), |all, nth| all + &format!(",\"x{nth}\":1"));
        let (_, others) = read(&format!("{{\"id\":1{many}}}\n"));
        assert_eq!((others.names.len(), others.more), (MOST_OTHERS, true));
    }

    #[test]
    fn an_object_with_more_members_than_a_file_may_have_columns_is_a_record_of_one_field() {
        let object = |members: usize| {
            let members = (0..members).fold(String::new(), |all, nth| all + &format!(",\"x{nth}\":1"));
            as_csv(&format!("{{\"id\":1{members}}}\n"))
        };
        assert!(object(MOST_COLUMNS).ends_with("\n1,,\n"));
        assert!(object(MOST_COLUMNS + 1).contains("x16384"));
    }

    #[test]
    fn a_line_that_is_not_an_object_of_plain_values_is_a_record_of_one_field() {
        let lines = "[1]\n{\"id\":{}}\n{\"id\":1,\"id\":2}\n{\"id\":1\n{\"id\":1} 2\n{\"a\":1,\"a\":1}\n";
        assert_eq!(
            as_csv(lines),
            "id,price,note\n[1]\n\"{\"\"id\"\":{}}\"\n\"{\"\"id\"\":1,\"\"id\"\":2}\"\n\"{\"\"id\"\":1\"\n\
             \"{\"\"id\"\":1} 2\"\n\"{\"\"a\"\":1,\"\"a\"\":1}\"\n"
        );
    }

    #[test]
    fn a_blank_line_stays_a_blank_line() {
        assert_eq!(as_csv("\n \n"), "id,price,note\n\n\n");
        assert_eq!(as_csv("\n{\"id\":1}\n\t\r\n\n{\"id\":2}\n\n"), "id,price,note\n\n1,,\n\n\n2,,\n\n");
    }
}
