//! Rejects of a declared source on their way out, as their sender writes, so that a mended file loads through the same source.

use std::io::{self, Write};

use encoding_rs::{UTF_16BE, UTF_16LE};
use serde_json::Value;

use super::sent_form::{
    Around, LOAD, SOURCE, as_rejects, cut, dialect_of, encoded, encoded_as, escaped, line_of, lines_of, mark_of,
    own_columns, quoted, told_encoding,
};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::{LoadId, Violation};

/// Writes rejects of one source.
pub(super) struct SentWriter {
    source: Source,
    /// The same for a file of rejects.
    rejects: Source,
    /// What the file told around its table.
    around: Value,
    /// What `_source` says of its records: its name, and what shows the encoding.
    named: String,
    /// The header of the file, without columns of ours.
    header: Vec<u8>,
    /// Whether the byte order mark of the file has to say its encoding.
    marked: bool,
    /// The names in the header, where the file was one of rejects itself.
    again: Option<Vec<String>>,
}

impl SentWriter {
    /// For a file of this source with this header, which told that besides its records.
    #[must_use]
    pub(super) fn new(source: &Source, around: Value, header: &[u8]) -> Self {
        let (told, own_name) = (told_encoding(&around), format!("{}{}", source.name, mark_of(source)));
        let encoded = |source: &Source| told.map_or_else(|| source.clone(), |encoding| encoded_as(source, encoding));
        let (source, rejects) = (encoded(source), encoded(&as_rejects(source)));
        let marked = told.is_some() || [UTF_16LE, UTF_16BE].contains(&lines_of(&rejects).encoding);
        let mut writer =
            Self { source, rejects, around, named: own_name, header: header.to_vec(), marked, again: None };
        let row = cut(&writer.rejects, header, 1);
        let names: Vec<String> = row.cells().map(|cell| cell.text.trim().to_owned()).collect();
        let is = |name: &str| names.iter().any(|known| known == name);
        if is(LOAD) && is(SOURCE) {
            let own = own_columns(&writer.source);
            let cells = row.cells().filter(|cell| !own.contains(&cell.text.trim())).map(|cell| cell.text);
            writer.header = line_of(&writer.rejects, cells);
            writer.again = Some(names);
        }
        writer
    }

    /// The header, without columns of ours.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// The name of the encoding.
    pub(super) fn encoding(&self) -> &'static str {
        lines_of(&self.rejects).encoding.name()
    }

    /// Whether the rejects of another load can stand in the same file.
    pub(super) fn has_form_of(&self, other: &Self) -> bool {
        let form = |writer: &Self| (writer.source.name.clone(), lines_of(&writer.rejects).encoding, writer.marked);
        form(self) == form(other) && self.header == other.header
    }

    /// The record as text, without the cells of ours.
    pub(super) fn text(&self, raw: &[u8]) -> String {
        let row = self.row(raw);
        self.sent(&row).join(&dialect_of(&self.rejects).delimiter)
    }

    fn row(&self, raw: &[u8]) -> Row {
        match self.again {
            None => cut(&self.source, raw, 0),
            Some(_) => cut(&self.rejects, raw, 0),
        }
    }

    /// The cells that the sender wrote; of a record without cells, its text.
    fn sent<'r>(&self, row: &'r Row) -> Vec<&'r str> {
        if row.is_empty() {
            return vec![row.text()];
        }
        let own = own_columns(&self.source);
        let is_own = |index: usize| {
            self.again.as_ref().is_some_and(|names| names.get(index).is_some_and(|name| own.contains(&name.as_str())))
        };
        row.cells().enumerate().filter(|(index, _)| !is_own(*index)).map(|(_, cell)| cell.text).collect()
    }

    /// What the file told around a record.
    fn told(&self, row: &Row, violation: &Violation) -> Vec<String> {
        let dialect = dialect_of(&self.rejects);
        let encoding = lines_of(&self.rejects).encoding;
        let told = |around: Around| {
            if let Some(names) = &self.again {
                let index = names.iter().position(|name| name == around.name());
                return index.and_then(|index| row.cell(index)).map_or(String::new(), |cell| cell.text.to_owned());
            }
            match around {
                Around::Record => violation.record.to_string(),
                Around::Line => violation.line.to_string(),
                Around::Cells => row.cells().map(|cell| cell.kind.letter()).collect(),
                Around::Key | Around::Part | Around::Preamble => {
                    let text = self.around[around.name()].as_str().unwrap_or_default();
                    escaped(&dialect, encoding, text, true)
                }
            }
        };
        Around::of(&self.source).into_iter().map(told).collect()
    }

    fn encoded(&self, text: &str) -> Vec<u8> {
        encoded(lines_of(&self.rejects).encoding, text)
    }

    /// Writes the header.
    ///
    /// # Errors
    /// What `out` answers.
    pub(super) fn begin(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.marked {
            out.write_all(&self.encoded("\u{feff}"))?;
        }
        let own = line_of(&self.rejects, own_columns(&self.source).into_iter());
        self.join(out, &own, &self.header)
    }

    fn join(&self, out: &mut dyn Write, own: &[u8], sent: &[u8]) -> io::Result<()> {
        out.write_all(own)?;
        out.write_all(&self.encoded(&dialect_of(&self.rejects).delimiter))?;
        out.write_all(sent)?;
        out.write_all(&self.encoded("\n"))
    }

    /// Writes the records of `violations`, one after the other.
    ///
    /// # Errors
    /// What `out` answers.
    pub(super) fn write(&self, out: &mut dyn Write, load: Option<LoadId>, violations: &[Violation]) -> io::Result<()> {
        let (dialect, encoding) = (dialect_of(&self.rejects), lines_of(&self.rejects).encoding);
        for record in violations.chunk_by(|one, next| one.record == next.record) {
            let row = self.row(&record[0].raw);
            let errors: Vec<String> = record
                .iter()
                .map(|violation| {
                    let column = violation.column.as_ref().map_or(String::new(), |column| format!("{column}: "));
                    format!("{column}{} (rule {})", violation.message, violation.rule)
                })
                .collect();
            let load = load.map_or(String::new(), |load| load.to_string());
            let place = [load, record[0].record.to_string(), record[0].line.to_string(), self.named.clone()];
            let errors = escaped(&dialect, encoding, &errors.join("; "), false);
            let own: Vec<String> = place.into_iter().chain([errors]).chain(self.told(&row, &record[0])).collect();
            let own: Vec<String> = own.iter().map(|cell| quoted(&dialect, cell)).collect();
            let own = self.encoded(&own.join(&dialect.delimiter));
            match (&self.source.format, &self.again) {
                (Format::Delimited(..), None) => self.join(out, &own, &record[0].raw)?,
                _ => self.join(out, &own, &line_of(&self.rejects, self.sent(&row).into_iter()))?,
            }
        }
        Ok(())
    }
}
