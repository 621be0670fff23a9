//! Columns of a table that the program fills when it writes a row.

use crate::domain::Column;
use crate::domain::types;

/// What the program fills a column with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The load that brought the row first.
    LoadId,
    /// The number of its record in the file of that load.
    Record,
    /// Whether the last file of its scope does not have the row: false when a row is written. The name of the column.
    Deleted(String),
}

impl Filled {
    /// The columns by which a row is known that has no key.
    pub const PLACE: [Self; 2] = [Self::LoadId, Self::Record];

    /// The name of the column.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::LoadId => "load_id",
            Self::Record => "record",
            Self::Deleted(name) => name,
        }
    }

    /// The column.
    pub(in crate::domain) fn column(&self) -> Column {
        let kind = if matches!(self, Self::Deleted(_)) { types::boolean() } else { types::bigint() };
        Column { name: self.name().to_owned(), kind, required: true, constraints: Vec::new(), encrypt: false }
    }
}
