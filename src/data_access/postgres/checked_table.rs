//! What is known about a table that was checked.

/// What is known about the table of a dataset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Whether rows can be copied directly to it. A copy casts no value and ignores policies.
    pub(super) takes_copies: bool,
    /// How it is stored.
    pub(super) storage: Storage,
    /// The constraints that a row breaks only if another load interfered: those of the key and of the reference.
    pub(super) contended: Vec<String>,
    /// The triggers that may drop a row.
    pub(super) triggers: Vec<String>,
    /// The policies of row level security, if it applies to this role.
    pub(super) policies: Vec<String>,
}

/// How a table is stored. This decides how inserted rows are told from updated ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// In one table: a row that was updated has the transaction that locked its earlier version in `xmax`.
    Plain,
    /// In partitions, for which Postgres returns no system columns of what it writes. A row that was there is locked before anything is
    /// written, so that what was planned is what happens.
    Partitioned,
}
