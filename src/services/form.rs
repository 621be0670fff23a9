//! What a file in the plain form consists of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a file consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A header and records.
    #[default]
    Csv,
    /// An object in each line.
    JsonLines,
    /// Columns, written in pages. Settings choose it by the part that reads or writes it.
    #[serde(skip)]
    Parquet,
}
