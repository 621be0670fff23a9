//! Reads whole files with the definition that was guessed, as a load would, and counts what would be rejected.

use std::collections::BTreeSet;

use super::Input;
use super::open::part_of;
use crate::data_access::sent::Rows;
use crate::data_access::sent::members::Members;
use crate::data_access::sent::table::{Table, TableError};
use crate::data_access::sent::text_rows::{Cut, TextRows};
use crate::data_access::sent::workbook::Workbook;
use crate::domain::Datasets;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::definition;
use crate::domain::guess::field::FieldType;
use crate::domain::source::binding::{PlainRow, Surroundings};
use crate::domain::source::kind::{Kind, TargetColumn};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::parse_sources;
use crate::domain::source::row::Row;

/// What a load of the files would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records.
    pub read: u64,
    /// Records that would be rejected.
    pub rejected: u64,
    /// Why, for the first of them, each with its file and line.
    pub reasons: Vec<String>,
}

/// How many reasons are kept.
const MOST_REASONS: usize = 10;

/// Reads the files with what was guessed. Where a question is open, any answer stands for the one to come.
///
/// # Errors
/// A message if the definition does not fit a file at all.
pub fn check(guessed: &Guessed, inputs: &[Input]) -> Result<Checked, String> {
    let source = source_of(guessed)?;
    let mut checked = Checked::default();
    let key: Vec<usize> = guessed
        .key
        .columns()
        .iter()
        .filter_map(|name| guessed.fields.iter().position(|field| field.name == *name))
        .collect();
    let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
    for input in inputs {
        let name = input.key.rsplit(['/', '\\']).next().unwrap_or(&input.key);
        seen.clear();
        read(guessed, &source, input, |line, values| {
            checked.read += 1;
            let reason = match values {
                Err(reason) => Some(reason.clone()),
                Ok(values) if key.is_empty() => values.iter().find_map(|value| value.as_ref().err().cloned()),
                Ok(values) => {
                    let own: Vec<String> =
                        key.iter().map(|at| values[*at].clone().ok().flatten().unwrap_or_default()).collect();
                    let twice = !seen.insert(own);
                    let wrong = values.iter().find_map(|value| value.as_ref().err().cloned());
                    wrong.or_else(|| twice.then(|| "the key is there twice".to_owned()))
                }
            };
            if let Some(reason) = reason {
                checked.rejected += 1;
                if checked.reasons.len() < MOST_REASONS {
                    checked.reasons.push(format!("{name} line {line}: {reason}"));
                }
            }
        })?;
    }
    Ok(checked)
}

/// The values of a record, or why it cannot be read at all.
pub(super) type Values = Result<Vec<Result<Option<String>, String>>, String>;

/// The source of what was guessed, read from its text as a load reads it.
pub(super) fn source_of(guessed: &Guessed) -> Result<Source, String> {
    let text = definition::provisional(guessed);
    // The whole definition is read as the program reads it when it starts.
    Datasets::parse([(guessed.place.name.as_str(), text.as_str())])?;
    let sources = text.find("[[source]]").map_or("", |at| &text[at..]);
    let targets: Vec<TargetColumn> =
        guessed.fields.iter().map(|field| TargetColumn { name: field.name.clone(), kind: kind(field.kind) }).collect();
    let nulls = ["", "NULL", "null", "None"].map(String::from);
    let mut all = parse_sources(&guessed.place.name, sources, &targets, &nulls)?;
    Ok(all.remove(0))
}

fn kind(field: FieldType) -> Kind {
    match field {
        FieldType::Text | FieldType::Uuid | FieldType::Json => Kind::Text,
        FieldType::Bigint => Kind::Whole,
        FieldType::Decimal { .. } => Kind::Decimal,
        FieldType::Date => Kind::Date,
        FieldType::Time => Kind::Time,
        FieldType::Timestamp => Kind::Timestamp,
        FieldType::LocalTimestamp => Kind::LocalTimestamp,
        FieldType::Boolean => Kind::Boolean,
    }
}

/// Reads every record of the part of a file that a source reads.
pub(super) fn read(
    guessed: &Guessed,
    source: &Source,
    input: &Input,
    mut each: impl FnMut(i64, &Values),
) -> Result<(), String> {
    let around = |part: &str| Surroundings { key: input.key.clone(), part: part.to_owned(), preamble: Vec::new() };
    let members: Vec<Option<String>> = match &source.member {
        None => vec![None],
        Some(pattern) => {
            let failed = || format!("{}: the archive cannot be read", input.key);
            let file = std::fs::File::open(&input.path).map_err(|_| failed())?;
            let archive = Members::open(file).map_err(|_| failed())?;
            archive.matching(pattern).map_err(|_| failed())?.into_iter().map(Some).collect()
        }
    };
    for member in members {
        let part = member.clone().or_else(|| source.layout.section.clone()).unwrap_or_default();
        match &source.format {
            Format::Delimited(lines, dialect) => {
                let bytes = part_of(input, member.as_deref())?;
                let rows = TextRows::new(bytes, *lines, Cut::Delimited(dialect.clone()))
                    .map_err(|error| format!("{}: {error}", input.key))?;
                read_table(guessed, rows, source, around(&part), input, &mut each)?;
            }
            Format::Fixed(lines, fields) => {
                let bytes = part_of(input, member.as_deref())?;
                let cut = Cut::Fixed(fields.clone(), source.layout.shorter);
                let rows = TextRows::new(bytes, *lines, cut).map_err(|error| format!("{}: {error}", input.key))?;
                read_table(guessed, rows, source, around(&part), input, &mut each)?;
            }
            Format::Workbook(wanted) => {
                let failed = || format!("{}: the workbook cannot be read", input.key);
                let file = std::fs::File::open(&input.path).map_err(|_| failed())?;
                let mut book = Workbook::open(file).map_err(|_| failed())?;
                for sheet in book.chosen(wanted.sheet.as_ref()) {
                    let rows = book.rows(&sheet, wanted.significant_digits).map_err(|_| failed())?;
                    read_table(guessed, rows, source, around(&part), input, &mut each)?;
                }
            }
            Format::JsonLines | Format::Parquet => {}
        }
    }
    Ok(())
}

fn read_table<R: Rows>(
    guessed: &Guessed,
    rows: R,
    source: &Source,
    around: Surroundings,
    input: &Input,
    each: &mut impl FnMut(i64, &Values),
) -> Result<(), String> {
    let failed = |error: TableError| format!("{}: {}", input.key, misfit(&error));
    let (mut table, head) = Table::open(rows, source, around).map_err(failed)?;
    let mut binding = head.bind(source).map_err(failed)?;
    let (mut row, mut plain, mut number) = (Row::default(), PlainRow::default(), 0);
    loop {
        match table.read(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => return Err(format!("{}: the file cannot be split: {error:?}", input.key)),
        }
        number += 1;
        if let Some(fault) = row.fault {
            each(row.line, &Err(format!("rule {}", fault.rule())));
            continue;
        }
        if !binding.fits(&row) {
            each(row.line, &Err(format!("{} cells instead of {}", row.len(), binding.width())));
            continue;
        }
        binding.translate(&row, number, &mut plain);
        let value = |(at, field): (usize, &crate::domain::guess::field::Field)| match plain.value(at) {
            Ok(None) if field.required => Err(format!("column {}: a value is missing (rule required)", field.name)),
            Ok(Some(value)) if !is_value(field.kind, value) => {
                Err(format!("column {}: not a value of type {}", field.name, field.kind.name()))
            }
            Ok(value) => Ok(value.map(str::to_owned)),
            Err(fault) => Err(format!("column {}: rule {}", field.name, fault.rule())),
        };
        each(row.line, &Ok(guessed.fields.iter().enumerate().map(value).collect()));
    }
}

fn misfit(error: &TableError) -> String {
    match error {
        TableError::Misfit(_, misfit) => misfit.to_string(),
        other => format!("the table is not found: {other:?}"),
    }
}

/// Checks whether the type of a column takes a plain cell.
fn is_value(kind: FieldType, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    match kind {
        FieldType::Bigint => digits(number) && text.parse::<i64>().is_ok(),
        FieldType::Decimal { precision, scale } => {
            let fraction = fraction.trim_end_matches('0');
            digits(whole)
                && (fraction.is_empty() || digits(fraction))
                && fraction.len() <= scale
                && whole.trim_start_matches('0').len() + scale <= precision
        }
        FieldType::Date => is_plain(text, &["%Y-%m-%d"]),
        FieldType::Time => is_plain(text, &["%H:%M:%S%.f"]),
        FieldType::Timestamp => is_plain(text, &["%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.f%:z"]),
        FieldType::LocalTimestamp => is_plain(text, &["%Y-%m-%dT%H:%M:%S%.f"]),
        FieldType::Boolean => matches!(text, "true" | "false"),
        FieldType::Json => serde_json::from_str::<serde_json::Value>(text).is_ok(),
        FieldType::Text | FieldType::Uuid => true,
    }
}

fn is_plain(text: &str, forms: &[&str]) -> bool {
    use crate::domain::source::time_form::{Calendar, TimeForm};
    forms.iter().any(|form| TimeForm::parse(form).is_ok_and(|form| form.read(text, &Calendar::default()).is_ok()))
}
