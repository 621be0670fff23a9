//! `timestamp`: an instant, printed in UTC to the microsecond.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, SecondsFormat, Utc};

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;
use super::{clock, moment};

pub(super) const TYPE: Registration = Registration {
    name: "timestamp",
    about: "A moment, such as 2025-12-22T14:30:00Z.",
    options: &[],
    make: |_| Ok(ColumnType::of(Timestamp)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "timestamptz",
    values: &[
        ("2025-12-22T14:30:00Z", "2025-12-22 14:30:00+00"),
        ("2025-12-22T14:30:00.250", "2025-12-22 14:30:00.25+00"),
        ("2024-02-29T23:59:59.999999Z", "2024-02-29 23:59:59.999999+00"),
        ("0001-01-01T00:00:00", "0001-01-01 00:00:00+00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999+00"),
        ("1969-12-31T23:59:59.000001Z", "1969-12-31 23:59:59.000001+00"),
    ],
    others: &[
        "2025-12-22",
        "2025-02-29T00:00:00",
        "0000-01-01T00:00:00",
        "10000-01-01T00:00:00",
        "2025-12-22T24:00:00",
        "2025-12-22T23:59:60",
        "2025-12-22T23:60:00",
        "2025-12-22 10:30:00",
        "2025-12-22T10:30:00.",
        "2025-12-22T10:30:00.1234567",
        "2025-12-22T10:30:00ZZ",
        "2025-12-22T10:30:00+08:00",
        "2025-12-22T10:30",
        "now",
        "infinity",
    ],
};

const UTC: &str = "UTC";

#[derive(Debug)]
struct Timestamp;

impl Type for Timestamp {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "timestamp"
    }

    fn family(&self) -> Kind {
        Kind::Timestamp
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        moment::read(cells, |cell| cell.strip_suffix('Z').unwrap_or(cell))
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, _: &[u8]) -> Option<ArrayRef> {
        (unit == Unit::Instant).then(|| moment::of_microseconds(counts))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        moment::print(values, |moment| moment.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    fn print_stored(&self, values: &dyn Array) -> StringArray {
        moment::print(values, |moment| format!("{}+00", moment::stored(moment)))
    }

    fn cell_of(&self, stored: &str) -> String {
        stored.replace(' ', "T").replace("+00", "Z")
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        if cell.rfind(['+', '-']).is_some_and(|at| at > "YYYY-MM-DD".len()) {
            return format!("{shown} has an offset; write the time in UTC, with Z or nothing after it");
        }
        if clock::does_not_exist(cell) {
            return format!("{shown} has a date that does not exist");
        }
        format!("{shown} is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999")
    }

    fn arrow_type(&self) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, None)
    }

    fn stage_type(&self) -> String {
        "timestamp".into()
    }

    fn table_type(&self) -> &'static str {
        "timestamptz"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.keeps_microseconds("timestamp with time zone"))
    }

    fn needed(&self, _: Option<u32>) -> String {
        "timestamptz".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        moment::encode(values)
    }

    fn export(&self, column: &str) -> String {
        format!("replace(replace({column}::text, ' ', 'T'), '+00', 'Z')")
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || matches!(has, DataType::Timestamp(..))
    }

    fn taken(&self) -> &'static str {
        "TIMESTAMP or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        moment::cells(column, "Z")
    }

    fn lake_type(&self) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
    }

    fn to_lake(&self, values: &ArrayRef) -> ArrayRef {
        Arc::new(values.as_primitive::<TimestampMicrosecondType>().clone().with_timezone(UTC))
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn can_be_version(&self) -> bool {
        true
    }

    fn is_later(&self, values: &dyn Array, than: DateTime<Utc>) -> Option<BooleanArray> {
        Some(moment::is_later(values, than))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_is_not_a_timestamp_is_explained() {
        let explain = |cell| Timestamp.explain(cell);
        assert!(explain("2025-12-22T10:30:00+08:00").contains("has an offset"));
        assert!(explain("2025-02-30T10:30:00").contains("does not exist"));
        assert!(explain("2025-12-22").contains("not a timestamp"));
        assert!(explain("2025-12-22T24:00:00").contains("not a timestamp"));
        assert!(explain("0000-01-01T00:00:00").contains("years 0001 to 9999"));
        assert!(explain("日本語日本語").contains("not a timestamp"));
    }
}
