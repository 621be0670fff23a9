//! `smallint`: whole numbers of 16 bits.

use arrow::datatypes::Int16Type;

use super::contract::{ColumnType, Registration, Samples};
use super::whole::Whole;

pub(super) const TYPE: Registration = Registration {
    name: KIND.name,
    about: "A whole number from -32768 to 32767.",
    options: &[],
    make: |_| Ok(ColumnType::of(KIND)),
    samples: &[SAMPLES],
};

const KIND: Whole<Int16Type> = Whole {
    name: "smallint",
    word: "int2",
    bits: 16,
    wider: &["integer", "bigint"],
    put: |number, out| out.extend_from_slice(&number.to_be_bytes()),
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "smallint",
    values: &[("-7", "-7"), ("0", "0"), ("-0", "0"), ("007", "7"), ("32767", "32767"), ("-32768", "-32768")],
    others: &["32768", "-32769", "7.0", "+7", "1e2", "1_000", " 7", "-"],
};
