//! `decimal`: decimal numbers of up to 38 digits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Decimal128Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType as _};

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Options, Registration, Samples, Type, TypeOption};
use super::number::{self, Digits, is_digits};
use super::primitive;
use super::table::{Fit, TableColumn};
use super::text::{is_decimal, is_text};

pub(super) const TYPE: Registration = Registration {
    name: "decimal",
    about: "An exact decimal number, with the digits that `precision` and `scale` say.",
    options: &[
        TypeOption { name: "precision", about: "How many digits a number has at most.", bounds: (1, MOST_DIGITS) },
        TypeOption {
            name: "scale",
            about: "How many of the digits are after the point.",
            bounds: (0, MOST_DIGITS - 1),
        },
    ],
    make,
    samples: &[MONEY, LONG, WHOLE],
};

const MOST_DIGITS: u8 = 38;

const MONEY: Samples = Samples {
    options: "precision = 20\nscale = 2",
    column: "numeric(20, 2)",
    values: &[
        ("15.5", "15.50"),
        ("-0.01", "-0.01"),
        ("0", "0.00"),
        ("-0", "0.00"),
        ("007.1000", "7.10"),
        ("999999999999999999.99", "999999999999999999.99"),
        ("-999999999999999999.99", "-999999999999999999.99"),
        ("10000", "10000.00"),
    ],
    others: &["15.555", "1000000000000000000", "1e2", "1,000.00", ".5", "5.", "+1", "NaN", "-"],
};

const LONG: Samples = Samples {
    options: "precision = 38\nscale = 18",
    column: "numeric",
    values: &[
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("-99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("10000000000000000000", "10000000000000000000.000000000000000000"),
    ],
    others: &["100000000000000000000", "0.0000000000000000001"],
};

const WHOLE: Samples = Samples {
    options: "precision = 38\nscale = 0",
    column: "numeric(38)",
    values: &[
        ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ("-99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"),
        ("5.00", "5"),
    ],
    others: &["100000000000000000000000000000000000000", "5.01"],
};

fn make(options: &Options) -> Result<ColumnType, String> {
    match (options.number("precision"), options.number("scale")) {
        (Some(precision @ 1..=MOST_DIGITS), Some(scale)) if scale < precision => {
            Ok(ColumnType::of(Decimal { precision, scale }))
        }
        _ => Err(format!("a decimal needs precision (1 to {MOST_DIGITS}) and scale (less than precision)")),
    }
}

#[derive(Debug)]
struct Decimal {
    precision: u8,
    scale: u8,
}

impl Decimal {
    fn shape(&self) -> Digits {
        Digits { whole: self.precision - self.scale, scale: self.scale }
    }

    /// The value of a number with so many decimals; `None` if it is not exactly one.
    fn of_count(&self, count: i64, decimals: u8) -> Option<i128> {
        let power = |digits: u8| 10_i128.pow(digits.into());
        let value = match decimals.checked_sub(self.scale) {
            None | Some(0) => i128::from(count).checked_mul(power(self.scale - decimals))?,
            Some(more) if i128::from(count) % power(more.min(MOST_DIGITS)) == 0 => {
                i128::from(count) / power(more.min(MOST_DIGITS))
            }
            Some(_) => return None,
        };
        (value.abs() < power(self.precision)).then_some(value)
    }
}

impl Type for Decimal {
    fn name(&self) -> String {
        self.stage_type()
    }

    fn rule(&self) -> &'static str {
        "decimal"
    }

    fn family(&self) -> Kind {
        Kind::Decimal
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        let digits = self.shape();
        let values = primitive::read::<Decimal128Type>(cells, |cell| number::decimal(cell, digits));
        Arc::new(values.with_data_type(self.arrow_type()))
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, decimals: &[u8]) -> Option<ArrayRef> {
        if unit != Unit::One {
            return None;
        }
        let value = |(count, decimals): (Option<i64>, &u8)| {
            let Some(count) = count else { return Some(None) };
            self.of_count(count, *decimals).map(Some)
        };
        let values: Decimal128Array = counts.iter().zip(decimals).map(value).collect::<Option<_>>()?;
        Some(Arc::new(values.with_data_type(self.arrow_type())))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        primitive::print::<Decimal128Type>(values, |value| {
            Decimal128Type::format_decimal(value, self.precision, self.scale.cast_signed())
        })
    }

    fn explain(&self, cell: &str) -> String {
        let (shown, Digits { whole: most, scale }) = (quoted(cell), self.shape());
        let digits = cell.strip_prefix('-').unwrap_or(cell);
        match digits.split_once('.').unwrap_or((digits, "0")) {
            (whole, fraction) if !is_digits(whole) || !is_digits(fraction) => {
                format!("{shown} is not a decimal number; write digits, and at most one point between them")
            }
            (whole, _) if whole.len() > usize::from(most) => {
                format!("{shown} has more than {most} digits before the point")
            }
            _ => format!("{shown} has more than {scale} decimals; round it at its source"),
        }
    }

    fn arrow_type(&self) -> DataType {
        DataType::Decimal128(self.precision, self.scale.cast_signed())
    }

    fn stage_type(&self) -> String {
        format!("decimal({}, {})", self.precision, self.scale)
    }

    fn table_type(&self) -> &'static str {
        "numeric"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        let Digits { whole, scale } = self.shape();
        Fit::same(match (column.kind, column.precision, column.scale) {
            ("numeric", Some(digits), Some(decimals)) => {
                decimals >= i32::from(scale) && digits - decimals >= i32::from(whole)
            }
            ("numeric", ..) => true,
            _ => false,
        })
    }

    fn needed(&self, _: Option<u32>) -> String {
        format!("numeric({}, {}) or wider", self.precision, self.scale)
    }

    fn key_text(&self, column: &str) -> String {
        let rounded = format!("round({column}, {})", self.scale);
        format!("(case when {column} = {rounded} then {rounded} else {column} end)::text")
    }

    fn about_options(&self) -> Option<String> {
        let Digits { whole, scale } = self.shape();
        Some(format!("An exact decimal number with at most {whole} digits before the point and {scale} after it."))
    }

    fn column_type(&self) -> String {
        format!("numeric({}, {})", self.precision, self.scale)
    }

    /// A column of whole numbers, or one with fewer digits, becomes one with the digits of both.
    fn widened(&self, column: &TableColumn<'_>) -> Option<String> {
        let (whole, scale) = match (column.kind, column.precision, column.scale) {
            ("numeric", Some(precision), Some(scale)) => (precision - scale, scale),
            ("smallint", ..) => (5, 0),
            ("integer", ..) => (10, 0),
            ("bigint", ..) => (19, 0),
            _ => return None,
        };
        let own = self.shape();
        let (whole, scale) = (whole.max(own.whole.into()), scale.max(own.scale.into()));
        Some(format!("numeric({}, {scale})", whole + scale))
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        let scale = self.scale.into();
        primitive::encode::<Decimal128Type>(values, |value, out| put_numeric(value, scale, out))
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || is_decimal(has) || has.is_integer()
    }

    fn taken(&self) -> &'static str {
        "DECIMAL, an integer or a string"
    }

    fn digits(&self) -> Option<Digits> {
        Some(self.shape())
    }
}

/// Appends a decimal of at most 38 digits in the form that Postgres itself sends, so that equal values have equal
/// bytes: digits of base 10,000 without zeros at either end. Source: `numeric_send` in
/// `src/backend/utils/adt/numeric.c`.
fn put_numeric(value: i128, scale: u32, out: &mut Vec<u8>) {
    const BASE: u128 = 10_000;
    const POSITIVE: u16 = 0;
    const NEGATIVE: u16 = 0x4000;
    /// 38 decimal digits, where the first and the last group of four may be incomplete.
    const MOST_GROUPS: usize = 11;
    let after_the_point = scale.div_ceil(4);
    // The last group is padded with zeros. Padding the whole number could overflow it.
    let fill = 4 * after_the_point - scale;
    let (mut rest, last) = (value.unsigned_abs() / 10_u128.pow(4 - fill), value.unsigned_abs() % 10_u128.pow(4 - fill));
    let mut next = last * 10_u128.pow(fill);
    let mut groups = [0_i16; MOST_GROUPS];
    let (mut count, mut zeros) = (0, 0);
    loop {
        if count == 0 && next == 0 {
            zeros += 1;
        } else {
            groups[count] = i16::try_from(next).unwrap_or_default();
            count += 1;
        }
        if rest == 0 {
            break;
        }
        (rest, next) = (rest / BASE, rest % BASE);
    }
    // The power of 10,000 that the highest group stands for.
    let weight =
        i16::try_from(count + zeros).unwrap_or(i16::MAX) - i16::try_from(after_the_point).unwrap_or(i16::MAX) - 1;
    out.extend_from_slice(&i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(&if count == 0 { 0 } else { weight }.to_be_bytes());
    out.extend_from_slice(&if value < 0 { NEGATIVE } else { POSITIVE }.to_be_bytes());
    out.extend_from_slice(&u16::try_from(scale).unwrap_or(u16::MAX).to_be_bytes());
    groups[..count].iter().rev().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MONEY: Decimal = Decimal { precision: 20, scale: 2 };

    fn numeric(value: i128, scale: u32) -> Vec<u8> {
        let mut out = Vec::new();
        put_numeric(value, scale, &mut out);
        out
    }

    #[test]
    fn a_cell_that_is_not_a_decimal_is_explained() {
        assert_eq!(MONEY.explain("15.555"), r#""15.555" has more than 2 decimals; round it at its source"#);
        assert!(MONEY.explain("1,000.00").contains("not a decimal number"));
        assert!(MONEY.explain("1e2").contains("not a decimal number"));
        assert!(MONEY.explain(".5").contains("not a decimal number"));
        assert!(MONEY.explain("1234567890123456789").contains("more than 18 digits"));
    }

    #[test]
    fn a_decimal_is_written_as_postgres_writes_it() {
        // What Postgres 15 sends for these values.
        let known = [
            (0, 2, "0000000000000002"),
            (10_000_000_000, 2, "00010002000000020001"),
            (-123_456_789, 2, "0003000140000002007b11d722c4"),
            (5, 2, "0001ffff0000000201f4"),
            (1550, 2, "0002000000000002000f1388"),
            (1234, 8, "0001fffe0000000804d2"),
            (-5, 0, "00010000400000000005"),
            (30_000_000, 3, "00010001000000030003"),
        ];
        for (value, scale, bytes) in known {
            assert_eq!(hex::encode(numeric(value, scale)), bytes, "{value} {scale}");
        }
    }

    /// Decodes what was written, using only the rules of the format.
    fn read_back(bytes: &[u8]) -> (String, u32) {
        let word = |at: usize| i16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]);
        let (count, weight, sign, scale) = (word(0), i32::from(word(1)), word(2), u32::try_from(word(3)).unwrap());
        let groups = (0..count).map(|at| format!("{:04}", word(4 + usize::try_from(at).unwrap())));
        let groups = groups.collect::<Vec<_>>().concat();
        let whole = usize::try_from(4 * (weight + 1).max(0)).unwrap();
        let leading = "0".repeat(usize::try_from(4 * (-weight - 1).max(0)).unwrap());
        let digits = format!("{leading}{groups}{}", "0".repeat(60));
        let (whole, fraction) = if weight < 0 { ("0", &digits[..]) } else { digits.split_at(whole) };
        let (fraction, rest) = fraction.split_at(scale as usize);
        assert!(rest.bytes().all(|digit| digit == b'0'), "{digits} has more than {scale} decimals");
        let sign = if sign == 0x4000 { "-" } else { "" };
        (format!("{sign}{whole}.{fraction}0"), scale)
    }

    proptest! {
        #[test]
        fn a_decimal_is_read_back_and_has_one_form(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), less in 0..38_u32, zeros in 0..20_u32, scale in 0..=37_u32) {
            let value = value / 10_i128.pow(less);
            let value = value / 10_i128.pow(zeros) * 10_i128.pow(zeros);
            let bytes = numeric(value, scale);
            let (text, scale_read) = read_back(&bytes);
            let expected = Decimal128Type::format_decimal(value, 38, i8::try_from(scale).unwrap());
            prop_assert_eq!(number::plain_number(&text), number::plain_number(&expected));
            prop_assert_eq!(scale_read, scale);
            let groups: Vec<&[u8]> = bytes[8..].chunks(2).collect();
            prop_assert!(groups.first().is_none_or(|group| *group != [0, 0]) && groups.last().is_none_or(|group| *group != [0, 0]));
        }
    }
}
