//! Whole numbers with a fixed number of bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, BinaryArray, Int64Array, PrimitiveArray, StringArray};
use arrow::datatypes::DataType;

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::Type;
use super::number::{self, Digits, is_digits};
use super::primitive;
use super::table::{Fit, TableColumn};
use super::text::is_text;

/// The types of whole numbers in a table, with their bits.
const WHOLE: &[(&str, u8)] = &[("smallint", 16), ("integer", 32), ("bigint", 64)];

/// Whole numbers that an Arrow type can hold.
#[derive(Debug)]
pub(super) struct Whole<T: ArrowPrimitiveType> {
    /// The name of the type in definitions, in the staging database and in tables.
    pub(super) name: &'static str,
    /// The name of the type in Postgres, as one word.
    pub(super) word: &'static str,
    pub(super) bits: u8,
    /// The names of the wider column types.
    pub(super) wider: &'static [&'static str],
    /// Appends a number, the most significant byte first.
    pub(super) put: fn(T::Native, &mut Vec<u8>),
}

impl<T> Type for Whole<T>
where
    T: ArrowPrimitiveType<Native: TryFrom<i64> + ToString> + std::fmt::Debug,
{
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn rule(&self) -> &'static str {
        "integer"
    }

    fn family(&self) -> Kind {
        Kind::Whole
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        primitive::column::<T>(cells, |cell| number::integer(cell)?.try_into().ok())
    }

    fn of_counts(&self, unit: Unit, counts: &Int64Array, decimals: &[u8]) -> Option<ArrayRef> {
        if unit != Unit::One || decimals.iter().any(|decimals| *decimals > 0) {
            return None;
        }
        let values: PrimitiveArray<T> = counts.try_unary(|count| count.try_into().map_err(|_| ())).ok()?;
        Some(Arc::new(values))
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        primitive::print::<T>(values, |number| number.to_string())
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        if is_digits(cell.strip_prefix('-').unwrap_or(cell)) {
            return format!("{shown} does not fit into {} bits", self.bits);
        }
        format!("{shown} is not a whole number; write digits only, with a leading - if it is negative")
    }

    fn arrow_type(&self) -> DataType {
        T::DATA_TYPE
    }

    fn stage_type(&self) -> String {
        self.name.to_owned()
    }

    fn table_type(&self) -> &'static str {
        self.word
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        match column.kind {
            own if own == self.name => Fit::Same,
            other if self.wider.contains(&other) => Fit::Wider,
            _ => Fit::No,
        }
    }

    fn needed(&self, _: Option<u32>) -> String {
        [&[self.name], self.wider].concat().join(" or ")
    }

    fn column_type(&self) -> String {
        self.name.to_owned()
    }

    fn widened(&self, column: &TableColumn<'_>) -> Option<String> {
        let bits = WHOLE.iter().find(|(name, _)| *name == column.kind)?.1;
        (bits < self.bits).then(|| self.name.to_owned())
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        primitive::encode::<T>(values, self.put)
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has) || has.is_integer()
    }

    fn taken(&self) -> &'static str {
        "an integer"
    }

    fn can_be_version(&self) -> bool {
        true
    }

    fn digits(&self) -> Option<Digits> {
        Some(Digits { whole: 19, scale: 0 })
    }
}
