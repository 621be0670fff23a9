//! Tombstones in the stage: records that delete the row with their key. Only their key, their version and the column that tells them
//! are checked; what else they have is not loaded.

use crate::data_access::duckdb::Stage;
use crate::domain::Dataset;
use crate::error::Result;

/// SQL condition: a row of the stage is a tombstone. `None` if the dataset has none.
pub(super) fn is_tombstone(dataset: &Dataset) -> Option<String> {
    let tombstone = dataset.tombstone.as_ref()?;
    let column = dataset.column(&tombstone.column)?;
    // A definition with a value that is not one of the column's type was refused.
    let values = tombstone.values.iter().filter_map(|value| column.kind.literal(&value.to_string()));
    let values = values.collect::<Vec<_>>().join(", ");
    Some(format!("coalesce(\"{}\" in ({values}), false)", column.name))
}

/// SQL condition: a row of the stage brings a row.
pub(super) fn is_row(dataset: &Dataset) -> String {
    is_tombstone(dataset).map_or_else(|| "true".to_owned(), |is_tombstone| format!("not {is_tombstone}"))
}

/// Whether a tombstone must pass what is checked of this column.
pub(super) fn is_checked(dataset: &Dataset, column: &str) -> bool {
    dataset.tombstone.as_ref().is_none_or(|tombstone| {
        tombstone.column == column
            || dataset.version.as_deref() == Some(column)
            || dataset.key.iter().any(|name| name == column)
    })
}

/// Takes the violations of these checks back from tombstones.
pub(super) fn forgive(dataset: &Dataset, checks: &[i32], stage: &Stage) -> Result<()> {
    let Some(is_tombstone) = is_tombstone(dataset).filter(|_| !checks.is_empty()) else { return Ok(()) };
    let checks: Vec<String> = checks.iter().map(i32::to_string).collect();
    let forgiven = stage.execute(&format!(
        "delete from violation where _check in ({}) and _record in (select _record from staged where not _ok and {is_tombstone})",
        checks.join(", ")
    ))?;
    if forgiven > 0 {
        stage.execute(&format!(
            "update staged set _ok = true where not _ok and {is_tombstone} and _record not in (select _record from violation)"
        ))?;
    }
    Ok(())
}
