//! The types of columns. Each is one file in this folder and one line in [`TYPES`].
//!
//! A type always handles a column of a chunk and never a single cell: it gets a few thousand cells as one Arrow array
//! and returns an array. It knows the form of a value in the staging database, in a table of Postgres and in a Parquet
//! file: as Arrow arrays, which are plain data, as the names of SQL types, and as bytes. The code that talks to those
//! systems is in `data_access`.
//!
//! Types read *plain cells*, the form of the contract. A value in a sender's own form is converted to a plain cell
//! first, or to a count of days, microseconds or ones.

mod bigint;
mod boolean;
mod cells;
mod clock;
#[cfg(test)]
mod conformance;
mod contract;
mod date;
mod decimal;
mod declared;
mod double;
mod integer;
mod json;
mod local_timestamp;
mod moment;
mod number;
mod primitive;
mod smallint;
mod sum;
mod table;
mod text;
mod time;
mod timestamp;
mod uuid;
mod whole;

use super::expression::unknown;

pub use bigint::bigint;
pub use boolean::boolean;
pub use cells::Cells;
pub use contract::{ColumnType, Options, Registration, Samples, Type, TypeOption};
pub(super) use declared::{TypeName, TypeOptions, require_options};
pub use number::{Digits, stated_number};
pub use sum::{ColumnSum, Sum};
pub use table::{Fit, TableColumn};
pub use text::text;

/// Every type.
pub const TYPES: &[&Registration] = &[
    &text::TYPE,
    &smallint::TYPE,
    &integer::TYPE,
    &bigint::TYPE,
    &decimal::TYPE,
    &double::TYPE,
    &boolean::TYPE,
    &date::TYPE,
    &time::TYPE,
    &timestamp::TYPE,
    &local_timestamp::TYPE,
    &uuid::TYPE,
    &json::TYPE,
];

/// The name of the type for columns that are never loaded.
pub const IGNORED: &str = "ignored";

/// Returns the type that is registered under a name.
///
/// # Errors
/// A message that suggests the nearest name.
pub fn registration(name: &str) -> Result<&'static Registration, String> {
    let names = || TYPES.iter().map(|registered| registered.name).chain([IGNORED]).collect::<Vec<_>>();
    TYPES.iter().find(|registered| registered.name == name).copied().ok_or_else(|| unknown("type", name, &names()))
}

impl ColumnType {
    /// What a plain cell is, in a sentence for the person who writes it.
    #[must_use]
    pub fn about(&self) -> String {
        let name = self.name();
        let registered = || TYPES.iter().find(|registered| registered.name == name).map(|known| known.about.to_owned());
        self.about_options().or_else(registered).unwrap_or(name)
    }
}
