//! A column of a dataset: its type, what its cells may look like as text, and which values it allows.

use chrono::{NaiveDate, NaiveDateTime};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::dataset::Severity;
use super::violation::quoted;

/// The type of a column, in the file and in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `text` or `varchar`: loaded exactly as it stands.
    Text,
    /// `integer`: 32 bits.
    Integer,
    /// `bigint`: 64 bits.
    BigInt,
    /// `numeric(precision, scale)`.
    Decimal {
        /// Digits in all, at most 28.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `timestamptz`, always UTC, to the microsecond.
    Timestamp,
}

impl ColumnType {
    /// The rule that a cell breaks which is no value of this type.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::BigInt => "integer",
            Self::Decimal { .. } => "decimal",
            Self::Timestamp => "timestamp",
        }
    }

    /// A cell as Postgres prints its value, where it has one of this type. The cell has been checked or not.
    #[must_use]
    pub fn canonical(self, cell: &str) -> Option<String> {
        match self {
            Self::Text => (!cell.is_empty() && !cell.contains('\0')).then(|| cell.to_owned()),
            Self::Integer => cell.parse::<i32>().ok().map(|number| number.to_string()),
            Self::BigInt => cell.parse::<i64>().ok().map(|number| number.to_string()),
            Self::Decimal { scale, .. } => {
                let mut number: Decimal = cell.parse().ok()?;
                number.rescale(scale.into());
                Some(number.to_string())
            }
            Self::Timestamp => {
                let time = NaiveDateTime::parse_from_str(cell.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f").ok()?;
                let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
                Some(format!("{}+00", text.trim_end_matches('0').trim_end_matches('.')))
            }
        }
    }

    /// Why `cell`, which is no value of this type, is none, and what to write instead.
    #[must_use]
    pub fn explain(self, cell: &str) -> String {
        let digits = cell.strip_prefix('-').unwrap_or(cell);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let shown = quoted(cell);
        match self {
            Self::Text => format!("{shown} is no text"),
            Self::Integer | Self::BigInt if is_number(digits) => {
                let bits = if self == Self::Integer { 32 } else { 64 };
                format!("{shown} does not fit into {bits} bits")
            }
            Self::Integer | Self::BigInt => {
                format!("{shown} is no whole number; write digits only, with a leading - where it is negative")
            }
            Self::Decimal { precision, scale } => match digits.split_once('.').unwrap_or((digits, "0")) {
                (whole, fraction) if !is_number(whole) || !is_number(fraction) => {
                    format!("{shown} is no decimal number; write digits, and at most one point between them")
                }
                (whole, _) if whole.len() > usize::from(precision - scale) => {
                    format!("{shown} has more than {} digits before the point", precision - scale)
                }
                _ => format!("{shown} has more than {scale} decimals; round it at its source"),
            },
            Self::Timestamp => explain_timestamp(cell, &shown),
        }
    }
}

fn explain_timestamp(cell: &str, shown: &str) -> String {
    const DATE: &str = "YYYY-MM-DD";
    if cell.rfind(['+', '-']).is_some_and(|at| at > DATE.len()) {
        return format!("{shown} has an offset; write the time in UTC, with Z or nothing behind it");
    }
    let date = cell.split('T').next().unwrap_or(cell);
    if date.len() == DATE.len() && date != cell && NaiveDate::parse_from_str(date, "%Y-%m-%d").is_err() {
        return format!("{shown} has a date that does not exist");
    }
    format!("{shown} is no timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999")
}

/// A bound or an allowed value as it stands in the definition: `0`, `"0.01"`, `1.5`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a whole number, or text in quotes such as \"0.01\"")]
pub enum Literal {
    /// A whole number.
    Integer(i64),
    /// Anything else, as text.
    Text(String),
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// What a cell must fulfil besides its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// At least that many characters.
    MinLength(u32),
    /// At most that many characters.
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
    /// The rule's id.
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

    /// What is wrong with `cell`, which breaks this constraint.
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
                format!("{shown} is none of {}", values.join(" "))
            }
            Self::Pattern(pattern) => format!("{shown} does not match {pattern}"),
        }
    }

    /// Checks that the constraint can apply to a column of this type.
    ///
    /// # Errors
    /// A message that says which value does not fit.
    pub fn check(&self, kind: ColumnType) -> Result<(), String> {
        let text_only = matches!(self, Self::MinLength(_) | Self::MaxLength(_) | Self::Pattern(_));
        if text_only && kind != ColumnType::Text {
            return Err(format!("{} applies to text only", self.rule()));
        }
        let literals: &[Literal] = match self {
            Self::Min(bound) | Self::Above(bound) | Self::Max(bound) | Self::Below(bound) => {
                std::slice::from_ref(bound)
            }
            Self::Allowed(values) => values,
            Self::MinLength(_) | Self::MaxLength(_) | Self::Pattern(_) => &[],
        };
        for literal in literals {
            let text = literal.to_string();
            let fits = match kind {
                ColumnType::Text => true,
                ColumnType::Integer => text.parse::<i32>().is_ok(),
                ColumnType::BigInt => text.parse::<i64>().is_ok(),
                ColumnType::Decimal { precision, scale } => text.parse::<Decimal>().is_ok_and(|bound| {
                    let bound = bound.normalize();
                    let most = Decimal::from_i128_with_scale(10_i128.pow(u32::from(precision - scale)), 0);
                    bound.scale() <= u32::from(scale) && bound.abs() < most
                }),
                ColumnType::Timestamp => {
                    NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f").is_ok()
                }
            };
            if !fits {
                return Err(format!("{} {text:?} is no value of type {}", self.rule(), kind.rule()));
            }
        }
        Ok(())
    }
}

/// A column that is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, in the header and in the table.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether a null is a reject.
    pub required: bool,
    /// What its values must fulfil, each with its severity.
    pub constraints: Vec<(Constraint, Severity)>,
    /// Whether its values are encrypted before they leave this program.
    pub encrypt: bool,
}

impl Column {
    /// The most characters that a value may have, where that is limited.
    #[must_use]
    pub fn max_length(&self) -> Option<u32> {
        self.constraints.iter().find_map(|(constraint, _)| match constraint {
            Constraint::MaxLength(length) => Some(*length),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONEY: ColumnType = ColumnType::Decimal { precision: 20, scale: 2 };

    #[test]
    fn a_decimal_that_is_none_is_told_why() {
        assert_eq!(MONEY.explain("15.555"), r#""15.555" has more than 2 decimals; round it at its source"#);
        assert!(MONEY.explain("1,000.00").contains("no decimal number"));
        assert!(MONEY.explain("1e2").contains("no decimal number"));
        assert!(MONEY.explain(".5").contains("no decimal number"));
        assert!(MONEY.explain("1234567890123456789").contains("more than 18 digits"));
    }

    #[test]
    fn a_value_has_the_form_that_postgres_prints() {
        let of = |kind: ColumnType, cell: &str| kind.canonical(cell);
        assert_eq!(of(ColumnType::Text, "007").as_deref(), Some("007"));
        assert_eq!(of(ColumnType::BigInt, "-007").as_deref(), Some("-7"));
        assert_eq!(of(MONEY, "015.5").as_deref(), Some("15.50"));
        assert_eq!(of(ColumnType::Timestamp, "2025-12-22T10:30:00Z").as_deref(), Some("2025-12-22 10:30:00+00"));
        assert_eq!(of(ColumnType::Timestamp, "2025-12-22T10:30:00.120").as_deref(), Some("2025-12-22 10:30:00.12+00"));
        assert_eq!((of(ColumnType::Integer, "7.0"), of(ColumnType::Text, "")), (None, None));
    }

    #[test]
    fn an_integer_that_is_none_is_told_why() {
        assert!(ColumnType::Integer.explain("100.7").contains("no whole number"));
        assert!(ColumnType::Integer.explain("2147483648").contains("32 bits"));
        assert!(ColumnType::BigInt.explain("9223372036854775808").contains("64 bits"));
    }

    #[test]
    fn a_timestamp_that_is_none_is_told_why() {
        let explain = |cell| ColumnType::Timestamp.explain(cell);
        assert!(explain("2025-12-22T10:30:00+08:00").contains("has an offset"));
        assert!(explain("2025-02-30T10:30:00").contains("does not exist"));
        assert!(explain("2025-12-22").contains("no timestamp"));
        assert!(explain("2025-12-22T24:00:00").contains("no timestamp"));
        assert!(explain("0000-01-01T00:00:00").contains("years 0001 to 9999"));
        assert!(explain("日本語日本語").contains("no timestamp"));
    }

    #[test]
    fn a_bound_of_the_wrong_type_is_refused() {
        let bound = Constraint::Min(Literal::Text("zero".into()));
        assert!(bound.check(MONEY).is_err());
        assert!(Constraint::MaxLength(3).check(ColumnType::Integer).is_err());
        assert!(Constraint::Min(Literal::Integer(0)).check(MONEY).is_ok());
    }
}
