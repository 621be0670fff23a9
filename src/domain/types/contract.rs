//! What every type must provide, and how it is registered.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::source::exact::Unit;
use super::super::source::kind::Kind;
use super::number::{self, Digits};
use super::primitive;
use super::table::{Fit, TableColumn};

/// A type of columns.
pub trait Type: fmt::Debug + Send + Sync {
    /// The name with its options, such as `decimal(20, 2)`. Types with the same name are the same type.
    fn name(&self) -> String;

    /// The id of the rule that a cell breaks if it is not a value of this type.
    fn rule(&self) -> &'static str;

    /// Reads plain cells. A value is null if its cell is null or is not exactly a value of this type.
    fn read(&self, cells: &StringArray) -> ArrayRef;

    /// Converts values that a sender wrote in another form: counts of a unit, and how many digits of each are decimals. A value is null if
    /// its count is. Returns `None` if any other is not exactly a value of this type, or is not known to be one: the counts are then
    /// printed, and read as plain cells.
    fn of_counts(&self, _unit: Unit, _counts: &Int64Array, _decimals: &[u8]) -> Option<ArrayRef> {
        None
    }

    /// Prints values as plain cells. [`Type::read`] reads those as the same values.
    fn print(&self, values: &dyn Array) -> StringArray;

    /// Prints values as Postgres does with `::text`. The ledger records keys in this form.
    fn print_stored(&self, values: &dyn Array) -> StringArray {
        self.print(values)
    }

    /// Converts what [`Type::print_stored`] printed into a plain cell.
    fn cell_of(&self, stored: &str) -> String {
        stored.to_owned()
    }

    /// Explains why `cell` is not a value of this type, and what to write instead.
    fn explain(&self, cell: &str) -> String;

    /// The Arrow type of the arrays that hold the values.
    fn arrow_type(&self) -> DataType;

    /// The SQL type of the values in the staging database.
    fn stage_type(&self) -> String;

    /// The SQL type of the values in Postgres, as one word.
    fn table_type(&self) -> &'static str;

    /// Whether a column of a table can hold all values exactly. `max_length` is the limit of the dataset's column.
    fn fit(&self, column: &TableColumn<'_>, max_length: Option<u32>) -> Fit;

    /// Describes, for people, the columns of tables for which [`Type::fit`] is not [`Fit::No`].
    fn needed(&self, max_length: Option<u32>) -> String;

    /// What a plain cell is, in a sentence for the person who writes it, if that depends on the options of the type.
    fn about_options(&self) -> Option<String> {
        None
    }

    /// The SQL type of a new column that holds all values.
    fn column_type(&self) -> String {
        self.needed(None)
    }

    /// The SQL type to which a column of a table can be changed so that it holds all values of this type and goes on to hold
    /// exactly what it holds; `None` if there is none.
    fn widened(&self, column: &TableColumn<'_>) -> Option<String> {
        let unlimited = TableColumn { kind: column.kind, ..TableColumn::default() };
        (self.fit(&unlimited, None) != Fit::No).then(|| column.kind.to_owned())
    }

    /// Encodes values in the binary form that Postgres sends and receives.
    fn encode(&self, values: &dyn Array) -> BinaryArray;

    /// An SQL expression for Postgres that prints a column of a table as plain cells. A value of the table that is not
    /// a value of this type becomes a text that is not one either.
    fn export(&self, column: &str) -> String {
        format!("{column}::text")
    }

    /// An SQL expression for Postgres that prints the values of a key column as the ledger has them: as [`Type::print_stored`] does.
    fn key_text(&self, column: &str) -> String {
        format!("{column}::text")
    }

    /// Whether every value of a column of a Parquet file can be written as a plain cell without loss. The cell need not
    /// be a value of this type.
    fn takes(&self, has: &DataType) -> bool;

    /// Names, for people, the types of Parquet columns that [`Type::takes`] accepts.
    fn taken(&self) -> &'static str;

    /// Prints a column that the type [takes](Type::takes) as plain cells.
    ///
    /// # Errors
    /// If a value cannot be printed.
    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        primitive::cells(column)
    }

    /// The type of a column in a Parquet file.
    fn lake_type(&self) -> DataType {
        self.arrow_type()
    }

    /// Converts values to the form that a Parquet file holds.
    fn to_lake(&self, values: &ArrayRef) -> ArrayRef {
        Arc::clone(values)
    }

    /// The digits of the values, if this is a type of numbers with an exact sum. A manifest may then state the sum.
    fn digits(&self) -> Option<Digits> {
        None
    }

    /// Why a column of this type cannot be a key or refer to one; `None` if it can.
    fn not_a_key(&self) -> Option<&'static str> {
        None
    }

    /// Whether the values can tell an older row from a newer one.
    fn can_be_version(&self) -> bool {
        false
    }

    /// Returns which values are later than a moment; `None` if the values are not moments.
    fn is_later(&self, _values: &dyn Array, _than: DateTime<Utc>) -> Option<BooleanArray> {
        None
    }

    /// Whether the values are instants. They are printed in UTC.
    fn is_instant(&self) -> bool {
        false
    }

    /// Whether bounds and allowed values can apply to this type.
    fn can_be_compared(&self) -> bool {
        true
    }

    /// Whether limits of length and patterns can apply to this type.
    fn is_text(&self) -> bool {
        false
    }

    /// What its values are, as far as the forms go in which a sender may write them.
    fn family(&self) -> Kind {
        Kind::Text
    }

    /// Whether the cells are JSON. If so, a member of a JSON line becomes a cell exactly as it was written.
    fn is_json(&self) -> bool {
        false
    }
}

/// The type of a column, in the file, in the stage and in the table.
#[derive(Clone)]
pub struct ColumnType(Arc<dyn Type>);

impl ColumnType {
    pub(super) fn of(kind: impl Type + 'static) -> Self {
        Self(Arc::new(kind))
    }

    /// Returns the value of one plain cell, in an array with one row.
    fn value(&self, cell: &str) -> Option<ArrayRef> {
        let values = self.read(&StringArray::from(vec![cell]));
        (!values.is_null(0)).then_some(values)
    }

    /// Prints a plain cell as Postgres prints its value; `None` if it is not exactly a value of this type.
    #[must_use]
    pub fn canonical(&self, cell: &str) -> Option<String> {
        let value = self.value(cell).filter(|_| !cell.is_empty() && !cell.contains('\0'))?;
        Some(self.print_stored(&value).value(0).to_owned())
    }

    /// Prints a key as Postgres does, from a plain cell or from that print itself.
    #[must_use]
    pub fn key(&self, text: &str) -> Option<String> {
        self.canonical(text).or_else(|| self.canonical(&self.cell_of(text)).filter(|key| key == text))
    }

    /// Prints a bound or an allowed value as a literal of the staging database; `None` if it is not a value of this
    /// type.
    #[must_use]
    pub fn literal(&self, text: &str) -> Option<String> {
        let value = match self.digits() {
            Some(_) => self.value(&number::spelled_out(text)),
            None => self.value(text),
        };
        let plain = self.print(&value?).value(0).replace('\'', "''");
        Some(format!("cast('{plain}' as {})", self.stage_type()))
    }
}

impl Deref for ColumnType {
    type Target = dyn Type;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for ColumnType {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ColumnType {}

impl fmt::Debug for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The options of a type: what a definition says about a column beyond what it may say about any column.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, toml::Value>);

impl Options {
    /// Returns an option that is a small whole number.
    pub(super) fn number(&self, name: &str) -> Option<u8> {
        self.0.get(name)?.as_integer()?.try_into().ok()
    }
}

/// An option of a type: a small whole number.
#[derive(Debug)]
pub struct TypeOption {
    /// The key in a definition.
    pub name: &'static str,
    /// What it says, in a sentence for people.
    pub about: &'static str,
    /// The least and the greatest value.
    pub bounds: (u8, u8),
}

/// A type, as it is registered.
#[derive(Debug)]
pub struct Registration {
    /// The name of the type in definitions.
    pub name: &'static str,
    /// What its values are, in a sentence for people.
    pub about: &'static str,
    /// Its options. A column of the type must have each of them.
    pub options: &'static [TypeOption],
    /// Creates the type from its options.
    pub(super) make: fn(&Options) -> Result<ColumnType, String>,
    /// What the type reads, for each set of options that makes a difference.
    pub samples: &'static [Samples],
}

impl Registration {
    /// Creates the type with these options.
    ///
    /// # Errors
    /// A message that says which options the type needs.
    pub fn kind(&self, options: &Options) -> Result<ColumnType, String> {
        (self.make)(options)
    }
}

/// What a type reads, and what it almost reads. The tests of registered types use it, and so can people.
#[derive(Debug)]
pub struct Samples {
    /// The options, as they are written in a definition.
    pub options: &'static str,
    /// A column of a table that holds the type.
    pub column: &'static str,
    /// Plain cells, and their values as Postgres prints them, including the least and the greatest. The first two
    /// differ.
    pub values: &'static [(&'static str, &'static str)],
    /// Cells that look like values and are not.
    pub others: &'static [&'static str],
}
