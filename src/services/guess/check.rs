//! Reads whole files with the definition that was guessed, as a load would, and counts what would be rejected.

use std::collections::BTreeSet;

use super::Input;
use super::records::{Seen, records};
use crate::domain::Datasets;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::definition;
use crate::domain::guess::field::{Field, FieldType};
use crate::domain::source::kind::TargetColumn;
use crate::domain::source::model::Source;
use crate::domain::source::parse_sources;

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
    let targets: Vec<TargetColumn> = guessed
        .fields
        .iter()
        .map(|field| TargetColumn { name: field.name.clone(), kind: field.kind.family() })
        .collect();
    let nulls = ["", "NULL", "null", "None"].map(String::from);
    let mut all = parse_sources(&guessed.place.name, sources, &targets, &nulls)?;
    Ok(all.remove(0))
}

/// Reads every record of the part of a file that a source reads.
pub(super) fn read(
    guessed: &Guessed,
    source: &Source,
    input: &Input,
    mut each: impl FnMut(i64, &Values),
) -> Result<(), String> {
    records(source, input, |record| match record {
        Seen::Broken(line, reason) => each(line, &Err(reason)),
        Seen::Row(row, _, plain) => {
            let value = |(at, field): (usize, &Field)| match plain.value(at) {
                Ok(None) if field.required => Err(format!("column {}: a value is missing (rule required)", field.name)),
                Ok(Some(value)) if !is_value(field.kind, value) => {
                    Err(format!("column {}: not a value of type {}", field.name, field.kind.name()))
                }
                Ok(value) => Ok(value.map(str::to_owned)),
                Err(fault) => Err(format!("column {}: rule {}", field.name, fault.rule())),
            };
            each(row.line, &Ok(guessed.fields.iter().enumerate().map(value).collect()));
        }
    })
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
