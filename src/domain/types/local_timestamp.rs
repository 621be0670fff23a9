//! `local_timestamp`: a date and a time of day, to the microsecond, by a clock in an unknown time zone.

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;
use super::{clock, moment};

pub(super) const TYPE: Registration = Registration {
    name: "local_timestamp",
    about: "A date and a time of day whose zone is unknown, such as 2025-12-22T14:30:00.",
    options: &[],
    make: |_| Ok(ColumnType::of(LocalTimestamp)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "timestamp",
    values: &[
        ("2025-12-22T14:30:00", "2025-12-22 14:30:00"),
        ("2025-12-22T14:30:00.250", "2025-12-22 14:30:00.25"),
        ("0001-01-01T00:00:00", "0001-01-01 00:00:00"),
        ("9999-12-31T23:59:59.999999", "9999-12-31 23:59:59.999999"),
    ],
    others: &[
        "2025-12-22T14:30:00Z",
        "2025-12-22T14:30:00+08:00",
        "2025-12-22 14:30:00",
        "2025-02-29T00:00:00",
        "2025-12-22T24:00:00",
        "2025-12-22T14:30:00.1234567",
        "infinity",
    ],
};

#[derive(Debug)]
struct LocalTimestamp;

impl Type for LocalTimestamp {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "local_timestamp"
    }

    fn family(&self) -> Kind {
        Kind::LocalTimestamp
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        moment::read(cells, |cell| cell)
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, _: &[u8]) -> Option<ArrayRef> {
        (unit == Unit::Local).then(|| moment::of_microseconds(counts))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        moment::print(values, |moment| moment::stored(moment).replace(' ', "T"))
    }

    fn print_stored(&self, values: &dyn Array) -> StringArray {
        moment::print(values, moment::stored)
    }

    fn cell_of(&self, stored: &str) -> String {
        stored.replace(' ', "T")
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        if cell.ends_with('Z') || cell.rfind(['+', '-']).is_some_and(|at| at > "YYYY-MM-DD".len()) {
            return format!(
                "{shown} has a zone, but a local time has none; use type \"timestamp\" for times with a zone"
            );
        }
        if clock::does_not_exist(cell) {
            return format!("{shown} has a date that does not exist");
        }
        format!("{shown} is not a local time; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999")
    }

    fn arrow_type(&self) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, None)
    }

    fn stage_type(&self) -> String {
        "timestamp".into()
    }

    fn table_type(&self) -> &'static str {
        "timestamp"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.keeps_microseconds("timestamp without time zone"))
    }

    fn needed(&self, _: Option<u32>) -> String {
        "timestamp (without time zone)".into()
    }

    fn column_type(&self) -> String {
        "timestamp".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        moment::encode(values)
    }

    fn export(&self, column: &str) -> String {
        format!("replace({column}::text, ' ', 'T')")
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || matches!(has, DataType::Timestamp(_, None))
    }

    fn taken(&self) -> &'static str {
        "TIMESTAMP without UTC or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        moment::cells(column, "")
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
    fn a_cell_with_a_zone_is_explained_differently_from_one_that_is_not_a_time() {
        assert!(LocalTimestamp.explain("2025-12-22T10:30:00Z").contains("has a zone"));
        assert!(LocalTimestamp.explain("2025-12-22T10:30:00-05:00").contains("has a zone"));
        assert!(LocalTimestamp.explain("2025-02-30T10:30:00").contains("does not exist"));
        assert!(LocalTimestamp.explain("10:30").contains("YYYY-MM-DDTHH:MM:SS"));
    }
}
