//! What is known about a table that was checked.

/// What is known about the table of a dataset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Whether rows can be copied directly to it. A copy casts no value and ignores policies.
    pub(super) takes_copies: bool,
    /// The constraints that a row breaks only if another load interfered: those of the key and of the reference.
    pub(super) contended: Vec<String>,
    /// The triggers that may drop a row.
    pub(super) triggers: Vec<String>,
    /// The policies of row level security, if it applies to this role.
    pub(super) policies: Vec<String>,
}
