//! What every form of a contract is made from.

use serde_json::{Map, Number, Value};

use crate::domain::column::{Column, Constraint, Literal};
use crate::domain::contract::{Contract, Delivered};
use crate::domain::{ColumnType, Severity};

/// A contract with rows that keep it, a cell for each of its cells.
pub struct Described<'d> {
    /// The contract.
    pub contract: Contract<'d>,
    /// The rows; a cell whose text cannot be told is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// The version of the definitions.
    pub version: &'d str,
}

impl Described<'_> {
    pub(super) fn title(&self) -> String {
        let from = self.contract.source.map(|source| format!(", as {} writes it", source.name));
        format!("{}{}", self.contract.dataset.name, from.unwrap_or_default())
    }

    /// The cells that are columns with a form of their own, which other standards can describe.
    pub(super) fn examples(&self, cell: usize) -> impl Iterator<Item = &String> {
        self.rows.iter().filter_map(move |row| row.get(cell)?.as_ref())
    }
}

/// What kind of value other standards take a column for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    Text,
    Whole,
    Number,
    Boolean,
    Date,
    Time,
    Moment,
    Json,
}

impl Logical {
    pub(super) fn of(kind: &ColumnType) -> Self {
        use crate::domain::source::kind::Kind;
        match kind.family() {
            Kind::Whole => Self::Whole,
            Kind::Decimal | Kind::Double => Self::Number,
            Kind::Boolean => Self::Boolean,
            Kind::Date => Self::Date,
            Kind::Time => Self::Time,
            Kind::Timestamp | Kind::LocalTimestamp => Self::Moment,
            _ if kind.is_json() => Self::Json,
            _ => Self::Text,
        }
    }

    /// A bound or a value as JSON: a number for numbers, otherwise its text.
    pub(super) fn value(self, text: &str) -> Value {
        let number =
            || text.parse::<i64>().map(Number::from).ok().or_else(|| text.parse().ok().and_then(Number::from_f64));
        match self {
            Self::Whole | Self::Number => number().map_or_else(|| text.into(), Value::Number),
            Self::Boolean => Value::Bool(text == "true"),
            _ => text.into(),
        }
    }
}

/// The rules of a column that reject a row, by the names that most standards have for them.
pub(super) fn constraints(column: &Column) -> Map<String, Value> {
    let logical = Logical::of(&column.kind);
    let value = |literal: &Literal| logical.value(&literal.to_string());
    let errors = column.constraints.iter().filter(|(_, severity)| *severity == Severity::Error);
    let one = |constraint: &Constraint| -> (String, Value) {
        let (name, value) = match constraint {
            Constraint::MinLength(length) => ("minLength", Value::from(*length)),
            Constraint::MaxLength(length) => ("maxLength", Value::from(*length)),
            Constraint::Min(bound) => ("minimum", value(bound)),
            Constraint::Above(bound) => ("exclusiveMinimum", value(bound)),
            Constraint::Max(bound) => ("maximum", value(bound)),
            Constraint::Below(bound) => ("exclusiveMaximum", value(bound)),
            Constraint::Allowed(values) => ("enum", values.iter().map(value).collect()),
            Constraint::Pattern(pattern) => ("pattern", Value::from(format!("^(?:{pattern})$"))),
        };
        (name.to_owned(), value)
    };
    errors.map(|(constraint, _)| one(constraint)).collect()
}

/// What a column is, in a few sentences.
pub(super) fn description(cell: &Delivered<'_>) -> String {
    cell.words().join(" ")
}

/// Whether other standards can describe the values of a cell: it is one column in the plain form of its type.
pub(super) fn is_plain(cell: &Delivered<'_>) -> bool {
    use crate::domain::source::cell_form::Value as Written;
    cell.joined.is_none()
        && cell
            .form
            .is_none_or(|form| matches!(form.form.value, Written::Plain | Written::Json) && form.form.part.is_none())
}
