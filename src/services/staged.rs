//! How a validator of your own sees the stage: the rows that are still good, and a way to take some of them out.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::checks::{Breach, Check, quoted_name};
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::{Dataset, RecordNumber};
use crate::error::{Error, Result};

/// Returns the good rows among the records `first` to `last`, in the order of the file: `_record`, then `columns`, as
/// values of their types. All of them are in memory at once.
///
/// # Errors
/// `Configuration` if the dataset has no such column, `System` if the staging database fails.
pub async fn good_rows(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    columns: &[&str],
    (first, last): (RecordNumber, RecordNumber),
) -> Result<Vec<RecordBatch>> {
    if let Some(unknown) = columns.iter().find(|name| dataset.staged_columns().all(|column| column.name != **name)) {
        return Err(Error::configuration(format!("dataset {} has no column {unknown:?}", dataset.name)));
    }
    let columns: Vec<String> = columns.iter().map(|column| quoted_name(column)).collect();
    let columns = [&["_record".to_owned()], &columns[..]].concat().join(", ");
    let sql = format!(
        "select {columns} from staged where _ok and _record between {} and {} order by _record",
        first.0, last.0
    );
    let stage = Arc::clone(stage);
    blocking(move || stage.query(&sql)).await
}

/// Takes out good rows because they break `rule`, which is one of [`Validator::rules`](super::Validator::rules).
///
/// # Errors
/// `Configuration` if the dataset has no such rule, `System` if the staging database fails.
pub async fn reject(dataset: &Dataset, stage: &Arc<Stage>, rule: &str, records: &[RecordNumber]) -> Result<()> {
    let place = Check::all(dataset).iter().position(|check| check.rule() == rule && check.is_found());
    let breach = place.map(Breach::Check).ok_or_else(|| {
        Error::configuration(format!("dataset {}: no validator of its pipeline has a rule {rule:?}", dataset.name))
    })?;
    let records: Vec<i64> = records.iter().map(|record| record.0).collect();
    let stage = Arc::clone(stage);
    blocking(move || {
        for records in records.chunks(RECORDS_IN_A_STATEMENT) {
            let these = format!("_ok and _record in (select unnest({records:?}))");
            stage.execute(&format!(
                "insert into violation select _record, _line, _offset, _length, {}, null from staged where {these}",
                breach.number()
            ))?;
            stage.execute(&format!("update staged set _ok = false where {these}"))?;
        }
        Ok(())
    })
    .await
}

const RECORDS_IN_A_STATEMENT: usize = 2000;
