//! How a file differs from what its source declares, without that failing it.

use serde::Serialize;

/// What is different about a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The file lacks a column that it may lack.
    Missing,
    /// The file has a column that no column of the source reads.
    New,
}

impl Change {
    /// Its name in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::New => "new",
        }
    }
}

/// A column that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// What is different.
    pub change: Change,
    /// The column of the dataset that is missing, or the header of the one that is new.
    pub column: String,
}

/// The columns that differ, for people.
#[must_use]
pub fn shown(drift: &[Drift]) -> String {
    let columns = |change: Change| {
        let columns: Vec<String> =
            drift.iter().filter(|drift| drift.change == change).map(|drift| format!("{:?}", drift.column)).collect();
        (!columns.is_empty()).then(|| columns.join(", "))
    };
    let missing = columns(Change::Missing).map(|columns| format!("it lacks {columns}"));
    let new = columns(Change::New).map(|columns| format!("it has {columns}, which the source does not read"));
    missing.into_iter().chain(new).collect::<Vec<_>>().join("; ")
}
