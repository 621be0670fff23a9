//! Totals that the footer of a file tells: a file that does not add up to them has failed before anything is written.

use serde_json::{Map, Value, json};

use super::{Extracted, Total};
use crate::domain::types::ColumnSum;
use crate::domain::{Dataset, ObjectVersion};
use crate::error::{Error, Reason, Result};

/// Compares a staged file that is not validated yet with its own footer, and returns the figures that agree; `None` if its source declares
/// none.
///
/// # Errors
/// `File(ManifestMismatch)` with both figures of each that differs, or what the footer lacks.
pub fn check(object: &ObjectVersion, dataset: &Dataset, extracted: &Extracted) -> Result<Option<Value>> {
    let Some(sent) = extracted.sent.as_ref().filter(|sent| !sent.totals.is_empty()) else { return Ok(None) };
    let (mut agreed, mut differences) = (Map::new(), Vec::new());
    for (column, total) in &sent.totals {
        let columns = dataset.columns.iter().zip(&extracted.sums);
        let Some((_, ColumnSum { sum, unread })) = columns.into_iter().find(|(known, _)| known.name == *column) else {
            continue;
        };
        match total {
            Total::Of(said) if said == sum => {
                agreed.insert(format!("sum of {column}"), json!(sum));
            }
            Total::Of(said) => {
                let note = match unread {
                    0 => String::new(),
                    count => format!(", not counting {count} cells that are no numbers"),
                };
                differences.push(format!("sum of {column}: the footer says {said}, the file has {sum}{note}"));
            }
            Total::Missing => {
                differences.push(format!("the footer has no number in column {column}, which total names"));
            }
            Total::Several => {
                differences
                    .push(format!("several lines of the footer have a number in column {column}, which total names"));
            }
        }
    }
    if differences.is_empty() {
        return Ok(Some(Value::Object(agreed)));
    }
    let message = format!("{}: {}; nothing was loaded", object.display_name(), differences.join("; "));
    Err(Error::file(Reason::ManifestMismatch, message))
}
