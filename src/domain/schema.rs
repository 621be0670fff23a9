//! The keys of the definition of a dataset, as they stand in its text.
//!
//! Editors show the sentence above a key when they know `schemas/dataset.schema.json`, which is made from this.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::column_definition::ColumnDefinition;
use super::dataset::{Agreement, ManifestRule};
use super::key_definition::Names;
use super::limits::LoadLimits;
use super::mode::MODES;
use super::replacement::Empty;
use super::rule::Severity;
use super::source::SourceDefinition;
use super::spanned::Spanned;
use super::tombstone::TombstoneDefinition;

/// The definition of a dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    /// The name of the dataset: lowercase letters, digits and `_`, at most 40, a letter first.
    pub(super) name: Spanned<String>,
    /// The table that the rows go to, in schema `public` or as `SCHEMA.TABLE`.
    pub(super) table: Spanned<String>,
    /// What a file does to the table: "upsert" (the default) keeps the newest row of each key, "append" adds every row, "replace" makes a
    /// scope what the file says.
    #[schemars(with = "Option<ModeName>")]
    pub(super) mode: Option<Spanned<String>>,
    /// What tells the rows of the table apart: a column, a list of columns, or "content" if the files have no key. Mode "append" has none.
    pub(super) key: Option<Spanned<Names>>,
    /// With `key = "content"`: the columns that tell rows apart; all of them otherwise.
    pub(super) content: Option<Spanned<Vec<Spanned<String>>>>,
    /// The column that tells an older row from a newer one, or "arrival": the row of the file that arrives later is the newer one.
    pub(super) version: Option<Spanned<String>>,
    /// In mode "replace": the columns whose values are the scope of a row. A file replaces the scopes that its rows have; without it, the
    /// whole table.
    pub(super) replace_by: Option<Spanned<Names>>,
    /// In mode "replace": the boolean column of the table that is set to true in rows that are gone. Without it they are deleted.
    pub(super) deleted: Option<Spanned<String>>,
    /// In mode "replace": a file that would take away a greater share of the rows of its scopes fails.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) max_delete_rate: Option<Spanned<f64>>,
    /// In mode "replace": what a file without any record does to its scope.
    pub(super) empty: Option<Spanned<Empty>>,
    /// Which records delete the row with their key instead of bringing one.
    pub(super) tombstone: Option<Spanned<TombstoneDefinition>>,
    /// The table that keeps each row as it was before a load overwrote or deleted it.
    pub(super) history: Option<Spanned<String>>,
    /// Patterns of the object keys of files in the plain form, such as "incoming/trades/**".
    #[serde(default = "no_files")]
    pub(super) files: Spanned<Vec<String>>,
    /// How a sender writes the table, where that is not the plain form.
    #[serde(default)]
    pub(super) source: Vec<Spanned<SourceDefinition>>,
    /// The cells that mean null.
    #[serde(default = "default_null_values")]
    pub(super) null_values: Vec<String>,
    /// The columns of a file, in any order.
    pub(super) column: Vec<Spanned<ColumnDefinition>>,
    /// Rules over several columns of a row.
    #[serde(default)]
    pub(super) rule: Vec<RuleDefinition>,
    /// A row of another dataset that must be in its table first; until then a row waits.
    pub(super) reference: Option<Spanned<ReferenceDefinition>>,
    /// Figures over the accepted rows of a file.
    #[serde(default)]
    pub(super) statistic: Vec<StatisticDefinition>,
    /// Whether a file needs a manifest beside it.
    #[serde(default)]
    pub(super) manifest: ManifestRule,
    /// What the dataset says of its loads instead of the settings of section `load`.
    pub(super) load: Option<Spanned<LoadLimits>>,
    /// When a file is due: DAYS HH:MM ZONE, such as "weekdays 18:00 Asia/Shanghai".
    pub(super) expected: Option<Spanned<String>>,
    /// What `small-etl guess` could not know. A definition with an open question is refused.
    #[serde(default)]
    pub(super) open_questions: Vec<Spanned<String>>,
}

/// A dataset whose files all have a declared source needs no pattern for the plain form.
fn no_files() -> Spanned<Vec<String>> {
    Spanned::new(0..0, Vec::new())
}

fn default_null_values() -> Vec<String> {
    ["", "NULL", "null", "None"].map(String::from).to_vec()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDefinition {
    /// The name of the rule in the ledger and in reports.
    pub(super) id: Spanned<String>,
    /// What a violation does to its row.
    #[serde(default)]
    pub(super) severity: Severity,
    /// The column that a violation names.
    pub(super) column: Spanned<String>,
    /// An expression that is true or false: the rule applies only to rows for which it is true.
    pub(super) when: Option<Spanned<String>>,
    /// An expression over the columns of the row that must be true. If one of these columns is null, the expression must not be false, as in a constraint of SQL.
    pub(super) check: Spanned<String>,
    /// What is wrong with a row that breaks the rule, and what to do.
    pub(super) message: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceDefinition {
    /// The column that holds the key of the other dataset.
    pub(super) column: Option<Spanned<Names>>,
    /// The columns that hold it, if it has several, in the order of that key.
    pub(super) columns: Option<Spanned<Names>>,
    /// The other dataset.
    pub(super) dataset: Spanned<String>,
    /// Columns that should agree between the two rows; a row in which one does not is loaded and counted.
    #[serde(default)]
    pub(super) warn_unless: Vec<Spanned<Agreement>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatisticDefinition {
    /// The name of the figure in reports.
    pub(super) id: Spanned<String>,
    /// An aggregate over the columns, such as "sum(cash)".
    pub(super) expression: Spanned<String>,
    /// One figure for each value of this column.
    pub(super) group_by: Option<Spanned<String>>,
}

/// The names of the modes.
struct ModeName;

impl JsonSchema for ModeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ModeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = MODES.iter().map(|mode| mode.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}
