//! Files that are not in the plain form, staged as their source declares.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use encoding_rs::Encoding;
use serde_json::{Value, json};

use super::checks::Breach;
use super::header::MOST_NAMES;
use super::reading::{
    Stoppable, empty, malformed, member_error, read_error, shown, split_error, spool, too_long, unread,
};
use super::sent_again::{Again, SentRejects};
use super::sent_expressions::{Expressions, Inputs};
use super::sent_form::{Around, LOAD, RECORD, encoded_as, header_line, lines_of, told_by};
use super::staged_places::{Place, ROWS_IN_A_CHUNK};
use super::staging::{BYTES_IN_A_CHUNK, StagedRows, beside_reader, create_tables, number_of};
use super::{Extracted, Form};
use crate::data_access::ahead::read_ahead;
use crate::data_access::archive::{Tee, Unpacked, unpacked};
use crate::data_access::csv::LONGEST_HEADER;
use crate::data_access::duckdb::Stage;
use crate::data_access::kept::Original;
use crate::data_access::sent::Rows;
use crate::data_access::sent::file_format::{About, Asked, Input};
use crate::data_access::sent::format::format_of;
use crate::data_access::sent::kept::Kept;
use crate::data_access::sent::members::Members;
use crate::data_access::sent::rows_ahead::{RowsAhead, rows_ahead};
use crate::data_access::sent::table::{Dropped, Head, Table, TableError};
use crate::domain::Dataset;
use crate::domain::source::binding::{Binding, PlainRow, Surroundings};
use crate::domain::source::drift::{self, Change, Drift};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::{MOST_CELLS, Row};
use crate::domain::types::stated_number;
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
    /// How its columns differ from those that its source declares.
    pub drift: Vec<Drift>,
    /// What its footer says of each column that its source wants a total of.
    pub totals: Vec<(String, Total)>,
    pub(super) binding: Binding,
    pub(super) again: Option<Again>,
}

/// What a footer says of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Total {
    /// This number.
    Of(String),
    /// Nothing that is a number.
    Missing,
    /// Several lines have a number there.
    Several,
}

impl PartialEq for SentFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.source.name, &self.told, &self.dropped) == (&other.source.name, &other.told, &other.dropped)
    }
}

impl Eq for SentFile {}

impl SentFile {
    /// Whether its cells stand at fixed places.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.source.format, Format::Fixed(..))
    }

    /// Whether its records are bytes of the file.
    pub(super) fn is_text(&self) -> bool {
        format_of(&self.source).is_text()
    }
}

/// A file to stage: its name for messages, its key, and the part of it that is meant.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    /// The member, sheet or section; empty for a whole object.
    pub(super) part: &'a str,
    pub(super) dataset: &'a Dataset,
    pub(super) stage: &'a Stage,
    /// The object as it lies on this machine, if it is not packed and nothing of it has to be kept.
    pub(super) original: Option<&'a Original>,
}

/// Whether files of a source have to be on this machine.
pub(super) fn reads_file(source: &Source) -> bool {
    source.member.is_some() || format_of(source).needs_file()
}

impl Sent<'_> {
    /// Streams the part of a file that `source` describes into the stage.
    pub(super) fn stage(&self, content: Unpacked<'_>, source: &Source) -> Result<Extracted> {
        let Unpacked { plain, unread: archive, .. } = content;
        match archive {
            _ if reads_file(source) => self.stage_kept(self.copy(plain)?, source),
            Some(archive) => Err(unread(self.name, archive)),
            None => {
                create_tables(self.dataset, self.stage)?;
                self.stage_file(Input::Stream(plain), source, "", None)
            }
        }
    }

    /// The same of the plain bytes of a file that lies on this machine.
    pub(super) fn stage_kept(&self, file: File, source: &Source) -> Result<Extracted> {
        create_tables(self.dataset, self.stage)?;
        let part = source.container_of(self.part);
        // Records are bytes of the member or of its copy.
        let of_part = |part| Sent { part, original: None, ..*self };
        let Some(pattern) = &source.member else {
            return of_part(part).stage_file(Input::File(file), source, part, None);
        };
        let mut members = Members::open(file).map_err(|error| member_error(self.name, error))?;
        let name = of_part(part).member(&members, pattern)?;
        let member = members.read(&name).map_err(|error| member_error(self.name, error))?;
        let member = member.ok_or_else(|| malformed(self.name, "the archive lacks the member"))?;
        let needs_file = format_of(source).needs_file();
        let input = if needs_file {
            Input::File(self.copy(member)?)
        } else {
            // A member may be packed once more, as an object may.
            match unpacked(member, self.name).map_err(|error| read_error(self.name, error))? {
                None => return Err(empty(self.name)),
                Some(Unpacked { unread: Some(archive), .. }) => return Err(unread(self.name, archive)),
                Some(Unpacked { plain, .. }) => Input::Stream(plain),
            }
        };
        of_part(&name).stage_file(input, source, "", None)
    }

    /// Streams a file with rejects into the stage.
    pub(super) fn stage_again(&self, content: Input<'_>, rejects: &SentRejects) -> Result<Extracted> {
        create_tables(self.dataset, self.stage)?;
        self.stage_file(content, &rejects.source, "", Some(rejects))
    }

    fn member(&self, members: &Members<File>, pattern: &str) -> Result<String> {
        let names = members.matching(pattern).map_err(|error| member_error(self.name, error))?;
        let found: Vec<String> = names.into_iter().filter(|name| self.part.is_empty() || name == self.part).collect();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(malformed(self.name, &format!("no member of the archive matches {pattern:?}"))),
            _ => Err(malformed(self.name, &format!("several members of the archive match {pattern:?}"))),
        }
    }

    /// Keeps a file that has to be read back and forth.
    pub(super) fn copy(&self, source: impl Read) -> Result<File> {
        let mut file = self.stage.unnamed_file()?;
        std::io::copy(&mut Stoppable(source, self.stage), &mut file).map_err(|error| read_error(self.name, error))?;
        file.rewind().map_err(|error| Error::system("read a copy of the file", error))?;
        Ok(file)
    }

    /// Where the bytes go from which records are cut later: nowhere, if they are those of the object itself.
    pub(super) fn kept(&self, are_of_object: bool) -> Result<Box<dyn Write + Send>> {
        let Some(original) = self.original.filter(|_| are_of_object) else { return Ok(Box::new(spool(self.stage)?)) };
        self.stage.keep_original(original.clone());
        Ok(Box::new(std::io::sink()))
    }

    /// Stages a file of the format of its source. A workbook may have several sheets, of which one is meant.
    fn stage_file(
        &self,
        input: Input<'_>,
        source: &Source,
        sheet: &str,
        again: Option<&SentRejects>,
    ) -> Result<Extracted> {
        let format = format_of(source);
        let mut copy = self.kept(format.is_text())?;
        let asked = Asked { name: self.name, source, sheet, columns: self.dataset.file_columns() };
        let work = |rows: StagedRows<'_>| {
            let (mut staged, mut extracted) = (Some(rows), None);
            let mut stage = |rows: &mut dyn Rows, about: About<'_>| {
                let Some(staged) = staged.take() else { return Ok(()) };
                let part = if self.part.is_empty() { about.sheet } else { self.part };
                let declared = again.map_or(lines_of(source).encoding, |rejects| rejects.declared);
                let source = encoded_as(source, about.encoding);
                let outcome = Sent { part, ..*self }.stage_rows(rows, &source, declared, staged, again);
                outcome.map(|outcome| extracted = Some(outcome)).map_err(std::io::Error::other)
            };
            let read = if format.is_text() {
                let text = Tee::new(Stoppable(input.stream(), self.stage), &mut copy);
                read_ahead(text, |text| format.read(Input::Stream(Box::new(text)), &asked, &mut stage))
            } else {
                let mut keep = |rows: &mut dyn Rows, about: About<'_>| stage(&mut Kept::new(rows, &mut copy), about);
                format.read(input, &asked, &mut keep)
            };
            read.map_err(|error| read_error(self.name, error))?;
            extracted.ok_or_else(|| empty(self.name))
        };
        let (extracted, sums) = self.stage.insert(|put| beside_reader(self.dataset, put, work))?;
        copy.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
        Ok(Extracted { sums, ..extracted })
    }

    /// Stages the rows of a table. `declared` is the encoding that its source declares, whatever the file has.
    fn stage_rows(
        &self,
        rows: &mut dyn Rows,
        source: &Source,
        declared: &'static Encoding,
        staged: StagedRows<'_>,
        again: Option<&SentRejects>,
    ) -> Result<Extracted> {
        let part = source.layout.section.as_deref().filter(|_| self.part.is_empty()).unwrap_or(self.part);
        let around = Surroundings { key: self.key.to_owned(), part: part.to_owned(), preamble: Vec::new() };
        let (mut table, head) = Table::open(rows, source, around).map_err(|error| self.table_error(source, error))?;
        if head.header.iter().any(|row| row.len() == MOST_CELLS) {
            let message = format!(
                "{} line {}: the header has more than {} columns; leave some out",
                self.name,
                head.line(),
                MOST_CELLS - 1
            );
            return Err(Error::file(Reason::Malformed, message));
        }
        let header = header_line(source, &head.header, &head.names);
        if header.len() > LONGEST_HEADER {
            return Err(too_long(self.name, head.line()));
        }
        let again = again.map(|rejects| Again::new(rejects, &head.names));
        let records = Records::new(staged, self.stage, source);
        let mut open = OpenTable { source, head, records, read: 0 };
        let binding = rows_ahead(
            |row| table.read(row),
            |rows| match &again {
                None => self.stage_records(rows, &mut open),
                Some(again) => self.stage_rejects(rows, &mut open, again),
            },
        )?;
        let OpenTable { head, records, read, .. } = open;
        records.finish()?;
        let (extra_columns, drift) = match &again {
            None => self.drift(source, &head, &binding, &table, read)?,
            Some(_) => (Vec::new(), Vec::new()),
        };
        Ok(Extracted {
            read,
            form: Form::Csv,
            header,
            width: binding.width(),
            positions: Vec::new(),
            extra_columns,
            mends: again.is_some(),
            sums: Vec::new(),
            modified: None,
            sha256: String::new(),
            sent: Some(Arc::new(SentFile {
                told: told_by(source, &head.around, declared),
                dropped: counted(source, table.dropped()),
                drift,
                totals: totals(source, self.dataset, &binding, table.footers()),
                source: source.clone(),
                binding,
                again,
            })),
        })
    }

    /// Stages the records of a file as it was sent.
    fn stage_records(&self, rows: &mut RowsAhead, open: &mut OpenTable<'_>) -> Result<Binding> {
        let (source, head) = (open.source, &open.head);
        // Packed, or saved as another kind of file, its own columns would be taken for columns that nobody reads.
        if [LOAD, RECORD].iter().all(|own| head.names.iter().any(|name| name == own)) {
            let message = format!(
                "{}: these are rejects, and they are not as they were written; save text as text and a workbook as xlsx, with the \
                 same columns in the same order and the same name of the sheet, and do not put them into an archive",
                self.name
            );
            return Err(Error::file(Reason::Malformed, message));
        }
        let mut binding = head.bind(source).map_err(|error| self.table_error(source, error))?;
        let mut row = Row::default();
        while rows.read(&mut row).map_err(|error| split_error(self.name, error))? {
            open.read += 1;
            self.stage.progress().set_staged(open.read);
            let place = Place::of_row(open.read, &row);
            open.records.push(place, open.read, &row, &mut binding)?;
        }
        Ok(binding)
    }

    /// Stages the records of a file with rejects, each as it was in the file that it comes from.
    fn stage_rejects(&self, rows: &mut RowsAhead, open: &mut OpenTable<'_>, again: &Again) -> Result<Binding> {
        let source = open.source;
        let lacks = again.lacks().into_iter().map(String::from).chain(source.lacks(&open.head.names));
        let lacks: Vec<String> = lacks.collect();
        if !lacks.is_empty() {
            let was_sheet = lacks.iter().any(|name| name == Around::Cells.name());
            let hint = if was_sheet { "; if they were a workbook, save them as xlsx" } else { "" };
            return Err(self.lacks_column(&format!("the header of these rejects lacks {}{hint}", lacks.join(", "))));
        }
        let (mut row, mut binding) = (Row::default(), Binding::default());
        let mut present = None;
        while rows.read(&mut row).map_err(|error| split_error(self.name, error))? {
            open.read += 1;
            self.stage.progress().set_staged(open.read);
            let (read, line) = (open.read, row.line);
            let (load, record) = again.mends(&row);
            open.records.staged.push_mending(read, line, load, record);
            let wrong = |message: String| malformed(self.name, &format!("line {line}: {message}"));
            again.check_source(source, &row).map_err(wrong)?;
            let around = again.around(&row);
            if present.as_ref() != Some(&around) {
                let bound = again.bind(source, &around);
                binding = bound.map_err(|misfit| self.table_error(source, TableError::Misfit(line, misfit)))?;
                present = Some(around);
            }
            let place = again.place(&row, read);
            let (number, first_line) = place.map_err(|column| wrong(format!("column {column} is not a number")))?;
            again.restore(&mut row);
            let place = Place::of_row(read, &row);
            row.line = first_line;
            open.records.push(place, number, &row, &mut binding)?;
        }
        Ok(binding)
    }

    /// The columns of a file, so many records of which were read, that its source does not read, and how all its columns differ from those that
    /// the source declares.
    fn drift<R: Rows>(
        &self,
        source: &Source,
        head: &Head,
        binding: &Binding,
        table: &Table<R>,
        read: i64,
    ) -> Result<(Vec<String>, Vec<Drift>)> {
        let extra = self.extra_columns(source, head, binding, table.others());
        let of = |change: Change| move |column: String| Drift { change, column };
        let missing = source.lacks_optional(&head.names).map(str::to_owned).map(of(Change::Missing));
        let drift: Vec<Drift> = missing.chain(extra.iter().cloned().map(of(Change::New))).collect();
        if source.strict && !drift.is_empty() {
            let message = format!(
                "{} line {}: the columns are not those of source {}, which is strict: {}; change the source, or take columns = \"strict\" out",
                self.name,
                head.line(),
                source.name,
                drift::shown(&drift)
            );
            let missing = drift.iter().any(|drift| drift.change == Change::Missing);
            return Err(Error::file(if missing { Reason::MissingColumn } else { Reason::UnexpectedColumn }, message));
        }
        let absent = table.absent();
        if read > 0 && !absent.is_empty() {
            let names = absent.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let message = format!(
                "no object has {names}; correct the header in source {}, or say optional = true of a column that a file may lack",
                source.name
            );
            return Err(self.lacks_column(&message));
        }
        Ok((extra, drift))
    }

    /// The columns of a file that its source does not read.
    fn extra_columns(&self, source: &Source, head: &Head, binding: &Binding, others: Vec<String>) -> Vec<String> {
        // Without names that the source needs, what looks like a header may be a record.
        if source.lacks(&[]).is_empty() {
            return Vec::new();
        }
        let unread = head.names.iter().enumerate().filter(|(index, name)| !name.is_empty() && !binding.reads(*index));
        let extra = unread.map(|(_, name)| name.clone()).chain(others);
        let extra = extra.filter(|name| !self.dataset.ignored.contains(name));
        extra.take(MOST_NAMES).map(|name| shown(&name)).collect()
    }

    fn lacks_column(&self, message: &str) -> Error {
        Error::file(Reason::MissingColumn, format!("{}: {message}", self.name))
    }

    fn table_error(&self, source: &Source, error: TableError) -> Error {
        let name = &source.name;
        match error {
            TableError::Split(error) => split_error(self.name, error),
            TableError::Empty => empty(self.name),
            TableError::NoSection(section) => {
                self.lacks_column(&format!("no line begins section {section:?} of source {name}"))
            }
            TableError::NoLine(line) => {
                self.lacks_column(&format!("there is no header on line {line}, where source {name} has it"))
            }
            TableError::NotFound(nearest) => {
                let nearest = nearest.map_or(String::new(), |(line, lacks)| {
                    format!("; the nearest is line {line}, which lacks {}", lacks.join(", "))
                });
                self.lacks_column(&format!("no line has the columns of source {name}{nearest}"))
            }
            TableError::LongPreamble => {
                malformed(self.name, &format!("there is no header of source {name} in the first megabyte"))
            }
            TableError::Misfit(line, misfit) => self.lacks_column(&format!("line {line}: source {name}: {misfit}")),
        }
    }
}

/// A table that is being staged.
struct OpenTable<'a> {
    source: &'a Source,
    head: Head,
    records: Records<'a>,
    /// How many records were read.
    read: i64,
}

/// Records on their way to the stage. Those of a source with expressions wait until many can be computed at once.
struct Records<'a> {
    staged: StagedRows<'a>,
    stage: &'a Stage,
    expressions: Expressions,
    plain: PlainRow,
    waiting: Waiting,
}

#[derive(Default)]
struct Waiting {
    places: Vec<Place>,
    rows: Vec<PlainRow>,
    inputs: Vec<Vec<Inputs>>,
    bytes: usize,
}

impl<'a> Records<'a> {
    fn new(staged: StagedRows<'a>, stage: &'a Stage, source: &Source) -> Self {
        let (plain, waiting) = (PlainRow::default(), Waiting::default());
        Self { staged, stage, expressions: Expressions::of(source), plain, waiting }
    }

    /// Stages a record that stands at `place`, and has that number for its columns.
    fn push(&mut self, place: Place, number: i64, row: &Row, binding: &mut Binding) -> Result<()> {
        if let Some(breach) = broken(row, binding) {
            return self.staged.push_broken(place, breach);
        }
        if self.expressions.is_empty() {
            return self.staged.push_row(place, number, row, binding);
        }
        binding.translate(row, number, &mut self.plain);
        self.waiting.inputs.push(self.expressions.inputs(binding, row));
        self.waiting.rows.push(std::mem::take(&mut self.plain));
        self.waiting.places.push(place);
        self.waiting.bytes += place.length();
        let is_full = self.waiting.rows.len() >= ROWS_IN_A_CHUNK || self.waiting.bytes >= BYTES_IN_A_CHUNK;
        if is_full { self.compute() } else { Ok(()) }
    }

    fn compute(&mut self) -> Result<()> {
        let Waiting { places, mut rows, inputs, .. } = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        self.expressions.fill(self.stage, &inputs, &mut rows)?;
        places.into_iter().zip(&rows).try_for_each(|(place, row)| self.staged.push_plain(place, row))
    }

    fn finish(mut self) -> Result<()> {
        self.compute()?;
        self.staged.finish()
    }
}

/// What a record breaks as a whole.
fn broken(row: &Row, binding: &Binding) -> Option<Breach> {
    let of_width = || (!binding.fits(row)).then(|| Breach::FieldCount(number_of(row.len())));
    row.fault.map(Breach::Record).or_else(of_width)
}

/// What the footer says of the columns that the source wants totals of.
fn totals(source: &Source, dataset: &Dataset, binding: &Binding, footers: &[Row]) -> Vec<(String, Total)> {
    let (mut binding, mut plain) = (binding.clone(), PlainRow::default());
    let mut total = |column: &String| {
        let index = dataset.columns.iter().position(|known| known.name == *column)?;
        let mut found = Vec::new();
        for row in footers {
            binding.translate(row, 0, &mut plain);
            found.extend(plain.value(index).ok().flatten().and_then(stated_number));
        }
        let total = match found.len() {
            0 => Total::Missing,
            1 => Total::Of(found.remove(0)),
            _ => Total::Several,
        };
        Some((column.clone(), total))
    };
    source.totals.iter().filter_map(&mut total).collect()
}

fn counted(source: &Source, Dropped { preamble, footer, blank, comment, between }: Dropped) -> Value {
    let mut counted = json!({ "preamble": preamble, "footer": footer, "blank": blank, "comment": comment });
    if !source.layout.between.is_empty() {
        counted["between"] = between.into();
    }
    counted
}
