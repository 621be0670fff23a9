//! `double`: the nearest floating-point number of 64 bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::number::is_digits;
use super::primitive;
use super::table::{Fit, TableColumn};
use super::text::is_text;

pub(super) const TYPE: Registration = Registration {
    name: "double",
    about: "A floating-point number of 64 bits: the one that is nearest to what is written.",
    options: &[],
    make: |_| Ok(ColumnType::of(Double)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "double precision",
    values: &[
        ("0.1", "0.1"),
        ("-1.9E-4", "-0.00019"),
        ("0", "0"),
        ("-0.0", "0"),
        ("100000000000000", "100000000000000"),
        ("1e15", "1e+15"),
        ("123456789012345678", "1.2345678901234568e+17"),
        ("0.00001", "1e-05"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("-1.7976931348623157e+308", "-1.7976931348623157e+308"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("5e-324", "5e-324"),
        ("9007199254740993", "9.007199254740992e+15"),
    ],
    others: &[
        "NaN", "Infinity", "inf", "1e309", "-1e309", "1e-400", ".5", "5.", "+1", "1e", "e5", "1,5", "0x10", "1_0",
    ],
};

#[derive(Debug)]
struct Double;

impl Type for Double {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "double"
    }

    fn family(&self) -> Kind {
        Kind::Double
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        primitive::column::<Float64Type>(cells, |cell| parse(cell).ok())
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, decimals: &[u8]) -> Option<ArrayRef> {
        if unit != Unit::One {
            return None;
        }
        let value = |(count, decimals): (Option<i64>, &u8)| match count {
            None => Some(None),
            Some(count) => quotient(count, *decimals).map(Some),
        };
        let values: Float64Array = counts.iter().zip(decimals).map(value).collect::<Option<_>>()?;
        Some(Arc::new(values))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        primitive::print::<Float64Type>(values, print)
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        match parse(cell) {
            Err(Not::Form) | Ok(_) => {
                format!(
                    "{shown} is not a number; write digits, at most one point between them, and an exponent such as e-4"
                )
            }
            Err(Not::Large) => format!("{shown} is larger than the largest double, about 1.8e308"),
            Err(Not::Small) => format!("{shown} is closer to 0 than the smallest double, about 4.9e-324"),
        }
    }

    fn arrow_type(&self) -> DataType {
        DataType::Float64
    }

    fn stage_type(&self) -> String {
        "double".into()
    }

    fn table_type(&self) -> &'static str {
        "float8"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.kind == "double precision")
    }

    fn needed(&self, _: Option<u32>) -> String {
        "double precision".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        primitive::encode::<Float64Type>(values, |value, out| out.extend_from_slice(&value.to_be_bytes()))
    }

    fn takes(&self, has: &DataType) -> bool {
        const EXACT: [DataType; 6] =
            [DataType::Int8, DataType::Int16, DataType::Int32, DataType::UInt8, DataType::UInt16, DataType::UInt32];
        is_text(has) || EXACT.contains(has) || matches!(has, DataType::Float32 | DataType::Float64)
    }

    fn taken(&self) -> &'static str {
        "DOUBLE, FLOAT, an integer of at most 32 bits or a string"
    }

    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        Ok(match column.data_type() {
            DataType::Float64 => primitive::print::<Float64Type>(column, print),
            // Prints the double with the same value, not the one with the same digits.
            DataType::Float32 => primitive::print::<Float32Type>(column, |value| print(value.into())),
            _ => return primitive::cells(column),
        })
    }

    fn not_a_key(&self) -> Option<&'static str> {
        Some("different texts may be the same double")
    }
}

/// The nearest double to a number with so many decimals. A whole number up to 2^53 is exactly a double, as is each of these powers, and
/// of two such the quotient is the nearest double. `None` for any other number.
#[expect(clippy::cast_precision_loss, reason = "nothing is lost up to 2^53")]
fn quotient(count: i64, decimals: u8) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let power = POWERS.get(usize::from(decimals))?;
    (count.unsigned_abs() <= 1 << 53).then(|| count as f64 / power)
}

/// Why a text is not a double.
enum Not {
    Form,
    Large,
    Small,
}

/// Parses `-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`. The value must not exceed the largest double, and must not be 0
/// unless all digits are.
fn parse(cell: &str) -> Result<f64, Not> {
    let (mantissa, exponent) = cell.split_once(['e', 'E']).unwrap_or((cell, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let (whole, exponent) =
        (whole.strip_prefix('-').unwrap_or(whole), exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    if ![whole, fraction, exponent].into_iter().all(is_digits) {
        return Err(Not::Form);
    }
    let value: f64 = cell.parse().map_err(|_| Not::Form)?;
    if value.is_infinite() {
        return Err(Not::Large);
    }
    if value == 0.0 {
        let is_zero = mantissa.bytes().all(|byte| !matches!(byte, b'1'..=b'9'));
        // Drops the sign of a zero.
        return if is_zero { Ok(0.0) } else { Err(Not::Small) };
    }
    Ok(value)
}

/// Prints the fewest digits that are read as the same value, with an exponent whenever Postgres writes one. For a value
/// exactly between two others, such as 1e23, Postgres writes more digits. Source: `double_to_shortest_decimal_bufn` in
/// `src/common/d2s.c`.
fn print(value: f64) -> String {
    const PLAIN: std::ops::Range<i32> = -4..15;
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    match exponent.parse() {
        Ok(exponent) if PLAIN.contains(&exponent) => value.to_string(),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_is_not_a_double_is_explained() {
        assert!(Double.explain("NaN").contains("is not a number"));
        assert!(Double.explain("1e309").contains("larger than the largest"));
        assert!(Double.explain("-0.1e-400").contains("closer to 0"));
        assert!(Double.explain("1,5").contains("at most one point"));
    }
}
