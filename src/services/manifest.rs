//! Control totals: a file that is not what its manifest says has failed before anything is written.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::{Map, Value, json};

use super::Extracted;
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::manifest::Manifest;
use crate::domain::{Column, ColumnType, Dataset, ObjectVersion};
use crate::error::{Error, Reason, Result};

/// As many digits as a column may have.
const MOST_DIGITS: u8 = 28;
/// Decimals that are summed although a column has fewer.
const MORE_DECIMALS: u8 = 10;

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
    for (column, said) in dataset.columns.iter().filter_map(|column| Some((column, sums.get(&column.name)?))) {
        let (found, unread) = sum_of(column, stage).await?;
        let (said, note) = (
            said.normalize().to_string(),
            if unread > 0 { format!(", not counting {unread} cells that are no numbers") } else { String::new() },
        );
        let differ = said != found;
        compare(format!("sum of {}", column.name), said, found, differ, &note);
    }
    if differences.is_empty() {
        return Ok(Value::Object(agreed));
    }
    Err(Error::file(Reason::ManifestMismatch, format!("{file}: {}; nothing was loaded", differences.join("; "))))
}

/// The exact sum of a column over all records that have the header's width, and how many of its cells are no numbers.
/// Cells with more decimals than the column has are rejected later, but were sent, and count.
async fn sum_of(column: &Column, stage: &Arc<Stage>) -> Result<(String, i64)> {
    // Ten digits are left for the sum of as many rows as there may be: it does not overflow.
    let (whole, scale) = match column.kind {
        ColumnType::Decimal { precision, scale } => {
            let whole = precision - scale;
            (whole, scale.max(MORE_DECIMALS.min(MOST_DIGITS - whole)))
        }
        _ => (MOST_DIGITS, 0),
    };
    let precision = whole + scale;
    let form = ColumnType::Decimal { precision, scale }.lexical_form().unwrap_or_default();
    let raw = format!("\"{}.raw\"", column.name);
    let sql = format!(
        "with cell as ( \
             select {raw} is not null as _present, \
                 case when regexp_full_match({raw}, '{form}') then try_cast({raw} as decimal({precision}, {scale})) end as _number \
             from staged) \
         select cast(coalesce(sum(_number), 0) as varchar), count(*) filter (where _present and _number is null) from cell"
    );
    let stage = Arc::clone(stage);
    blocking(move || {
        let rows = stage.query(&sql)?;
        let Some(row) = rows.first() else { return Ok((String::from("0"), 0)) };
        let text = row.column(0).as_string::<i32>().value(0);
        let sum = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        Ok((sum.to_owned(), row.column(1).as_primitive::<Int64Type>().value(0)))
    })
    .await
}
