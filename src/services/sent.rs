//! Files that are not in the plain form, staged as their source declares.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::reading::{HashWriter, Stoppable, read_error, split_error};
use super::sent_again::{Again, Beginning, cut, header_line, told_by};
use super::staging::{AFTER_END, ENCODING, FIELD_COUNT, QUOTING, StagedRows, beside_staging, create_tables};
use super::{Extracted, Form};
use crate::data_access::archive::{Tee, unpacked};
use crate::data_access::duckdb::Stage;
use crate::data_access::sent::Rows;
use crate::data_access::sent::kept::Kept;
use crate::data_access::sent::members::{MemberError, Members};
use crate::data_access::sent::table::{Dropped, Table, TableError};
use crate::data_access::sent::text_rows::{Cut, TextRows};
use crate::data_access::sent::workbook::{Workbook, WorkbookError};
use crate::domain::Dataset;
use crate::domain::source::binding::{Binding, PlainRow, Surroundings};
use crate::domain::source::layout::{Format, Sheet};
use crate::domain::source::model::Source;
use crate::domain::source::row::{Row, RowFault};
use crate::domain::types::ColumnSum;
use crate::error::{Error, Reason, Result};

/// What is known of a file that its source describes, besides what is known of any.
#[derive(Clone, Debug)]
pub struct SentFile {
    /// The source by which it was read.
    pub source: Source,
    /// What it told around its table, for the ledger.
    pub told: Value,
    /// How many of its lines are no records, likewise.
    pub dropped: Value,
    binding: Binding,
    again: Option<Again>,
}

impl PartialEq for SentFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.source.name, &self.told) == (&other.source.name, &other.told)
    }
}

impl Eq for SentFile {}

impl SentFile {
    /// The plain form of a record, with the binding that it was read by.
    pub(super) fn translated(&self, row: &Row, number: i64) -> (Binding, PlainRow) {
        let again = self.again.as_ref().and_then(|again| again.rebound(&self.source, row));
        let mut binding = again.unwrap_or_else(|| self.binding.clone());
        let mut plain = PlainRow::default();
        binding.translate(row, number, &mut plain);
        (binding, plain)
    }
}

/// A bad record, read once more.
pub(super) struct SentRecord {
    row: Row,
    binding: Binding,
    plain: PlainRow,
    fits: bool,
    /// Its key as the ledger knows it, if it has one.
    pub(super) key: Option<String>,
}

impl SentRecord {
    pub(super) fn of(sent: &SentFile, raw: &[u8], number: i64, line: i64, dataset: &Dataset) -> Self {
        let row = cut(&sent.source, raw, line);
        let (binding, plain) = sent.translated(&row, number);
        let fits = binding.fits(&row);
        let mut record = Self { row, binding, plain, fits, key: None };
        let kind = dataset.key_kind();
        record.key = record.plain(dataset, &dataset.key).and_then(|key| kind.canonical(&key));
        record
    }

    fn index(&self, dataset: &Dataset, column: &str) -> Option<usize> {
        dataset.columns.iter().position(|known| known.name == column).filter(|_| self.fits)
    }

    /// The cell of a column as it was sent.
    pub(super) fn cell(&self, dataset: &Dataset, column: &str) -> Option<String> {
        let index = self.index(dataset, column)?;
        match self.plain.value(index) {
            Ok(None) => None,
            Ok(Some(value)) => Some(value.to_owned())
                .filter(|_| self.binding.sent(&self.row, index).is_empty())
                .or_else(|| Some(self.binding.sent(&self.row, index))),
            Err(_) => Some(self.binding.sent(&self.row, index)),
        }
    }

    /// The value of a column in the plain form.
    pub(super) fn plain(&self, dataset: &Dataset, column: &str) -> Option<String> {
        self.plain.value(self.index(dataset, column)?).ok()?.map(str::to_owned)
    }

    /// The rule that a cell breaks, and why.
    pub(super) fn fault(&self, dataset: &Dataset, column: &str) -> Option<(&'static str, String)> {
        let index = self.index(dataset, column)?;
        let fault = self.plain.value(index).err()?;
        Some((fault.rule(), self.binding.explain(&self.row, index, fault)))
    }
}

/// A file to stage: its name for messages, its key, and the part of it that is meant.
pub(super) struct Sent<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    pub(super) part: &'a str,
    pub(super) dataset: &'a Dataset,
    pub(super) source: &'a Source,
    pub(super) stage: &'a Stage,
}

impl Sent<'_> {
    /// Streams a file into the stage.
    pub(super) fn stage_file(&self, source: impl Read + Send) -> Result<Extracted> {
        let mut hash = HashWriter(Sha256::new());
        let mut source = Tee::new(source, &mut hash);
        create_tables(self.dataset, self.stage)?;
        let extracted = self.stage_plain(&mut source)?;
        // What lies after the end of a table or an archive is a part of the object, too.
        std::io::copy(&mut source, &mut std::io::sink()).map_err(|error| read_error(self.name, error))?;
        Ok(Extracted { sha256: hex::encode(hash.0.finalize()), ..extracted })
    }

    fn spool(&self) -> Result<BufWriter<File>> {
        let spool =
            File::create(self.stage.spool()).map_err(|error| Error::system("keep a copy of the file", error))?;
        Ok(BufWriter::with_capacity(1024 * 1024, spool))
    }

    fn stage_plain(&self, source: &mut (impl Read + Send)) -> Result<Extracted> {
        let failed = |error| read_error(self.name, error);
        let Some(plain) = unpacked(source).map_err(failed)? else {
            return Err(self.malformed(Reason::Empty, "the file is empty; not even a header is there"));
        };
        let (beginning, mut plain) = Beginning::of(plain).map_err(failed)?;
        if let Some(again) = beginning.again(self.dataset, self.source) {
            let (again, source) = again.map_err(|message| self.malformed(Reason::Malformed, &message))?;
            return self.with(&source).stage_text(plain, Some(again));
        }
        if let Some(pattern) = &self.source.member {
            let file = self.copy(plain)?;
            let mut members = Members::open(file).map_err(|error| self.member_error(error))?;
            let name = self.member(&mut members, pattern)?;
            let member = members.read(&name).map_err(|error| self.member_error(error))?;
            let member = member.ok_or_else(|| self.malformed(Reason::Malformed, "the archive lacks the member"))?;
            let sent = Sent { part: &name, ..*self };
            return if matches!(self.source.format, Format::Workbook(_)) {
                sent.stage_workbook(sent.copy(member)?)
            } else {
                sent.stage_text(member, None)
            };
        }
        match &self.source.format {
            Format::Workbook(_) => self.stage_workbook(self.copy(&mut plain)?),
            _ => self.stage_text(plain, None),
        }
    }

    fn with<'a>(&'a self, source: &'a Source) -> Sent<'a> {
        Sent { source, ..*self }
    }

    fn member(&self, members: &mut Members<File>, pattern: &str) -> Result<String> {
        let names = members.matching(pattern).map_err(|error| self.member_error(error))?;
        let found: Vec<String> = names.into_iter().filter(|name| self.part.is_empty() || name == self.part).collect();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.malformed(Reason::Malformed, &format!("no member of the archive matches {pattern:?}"))),
            _ => Err(self.malformed(Reason::Malformed, &format!("several members of the archive match {pattern:?}"))),
        }
    }

    /// Keeps a file that has to be read back and forth.
    fn copy(&self, source: impl Read) -> Result<File> {
        let mut file = self.stage.unnamed_file()?;
        std::io::copy(&mut Stoppable(source, self.stage), &mut file).map_err(|error| read_error(self.name, error))?;
        file.rewind().map_err(|error| Error::system("read a copy of the file", error))?;
        Ok(file)
    }

    fn stage_text(&self, plain: impl Read + Send, again: Option<Again>) -> Result<Extracted> {
        let (lines, cut) = match &self.source.format {
            Format::Delimited(lines, dialect) => (*lines, Cut::Delimited(dialect.clone())),
            Format::Fixed(lines, fields) => (*lines, Cut::Fixed(fields.clone(), self.source.layout.shorter)),
            _ => return Err(Error::configuration(format!("source {}: its format is not read yet", self.source.name))),
        };
        let mut spool = self.spool()?;
        let extracted = beside_staging(self.stage, |sender| {
            let text = Tee::new(Stoppable(plain, self.stage), &mut spool);
            let mut rows = TextRows::new(text, lines, cut).map_err(|error| read_error(self.name, error))?;
            self.stage_rows(&mut rows, StagedRows::new(self.dataset, sender), again)
        })?;
        spool.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
        Ok(extracted)
    }

    fn stage_workbook(&self, file: File) -> Result<Extracted> {
        let Format::Workbook(wanted) = &self.source.format else {
            return Err(Error::configuration(format!("source {} does not read workbooks", self.source.name)));
        };
        let mut spool = self.spool()?;
        let extracted = beside_staging(self.stage, |sender| {
            let mut book = Workbook::open(file).map_err(|error| self.workbook_error(error))?;
            let by_part = Sheet::Named(self.part.to_owned());
            let is_part = !self.part.is_empty() && self.source.member.is_none();
            let wanted_sheet = if is_part { Some(&by_part) } else { wanted.sheet.as_ref() };
            let [sheet] = &book.chosen(wanted_sheet)[..] else {
                return Err(self.malformed(
                    Reason::Malformed,
                    "the workbook does not have exactly one sheet that its source reads",
                ));
            };
            let rows = book.rows(sheet, wanted.significant_digits).map_err(|error| self.workbook_error(error))?;
            self.stage_rows(&mut Kept::new(rows, &mut spool), StagedRows::new(self.dataset, sender), None)
        })?;
        spool.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
        Ok(extracted)
    }

    fn stage_rows(&self, rows: &mut impl Rows, mut staged: StagedRows<'_>, again: Option<Again>) -> Result<Extracted> {
        let around = Surroundings { key: self.key.to_owned(), part: self.part.to_owned(), preamble: Vec::new() };
        let (mut table, head) = Table::open(rows, self.source, around).map_err(|error| self.table_error(error))?;
        let again = again.map(|again| again.found(&head.names));
        let (mut binding, mut current) = (head.binding, head.around);
        let (mut row, mut plain, mut read) = (Row::default(), PlainRow::default(), 0);
        while table.read(&mut row).map_err(|error| split_error(self.name, error))? {
            read += 1;
            self.stage.progress().set_staged(read);
            if let Some(again) = &again {
                let (load, record) = again.mends(&row);
                staged.push_mending(read, row.line, load, record);
                if again.moves(&row, &mut current) {
                    let bound = self.source.bind(&head.names, &current);
                    binding = bound.map_err(|misfit| self.table_error(TableError::Misfit(row.line, misfit)))?;
                }
            }
            match row.fault {
                Some(fault) => staged.push_broken(read, &row, check_of(fault))?,
                None if !binding.fits(&row) => staged.push_broken(read, &row, FIELD_COUNT)?,
                None => {
                    binding.translate(&row, read, &mut plain);
                    staged.push_plain(read, &row, &plain)?;
                }
            }
        }
        let sums: Vec<ColumnSum> = staged.finish()?;
        let header = header_line(self.source, &head.header, &head.names, binding.width());
        Ok(Extracted {
            read,
            form: Form::Csv,
            header,
            width: binding.width(),
            positions: Vec::new(),
            extra_columns: Vec::new(),
            mends: again.is_some(),
            sums,
            modified: None,
            sha256: String::new(),
            sent: Some(std::sync::Arc::new(SentFile {
                source: self.source.clone(),
                told: told_by(self.source, &current),
                dropped: counted(table.dropped()),
                binding,
                again,
            })),
        })
    }

    fn malformed(&self, reason: Reason, message: &str) -> Error {
        Error::file(reason, format!("{}: {message}", self.name))
    }

    fn table_error(&self, error: TableError) -> Error {
        let name = &self.source.name;
        match error {
            TableError::Split(error) => split_error(self.name, error),
            TableError::Empty => self.malformed(Reason::Empty, "the file is empty; not even a header is there"),
            TableError::NoSection(section) => {
                self.malformed(Reason::MissingColumn, &format!("no line begins section {section:?} of source {name}"))
            }
            TableError::NoLine(line) => self.malformed(
                Reason::MissingColumn,
                &format!("there is no header on line {line}, where source {name} has it"),
            ),
            TableError::NotFound(nearest) => {
                let nearest = nearest.map_or(String::new(), |(line, lacks)| {
                    format!("; the nearest is line {line}, which lacks {}", lacks.join(", "))
                });
                self.malformed(Reason::MissingColumn, &format!("no line has the columns of source {name}{nearest}"))
            }
            TableError::LongPreamble => {
                self.malformed(Reason::Malformed, &format!("there is no header of source {name} in the first megabyte"))
            }
            TableError::Misfit(line, misfit) => {
                self.malformed(Reason::MissingColumn, &format!("line {line}: source {name}: {misfit}"))
            }
        }
    }

    fn member_error(&self, error: MemberError) -> Error {
        match error {
            MemberError::Read(error) => read_error(self.name, error),
            MemberError::Broken => {
                self.malformed(Reason::Malformed, "it is not a zip archive, or a broken one; send it again")
            }
            MemberError::TooMany => self.malformed(Reason::Malformed, "the archive has more than 10,000 members"),
            MemberError::Twice(_) => self.malformed(Reason::Malformed, "two members of the archive have the same name"),
            MemberError::Unreadable(_) => {
                self.malformed(Reason::Malformed, "a member has a password, or is packed in a way that is not known")
            }
        }
    }

    fn workbook_error(&self, error: WorkbookError) -> Error {
        match error {
            WorkbookError::Read(error) => read_error(self.name, error),
            WorkbookError::NoWorkbook => self.malformed(
                Reason::Malformed,
                "it is neither xlsx nor xls; a text that is named like a workbook has format csv",
            ),
            WorkbookError::Broken => {
                self.malformed(Reason::Malformed, "the workbook is broken or has a password; save it again")
            }
            WorkbookError::TooLarge => {
                self.malformed(Reason::Malformed, "the workbook unpacks to more than it may; send it as text")
            }
        }
    }
}

fn counted(Dropped { preamble, footer, blank, comment }: Dropped) -> Value {
    json!({ "preamble": preamble, "footer": footer, "blank": blank, "comment": comment })
}

fn check_of(fault: RowFault) -> i32 {
    match fault {
        RowFault::Encoding => ENCODING,
        RowFault::Quoting => QUOTING,
        RowFault::AfterEnd => AFTER_END,
    }
}

/// What breaks a record as a whole, by its check.
pub(super) fn fault_of(check: i32) -> Option<RowFault> {
    [RowFault::Encoding, RowFault::Quoting, RowFault::AfterEnd].into_iter().find(|fault| check_of(*fault) == check)
}
