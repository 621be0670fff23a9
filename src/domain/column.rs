//! A column of a dataset: its type, and which values it allows.

use schemars::JsonSchema;
use serde::Deserialize;

use super::rule::Severity;
use super::types::ColumnType;
use super::violation::quoted;

/// A bound or an allowed value as it is written in the definition: `0`, `true`, `2025-12-22`, `"0.01"`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "a whole number, true, false, a date, a time, or text in quotes such as \"0.01\", which is exact"
)]
pub enum Literal {
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A date, a time, or both.
    Moment(#[schemars(with = "String")] toml::value::Datetime),
    /// Anything else, as text.
    Text(String),
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Moment(moment) => moment.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A constraint on the values of a column, beyond their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// At least this many characters.
    MinLength(u32),
    /// At most this many characters.
    MaxLength(u32),
    /// Not less than.
    Min(Literal),
    /// Greater than.
    Above(Literal),
    /// Not more than.
    Max(Literal),
    /// Less than.
    Below(Literal),
    /// One of these.
    Allowed(Vec<Literal>),
    /// The whole cell matches this regular expression.
    Pattern(String),
}

impl Constraint {
    /// The ids of all constraints.
    pub const RULES: &[&str] = &["min_length", "max_length", "min", "above", "max", "below", "allowed", "pattern"];

    /// The id of the rule.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::MinLength(_) => "min_length",
            Self::MaxLength(_) => "max_length",
            Self::Min(_) => "min",
            Self::Above(_) => "above",
            Self::Max(_) => "max",
            Self::Below(_) => "below",
            Self::Allowed(_) => "allowed",
            Self::Pattern(_) => "pattern",
        }
    }

    /// Explains how `cell` breaks this constraint.
    #[must_use]
    pub fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        match self {
            Self::MinLength(length) => format!("{shown} has fewer than {length} characters"),
            Self::MaxLength(length) => {
                format!("{shown} has {} characters, more than {length}", cell.chars().count())
            }
            Self::Min(bound) => format!("{shown} is less than {bound}"),
            Self::Above(bound) => format!("{shown} is not greater than {bound}"),
            Self::Max(bound) => format!("{shown} is greater than {bound}"),
            Self::Below(bound) => format!("{shown} is not less than {bound}"),
            Self::Allowed(values) => {
                let values: Vec<String> = values.iter().map(Literal::to_string).collect();
                format!("{shown} is not one of {}", values.join(" "))
            }
            Self::Pattern(pattern) => format!("{shown} does not match {pattern}"),
        }
    }

    /// Checks that the constraint can apply to a column of this type.
    ///
    /// # Errors
    /// A message that says which value does not fit.
    pub fn check(&self, kind: &ColumnType) -> Result<(), String> {
        let text_only = matches!(self, Self::MinLength(_) | Self::MaxLength(_) | Self::Pattern(_));
        if text_only && !kind.is_text() {
            return Err(format!("{} applies to text only", self.rule()));
        }
        if !kind.can_be_compared() {
            return Err(format!("{} does not apply to type {}", self.rule(), kind.rule()));
        }
        match self.literals().iter().find(|literal| kind.literal(&literal.to_string()).is_none()) {
            Some(literal) => {
                Err(format!("{} {:?} is not a value of type {}", self.rule(), literal.to_string(), kind.rule()))
            }
            None => Ok(()),
        }
    }

    fn literals(&self) -> &[Literal] {
        match self {
            Self::Min(bound) | Self::Above(bound) | Self::Max(bound) | Self::Below(bound) => {
                std::slice::from_ref(bound)
            }
            Self::Allowed(values) => values,
            Self::MinLength(_) | Self::MaxLength(_) | Self::Pattern(_) => &[],
        }
    }
}

/// A column that is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name, in the header and in the table.
    pub name: String,
    /// The type.
    pub kind: ColumnType,
    /// Whether a null is rejected.
    pub required: bool,
    /// The constraints on the values, each with its severity.
    pub constraints: Vec<(Constraint, Severity)>,
    /// Whether the values are encrypted before they leave this program.
    pub encrypt: bool,
}

impl Column {
    /// The most characters that a value may have, if that is limited.
    #[must_use]
    pub fn max_length(&self) -> Option<u32> {
        self.constraints.iter().find_map(|(constraint, _)| match constraint {
            Constraint::MaxLength(length) => Some(*length),
            _ => None,
        })
    }

    /// Checks whether a cell is short enough for a key. Longer ones are in no table, and no index of the ledger holds them.
    #[must_use]
    pub fn is_short_key(&self, cell: &str) -> bool {
        const LONGEST: usize = 2700;
        cell.chars().count() <= self.max_length().map_or(LONGEST, |length| length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::registration;
    use super::*;

    #[test]
    fn a_bound_of_the_wrong_type_is_refused() {
        let kind = |name: &str, options: &str| registration(name)?.kind(&toml::from_str(options).unwrap());
        let kind = |name, options| kind(name, options).unwrap();
        let money = kind("decimal", "precision = 20\nscale = 2");
        assert!(Constraint::Min(Literal::Text("zero".into())).check(&money).is_err());
        assert!(Constraint::MaxLength(3).check(&kind("integer", "")).is_err());
        assert!(Constraint::Min(Literal::Integer(0)).check(&money).is_ok());
        assert!(Constraint::Max(Literal::Text("2025-02-30T00:00:00".into())).check(&kind("timestamp", "")).is_err());
        assert!(Constraint::Max(Literal::Text("2025-02-30".into())).check(&kind("date", "")).is_err());
        assert!(Constraint::Min(Literal::Integer(0)).check(&kind("json", "")).is_err());
    }
}
