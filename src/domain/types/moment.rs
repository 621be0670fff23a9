//! A date with a time of day, as microseconds since 1970: what instants and local times have in common.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::{clock, primitive};

/// Microseconds from 1970 to 2000.
const EPOCH: i64 = clock::EPOCH_DAYS as i64 * 86_400_000_000;

/// Parses `YYYY-MM-DDTHH:MM:SS` with up to 6 decimals.
#[derive(Default)]
struct Parser {
    /// The date that was parsed last. Many rows in turn have the same.
    last: Cell<([u8; DATE], Option<NaiveDate>)>,
}

const DATE: usize = "YYYY-MM-DD".len();

impl Parser {
    fn parse(&self, text: &str) -> Option<i64> {
        let (date, rest) = text.as_bytes().split_first_chunk::<DATE>()?;
        let time = clock::time(rest.strip_prefix(b"T")?)?;
        if self.last.get().0 != *date {
            self.last.set((*date, clock::date(date)));
        }
        Some(self.last.get().1?.and_time(time).and_utc().timestamp_micros())
    }
}

/// Reads cells; `local` removes what follows the time.
pub(super) fn read(cells: &StringArray, local: impl Fn(&str) -> &str) -> ArrayRef {
    let parser = Parser::default();
    primitive::column::<TimestampMicrosecondType>(cells, |cell| parser.parse(local(cell)))
}

/// Takes counts of microseconds since 1970 as values.
pub(super) fn of_microseconds(counts: &Int64Array) -> ArrayRef {
    Arc::new(counts.reinterpret_cast::<TimestampMicrosecondType>())
}

/// Prints values.
pub(super) fn print(values: &dyn Array, text: impl Fn(NaiveDateTime) -> String) -> StringArray {
    primitive::print::<TimestampMicrosecondType>(values, |value| {
        // Only years with four digits are read, and those are far from the limits of this type.
        text(DateTime::from_timestamp_micros(value).unwrap_or_default().naive_utc())
    })
}

/// Prints a moment as Postgres does.
pub(super) fn stored(moment: NaiveDateTime) -> String {
    format!("{}{}", moment.format("%Y-%m-%d %H:%M:%S"), clock::decimals(&moment))
}

/// Encodes values in the binary form of Postgres: microseconds since 2000.
pub(super) fn encode(values: &dyn Array) -> BinaryArray {
    primitive::encode::<TimestampMicrosecondType>(values, |value, out| {
        out.extend_from_slice(&value.saturating_sub(EPOCH).to_be_bytes());
    })
}

/// Returns which values are later than a moment. Values are taken as UTC.
pub(super) fn is_later(values: &dyn Array, than: DateTime<Utc>) -> BooleanArray {
    let than = than.timestamp_micros();
    BooleanArray::from_unary(values.as_primitive::<TimestampMicrosecondType>(), |value| value > than)
}

/// Prints a column of a Parquet file as cells, with as few decimals as needed. A year with more than four digits
/// becomes a text that is not a time.
pub(super) fn cells(column: &ArrayRef, suffix: &str) -> Result<StringArray, ArrowError> {
    let DataType::Timestamp(unit, _) = column.data_type() else { return primitive::cells(column) };
    let moment = |row: usize| match unit {
        TimeUnit::Second => DateTime::from_timestamp_secs(column.as_primitive::<TimestampSecondType>().value(row)),
        TimeUnit::Millisecond => {
            DateTime::from_timestamp_millis(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            DateTime::from_timestamp_micros(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            Some(DateTime::from_timestamp_nanos(column.as_primitive::<TimestampNanosecondType>().value(row)))
        }
    };
    let cell = |row: usize| {
        moment(row).map_or_else(
            || "out of range".to_owned(),
            |moment| format!("{}{suffix}", moment.format("%Y-%m-%dT%H:%M:%S%.f")),
        )
    };
    Ok((0..column.len()).map(|row| (!column.is_null(row)).then(|| cell(row))).collect())
}
