//! Writes rejects as a file that a person can mend.

use std::io::Write;
use std::path::Path;

use super::reading::printable;
pub use super::sent_form::RejectsForm;
use super::sent_rejects::SentWriter;
use super::{Extracted, Form};
use crate::data_access::csv::{cells_of, fields_of};
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::data_access::sent::sheet_writer::{SheetError, SheetWriter};
use crate::domain::{Dataset, Datasets, LoadId, Violation};
use crate::error::{Error, Result};

/// The columns that a rejects file puts before those of a record.
const OWN_COLUMNS: [&str; 4] = ["_load_id", "_record", "_line", "_errors"];

/// The media type of an `xlsx`.
const WORKBOOK: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Whether rejects fit into their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fit {
    /// They do.
    Fits,
    /// No workbook holds them. As text they can be written.
    Full,
}

/// A file of rejects that is being written to `W`.
pub enum RejectsFile<W: Write> {
    /// Text.
    Text(W),
    /// A workbook.
    Workbook(Box<SheetWriter<W>>),
}

impl<W: Write> RejectsFile<W> {
    /// Begins a file with its header; `None` if no workbook holds it, or the records came as text.
    ///
    /// # Errors
    /// `System` when `out` cannot be written.
    pub fn begin(writer: &RejectsWriter, mut out: W, form: RejectsForm) -> Result<Option<Self>> {
        match &writer.sent {
            Some(sent) if form == RejectsForm::Workbook && !sent.has_sheet() => Ok(None),
            Some(sent) if form == RejectsForm::Workbook => match sent.begin_sheet(out) {
                Ok(sheet) => Ok(Some(Self::Workbook(Box::new(sheet)))),
                Err(SheetError::Full) => Ok(None),
                Err(SheetError::Write(error)) => Err(unwritable(error)),
            },
            _ => {
                writer.begin(&mut out)?;
                Ok(Some(Self::Text(out)))
            }
        }
    }

    /// Writes the records of `violations`, one after the other.
    ///
    /// # Errors
    /// `System` when the file cannot be written.
    pub fn write(&mut self, writer: &RejectsWriter, load: Option<LoadId>, violations: &[Violation]) -> Result<Fit> {
        match (self, &writer.sent) {
            (Self::Workbook(sheet), Some(sent)) => match sent.write_rows(sheet, load, violations) {
                Ok(()) => Ok(Fit::Fits),
                Err(SheetError::Full) => Ok(Fit::Full),
                Err(SheetError::Write(error)) => Err(unwritable(error)),
            },
            (Self::Text(out), _) => writer.write(out, load, violations).map(|()| Fit::Fits),
            (Self::Workbook(_), None) => Ok(Fit::Full),
        }
    }

    /// Ends the file, and gives back where it was written.
    ///
    /// # Errors
    /// `System` when the file cannot be written.
    pub fn finish(self) -> Result<W> {
        match self {
            Self::Text(out) => Ok(out),
            Self::Workbook(sheet) => sheet.finish().map_err(unwritable),
        }
    }
}

/// Writes rejects in a form that a person can mend and send again: four cells of ours, then the record's own bytes.
///
/// Where the rejected file was a rejects file itself, its four columns give way to the new ones.
pub struct RejectsWriter {
    /// Writes the rejects of a file that is not in the plain form.
    sent: Option<SentWriter>,
    header: Vec<u8>,
    width: usize,
    own: Vec<usize>,
}

impl RejectsWriter {
    /// For a file with this header.
    #[must_use]
    pub fn new(header: &[u8]) -> Self {
        let names = fields_of(header);
        let is_own = |name: &Vec<u8>| OWN_COLUMNS.iter().any(|own| own.as_bytes() == name);
        let own = (0..names.len()).filter(|index| is_own(&names[*index])).collect();
        let mut writer = Self { sent: None, header: header.to_vec(), width: names.len(), own };
        writer.header = writer.without_own(header);
        writer
    }

    /// For the records of a load, as its sender wrote them.
    ///
    /// # Errors
    /// `Connection`, `System` where the ledger does not say how that was.
    pub async fn of(database: &Database, load: LoadId) -> Result<Self> {
        let written = retrying(|| database.written_as(load)).await?;
        let Some(source) = &written.source else { return Ok(Self::new(&written.header)) };
        let definitions = retrying(|| database.definitions(&written.dataset_version)).await?;
        let files = definitions.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let datasets = Datasets::frozen(files).map_err(Error::configuration)?;
        let dataset = datasets.get(&written.dataset).map_err(Error::configuration)?;
        let source = dataset.source(source).map_err(Error::configuration)?.clone();
        Ok(Self::sent(SentWriter::new(&source, written.around.unwrap_or_default(), &written.header)))
    }

    /// For the records of a file that was read, as its sender wrote them.
    ///
    /// # Errors
    /// `Configuration` where the dataset does not have the source of the file.
    pub fn of_file(dataset: &Dataset, extracted: &Extracted) -> Result<Self> {
        let Some(sent) = &extracted.sent else { return Ok(Self::new(&extracted.header)) };
        let source = dataset.source(&sent.source.name).map_err(Error::configuration)?;
        Ok(Self::sent(SentWriter::new(source, sent.told.clone(), &extracted.header)))
    }

    fn sent(writer: SentWriter) -> Self {
        Self { sent: Some(writer), header: Vec::new(), width: 0, own: Vec::new() }
    }

    /// Whether the rejects can be a workbook, since their file was one.
    #[must_use]
    pub fn has_sheet(&self) -> bool {
        self.sent.as_ref().is_some_and(SentWriter::has_sheet)
    }

    /// The form of a file of that name: a workbook if it ends in `.xlsx` and the rejects are of a source of workbooks.
    #[must_use]
    pub fn form_of(&self, path: &Path) -> RejectsForm {
        let is_book = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xlsx"));
        let is_of_book = self.sent.as_ref().is_some_and(SentWriter::is_of_workbook);
        if is_book && is_of_book { RejectsForm::Workbook } else { RejectsForm::Text }
    }

    /// The media type of a file in that form.
    #[must_use]
    pub fn media_type(&self, form: RejectsForm) -> String {
        if form == RejectsForm::Workbook {
            return WORKBOOK.to_owned();
        }
        let sent = self.sent.as_ref().map(|sent| format!("text/csv; charset={}", sent.encoding().to_lowercase()));
        sent.unwrap_or_else(|| Form::Csv.media_type().to_owned())
    }

    /// Whether the rejects of another load can stand in the same file.
    #[must_use]
    pub fn has_form_of(&self, other: &Self) -> bool {
        match (&self.sent, &other.sent) {
            (None, None) => self.header == other.header,
            (Some(own), Some(other)) => own.has_form_of(other),
            _ => false,
        }
    }

    /// The header without the columns of ours.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.sent.as_ref().map_or(&self.header, SentWriter::header)
    }

    /// A record as text, for people.
    #[must_use]
    pub(super) fn text(&self, raw: &[u8]) -> String {
        match &self.sent {
            Some(sent) => sent.text(raw),
            None => printable(&self.without_own(raw)),
        }
    }

    /// Writes the header.
    ///
    /// # Errors
    /// `System` when `out` cannot be written.
    fn begin(&self, out: &mut dyn Write) -> Result<()> {
        if let Some(sent) = &self.sent {
            return sent.begin(out).map_err(unwritable);
        }
        let mut line = OWN_COLUMNS.join(",").into_bytes();
        for part in [b",", self.header(), b"\n"] {
            line.extend_from_slice(part);
        }
        out.write_all(&line).map_err(unwritable)
    }

    /// Writes the records of `violations`, one line each.
    ///
    /// # Errors
    /// `System` when `out` cannot be written.
    fn write(&self, out: &mut dyn Write, load: Option<LoadId>, violations: &[Violation]) -> Result<()> {
        if let Some(sent) = &self.sent {
            return sent.write(out, load, violations).map_err(unwritable);
        }
        for record in violations.chunk_by(|one, next| one.record == next.record) {
            let errors: Vec<String> = record
                .iter()
                .map(|violation| {
                    let column = violation.column.as_ref().map_or(String::new(), |column| format!("{column}: "));
                    format!("{column}{} (rule {})", violation.message, violation.rule)
                })
                .collect();
            let mut cells =
                ::csv::WriterBuilder::new().terminator(::csv::Terminator::Any(b',')).from_writer(Vec::new());
            let load = load.map_or(String::new(), |load| load.to_string());
            let fields = [load, record[0].record.to_string(), record[0].line.to_string(), errors.join("; ")];
            let line = cells.write_record(fields).map_err(std::io::Error::other).and_then(|()| {
                let cells = cells.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
                out.write_all(&cells)?;
                out.write_all(&self.without_own(&record[0].raw))?;
                out.write_all(b"\n")
            });
            line.map_err(unwritable)?;
        }
        Ok(())
    }

    /// The record without the cells of ours; whole, where it is too broken to tell which those are.
    pub(super) fn without_own(&self, raw: &[u8]) -> Vec<u8> {
        if self.own.is_empty() {
            return raw.to_vec();
        }
        // There may be millions of them.
        let cells = cells_of(raw).count();
        let leading = self.own.iter().enumerate().all(|(nth, index)| nth == *index);
        if cells != self.width && (!leading || cells <= self.own.len()) {
            return raw.to_vec();
        }
        let mut kept = Vec::with_capacity(raw.len());
        for (_, cell) in cells_of(raw).enumerate().filter(|(index, _)| !self.own.contains(index)) {
            kept.extend_from_slice(cell);
            kept.push(b',');
        }
        kept.pop();
        kept
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::system("write the rejects file", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_ours_give_way_wherever_they_stand() {
        let of = |header: &str, record: &str| {
            let writer = RejectsWriter::new(header.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(writer.header()), text(&writer.without_own(record.as_bytes())))
        };
        let pair = |header: &str, record: &str| (header.to_owned(), record.to_owned());
        assert_eq!(of("a,b", "1,\"x,\"\"y\"\"\""), pair("a,b", "1,\"x,\"\"y\"\"\""));
        assert_eq!(of("_load_id,_record,_line,_errors,a,b", "7,1,2,\"e,e\",1,\"x,y\""), pair("a,b", "1,\"x,y\""));
        assert_eq!(of("\"_load_id\",_record,a", "7,1,2"), pair("a", "2"));
        assert_eq!(of("a,_load_id,_record", "2,7,1"), pair("a", "2"));
        // A record with too few or too many cells.
        assert_eq!(of("_load_id,_record,a,b", "7,1,2"), pair("a,b", "2"));
        assert_eq!(of("a,b,_load_id,_record", "1,7,1"), pair("a,b", "1,7,1"));
        assert_eq!(of("_load_id,_record,a", "7"), pair("a", "7"));
    }
}
