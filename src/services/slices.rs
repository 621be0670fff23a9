//! Ranges of records that hold a bounded number of bytes each, so that a batch of any size fits into memory.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

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
    /// How many records they hold together.
    pub(super) records: i64,
    /// Violations of severity warning on them.
    pub(super) warnings: i64,
}

impl Slices {
    /// Those of the accepted rows among the records `first` to `last`.
    pub(super) async fn of_accepted(stage: &Arc<Stage>, first: i64, last: i64) -> Result<Self> {
        let sql = format!(
            "select _record, _length, _warnings from staged where _ok and _record between {first} and {last} order by 1"
        );
        Self::read(stage, sql, first, last).await
    }

    /// Those of the records `first` to `last` that have violations.
    pub(super) async fn of_violations(stage: &Arc<Stage>, found: Found, first: i64, last: i64) -> Result<Self> {
        let table = found.table();
        let sql = format!(
            "select _record, any_value(_length), 0::bigint from {table} \
             where _record between {first} and {last} group by 1 order by 1"
        );
        Self::read(stage, sql, first, last).await
    }

    async fn read(stage: &Arc<Stage>, sql: String, first: i64, last: i64) -> Result<Self> {
        let stage = Arc::clone(stage);
        blocking(move || {
            let mut slices = Self::default();
            let mut bytes = BYTES_AT_ONCE;
            for rows in stage.query(&sql)? {
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
            // What lies between the slices is of no interest. So those of a file in one batch are asked for in the same words as
            // those of any other, which the staging database has read before.
            if let [(begin, _), ..] = &mut slices.ranges[..] {
                *begin = first;
            }
            if let [.., (_, end)] = &mut slices.ranges[..] {
                *end = last;
            }
            Ok(slices)
        })
        .await
    }
}
