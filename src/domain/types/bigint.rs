//! `bigint`: whole numbers of 64 bits.

use arrow::datatypes::Int64Type;

use super::contract::{ColumnType, Registration, Samples};
use super::whole::Whole;

pub(super) const TYPE: Registration = Registration {
    name: KIND.name,
    about: "A whole number of up to 64 bits.",
    options: &[],
    make: |_| Ok(bigint()),
    samples: &[SAMPLES],
};

const KIND: Whole<Int64Type> = Whole {
    name: "bigint",
    word: "int8",
    bits: 64,
    wider: &[],
    put: |number, out| out.extend_from_slice(&number.to_be_bytes()),
};

/// Returns the type of whole numbers of 64 bits.
#[must_use]
pub fn bigint() -> ColumnType {
    ColumnType::of(KIND)
}

const SAMPLES: Samples = Samples {
    options: "",
    column: "bigint",
    values: &[
        ("-7", "-7"),
        ("0", "0"),
        ("-0", "0"),
        ("007", "7"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
    ],
    others: &["9223372036854775808", "-9223372036854775809", "7.0", "+7", "1e2", "1_000", " 7", "-"],
};
