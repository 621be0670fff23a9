//! Rejects on their way out, in chunks of bounded size.

use std::future::ready;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::checks::{Breach, Check};
use super::reading::printable;
use super::resubmissions::resubmissions;
use super::sent::SentFile;
use super::sent_record::SentRecord;
use super::slices::{Found, RECORDS_AT_ONCE, Slices};
use super::staging::VIOLATION_COLUMNS;
use super::validate::explain_warnings;
use super::{Extracted, Form};
use crate::data_access::csv::fields_of;
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::kept::Kept;
use crate::domain::content::CONTENT_KEY;
use crate::domain::source::row::RowFault;
use crate::domain::violation::{self, quoted};
use crate::domain::{BatchNumber, ByteRange, Dataset, LineNumber, RecordNumber, RejectedChunk, Violation, row_key};
use crate::error::{Error, ErrorKind, Result};

/// More rejects than this fail a file unless the settings say otherwise, and no more bad records of a file that failed are kept:
/// a sender may break any number of them with a few bytes each.
pub const MOST_REJECTS: i64 = 1_000_000;

/// The first `most` rejects of a validated file in the order of the file, in chunks of bounded size.
pub fn first(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
    most: i64,
) -> impl Stream<Item = Result<RejectedChunk>> + use<> {
    let (mends, mending) = (extracted.mends, Arc::clone(stage));
    first_records(errors(dataset, stage, extracted), most).and_then(move |violations| {
        let stage = Arc::clone(&mending);
        async move {
            let resubmissions = match (violations.first(), violations.last()) {
                (Some(first), Some(last)) if mends => resubmissions(&stage, (first.record.0, last.record.0)).await?,
                _ => Vec::new(),
            };
            Ok(RejectedChunk { violations, resubmissions })
        }
    })
}

/// What the chunks hold of their first `most` records.
fn first_records(
    chunks: impl Stream<Item = Result<Vec<Violation>>>,
    most: i64,
) -> impl Stream<Item = Result<Vec<Violation>>> {
    chunks.scan(usize::try_from(most).unwrap_or_default(), |left, chunk| {
        let within = (*left > 0).then_some(chunk).map(|chunk| {
            chunk.map(|mut violations| {
                let mut end = 0;
                for record in violations.chunk_by(|one, next| one.record == next.record).take(*left) {
                    end += record.len();
                    *left -= 1;
                }
                violations.truncate(end);
                violations
            })
        });
        ready(within)
    })
}

/// All violations of severity error of a validated file in the order of the file, in chunks of bounded size.
pub fn errors(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
    in_chunks(dataset, stage, extracted, Found::Error)
}

/// All violations of severity warning of a validated file, likewise.
///
/// # Errors
/// `System` when the staging database fails.
pub async fn warnings(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
) -> Result<impl Stream<Item = Result<Vec<Violation>>> + use<>> {
    let (warnings, on) = (explain_warnings(dataset), Arc::clone(stage));
    let find = move || {
        on.create_table("warning", VIOLATION_COLUMNS)?;
        on.execute(&format!("insert into warning {warnings}"))
    };
    blocking(find).await?;
    Ok(in_chunks(dataset, stage, extracted, Found::Warning))
}

fn in_chunks(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
    found: Found,
) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
    let read = extracted.read;
    let (dataset, stage, extracted) = (dataset.clone(), Arc::clone(stage), extracted.clone());
    let on = Arc::clone(&stage);
    stream::once(blocking(move || parts_with(&on, found)))
        .map_ok(|parts| stream::iter(parts).map(Ok))
        .try_flatten()
        .and_then(move |part| {
            let records = part.records(read, RECORDS_AT_ONCE);
            let (dataset, stage, extracted) = (dataset.clone(), Arc::clone(&stage), extracted.clone());
            async move {
                let slices = Slices::of_violations(&stage, found, records).await?;
                Ok(violations(&dataset, &stage, &extracted, found, slices.ranges))
            }
        })
        .try_flatten()
}

/// The parts of a file that have any violations.
fn parts_with(stage: &Stage, found: Found) -> Result<Vec<BatchNumber>> {
    let table = found.table();
    let parts = stage
        .query(&format!("select distinct ((_record - 1) // {RECORDS_AT_ONCE})::integer from {table} order by 1"))?;
    let numbers = parts.iter().flat_map(|rows| rows.column(0).as_primitive::<Int32Type>().values().to_vec());
    Ok(numbers.map(BatchNumber).collect())
}

/// The violations of the records in `ranges`, a chunk for each range.
pub(super) fn violations(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
    found: Found,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
    let (dataset, stage, extracted) = (Arc::new(dataset.clone()), Arc::clone(stage), Arc::new(extracted.clone()));
    stream::iter(ranges).then(move |range| {
        let (dataset, stage, extracted) = (Arc::clone(&dataset), Arc::clone(&stage), Arc::clone(&extracted));
        blocking(move || read_violations(&dataset, &stage, &extracted, found, range))
    })
}

fn read_violations(
    dataset: &Dataset,
    stage: &Stage,
    extracted: &Extracted,
    found: Found,
    records: (i64, i64),
) -> Result<Vec<Violation>> {
    let table = found.table();
    // A content key is made while a file is staged, and cannot be read from one record alone.
    let key = match dataset.content {
        Some(_) => format!("(select any_value({CONTENT_KEY}) from staged where staged._record = {table}._record)"),
        None => "null::varchar".to_owned(),
    };
    let sql = format!(
        "select _record, _line, _offset, _length, _check::bigint, _detail, {key} from {table} \
         where _record between ? and ? order by _record, _check"
    );
    let batches = stage.query_between(&sql, records)?;
    let mut reader = Reader::new(dataset, stage, extracted)?;
    let mut violations = Vec::new();
    for rows in &batches {
        let number = |column: usize, row: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
        let keys = rows.column(6).as_string::<i32>();
        for row in 0..rows.num_rows() {
            let [record, line, offset, length] = [0, 1, 2, 3].map(|column| number(column, row));
            let broken = Breach::of(number(4, row), number(5, row));
            let breach = broken.ok_or_else(|| Error::new(ErrorKind::System, "the stage has an unknown violation"))?;
            let content_key = || (!keys.is_null(row)).then(|| keys.value(row).to_owned());
            reader.read(Position { record, line, offset, length }, breach, content_key)?;
            violations.push(reader.violation(breach)?);
        }
    }
    Ok(violations)
}

/// Where a record stands.
#[derive(Clone, Copy, Default)]
struct Position {
    record: i64,
    line: i64,
    offset: i64,
    length: i64,
}

/// Reads bad records once more, one after the other, and says what is wrong with each.
struct Reader<'a> {
    dataset: &'a Dataset,
    stage: &'a Stage,
    extracted: &'a Extracted,
    checks: Vec<Check<'a>>,
    kept: Kept,
    sent: Option<SentRecord<'a>>,
    record: RejectedRecord,
}

/// What is wrong with a record, as a violation has it.
struct Told<'a> {
    column: Option<&'a str>,
    rule: &'a str,
    message: String,
    value: Option<String>,
}

impl<'a> Told<'a> {
    fn of_record(rule: &'a str, message: impl Into<String>) -> Self {
        Self { column: None, rule, message: message.into(), value: None }
    }
}

impl<'a> Reader<'a> {
    fn new(dataset: &'a Dataset, stage: &'a Stage, extracted: &'a Extracted) -> Result<Self> {
        let sent = extracted.sent.as_deref().map(|file| SentRecord::new(file, dataset));
        let (checks, kept, record) = (Check::all(dataset), stage.kept()?, RejectedRecord::default());
        Ok(Self { dataset, stage, extracted, checks, kept, sent, record })
    }

    /// Reads the record at `position`, unless it was read last.
    fn read(&mut self, position: Position, breach: Breach, content_key: impl FnOnce() -> Option<String>) -> Result<()> {
        if self.record.position.record == position.record {
            return Ok(());
        }
        let raw = self.kept.cut(position.offset, position.length)?;
        // Of a record that is malformed no cell is told, and there may be millions.
        let malformed = matches!(breach, Breach::FieldCount(_) | Breach::Record(RowFault::Quoting));
        let fields = if malformed || self.sent.is_some() { Vec::new() } else { fields_of(&raw) };
        if let Some(sent) = &mut self.sent {
            sent.read(&raw, position.record, position.line);
            self.dataset.key.iter().try_for_each(|name| sent.compute(name, self.stage))?;
        }
        let key = match &self.sent {
            _ if self.dataset.content.is_some() => content_key(),
            Some(sent) => sent.key(),
            None => key_of(&fields, self.dataset, self.extracted),
        };
        self.record = RejectedRecord { position, fields, key, raw: raw.into() };
        Ok(())
    }

    /// What is wrong with the record that was read last.
    fn violation(&mut self, breach: Breach) -> Result<Violation> {
        if let (Breach::Check(place), Some(sent)) = (breach, &mut self.sent)
            && let Some(column) = self.checks.get(place).and_then(|check| check.column)
        {
            sent.compute(column, self.stage)?;
        }
        let Told { column, rule, message, value } = self.told(breach);
        let RejectedRecord { position, key, raw, .. } = &self.record;
        let in_text = self.extracted.sent.as_deref().is_none_or(SentFile::is_text);
        Ok(Violation {
            record: RecordNumber(position.record),
            line: LineNumber(position.line),
            column: column.map(String::from),
            rule: rule.to_owned(),
            message,
            value,
            raw: Arc::clone(raw),
            bytes: in_text.then_some(ByteRange { offset: position.offset, length: position.length }),
            key: key.clone(),
            data_key: None,
        })
    }

    fn told(&self, breach: Breach) -> Told<'_> {
        match breach {
            Breach::FieldCount(_) if self.extracted.form == Form::JsonLines => {
                self.told(Breach::Record(RowFault::NotAnObject))
            }
            Breach::FieldCount(found) => Told::of_record(violation::FIELD_COUNT, wrong_count(found, self.extracted)),
            Breach::Record(fault) => Told::of_record(fault.rule(), fault.explain()),
            Breach::SameKey(line) => {
                let key = &self.dataset.key;
                let values: Vec<String> = key.iter().filter_map(|name| self.cell(name)).collect();
                let value = row_key::joined(values.iter().map(String::as_str));
                let shown = quoted(&value);
                let message =
                    format!("{shown} stands again in line {line}, which wins as the newer or later; keep one");
                let column = if let [column] = &key[..] { Some(column.as_str()) } else { None };
                Told { column, rule: violation::UNIQUE, message, value: Some(value) }
            }
            Breach::Check(place) => {
                let check = &self.checks[place];
                let value = check.column.and_then(|column| self.cell(column));
                let (rule, message) = explained(check, self.sent.as_ref(), value.as_deref());
                Told { column: check.column, rule, message, value }
            }
        }
    }

    fn cell(&self, column: &str) -> Option<String> {
        match &self.sent {
            Some(sent) => sent.cell(column),
            None => self.record.cell(self.dataset, self.extracted, column),
        }
    }
}

/// What to say of a record with that many cells.
fn wrong_count(found: i64, extracted: &Extracted) -> String {
    let width = extracted.width;
    let too_many = found > i64::try_from(width).unwrap_or(i64::MAX);
    let sent = extracted.sent.as_deref();
    match (sent.is_some_and(SentFile::is_fixed), too_many) {
        (true, true) => "the line goes on after the last cell that its source declares".to_owned(),
        (true, false) => "the line ends before the last cell that its source declares".to_owned(),
        (false, true) => {
            let sign = if sent.is_some() { "delimiter" } else { "comma" };
            format!("the record has {found} fields, the header {width}; quote fields that hold a {sign}")
        }
        (false, false) => format!("the record has {found} fields, the header {width}; add those that are missing"),
    }
}

/// The rule that a cell breaks, and why.
fn explained<'c>(check: &'c Check<'_>, sent: Option<&SentRecord<'_>>, value: Option<&str>) -> (&'c str, String) {
    let fault = sent.filter(|_| check.is_form()).and_then(|sent| sent.fault(check.column?));
    if let Some(fault) = fault {
        return fault;
    }
    // What breaks a rule is the value, however it was written.
    let plain = sent.and_then(|sent| sent.plain(check.column?));
    (check.rule(), check.explain(plain.as_deref().or(value).unwrap_or_default()))
}

/// A record that broke a rule, split once more.
#[derive(Default)]
struct RejectedRecord {
    position: Position,
    raw: Arc<[u8]>,
    fields: Vec<Vec<u8>>,
    key: Option<String>,
}

/// The key of a row, as it would stand in the table, where it is one.
fn key_of(fields: &[Vec<u8>], dataset: &Dataset, extracted: &Extracted) -> Option<String> {
    let values = dataset.key.iter().map(|name| key_value(name, fields, dataset, extracted));
    let values: Vec<String> = values.collect::<Option<_>>()?;
    Some(row_key::joined(values.iter().map(String::as_str)))
}

fn key_value(name: &str, fields: &[Vec<u8>], dataset: &Dataset, extracted: &Extracted) -> Option<String> {
    let index = dataset.columns.iter().position(|column| column.name == name)?;
    let cell = std::str::from_utf8(fields.get(*extracted.positions.get(index)?)?).ok()?;
    let column = &dataset.columns[index];
    if !column.is_short_key(cell) || dataset.null_values.iter().any(|null| null == cell) {
        return None;
    }
    column.kind.canonical(cell)
}

impl RejectedRecord {
    /// The cell of a column, readable; none where it is null.
    fn cell(&self, dataset: &Dataset, extracted: &Extracted, column: &str) -> Option<String> {
        let index = dataset.columns.iter().position(|known| known.name == column)?;
        let cell = self.fields.get(*extracted.positions.get(index)?)?;
        let text = printable(cell);
        (!dataset.null_values.contains(&text)).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(record: i64, rule: &str) -> Violation {
        Violation {
            record: RecordNumber(record),
            line: LineNumber(record + 1),
            column: None,
            rule: rule.into(),
            message: String::new(),
            value: None,
            raw: Arc::default(),
            bytes: None,
            key: None,
            data_key: None,
        }
    }

    #[tokio::test]
    async fn of_too_many_records_the_first_are_kept_with_all_that_is_wrong_with_them() {
        let chunks = || {
            let first = vec![violation(1, "a"), violation(1, "b"), violation(3, "a")];
            stream::iter([Ok(first), Ok(vec![violation(4, "a"), violation(5, "a")])])
        };
        for (most, expected) in [(0, 0), (1, 2), (2, 3), (3, 4), (4, 5), (9, 5)] {
            let kept: Vec<Vec<Violation>> = first_records(chunks(), most).try_collect().await.unwrap();
            assert_eq!(kept.concat().len(), expected, "{most}");
        }
    }
}
