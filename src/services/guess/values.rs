//! The values of every record of a file, as the tests compare them with what the file is known to say.

use super::input::Input;
use super::records::{Seen, records};
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::field::{Field, FieldType};
use crate::domain::source::model::Source;

/// The values of a record, or why it cannot be read at all.
pub(super) type Values = Result<Vec<Result<Option<String>, String>>, String>;

/// Reads every record of the part of a file that a source reads.
pub(super) fn read(
    guessed: &Guessed,
    source: &Source,
    input: &Input,
    mut each: impl FnMut(&Values),
) -> Result<(), String> {
    records(source, input, |record| match record {
        Seen::Broken => each(&Err("the record is broken".to_owned())),
        Seen::Row(_, _, plain) => {
            let value = |(at, field): (usize, &Field)| match plain.value(at) {
                Ok(None) if field.required => Err(format!("column {}: a value is missing (rule required)", field.name)),
                Ok(Some(value)) if !is_value(field.kind, value) => {
                    Err(format!("column {}: not a value of type {}", field.name, field.kind.name()))
                }
                Ok(value) => Ok(value.map(str::to_owned)),
                Err(fault) => Err(format!("column {}: rule {}", field.name, fault.rule())),
            };
            each(&Ok(guessed.fields.iter().enumerate().map(value).collect()));
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
