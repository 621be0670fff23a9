//! `text`: loaded exactly as it was sent.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;

use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};

pub(super) const TYPE: Registration =
    Registration { name: "text", about: "Any text.", options: &[], make: |_| Ok(text()), samples: &[SAMPLES] };

const SAMPLES: Samples = Samples {
    options: "",
    column: "text",
    values: &[("007", "007"), (" a,\"b\" ", " a,\"b\" "), ("策略A", "策略A"), ("-", "-"), ("\\N", "\\N")],
    others: &[],
};

#[derive(Debug)]
struct Text;

/// Returns the type of texts.
#[must_use]
pub fn text() -> ColumnType {
    ColumnType::of(Text)
}

impl Type for Text {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "text"
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        Arc::new(cells.clone())
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        values.as_string().clone()
    }

    fn explain(&self, cell: &str) -> String {
        format!("{} is not text", quoted(cell))
    }

    fn arrow_type(&self) -> DataType {
        DataType::Utf8
    }

    fn stage_type(&self) -> String {
        "varchar".into()
    }

    fn table_type(&self) -> &'static str {
        "text"
    }

    fn fit(&self, column: &TableColumn<'_>, max_length: Option<u32>) -> Fit {
        Fit::same(match (column.kind, column.length) {
            ("text", _) | ("character varying", None) => true,
            ("character varying", Some(length)) => max_length.is_some_and(|most| i64::from(most) <= i64::from(length)),
            _ => false,
        })
    }

    fn needed(&self, max_length: Option<u32>) -> String {
        max_length.map_or("text".into(), |length| format!("text or varchar({length}) or wider"))
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        BinaryArray::from(values.as_string::<i32>().clone())
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || is_decimal(has) || has.is_integer()
    }

    fn taken(&self) -> &'static str {
        "a string"
    }

    fn is_text(&self) -> bool {
        true
    }
}

/// Whether a column of a Parquet file holds texts.
pub(super) fn is_text(has: &DataType) -> bool {
    matches!(has, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether a column of a Parquet file holds decimals.
pub(super) fn is_decimal(has: &DataType) -> bool {
    matches!(
        has,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}
