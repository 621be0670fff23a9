//! The rows of JSON lines: an object in each line, of which a source reads the members that it names.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, Read};

use encoding_rs::UTF_8;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Rows;
use super::file_format::{About, Asked, FileFormat, Input, Take};
use super::lines::Lines;
use crate::data_access::csv::{MOST_COLUMNS, SplitError};
use crate::domain::source::binding::header_name;
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::layout::{Format, TextLines};
use crate::domain::source::model::{Member, Source};
use crate::domain::source::row::{Row, RowFault};

/// The most names that are kept of members that the source does not read.
const MOST_OTHERS: usize = 100;
const LONGEST_OTHER: usize = 200;

/// The members that a source reads, each of which is a cell.
struct Members {
    all: Vec<Member>,
    places: HashMap<String, usize>,
}

/// The members of an object, as they were written.
struct Object<'de> {
    /// Those that the source reads, in their order.
    values: Vec<Option<&'de RawValue>>,
    others: BTreeSet<String>,
}

impl Members {
    fn of(source: &Source) -> Self {
        let all = source.members();
        let names = all.iter().enumerate().flat_map(|(at, member)| member.names.iter().map(move |name| (name, at)));
        let places = names.map(|(name, at)| (name.clone(), at)).collect();
        Self { all, places }
    }

    /// Adds the cells of the object in `line` to a row. Returns the object; `None` if the line is not one.
    fn cut<'l>(&self, line: &'l [u8], row: &mut Row) -> Option<Object<'l>> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let object = self.deserialize(&mut json).ok()?;
        json.end().ok()?;
        for (value, member) in object.values.iter().zip(&self.all) {
            push(*value, member.is_json, row)?;
        }
        Some(object)
    }

    /// The same; a line that is not an object has no cells, but its text.
    fn cut_line<'l>(&self, line: &'l [u8], row: &mut Row) -> Option<Object<'l>> {
        let line = line.trim_ascii();
        let object = if line.is_empty() { None } else { self.cut(line, row) };
        if object.is_none() {
            row.restart(0);
            let text = String::from_utf8_lossy(line);
            row.text_mut().push_str(&text);
            row.fault = (!line.is_empty()).then_some(RowFault::NotAnObject);
        }
        if std::str::from_utf8(line).is_err() || memchr::memchr(0, row.text().as_bytes()).is_some() {
            row.fault = Some(RowFault::Encoding);
        }
        object
    }
}

/// Adds the cell of a value. A number keeps the digits in which it was written, and JSON stays as it was written.
fn push(value: Option<&RawValue>, is_json: bool, row: &mut Row) -> Option<()> {
    let raw = value.map_or("null", RawValue::get);
    match raw.as_bytes().first()? {
        b'n' => row.push_cell("", CellKind::Null),
        _ if is_json => row.push_cell(raw, CellKind::Literal),
        b'"' => {
            let text: Cow<'_, str> = serde_json::from_str::<String>(raw).ok()?.into();
            row.push_cell(&text, CellKind::Text);
        }
        b'{' | b'[' => return None,
        _ => row.push_cell(raw, CellKind::Literal),
    }
    Some(())
}

/// JSON lines.
pub struct JsonLinesFormat;

impl FileFormat for JsonLinesFormat {
    fn is_of(&self, declared: &Format) -> bool {
        matches!(declared, Format::JsonLines)
    }

    fn read(&self, file: Input<'_>, asked: &Asked<'_>, take: Take<'_>) -> io::Result<()> {
        let mut rows = JsonRows::new(file.stream(), asked.source)?;
        take(&mut rows, About { encoding: UTF_8, sheet: "" })
    }

    fn cut(&self, source: &Source, row: &mut Row) {
        let raw = std::mem::take(&mut row.raw);
        Members::of(source).cut_line(&raw, row);
        row.raw = raw;
    }
}

/// The rows of JSON lines. The first one has the names of the members.
pub struct JsonRows<R> {
    lines: Lines<R>,
    members: Members,
    is_begun: bool,
    /// Which members were in any object.
    seen: Vec<bool>,
    others: BTreeSet<String>,
}

impl<R: Read> JsonRows<R> {
    /// Begins to read `file`.
    ///
    /// # Errors
    /// Those of the first read.
    pub fn new(file: R, source: &Source) -> io::Result<Self> {
        let form = TextLines { encoding: UTF_8, cr_ends_line: false, comment: None };
        let (lines, members) = (Lines::new(file, form)?, Members::of(source));
        let seen = vec![false; members.all.len()];
        Ok(Self { lines, members, is_begun: false, seen, others: BTreeSet::new() })
    }

    fn note(seen: &mut [bool], others: &mut BTreeSet<String>, object: Object<'_>) {
        let has_all = object.values.iter().all(Option::is_some);
        seen.iter_mut().zip(&object.values).for_each(|(seen, value)| *seen |= value.is_some());
        // In an object of another kind, a name could really be a value.
        if has_all && others.len() < MOST_OTHERS {
            others.extend(object.others.into_iter().filter(|name| name.len() <= LONGEST_OTHER));
        }
    }
}

impl<R: Read + Send> Rows for JsonRows<R> {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            row.begin(1, 0);
            self.members.all.iter().for_each(|member| row.push_cell(member.name(), CellKind::Text));
            return Ok(true);
        }
        let Some(line) = self.lines.read()? else { return Ok(false) };
        row.begin(line.number, line.offset);
        let bytes = self.lines.content(&line);
        row.raw.extend_from_slice(bytes);
        if let Some(object) = self.members.cut_line(bytes, row) {
            Self::note(&mut self.seen, &mut self.others, object);
        }
        Ok(true)
    }

    fn absent(&self) -> Vec<String> {
        let missing = self.members.all.iter().zip(&self.seen).filter(|(member, seen)| !member.is_optional && !**seen);
        missing.map(|(member, _)| member.name().to_owned()).collect()
    }

    fn others(&self) -> Vec<String> {
        self.others.iter().cloned().collect()
    }
}

/// An object in which a member comes twice, under one of its names or under two of them, is ambiguous, and an error.
impl<'de> DeserializeSeed<'de> for &Members {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object { values: vec![None; self.all.len()], others: BTreeSet::new() };
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let is_new = match self.places.get(header_name(&name).as_ref()) {
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
