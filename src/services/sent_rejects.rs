//! Rejects of a declared source on their way out, as their sender writes, so that a mended file loads through the same source.

use std::borrow::Cow;
use std::io::{self, Write};

use encoding_rs::{UTF_16BE, UTF_16LE};
use serde_json::Value;

use super::sent_form::{
    Around, LOAD, RejectsForm, SHEET, SOURCE, as_rejects, cut, dialect_of, encoded, encoded_as, escaped, line_of,
    lines_of, mark_of, own_columns, quoted, told_encoding,
};
use crate::data_access::sent::sheet_writer::{SheetCell, SheetError, SheetWriter};
use crate::data_access::sent::table::{apart, touch};
use crate::domain::source::cell_form::{Cell, CellKind};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::{LoadId, Violation};

/// So many characters of what is wrong with a record stand in a cell of a workbook.
const LONGEST_ERRORS: usize = 10_000;

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
    /// Whether the records are rows of a workbook.
    has_sheet: bool,
    /// The cells between which a blank should stand.
    apart: Vec<(usize, usize)>,
}

/// The cells that come before those of the sender.
struct Own {
    load: Option<LoadId>,
    record: i64,
    line: i64,
    errors: String,
    told: Vec<(Around, String)>,
}

impl SentWriter {
    /// For a file of this source with this header, which told that besides its records.
    #[must_use]
    pub(super) fn new(source: &Source, around: Value, header: &[u8]) -> Self {
        let (told, own_name) = (told_encoding(&around), format!("{}{}", source.name, mark_of(source)));
        let encoded = |source: &Source| told.map_or_else(|| source.clone(), |encoding| encoded_as(source, encoding));
        let (source, rejects) = (encoded(source), encoded(&as_rejects(source, RejectsForm::Text)));
        let marked = told.is_some() || [UTF_16LE, UTF_16BE].contains(&lines_of(&rejects).encoding);
        let (has_sheet, apart) = (matches!(source.format, Format::Workbook(_)), apart(&source));
        let mut writer = Self {
            source,
            rejects,
            around,
            named: own_name,
            header: header.to_vec(),
            marked,
            again: None,
            has_sheet,
            apart,
        };
        let row = cut(&writer.rejects, header, 1);
        let names: Vec<String> = row.cells().map(|cell| cell.text.trim().to_owned()).collect();
        let is = |name: &str| names.iter().any(|known| known == name);
        if is(LOAD) && is(SOURCE) {
            let own = own_columns(&writer.source, RejectsForm::Text);
            let cells = row.cells().filter(|cell| !own.contains(&cell.text.trim())).map(|cell| cell.text);
            writer.header = line_of(&writer.rejects, cells);
            // Where the rows of a workbook are text, a column says what their cells were.
            writer.has_sheet &= !is(Around::Cells.name());
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

    /// Whether the files of the source are workbooks.
    pub(super) fn is_of_workbook(&self) -> bool {
        matches!(self.source.format, Format::Workbook(_))
    }

    /// Whether the rejects can be a workbook, too.
    pub(super) fn has_sheet(&self) -> bool {
        self.has_sheet
    }

    /// Whether the rejects of another load can stand in the same file.
    pub(super) fn has_form_of(&self, other: &Self) -> bool {
        let form = |writer: &Self| {
            (writer.source.name.clone(), lines_of(&writer.rejects).encoding, writer.marked, writer.has_sheet)
        };
        form(self) == form(other) && self.header == other.header
    }

    /// The record as text, without the cells of ours.
    pub(super) fn text(&self, raw: &[u8]) -> String {
        let row = self.row(raw);
        let cells: Vec<&str> = self.sent(&row).into_iter().map(|cell| cell.text).collect();
        cells.join(&dialect_of(&self.rejects).delimiter)
    }

    fn row(&self, raw: &[u8]) -> Row {
        match self.again {
            Some(_) if !self.has_sheet => cut(&self.rejects, raw, 0),
            _ => cut(&self.source, raw, 0),
        }
    }

    /// The cells that the sender wrote; of a record without cells, or one that nobody knows where to cut, its text.
    fn sent<'r>(&self, row: &'r Row) -> Vec<Cell<'r>> {
        if row.is_empty() || self.again.is_none() && touch(row, &self.apart) {
            return vec![Cell::text(row.text())];
        }
        let own = own_columns(&self.source, RejectsForm::Text);
        let is_own = |index: usize| {
            self.again.as_ref().is_some_and(|names| names.get(index).is_some_and(|name| own.contains(&name.as_str())))
        };
        row.cells().enumerate().filter(|(index, _)| !is_own(*index)).map(|(_, cell)| cell).collect()
    }

    /// What the file told around a record.
    fn told(&self, row: &Row, violation: &Violation, form: RejectsForm) -> Vec<(Around, String)> {
        let dialect = dialect_of(&self.rejects);
        let encoding = lines_of(&self.rejects).encoding;
        let told = |around: Around| {
            if let Some(names) = &self.again
                && (around != Around::Cells || !self.has_sheet)
            {
                let index = names.iter().position(|name| name == around.name());
                return index.and_then(|index| row.cell(index)).map_or(String::new(), |cell| cell.text.to_owned());
            }
            match around {
                Around::Record => violation.record.to_string(),
                Around::Line => violation.line.to_string(),
                Around::Cells if row.is_empty() => String::new(),
                Around::Cells => self.sent(row).into_iter().map(|cell| cell.kind.letter()).collect(),
                Around::Key | Around::Part | Around::Preamble => {
                    let text = self.around[around.name()].as_str().unwrap_or_default();
                    escaped(&dialect, encoding, text, true)
                }
            }
        };
        Around::of(&self.source, form).into_iter().map(|around| (around, told(around))).collect()
    }

    /// Returns the cells that come before those of a record with these violations.
    fn own(&self, row: &Row, load: Option<LoadId>, wrong: &[Violation], form: RejectsForm) -> Own {
        let (dialect, encoding) = (dialect_of(&self.rejects), lines_of(&self.rejects).encoding);
        let errors: Vec<String> = wrong
            .iter()
            .map(|violation| {
                let column = violation.column.as_ref().map_or(String::new(), |column| format!("{column}: "));
                format!("{column}{} (rule {})", violation.message, violation.rule)
            })
            .collect();
        let first = &wrong[0];
        let errors = escaped(&dialect, encoding, &errors.join("; "), false);
        Own { load, record: first.record.0, line: first.line.0, errors, told: self.told(row, first, form) }
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
        let own = line_of(&self.rejects, own_columns(&self.source, RejectsForm::Text).into_iter());
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
        let dialect = dialect_of(&self.rejects);
        for record in violations.chunk_by(|one, next| one.record == next.record) {
            let row = self.row(&record[0].raw);
            let Own { load, record: number, line, errors, told } = self.own(&row, load, record, RejectsForm::Text);
            let load = load.map_or(String::new(), |load| load.to_string());
            let place = [load, number.to_string(), line.to_string(), self.named.clone(), errors];
            let own = place.into_iter().chain(told.into_iter().map(|(_, text)| text));
            let own: Vec<String> = own.map(|cell| quoted(&dialect, &cell)).collect();
            let own = self.encoded(&own.join(&dialect.delimiter));
            if let (Format::Delimited(..), None) = (&self.source.format, &self.again) {
                self.join(out, &own, &record[0].raw)?;
            } else {
                let sent: Vec<Cow<'_, str>> = self.sent(&row).into_iter().map(as_text).collect();
                self.join(out, &own, &line_of(&self.rejects, sent.iter().map(AsRef::as_ref)))?;
            }
        }
        Ok(())
    }

    /// Begins a workbook of rejects with its header.
    ///
    /// # Errors
    /// [`SheetError`].
    pub(super) fn begin_sheet<W: Write>(&self, out: W) -> Result<SheetWriter<W>, SheetError> {
        let own = own_columns(&self.source, RejectsForm::Workbook);
        let header = cut(&self.rejects, &self.header, 1);
        let names = self.source.names_of(std::slice::from_ref(&header));
        let texts: Vec<usize> = self.source.places_of_text(&names).into_iter().map(|place| own.len() + place).collect();
        let cells: Vec<&str> = own.into_iter().chain(header.cells().map(|cell| cell.text)).collect();
        SheetWriter::begin(out, SHEET, &cells, &texts)
    }

    /// Writes the records of `violations` as rows, one after the other.
    ///
    /// # Errors
    /// [`SheetError`].
    pub(super) fn write_rows<W: Write>(
        &self,
        sheet: &mut SheetWriter<W>,
        load: Option<LoadId>,
        violations: &[Violation],
    ) -> Result<(), SheetError> {
        for record in violations.chunk_by(|one, next| one.record == next.record) {
            let row = self.row(&record[0].raw);
            let Own { load, record: number, line, errors, told } = self.own(&row, load, record, RejectsForm::Workbook);
            let load = load.map_or(SheetCell::Text(""), |load| SheetCell::Count(load.0));
            let place = [load, SheetCell::Count(number), SheetCell::Count(line), SheetCell::Text(&self.named)];
            let errors = [SheetCell::Text(shortened(&errors))];
            let told = told.iter().map(|(around, text)| match (around, text.parse()) {
                (Around::Record | Around::Line, Ok(number)) => SheetCell::Count(number),
                _ => SheetCell::Text(text),
            });
            let sent = self.sent(&row).into_iter().map(SheetCell::Sent);
            sheet.push(place.into_iter().chain(errors).chain(told).chain(sent))?;
        }
        Ok(())
    }
}

/// The text of a cell. An error begins with `#`, as no value does, so that it is read as an error again unless it is mended.
fn as_text(cell: Cell<'_>) -> Cow<'_, str> {
    let is_plain = cell.kind == CellKind::Error && !cell.text.starts_with('#');
    if is_plain { Cow::Owned(format!("#{}", cell.text)) } else { Cow::Borrowed(cell.text) }
}

/// As much of a text for people as a cell holds.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST_ERRORS).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As text, a duration or a day that never was looks like a value.
    #[test]
    fn an_error_of_a_workbook_that_was_written_as_text_is_one_again_unless_it_is_mended() {
        for error in ["#N/A", "1.5", "-3", "1900-02-29"] {
            let written = as_text(Cell { text: error, kind: CellKind::Error });
            for (text, kind) in [(&*written, CellKind::Error), ("2.5", CellKind::Text)] {
                let mut row = Row::default();
                row.push_cell(text, CellKind::Text);
                row.restore_kind(0, CellKind::Error);
                assert_eq!(row.cell(0).map(|cell| cell.kind), Some(kind), "{error} {text}");
            }
        }
        assert_eq!(as_text(Cell::text("1.5")), "1.5");
    }
}
