//! Reads the definition of a column.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::column::{Column, Constraint, Literal};
use super::definition_text::DefinitionText;
use super::expression::unknown;
use super::rule::Severity;
use super::spanned::Spanned;
use super::types::{self, Options, registration};

/// A column as it is written in a definition.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = types::require_options)]
pub(super) struct ColumnDefinition {
    /// The name of the column, in the header of a file in the plain form and in the table.
    pub(super) name: Spanned<String>,
    /// What its values are.
    #[serde(rename = "type")]
    #[schemars(with = "types::TypeName")]
    pub(super) kind: Spanned<String>,
    /// Whether a row without a value is rejected.
    #[serde(default)]
    required: bool,
    /// The fewest characters of a text.
    min_length: Option<u32>,
    /// The most characters of a text.
    max_length: Option<u32>,
    /// The least value. Write one with decimals in quotes, such as "0.01", which is exact.
    min: Option<Literal>,
    /// Values must be greater than this.
    above: Option<Literal>,
    /// The greatest value. Write one with decimals in quotes, such as "0.01", which is exact.
    max: Option<Literal>,
    /// Values must be less than this.
    below: Option<Literal>,
    /// The only values that may come.
    allowed: Option<Vec<Literal>>,
    /// A regular expression that matches the whole text.
    pattern: Option<String>,
    /// Whether the values are encrypted before they leave the program. The column of the table is then a `bytea`.
    #[serde(default)]
    encrypt: bool,
    /// What breaking a rule of this column does, by the name of the rule: `{ min = "warning" }` loads the row and counts it.
    #[serde(default)]
    severity: BTreeMap<String, Severity>,
    /// All other keys are options of the type.
    #[serde(flatten)]
    #[schemars(with = "types::TypeOptions")]
    options: BTreeMap<String, toml::Value>,
}

/// The keys that a definition may have for every column.
const OF_EVERY_COLUMN: &[&str] = &[
    "name",
    "type",
    "required",
    "min_length",
    "max_length",
    "min",
    "above",
    "max",
    "below",
    "allowed",
    "pattern",
    "encrypt",
    "severity",
];
/// Options that every type accepts although only decimals use them, because earlier versions ignored them.
const READ_OVER: &[&str] = &["precision", "scale"];

/// Reads a column whose name is already known.
pub(super) fn read_column(
    source: &DefinitionText<'_>,
    name: String,
    at: &Spanned<ColumnDefinition>,
) -> Result<Column, String> {
    let definition = at.get_ref();
    let registration =
        registration(definition.kind.get_ref()).map_err(|message| source.error(&definition.kind, message))?;
    let names: Vec<&str> = registration.options.iter().map(|option| option.name).collect();
    read_options(source, at, &names)?;
    let kind = registration.kind(&Options(definition.options.clone()));
    let kind = kind.map_err(|message| source.error(&definition.kind, message))?;
    let given = [
        definition.min_length.map(Constraint::MinLength),
        definition.max_length.map(Constraint::MaxLength),
        definition.min.clone().map(Constraint::Min),
        definition.above.clone().map(Constraint::Above),
        definition.max.clone().map(Constraint::Max),
        definition.below.clone().map(Constraint::Below),
        definition.allowed.clone().map(Constraint::Allowed),
        definition.pattern.clone().map(Constraint::Pattern),
    ];
    let mut constraints = Vec::new();
    for constraint in given.into_iter().flatten() {
        constraint
            .check(&kind)
            .map_err(|message| source.error(&definition.name, format!("column {name}: {message}")))?;
        let severity = definition.severity.get(constraint.rule()).copied().unwrap_or_default();
        if severity == Severity::Warning && matches!(constraint, Constraint::MaxLength(_)) {
            return Err(source.error(
                &definition.name,
                format!("column {name}: max_length cannot warn: the table would refuse the row"),
            ));
        }
        constraints.push((constraint, severity));
    }
    let has = |rule: &str| constraints.iter().any(|(constraint, _)| constraint.rule() == rule);
    if let Some(rule) = definition.severity.keys().find(|rule| !has(rule)) {
        return Err(source.error(
            &definition.name,
            format!("column {name}: severity of {rule:?}, a rule that the column does not have"),
        ));
    }
    Ok(Column { name, kind, required: definition.required, constraints, encrypt: definition.encrypt })
}

/// Refuses an option that neither all columns nor this type have, and names its line.
pub(super) fn read_options(
    source: &DefinitionText<'_>,
    at: &Spanned<ColumnDefinition>,
    of_type: &[&str],
) -> Result<(), String> {
    let known = [OF_EVERY_COLUMN, of_type].concat();
    let strange =
        at.get_ref().options.keys().find(|name| !known.contains(&name.as_str()) && !READ_OVER.contains(&name.as_str()));
    let Some(name) = strange else { return Ok(()) };
    // The span of a table covers only its header. Its options are below, up to the next header.
    let (begin, rest) = (at.span().start, &source.text[at.span().start..]);
    let text = &rest[..rest.find("\n[").unwrap_or(rest.len())];
    let begins_a_line = |(place, _): &(usize, &str)| text[..*place].trim_end_matches([' ', '\t']).ends_with('\n');
    let place = text.match_indices(name.as_str()).find(begins_a_line).map_or(0, |(place, _)| place);
    Err(source.error_at(begin + place, unknown("option", name, &known)))
}
