//! `date`: a day of the calendar.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type};
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDate, Utc};

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;
use super::{clock, primitive};

pub(super) const TYPE: Registration = Registration {
    name: "date",
    about: "A date, such as 2025-12-22.",
    options: &[],
    make: |_| Ok(ColumnType::of(Date)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "date",
    values: &[
        ("2025-12-22", "2025-12-22"),
        ("2024-02-29", "2024-02-29"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("1969-12-31", "1969-12-31"),
    ],
    others: &[
        "2025-02-29",
        "2025-13-01",
        "0000-01-01",
        "10000-01-01",
        "2025-12-22T00:00:00",
        "22.12.2025",
        "20251222",
        "2025-1-2",
        "today",
        "infinity",
    ],
};

#[derive(Debug)]
struct Date;

impl Type for Date {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "date"
    }

    fn family(&self) -> Kind {
        Kind::Date
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        primitive::column::<Date32Type>(cells, |cell| Some(clock::date(cell.as_bytes())?.to_epoch_days()))
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, _: &[u8]) -> Option<ArrayRef> {
        if unit != Unit::Day {
            return None;
        }
        let days: Date32Array = counts.try_unary(i32::try_from).ok()?;
        Some(Arc::new(days))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        primitive::print::<Date32Type>(values, print)
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        if cell.len() == "YYYY-MM-DD".len() && clock::does_not_exist(cell) {
            return format!("{shown} is a date that does not exist");
        }
        format!("{shown} is not a date; write YYYY-MM-DD, years 0001 to 9999")
    }

    fn arrow_type(&self) -> DataType {
        DataType::Date32
    }

    fn stage_type(&self) -> String {
        "date".into()
    }

    fn table_type(&self) -> &'static str {
        "date"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.kind == "date")
    }

    fn needed(&self, _: Option<u32>) -> String {
        "date".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        primitive::encode::<Date32Type>(values, |days, out| {
            out.extend_from_slice(&days.saturating_sub(clock::EPOCH_DAYS).to_be_bytes());
        })
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || *has == DataType::Date32
    }

    fn taken(&self) -> &'static str {
        "DATE or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        match column.data_type() {
            DataType::Date32 => Ok(self.print(column.as_primitive::<Date32Type>())),
            _ => primitive::cells(column),
        }
    }

    fn can_be_version(&self) -> bool {
        true
    }

    fn is_later(&self, values: &dyn Array, than: DateTime<Utc>) -> Option<BooleanArray> {
        let than = than.date_naive().to_epoch_days();
        Some(BooleanArray::from_unary(values.as_primitive::<Date32Type>(), |days| days > than))
    }
}

/// Prints a date. A year with more than four digits becomes a text that is not a date.
fn print(days: i32) -> String {
    NaiveDate::from_epoch_days(days)
        .map_or_else(|| "out of range".to_owned(), |date| date.format("%Y-%m-%d").to_string())
}
