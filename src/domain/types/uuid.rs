//! `uuid`: 128 bits, written in hexadecimal digits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::primitive;
use super::table::{Fit, TableColumn};
use super::text::is_text;

pub(super) const TYPE: Registration = Registration {
    name: "uuid",
    about: "A UUID, such as 123e4567-e89b-12d3-a456-426614174000.",
    options: &[],
    make: |_| Ok(ColumnType::of(Uuid)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "uuid",
    values: &[
        ("123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ],
    others: &[
        "123e4567e89b12d3a456426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "123e4567-e89b-12d3-a456-42661417400",
        "123e4567-e89b-12d3-a456-42661417400g",
        "123e4567-e89b-12d3a-456-426614174000",
    ],
};

const FORM: &[u8] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
/// The bytes of a value.
const LENGTH: usize = 16;

#[derive(Debug)]
struct Uuid;

impl Type for Uuid {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "uuid"
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        let value = |cell: Option<&str>| cell.filter(|cell| has_form(cell)).map(str::to_ascii_lowercase);
        Arc::new(cells.iter().map(value).collect::<StringArray>())
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        values.as_string().clone()
    }

    fn explain(&self, cell: &str) -> String {
        format!("{} is not a UUID; write 32 hexadecimal digits as 8-4-4-4-12", quoted(cell))
    }

    fn arrow_type(&self) -> DataType {
        DataType::Utf8
    }

    fn stage_type(&self) -> String {
        "varchar".into()
    }

    fn table_type(&self) -> &'static str {
        "uuid"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.kind == "uuid")
    }

    fn needed(&self, _: Option<u32>) -> String {
        "uuid".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        values.as_string::<i32>().iter().map(|text| Some(bytes(text?))).collect()
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || is_uuid(has)
    }

    fn taken(&self) -> &'static str {
        "UUID or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        let Some(values) = column.as_any().downcast_ref::<FixedSizeBinaryArray>() else {
            return primitive::cells(column);
        };
        Ok(values.iter().map(|value| value.map(text)).collect())
    }
}

fn is_uuid(has: &DataType) -> bool {
    matches!(has, DataType::FixedSizeBinary(length) if usize::try_from(*length) == Ok(LENGTH))
}

fn has_form(cell: &str) -> bool {
    let is_so = |(byte, form): (&u8, &u8)| if *form == b'x' { byte.is_ascii_hexdigit() } else { byte == form };
    cell.len() == FORM.len() && cell.as_bytes().iter().zip(FORM).all(is_so)
}

/// Parses the bytes of a text that has the form of a UUID.
fn bytes(text: &str) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let digits = text.chars().filter_map(|digit| digit.to_digit(16));
    for (at, digit) in digits.take(2 * LENGTH).enumerate() {
        bytes[at / 2] = bytes[at / 2] << 4 | u8::try_from(digit).unwrap_or_default();
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    let mut digits = digits.chars();
    FORM.iter().filter_map(|form| if *form == b'x' { digits.next() } else { Some('-') }).collect()
}
