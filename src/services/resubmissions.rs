//! Which records of a file say that they mend a reject.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::{LineNumber, LoadId, RecordNumber, Resubmission};
use crate::error::Result;

/// Those of the records, from the first to the last, that say what they are to mend.
pub(super) async fn resubmissions(stage: &Arc<Stage>, records: (i64, i64)) -> Result<Vec<Resubmission>> {
    let stage = Arc::clone(stage);
    blocking(move || {
        let mut found = Vec::new();
        let sql = "select * from resubmission where _record between ? and ? order by _record";
        for rows in stage.query_between(sql, records)? {
            found.extend((0..rows.num_rows()).map(|row| resubmission_at(&rows, row)));
        }
        Ok(found)
    })
    .await
}

/// A row of the table `resubmission` of the stage, whose columns come first in `rows`.
pub(super) fn resubmission_at(rows: &RecordBatch, row: usize) -> Resubmission {
    let number = |column: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
    Resubmission {
        record: RecordNumber(number(0)),
        line: LineNumber(number(1)),
        of_load: LoadId(number(2)),
        of_record: RecordNumber(number(3)),
    }
}

/// The loads whose rejects the records are to mend.
pub(crate) async fn loads_mended(stage: &Arc<Stage>) -> Result<Vec<LoadId>> {
    let stage = Arc::clone(stage);
    blocking(move || {
        let found = stage.query("select distinct _of_load from resubmission")?;
        let loads = found.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().iter());
        Ok(loads.map(|load| LoadId(*load)).collect())
    })
    .await
}
