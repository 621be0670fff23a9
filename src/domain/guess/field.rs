//! A column of the dataset and of its source.

use super::question::Asked;
use crate::domain::source::kind::Kind;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// A whole number.
    Bigint,
    /// A number with decimals.
    Decimal {
        /// All digits.
        precision: usize,
        /// Digits after the point.
        scale: usize,
    },
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// A moment.
    Timestamp,
    /// A date and a time by a clock in no known zone.
    LocalTimestamp,
    /// True or false.
    Boolean,
    /// A UUID.
    Uuid,
    /// JSON.
    Json,
}

impl FieldType {
    /// The family of types that it belongs to.
    #[must_use]
    pub fn family(self) -> Kind {
        match self {
            Self::Text | Self::Uuid | Self::Json => Kind::Text,
            Self::Bigint => Kind::Whole,
            Self::Decimal { .. } => Kind::Decimal,
            Self::Date => Kind::Date,
            Self::Time => Kind::Time,
            Self::Timestamp => Kind::Timestamp,
            Self::LocalTimestamp => Kind::LocalTimestamp,
            Self::Boolean => Kind::Boolean,
        }
    }

    /// Its name in a definition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::LocalTimestamp => "local_timestamp",
            Self::Boolean => "boolean",
            Self::Uuid => "uuid",
            Self::Json => "json",
        }
    }
}

/// An option of a column of a source. One that an open question leaves undecided has the id of that question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOption {
    /// Its name.
    pub name: &'static str,
    /// Its value, in TOML. For an open question it is one that makes the file readable.
    pub value: String,
    /// The id of the question that decides it.
    pub question: Option<String>,
}

impl ColumnOption {
    /// An option that is decided.
    pub(super) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), question: None }
    }

    /// An option that a question decides.
    pub(super) fn asked(name: &'static str, value: impl Into<String>, asked: &Asked) -> Self {
        Self { name, value: value.into(), question: asked.is_open().then(|| asked.question.id.clone()) }
    }
}

/// A column of the dataset and of the source.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its header as it was sent; `None` if it has none, or is not a cell of the table.
    pub header: Option<String>,
    /// Its place in the table, from 1; 0 if it is not a cell of the table.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: FieldType,
    /// How it is written, for people.
    pub form: Option<String>,
    /// Why.
    pub evidence: String,
    /// Whether every row has a value.
    pub required: bool,
    /// Whether it is the unit of the column before it.
    pub is_unit: bool,
    /// Whether it is made of cells that are columns of their own.
    pub is_made: bool,
    /// Its options in the source.
    pub options: Vec<ColumnOption>,
    /// Its values, if there are few of them.
    pub allowed: Option<Vec<String>>,
    /// The most characters that a value was seen to have.
    pub longest: usize,
    /// The place of its column among those of the table.
    pub(super) at: usize,
}

impl Field {
    /// A column whose values are not cells of the table.
    pub(super) fn outside(name: &str, kind: FieldType, evidence: String, options: Vec<ColumnOption>) -> Self {
        Self {
            header: None,
            position: 0,
            name: name.to_owned(),
            kind,
            form: None,
            evidence,
            required: true,
            is_unit: false,
            is_made: true,
            options,
            allowed: None,
            longest: 0,
            at: 0,
        }
    }
}
