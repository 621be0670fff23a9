//! Rules over several columns of a row, and what happens if a row breaks one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::expression::Expression;

/// What a violation does to its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The row is rejected.
    #[default]
    Error,
    /// The row is loaded, and the violation is counted.
    Warning,
}

/// A rule over several columns of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowRule {
    /// The name in `etl.reject`.
    pub id: String,
    /// What a violation does.
    pub severity: Severity,
    /// The column that a violation names.
    pub column: String,
    /// A boolean. The rule applies only to rows for which it is true.
    pub when: Option<Expression>,
    /// A boolean that must be true; `None` if a validator of the pipeline finds the rows that break the rule.
    pub check: Option<Expression>,
    /// What is wrong and what to do.
    pub message: String,
    /// The columns that `when` and `check` read.
    pub reads: Vec<String>,
}

impl RowRule {
    /// Creates a rule that a validator of the pipeline checks. Rows that break it are rejected.
    #[must_use]
    pub fn found(id: &str, column: &str, message: &str) -> Self {
        Self {
            id: id.to_owned(),
            severity: Severity::Error,
            column: column.to_owned(),
            when: None,
            check: None,
            message: message.to_owned(),
            reads: Vec::new(),
        }
    }
}
