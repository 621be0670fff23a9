//! The exact sum of everything that was sent in a column, for control totals.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, StringArray};
use arrow::datatypes::{
    DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, DecimalType as _, Int16Type, Int32Type,
    Int64Type, i256,
};

use super::number::{self, Digits, plain_number};

/// The decimals of a sum, if the column itself has fewer.
const MORE_DECIMALS: u8 = 10;
/// The most digits before the point of whole numbers that are summed although the column cannot hold them.
const MOST_WHOLE: u8 = 28;

/// The sum of a column of numbers over all records, good or bad.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnSum {
    /// The exact sum, without trailing zeros.
    pub sum: String,
    /// How many cells are neither null nor numbers.
    pub unread: i64,
}

/// Adds up a column. A number that is rejected because it is too large or has too many decimals was sent, and so it
/// counts.
pub struct Sum {
    /// The scale of the column.
    scale: u8,
    /// The digits of the numbers that are summed.
    wide: Digits,
    total: i256,
    unread: i64,
}

impl Sum {
    /// Creates an empty sum for a column with these digits.
    #[must_use]
    pub fn of(Digits { whole, scale }: Digits) -> Self {
        let wide = match scale {
            0 => Digits { whole: whole.max(MOST_WHOLE), scale },
            _ => Digits { whole, scale: scale.max(MORE_DECIMALS) },
        };
        Self { scale, wide, total: i256::ZERO, unread: 0 }
    }

    /// Adds the values of some cells, including numbers that are not values of the column.
    pub fn add(&mut self, cells: &StringArray, values: &dyn Array) {
        self.add_values(values);
        if values.null_count() > cells.null_count() {
            let other = (0..cells.len()).filter(|row| values.is_null(*row) && !cells.is_null(*row));
            other.for_each(|row| self.add_other(cells.value(row)));
        }
    }

    /// Adds values of the column.
    pub fn add_values(&mut self, values: &dyn Array) {
        let unit = i256::from_i128(10_i128.pow((self.wide.scale - self.scale).into()));
        self.total = self.total.wrapping_add(total(values).wrapping_mul(unit));
    }

    fn add_other(&mut self, cell: &str) {
        match wide_number(cell, self.wide) {
            Some(number) => self.total = self.total.wrapping_add(number),
            None => self.unread += 1,
        }
    }

    /// Counts cells that could not be read.
    pub fn add_unread(&mut self, cells: i64) {
        self.unread += cells;
    }

    /// Returns the sum so far.
    #[must_use]
    pub fn total(&self) -> ColumnSum {
        let text = Decimal256Type::format_decimal(self.total, DECIMAL256_MAX_PRECISION, self.wide.scale.cast_signed());
        ColumnSum { sum: plain_number(&text).unwrap_or(text), unread: self.unread }
    }
}

/// Returns the sum of numbers, in units of their last decimal. It cannot overflow, however many of the largest numbers
/// a file has.
fn total(values: &dyn Array) -> i256 {
    fn of<T: ArrowPrimitiveType<Native: Into<i128>>>(values: &dyn Array) -> i256 {
        let each = values.as_primitive::<T>().iter().flatten();
        each.fold(i256::ZERO, |sum, value| sum.wrapping_add(i256::from_i128(value.into())))
    }
    match values.data_type() {
        DataType::Int16 => of::<Int16Type>(values),
        DataType::Int32 => of::<Int32Type>(values),
        DataType::Int64 => of::<Int64Type>(values),
        DataType::Decimal128(..) => of::<Decimal128Type>(values),
        _ => i256::ZERO,
    }
}

/// Parses a plain number with at most these digits, in units of the last decimal.
fn wide_number(cell: &str, Digits { whole, scale }: Digits) -> Option<i256> {
    let (before, after) = cell.split_once('.').unwrap_or((cell, "0"));
    let negative = before.starts_with('-');
    let before = before.strip_prefix('-').unwrap_or(before);
    let kept = after.trim_end_matches('0');
    if !number::is_digits(before)
        || !number::is_digits(after)
        || before.len() > whole.into()
        || kept.len() > scale.into()
    {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    i256::from_string(&format!("{sign}{before}{kept:0<width$}", width = usize::from(scale)))
}

#[cfg(test)]
mod tests {
    use super::super::registration;
    use super::*;

    fn sum(name: &str, options: &str, cells: &[&str]) -> ColumnSum {
        let kind = registration(name).unwrap().kind(&toml::from_str(options).unwrap()).unwrap();
        let mut sum = Sum::of(kind.digits().unwrap());
        for cells in cells.chunks(2) {
            let cells = StringArray::from(cells.to_vec());
            sum.add(&cells, &kind.read(&cells));
        }
        sum.total()
    }

    #[test]
    fn a_sum_counts_everything_that_was_sent() {
        let money = sum("decimal", "precision = 20\nscale = 2", &["15.5", "0.125", "-1", "x", "0.1234567890", "-"]);
        assert_eq!(money, ColumnSum { sum: "14.748456789".into(), unread: 2 });
        let whole = sum("integer", "", &["7", "8.0", "99999999999999999999", "1.5"]);
        assert_eq!(whole, ColumnSum { sum: "100000000000000000014".into(), unread: 1 });
        assert_eq!(sum("integer", "", &["-7", "9000000000"]).sum, "8999999993");
        assert_eq!(sum("smallint", "", &["-7", "40000"]).sum, "39993");
    }

    #[test]
    fn a_sum_of_the_largest_numbers_is_exact() {
        let largest = "9".repeat(38);
        let whole = sum("decimal", "precision = 38\nscale = 0", &[largest.as_str(); 1000]);
        assert_eq!(whole.sum, format!("{largest}000"));
        let small = format!("0.{}1", "0".repeat(36));
        assert_eq!(
            sum("decimal", "precision = 38\nscale = 37", &[small.as_str(); 9]).sum,
            format!("0.{}9", "0".repeat(36))
        );
    }
}
