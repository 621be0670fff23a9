//! Ranges of records that hold a bounded number of bytes each, so that a batch of any size fits into memory.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::Validated;
use crate::data_access::duckdb::{Stage, blocking};
use crate::error::Result;

/// No more bytes of a file's records are held at once than this, whatever the size of a batch.
const BYTES_AT_ONCE: i64 = 8 * 1024 * 1024;

pub(super) const RECORDS_AT_ONCE: i32 = 10_000;

/// Which of the tables of the stage violations are read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// `violation`: those of severity error, of rejected records.
    Error,
    /// `warning`: those of severity warning, of accepted records.
    Warning,
}

impl Found {
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Error => "violation",
            Self::Warning => "warning",
        }
    }
}

/// Record ranges that hold a bounded number of bytes each.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// First and last record of each, both included.
    pub(super) ranges: Vec<(i64, i64)>,
    /// How many records they hold together; 0 if it was not necessary to look.
    pub(super) records: i64,
    /// Violations of severity warning on them.
    pub(super) warnings: i64,
}

impl Slices {
    /// Those of the accepted rows among the records, from the first to the last.
    pub(super) async fn of_accepted(stage: &Arc<Stage>, validated: Validated, records: (i64, i64)) -> Result<Self> {
        let (first, last) = records;
        if validated.warnings == 0 && validated.longest.saturating_mul(last - first + 1) <= BYTES_AT_ONCE {
            return Ok(Self { ranges: vec![records], warnings: 0, records: 0 });
        }
        let sql = "select _record, _length, _warnings from staged where _ok and _record between ? and ? order by 1";
        Self::read(stage, sql.to_owned(), records).await
    }

    /// Those of the records, from the first to the last, that have violations.
    pub(super) async fn of_violations(stage: &Arc<Stage>, found: Found, records: (i64, i64)) -> Result<Self> {
        let table = found.table();
        let sql = format!(
            "select _record, any_value(_length), 0::bigint from {table} where _record between ? and ? group by 1 order by 1"
        );
        Self::read(stage, sql, records).await
    }

    async fn read(stage: &Arc<Stage>, sql: String, records: (i64, i64)) -> Result<Self> {
        let stage = Arc::clone(stage);
        blocking(move || {
            let mut slices = Self::default();
            let mut bytes = BYTES_AT_ONCE;
            for rows in stage.query_between(&sql, records)? {
                let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>();
                let (records, lengths, warnings) = (numbers(0), numbers(1), numbers(2));
                for row in 0..rows.num_rows() {
                    let record = records.value(row);
                    match slices.ranges.last_mut() {
                        Some((_, last)) if bytes + lengths.value(row) <= BYTES_AT_ONCE => *last = record,
                        _ => {
                            bytes = 0;
                            slices.ranges.push((record, record));
                        }
                    }
                    bytes += lengths.value(row);
                    slices.records += 1;
                    slices.warnings += warnings.value(row);
                }
            }
            Ok(slices)
        })
        .await
    }
}
