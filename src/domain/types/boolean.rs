//! `boolean`: true or false.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray};
use arrow::datatypes::DataType;

use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;

pub(super) const TYPE: Registration = Registration {
    name: "boolean",
    about: "`true` or `false`.",
    options: &[],
    make: |_| Ok(boolean()),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "boolean",
    values: &[("true", "true"), ("false", "false")],
    others: &["True", "TRUE", "t", "1", "0", "yes", "on", " true", "wrong"],
};

#[derive(Debug)]
struct Boolean;

/// Returns the type of true and false.
#[must_use]
pub fn boolean() -> ColumnType {
    ColumnType::of(Boolean)
}

impl Type for Boolean {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "boolean"
    }

    fn family(&self) -> Kind {
        Kind::Boolean
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        let value = |cell: Option<&str>| match cell? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Arc::new(cells.iter().map(value).collect::<BooleanArray>())
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        let word = |value| if value { "true" } else { "false" };
        values.as_boolean().iter().map(|value| value.map(word)).collect()
    }

    fn explain(&self, cell: &str) -> String {
        format!("{} is neither true nor false; write one of these two words", quoted(cell))
    }

    fn arrow_type(&self) -> DataType {
        DataType::Boolean
    }

    fn stage_type(&self) -> String {
        "boolean".into()
    }

    fn table_type(&self) -> &'static str {
        "bool"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.kind == "boolean")
    }

    fn needed(&self, _: Option<u32>) -> String {
        "boolean".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        values.as_boolean().iter().map(|value| Some([u8::from(value?)])).collect()
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || *has == DataType::Boolean
    }

    fn taken(&self) -> &'static str {
        "BOOLEAN or a string"
    }
}
