//! Control totals: a file that is not what its manifest says has failed before anything is written.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::Extracted;
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::manifest::Manifest;
use crate::domain::{Dataset, ObjectVersion};
use crate::error::{Error, Reason, Result};

/// Compares a staged file that is not validated yet with the manifest beside it, and returns the figures that agree.
///
/// # Errors
/// `File(ManifestMismatch)` with both figures of each that differs, `File(ManifestMalformed)`, `System`.
pub async fn check(
    manifest: &[u8],
    object: &ObjectVersion,
    dataset: &Dataset,
    extracted: &Extracted,
    stage: &Arc<Stage>,
) -> Result<Value> {
    let file = object.display_name();
    let Manifest { row_count, sums, sha256 } = Manifest::parse(manifest, dataset).map_err(|message| {
        let message = format!("{file}: its manifest cannot be used: {message}");
        Error::file(Reason::ManifestMalformed, message)
    })?;
    let mut agreed = Map::new();
    let mut differences = Vec::new();
    let mut compare = |what: String, said: String, found: String, differ: bool, note: &str| {
        if differ {
            differences.push(format!("{what}: the manifest says {said}, the file has {found}{note}"));
        } else {
            agreed.insert(what, json!(found));
        }
    };
    if let Some(count) = row_count {
        let read = extracted.read;
        compare("row_count".into(), count.to_string(), read.to_string(), count != read, "");
    }
    if let Some(hash) = sha256 {
        let found = extracted.sha256.clone();
        let differ = hash != found;
        compare("sha256".into(), hash, found, differ, "");
    }
    for (column, said) in sums {
        let (found, unread) = sum_of(&column, stage).await?;
        let note =
            if unread > 0 { format!(", not counting {unread} cells that are no numbers") } else { String::new() };
        compare(format!("sum of {column}"), said.to_string(), found.to_string(), said != found, &note);
    }
    if differences.is_empty() {
        return Ok(Value::Object(agreed));
    }
    Err(Error::file(Reason::ManifestMismatch, format!("{file}: {}; nothing was loaded", differences.join("; "))))
}

/// The sum of a column over all records that have the header's width, and how many of its cells are no numbers.
async fn sum_of(column: &str, stage: &Arc<Stage>) -> Result<(Decimal, i64)> {
    // 18 digits before the point, as many rows as there may be: the sum does not overflow.
    let number = format!("try_cast(\"{column}.raw\" as decimal(28, 10))");
    let sql = format!(
        "select cast(coalesce(sum({number}), 0) as varchar), \
             count(*) filter (where \"{column}.raw\" is not null and {number} is null) from staged"
    );
    let stage = Arc::clone(stage);
    blocking(move || {
        let rows = stage.query(&sql)?;
        let Some(row) = rows.first() else { return Ok((Decimal::ZERO, 0)) };
        let text = row.column(0).as_string::<i32>().value(0);
        let sum = text.trim_end_matches('0').trim_end_matches('.').parse();
        let sum = sum.map_err(|error| Error::system("sum a column", error))?;
        Ok((sum, row.column(1).as_primitive::<Int64Type>().value(0)))
    })
    .await
}
