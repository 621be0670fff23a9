//! What a type promises, and how it is registered.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::source::kind::Kind;
use super::number::{self, Digits};
use super::primitive;
use super::table::{Fit, TableColumn};

/// What is true of a type.
pub trait Type: fmt::Debug + Send + Sync {
    /// Its name with its options, such as `decimal(20, 2)`. Types with the same name are the same.
    fn name(&self) -> String;

    /// The id of the rule that a cell breaks if it is not a value of this type.
    fn rule(&self) -> &'static str;

    /// Reads plain cells. The result is null where the cell is null, and where it is not exactly a value of this type.
    fn read(&self, cells: &StringArray) -> ArrayRef;

    /// Values as plain cells, which [`Type::read`] reads as the same values.
    fn print(&self, values: &dyn Array) -> StringArray;

    /// Values as Postgres prints them with `::text`: what the ledger knows a key by.
    fn print_stored(&self, values: &dyn Array) -> StringArray {
        self.print(values)
    }

    /// The plain cell of what [`Type::print_stored`] prints.
    fn cell_of(&self, stored: &str) -> String {
        stored.to_owned()
    }

    /// Says why `cell`, which is not a value of this type, is not one, and what to write instead.
    fn explain(&self, cell: &str) -> String;

    /// The type of the arrays that hold its values.
    fn arrow_type(&self) -> DataType;

    /// The SQL type of its values in the staging database.
    fn stage_type(&self) -> String;

    /// The SQL type of its values in Postgres, as one word.
    fn table_type(&self) -> &'static str;

    /// Whether a column of a table holds all its values exactly. `max_length` is that of the dataset's column.
    fn fit(&self, column: &TableColumn<'_>, max_length: Option<u32>) -> Fit;

    /// The columns of tables for which [`Type::fit`] is not [`Fit::No`], for people.
    fn needed(&self, max_length: Option<u32>) -> String;

    /// Values in the binary form in which Postgres sends and receives them.
    fn encode(&self, values: &dyn Array) -> BinaryArray;

    /// An SQL expression for Postgres that makes a plain cell of a column of a table. A value of the table that is not one of
    /// this type becomes a text that is not one either.
    fn export(&self, column: &str) -> String {
        format!("{column}::text")
    }

    /// Whether every value of a column of a Parquet file can be written as a plain cell without loss. It need not be a value
    /// of this type then.
    fn takes(&self, has: &DataType) -> bool;

    /// The types of Parquet columns that it takes, for people.
    fn taken(&self) -> &'static str;

    /// The plain cells of a column that it [takes](Type::takes).
    ///
    /// # Errors
    /// If a value has no text.
    fn cells(&self, column: &ArrayRef) -> Result<StringArray, ArrowError> {
        primitive::cells(column)
    }

    /// The type of its columns in a Parquet file.
    fn lake_type(&self) -> DataType {
        self.arrow_type()
    }

    /// Values as a Parquet file holds them.
    fn to_lake(&self, values: &ArrayRef) -> ArrayRef {
        Arc::clone(values)
    }

    /// The digits of its values if it is a number whose sum is exact, so that a manifest may state one.
    fn digits(&self) -> Option<Digits> {
        None
    }

    /// Why a column of this type cannot be the key, or refer to one.
    fn not_a_key(&self) -> Option<&'static str> {
        None
    }

    /// Whether its values tell an older row from a newer one.
    fn can_be_version(&self) -> bool {
        false
    }

    /// Which values are later than a moment; `None` if the type does not have moments.
    fn is_later(&self, _values: &dyn Array, _than: DateTime<Utc>) -> Option<BooleanArray> {
        None
    }

    /// Whether its values are instants, which are told in UTC.
    fn is_instant(&self) -> bool {
        false
    }

    /// Whether bounds and allowed values apply to it.
    fn can_be_compared(&self) -> bool {
        true
    }

    /// Whether a text of it may be bounded in length, and match a pattern.
    fn is_text(&self) -> bool {
        false
    }

    /// What its values are, as far as the forms go in which a sender may write them.
    fn family(&self) -> Kind {
        Kind::Text
    }

    /// Whether its cells are JSON, so that a member of a JSON line is a cell as it was written there.
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

    /// The value of one plain cell, in an array of its own.
    fn value(&self, cell: &str) -> Option<ArrayRef> {
        let values = self.read(&StringArray::from(vec![cell]));
        (!values.is_null(0)).then_some(values)
    }

    /// A plain cell as Postgres prints its value; `None` if it is not exactly a value of this type.
    #[must_use]
    pub fn canonical(&self, cell: &str) -> Option<String> {
        let value = self.value(cell).filter(|_| !cell.is_empty() && !cell.contains('\0'))?;
        Some(self.print_stored(&value).value(0).to_owned())
    }

    /// A key as Postgres prints it, from a plain cell or from that print itself.
    #[must_use]
    pub fn key(&self, text: &str) -> Option<String> {
        self.canonical(text).or_else(|| self.canonical(&self.cell_of(text)).filter(|key| key == text))
    }

    /// A bound or an allowed value as a literal of the staging database; `None` if it is not a value of this type.
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

/// The options of a type: what a definition says of a column besides what it says of every column.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, toml::Value>);

impl Options {
    /// An option that is a small whole number.
    pub(super) fn number(&self, name: &str) -> Option<u8> {
        self.0.get(name)?.as_integer()?.try_into().ok()
    }
}

/// A type, as it is registered.
#[derive(Debug)]
pub struct Registration {
    /// Its name in definitions.
    pub name: &'static str,
    /// The names of its options.
    pub options: &'static [&'static str],
    /// Makes the type that the options ask for.
    pub(super) make: fn(&Options) -> Result<ColumnType, String>,
    /// What it reads, for each set of options that makes a difference.
    pub samples: &'static [Samples],
}

impl Registration {
    /// The type with these options.
    ///
    /// # Errors
    /// A message that says which options it needs.
    pub fn kind(&self, options: &Options) -> Result<ColumnType, String> {
        (self.make)(options)
    }
}

/// What a type reads, and what it nearly reads: by these the tests know a type that is registered, and so does a person.
#[derive(Debug)]
pub struct Samples {
    /// Its options, as they are written in a definition.
    pub options: &'static str,
    /// A column of a table that holds it.
    pub column: &'static str,
    /// Plain cells with their values as Postgres prints them, among them the least and the greatest. The first two differ.
    pub values: &'static [(&'static str, &'static str)],
    /// Cells that are not values, although they look like some.
    pub others: &'static [&'static str],
}
