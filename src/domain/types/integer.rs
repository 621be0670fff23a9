//! `integer`: whole numbers of 32 bits.

use arrow::datatypes::Int32Type;

use super::contract::{ColumnType, Registration, Samples};
use super::whole::Whole;

pub(super) const TYPE: Registration = Registration {
    name: KIND.name,
    about: "A whole number from -2147483648 to 2147483647.",
    options: &[],
    make: |_| Ok(ColumnType::of(KIND)),
    samples: &[SAMPLES],
};

const KIND: Whole<Int32Type> = Whole {
    name: "integer",
    word: "int4",
    bits: 32,
    wider: &["bigint"],
    put: |number, out| out.extend_from_slice(&number.to_be_bytes()),
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "integer",
    values: &[
        ("-7", "-7"),
        ("0", "0"),
        ("-0", "0"),
        ("007", "7"),
        ("2147483647", "2147483647"),
        ("-2147483648", "-2147483648"),
    ],
    others: &["2147483648", "-2147483649", "7.0", "+7", "1e2", "1_000", " 7", "-"],
};
