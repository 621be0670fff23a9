//! The scopes of a dataset whose files replace what was there, in SQL.

use super::encode::postgres_type;
use super::sql_names::quoted;
use crate::domain::{Column, Dataset, row_key};

/// The columns whose values are the scope of a row: none if the scope is the whole table.
pub(super) struct Scope<'a> {
    columns: Vec<&'a Column>,
    flag: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// Those of a dataset.
    pub(super) fn of(dataset: &'a Dataset) -> Self {
        let replacement = dataset.replacement.as_ref();
        let names = replacement.map_or(&[][..], |replacement| &replacement.scope);
        Self {
            columns: names.iter().filter_map(|name| dataset.column(name)).collect(),
            flag: replacement.and_then(|replacement| replacement.flag.as_deref()),
        }
    }

    /// The column that marks deleted rows.
    pub(super) fn flag(&self) -> Option<String> {
        self.flag.map(quoted)
    }

    /// Whether a row is in one of the scopes whose values are in the parameters from `first` on.
    pub(super) fn holds(&self, prefix: &str, first: usize) -> String {
        self.is_any(first, |column| format!("{prefix}{}", quoted(&column.name)))
    }

    /// The same for a row that is kept as JSON.
    pub(super) fn holds_content(&self, content: &str, first: usize) -> String {
        self.is_any(first, |column| format!("({content} ->> '{}')::{}", column.name, postgres_type(column)))
    }

    /// Whether a row is in the scope that the ledger knows by this text, which is SQL.
    pub(super) fn is(&self, prefix: &str, text: &str) -> String {
        self.is_named(text, |column| format!("{prefix}{}", quoted(&column.name)))
    }

    /// The same for a row that is kept as JSON.
    pub(super) fn is_of_content(&self, content: &str, text: &str) -> String {
        self.is_named(text, |column| format!("({content} ->> '{}')::{}", column.name, postgres_type(column)))
    }

    fn is_named(&self, text: &str, value: impl Fn(&Column) -> String) -> String {
        let equal = |(place, column): (usize, &&Column)| {
            let (own, kind) = (value(column), postgres_type(column));
            match self.columns.len() {
                1 => format!("{own} = {text}::{kind}"),
                _ => format!("{own} = (etl.key_values({text}))[{}]::{kind}", place + 1),
            }
        };
        let equal: Vec<String> = self.columns.iter().enumerate().map(equal).collect();
        if equal.is_empty() { "true".to_owned() } else { equal.join(" and ") }
    }

    fn is_any(&self, first: usize, value: impl Fn(&Column) -> String) -> String {
        if self.columns.is_empty() {
            return "true".to_owned();
        }
        let own: Vec<String> = self.columns.iter().map(|column| value(column)).collect();
        let places = || (0..self.columns.len()).map(|place| format!("${}::text[]", first + place));
        let names = || (0..self.columns.len()).map(|place| format!("_{place}"));
        let typed = names().zip(&self.columns).map(|(name, column)| format!("{name}::{}", postgres_type(column)));
        format!(
            "({}) in (select {} from unnest({}) as _s ({}))",
            own.join(", "),
            typed.collect::<Vec<_>>().join(", "),
            places().collect::<Vec<_>>().join(", "),
            names().collect::<Vec<_>>().join(", "),
        )
    }

    /// The values of scopes that the ledger knows by these texts: a parameter for each column.
    pub(super) fn values(&self, scopes: &[String]) -> Vec<Vec<String>> {
        let split = |scope: &String| row_key::split(scope, self.columns.len()).unwrap_or_default();
        let rows: Vec<Vec<String>> = scopes.iter().map(split).filter(|values| !values.is_empty()).collect();
        (0..self.columns.len()).map(|place| rows.iter().map(|values| values[place].clone()).collect()).collect()
    }
}
