//! `time`: a time of day, to the microsecond.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray};
use arrow::datatypes::{
    DataType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
};
use arrow::error::ArrowError;
use chrono::{NaiveTime, Timelike};

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;
use super::{clock, primitive};

pub(super) const TYPE: Registration = Registration {
    name: "time",
    about: "A time of day, such as 14:30:00.25.",
    options: &[],
    make: |_| Ok(ColumnType::of(Time)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "time",
    values: &[
        ("14:30:00", "14:30:00"),
        ("14:30:00.250", "14:30:00.25"),
        ("00:00:00", "00:00:00"),
        ("23:59:59.999999", "23:59:59.999999"),
    ],
    others: &[
        "24:00:00",
        "23:60:00",
        "23:59:60",
        "9:30:00",
        "14:30",
        "14:30:00.",
        "14:30:00.1234567",
        "14:30:00Z",
        "now",
    ],
};

const NANOSECONDS: i64 = 1_000_000_000;

#[derive(Debug)]
struct Time;

impl Type for Time {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "time"
    }

    fn family(&self) -> Kind {
        Kind::Time
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        primitive::column::<Time64MicrosecondType>(cells, |cell| {
            let time = clock::time(cell.as_bytes())?;
            Some(i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1000))
        })
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, _: &[u8]) -> Option<ArrayRef> {
        (unit == Unit::TimeOfDay).then(|| Arc::new(counts.reinterpret_cast::<Time64MicrosecondType>()) as ArrayRef)
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        primitive::print::<Time64MicrosecondType>(values, |microseconds| print(microseconds.saturating_mul(1000)))
    }

    fn explain(&self, cell: &str) -> String {
        format!("{} is not a time of day; write HH:MM:SS, 00:00:00 to 23:59:59, with up to 6 decimals", quoted(cell))
    }

    fn arrow_type(&self) -> DataType {
        DataType::Time64(TimeUnit::Microsecond)
    }

    fn stage_type(&self) -> String {
        "time".into()
    }

    fn table_type(&self) -> &'static str {
        "time"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.keeps_microseconds("time without time zone"))
    }

    fn needed(&self, _: Option<u32>) -> String {
        "time (without time zone)".into()
    }

    fn column_type(&self) -> String {
        "time".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        primitive::encode::<Time64MicrosecondType>(values, |microseconds, out| {
            out.extend_from_slice(&microseconds.to_be_bytes());
        })
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || matches!(has, DataType::Time32(_) | DataType::Time64(_))
    }

    fn taken(&self) -> &'static str {
        "TIME or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        Ok(match column.data_type() {
            DataType::Time32(TimeUnit::Second) => {
                primitive::print::<Time32SecondType>(column, |value| print(i64::from(value) * NANOSECONDS))
            }
            DataType::Time32(_) => {
                primitive::print::<Time32MillisecondType>(column, |value| print(i64::from(value) * 1_000_000))
            }
            DataType::Time64(TimeUnit::Microsecond) => self.print(column.as_primitive::<Time64MicrosecondType>()),
            DataType::Time64(_) => primitive::print::<Time64NanosecondType>(column, print),
            _ => return primitive::cells(column),
        })
    }
}

/// Prints nanoseconds since midnight. A value outside one day becomes a text that is not a time of day.
fn print(nanoseconds: i64) -> String {
    let parts = (nanoseconds.div_euclid(NANOSECONDS), nanoseconds.rem_euclid(NANOSECONDS));
    let parts = u32::try_from(parts.0).ok().zip(u32::try_from(parts.1).ok());
    let time = parts.and_then(|(seconds, rest)| NaiveTime::from_num_seconds_from_midnight_opt(seconds, rest));
    time.map_or_else(
        || "out of range".to_owned(),
        |time| format!("{}{}", time.format("%H:%M:%S"), clock::decimals(&time)),
    )
}
