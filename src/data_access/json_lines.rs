//! JSON lines: an object in each line becomes a record of CSV, with the columns of a dataset in their order. So what is checked,
//! kept of a bad row and sent back to be mended is the same for both forms. The format: <https://jsonlines.org>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::csv::LONGEST_RECORD;
use crate::error::{Error, Reason};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BYTES_AT_ONCE: usize = 64 * 1024;
/// So many names of members that no column has are kept.
const MOST_OTHERS: usize = 100;
const LONGEST_OTHER: usize = 200;
const MOST_BLANK: usize = 1_000_000;

/// Names of members that no column has, known once everything is read.
pub type Others = Arc<Mutex<BTreeSet<String>>>;

/// Reads JSON lines, is read as CSV: a header, then a record for each line. A line that is no object of plain values becomes a
/// record of one field, the line itself. Blank lines at the end are none.
pub struct JsonLines<R> {
    source: BufReader<R>,
    name: String,
    columns: Vec<String>,
    null: String,
    others: Others,
    /// Lines that were read, and blank ones behind the last that was not.
    lines: i64,
    blank: usize,
    out: Cursor<Vec<u8>>,
}

impl<R: Read> JsonLines<R> {
    /// Reads `source`, in messages called `name`; `null` is the cell that means null.
    pub fn new(source: R, name: &str, columns: Vec<String>, null: &str) -> io::Result<Self> {
        let mut header = writer();
        header.write_record(&columns)?;
        let (source, others) = (BufReader::with_capacity(BYTES_AT_ONCE, source), Others::default());
        let out = Cursor::new(bytes(header)?);
        Ok(Self { source, name: name.to_owned(), columns, null: null.to_owned(), others, lines: 0, blank: 0, out })
    }

    /// Where the names of other members gather.
    #[must_use]
    pub fn others(&self) -> Others {
        Arc::clone(&self.others)
    }

    /// Converts some lines; false at the end.
    fn convert(&mut self) -> io::Result<bool> {
        let (mut records, mut line, mut read) = (writer(), Vec::new(), 0);
        while read < BYTES_AT_ONCE {
            line.clear();
            let most = LONGEST_RECORD as u64 + 1;
            if self.source.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.lines += 1;
            if line.len() > LONGEST_RECORD {
                let message = format!("{} line {}: the line is longer than 64 MiB", self.name, self.lines);
                return Err(io::Error::other(Error::file(Reason::Malformed, message)));
            }
            read += line.len();
            let mark = if self.lines == 1 && line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            let line = line[mark..].trim_ascii();
            if line.is_empty() {
                self.blank += 1;
                if self.blank > MOST_BLANK {
                    let message = format!("{} line {}: {MOST_BLANK} lines in a row are blank", self.name, self.lines);
                    return Err(io::Error::other(Error::file(Reason::Malformed, message)));
                }
                continue;
            }
            for _ in 0..std::mem::take(&mut self.blank) {
                records.write_record([""])?;
            }
            match serde_json::from_slice(line).ok().and_then(|object| self.cells(&object)) {
                Some(cells) => records.write_record(cells)?,
                None => records.write_record([line])?,
            }
        }
        self.out = Cursor::new(bytes(records)?);
        Ok(read > 0)
    }

    /// The cells of an object in the order of the columns; none where one is no plain value.
    fn cells(&self, Object(members): &Object) -> Option<Vec<String>> {
        let cell = |column: &String| members.get(column).map_or_else(|| Some(self.null.clone()), |raw| self.cell(raw));
        let cells = self.columns.iter().map(cell).collect::<Option<Vec<String>>>()?;
        if cells.len() < members.len() || members.keys().any(|name| !self.columns.contains(name)) {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            let unknown = members.keys().filter(|name| name.len() <= LONGEST_OTHER && !self.columns.contains(name));
            let room = MOST_OTHERS.saturating_sub(others.len());
            others.extend(unknown.take(room).cloned());
        }
        Some(cells)
    }

    /// A value as the text of a cell; a number in the digits in which it was written.
    fn cell(&self, raw: &RawValue) -> Option<String> {
        match raw.get().as_bytes().first()? {
            b'"' => serde_json::from_str(raw.get()).ok(),
            b'{' | b'[' => None,
            b'n' => Some(self.null.clone()),
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

/// The members of an object as they were written. One that comes twice makes the object ambiguous, and is an error.
struct Object(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_csv(lines: &str) -> (String, Vec<String>) {
        let columns = ["id", "price", "note"].map(String::from).to_vec();
        let mut reader = JsonLines::new(lines.as_bytes(), "orders.jsonl", columns, "").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let others = reader.others().lock().unwrap().iter().cloned().collect();
        (text, others)
    }

    #[test]
    fn each_line_is_a_record_and_numbers_keep_their_digits() {
        let lines = concat!(
            "\u{feff}{\"id\":\"a\",\"price\":0.10000000000000000001,\"note\":\"x,\\\"y\\\"\\n\"}\r\n",
            "{\"price\":1e3,\"id\":7,\"extra\":{\"a\":[1]}}\n",
            "{\"id\":null,\"note\":true}\n\n",
        );
        let (text, others) = as_csv(lines);
        assert_eq!(text, "id,price,note\na,0.10000000000000000001,\"x,\"\"y\"\"\n\"\n7,1e3,\n,,true\n");
        assert_eq!(others, ["extra"]);
    }

    #[test]
    fn what_is_no_object_of_plain_values_is_a_record_of_one_field() {
        let lines = "[1]\n\n{\"id\":{}}\n{\"id\":1,\"id\":2}\n{\"id\":1\n{\"id\":1} 2\n";
        assert_eq!(
            as_csv(lines).0,
            "id,price,note\n[1]\n\"\"\n\"{\"\"id\"\":{}}\"\n\"{\"\"id\"\":1,\"\"id\"\":2}\"\n\"{\"\"id\"\":1\"\n\"{\"\"id\"\":1} 2\"\n"
        );
    }

    #[test]
    fn nothing_but_blank_lines_is_a_header() {
        assert_eq!(as_csv("\n \n").0, "id,price,note\n");
        let endless = "\n".repeat(MOST_BLANK + 1);
        let mut reader = JsonLines::new(endless.as_bytes(), "orders.jsonl", vec!["id".into()], "").unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "orders.jsonl line 1000001: 1000000 lines in a row are blank");
    }
}
