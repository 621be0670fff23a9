//! The columns of a key in SQL, be it one or several.

use postgres_protocol::escape::escape_literal;
use tokio_postgres::types::ToSql;

use super::copy::{CopyRow, CopyRows, Raw};
use super::encode::postgres_type;
use super::sql_names::quoted;
use crate::domain::types::ColumnType;
use crate::domain::{Dataset, Reference, row_key};

/// The columns of a key with their types, and where their values stand in a row of the dataset.
pub(super) struct Key<'a> {
    names: Vec<&'a str>,
    types: Vec<&'static str>,
    kinds: Vec<&'a ColumnType>,
    places: Vec<usize>,
}

impl<'a> Key<'a> {
    /// The key of a dataset.
    pub(super) fn of(dataset: &'a Dataset) -> Self {
        let columns = dataset.key_columns();
        Self {
            names: dataset.key.iter().map(String::as_str).collect(),
            kinds: columns.iter().map(|column| &column.kind).collect(),
            types: columns.into_iter().map(postgres_type).collect(),
            places: places(dataset, &dataset.key),
        }
    }

    /// The key that a dataset refers to: its names there, and the places of its values here.
    pub(super) fn referred(dataset: &Dataset, reference: &'a Reference) -> Self {
        Self {
            names: reference.key.iter().map(String::as_str).collect(),
            types: reference.key_kinds.iter().map(|kind| kind.table_type()).collect(),
            kinds: reference.key_kinds.iter().collect(),
            places: places(dataset, &reference.columns),
        }
    }

    /// The columns of a dataset that refer to a key.
    pub(super) fn referring(dataset: &'a Dataset, reference: &'a Reference) -> Self {
        Self { names: reference.columns.iter().map(String::as_str).collect(), ..Self::referred(dataset, reference) }
    }

    /// Whether it has one column.
    pub(super) fn is_single(&self) -> bool {
        self.names.len() == 1
    }

    /// How many columns it has.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn each(&self, map: impl Fn(&str, &str) -> String) -> Vec<String> {
        self.names.iter().zip(&self.types).map(|(name, kind)| map(&quoted(name), kind)).collect()
    }

    /// Its columns, each after `prefix`.
    pub(super) fn list(&self, prefix: &str) -> String {
        self.each(|name, _| format!("{prefix}{name}")).join(", ")
    }

    /// The first of them.
    pub(super) fn first(&self, prefix: &str) -> String {
        format!("{prefix}{}", quoted(self.names[0]))
    }

    /// The text by which the ledger knows it (`domain::row_key`).
    pub(super) fn text(&self, prefix: &str) -> String {
        let mut texts =
            self.names.iter().zip(&self.kinds).map(|(name, kind)| kind.key_text(&format!("{prefix}{}", quoted(name))));
        if self.is_single() {
            return texts.next().unwrap_or_default();
        }
        let escaped = |text: String| format!(r"replace(replace({text}, '\', '\\'), ',', '\,')");
        texts.map(escaped).collect::<Vec<_>>().join(" || ',' || ")
    }

    /// Whether the rows with these prefixes have the same.
    pub(super) fn equal(&self, one: &str, other: &str) -> String {
        self.each(|name, _| format!("{one}{name} = {other}{name}")).join(" and ")
    }

    /// Whether it is that of the values in other columns.
    pub(super) fn equals(&self, prefix: &str, others: impl Iterator<Item = String>) -> String {
        let pairs = self.names.iter().zip(others).map(|(name, other)| format!("{prefix}{} = {other}", quoted(name)));
        pairs.collect::<Vec<_>>().join(" and ")
    }

    /// SQL that selects from a table the rows with one of the keys in the parameters from `$1` on, an array for each column. No key may be
    /// there twice. Each is looked up in the index by itself: for a table that was empty when it was last analyzed, the planner would
    /// compare the keys with all rows.
    pub(super) fn rows_of(&self, columns: &str, table: &str) -> String {
        if self.is_single() {
            return format!("select {columns} from {table} where {} = any ($1::{}[])", self.first(""), self.types[0]);
        }
        let same = self.equal("t.", "_k.");
        format!(
            "select t.* from {} cross join lateral (select {columns} from {table} t where {same} offset 0) as t",
            self.given()
        )
    }

    /// SQL that locks these rows, in the order of their keys.
    pub(super) fn lock_rows_of(&self, table: &str) -> String {
        let list = self.list("");
        if self.is_single() {
            return format!("{} order by {list} for no key update", self.rows_of("", table));
        }
        let (given, same) = (self.given(), self.equal("t.", "_k."));
        format!(
            "select from (select * from {given} order by {list} offset 0) as _k \
                 cross join lateral (select from {table} t where {same} offset 0 for no key update) as t"
        )
    }

    /// SQL for the keys in the parameters, as a table `_k`.
    fn given(&self) -> String {
        let arrays = self.types.iter().enumerate().map(|(place, kind)| format!("${}::{kind}[]", place + 1));
        format!("unnest({}) as _k ({})", arrays.collect::<Vec<_>>().join(", "), self.list(""))
    }

    /// SQL condition: the key equals the texts in the parameters from `first` on, one for each column.
    pub(super) fn is_text(&self, first: usize) -> String {
        let values = self.types.iter().enumerate().map(|(place, kind)| format!("${}::text::{kind}", first + place));
        self.equals("", values)
    }

    /// Compares it with the one that the ledger knows by this text.
    pub(super) fn compared(&self, operator: &str, text: &str) -> String {
        let values = row_key::split(text, self.len()).unwrap_or_default();
        let values: Vec<String> = values.iter().map(|value| escape_literal(value)).collect();
        if self.is_single() {
            return format!("{} {operator} {}", self.list(""), values.join(", "));
        }
        format!("({}) {operator} ({})", self.list(""), values.join(", "))
    }

    /// Whether one of its columns is null.
    pub(super) fn lacks_one(&self) -> String {
        self.each(|name, _| format!("{name} is null")).join(" or ")
    }

    /// SQL: the columns of keys whose texts are `_text` in another query, and the column `also` of that one.
    pub(super) fn of_texts(&self, query: &str, also: &str) -> String {
        if self.is_single() {
            let value = self.each(|name, kind| format!("_text::{kind} as {name}")).join(", ");
            return format!("select {value}, {also} from ({query}) as _texts");
        }
        let each = self.names.iter().zip(&self.types).enumerate();
        let values = each.map(|(place, (name, kind))| format!("_values[{}]::{kind} as {}", place + 1, quoted(name)));
        // A text without a backslash is split faster.
        format!(
            "select {}, {also} from ({query}) as _texts cross join lateral ( \
                 select case when strpos(_text, '\\') = 0 then string_to_array(_text, ',') else etl.key_values(_text) end as _values \
                 offset 0) as _split",
            values.collect::<Vec<_>>().join(", ")
        )
    }

    /// Whether its only column has the value that another column holds as text.
    pub(super) fn is_text_in(&self, prefix: &str, other: &str) -> String {
        format!("{} = {other}::{}", self.first(prefix), self.types[0])
    }

    /// The values of those rows that have one for each column: an array for each.
    pub(super) fn values<'r>(&self, rows: &'r CopyRows, of: impl Iterator<Item = &'r CopyRow>) -> Vec<Vec<Raw<'r>>> {
        let mut arrays: Vec<Vec<Raw<'r>>> = self.places.iter().map(|_| Vec::new()).collect();
        for row in of {
            let values: Option<Vec<&[u8]>> = self.places.iter().map(|place| rows.values(row).nth(*place)?).collect();
            for (array, value) in arrays.iter_mut().zip(values.into_iter().flatten()) {
                array.push(Raw(value));
            }
        }
        arrays
    }

    /// The values of a row in a form in which they can be compared; `None` if one is null.
    pub(super) fn bytes(&self, rows: &CopyRows, row: &CopyRow) -> Option<Vec<u8>> {
        joined(self.places.iter().map(|place| rows.values(row).nth(*place).flatten()))
    }
}

/// Values of the columns of a key in one; `None` if one of them is null.
pub(super) fn joined<'v>(values: impl Iterator<Item = Option<&'v [u8]>>) -> Option<Vec<u8>> {
    let (mut bytes, mut values) = (Vec::new(), values.peekable());
    while let Some(value) = values.next() {
        let value = value?;
        if values.peek().is_some() {
            bytes.extend_from_slice(&value.len().to_be_bytes());
        }
        bytes.extend_from_slice(value);
    }
    Some(bytes)
}

/// Arrays as parameters of a statement.
pub(super) fn parameters<'p>(arrays: &'p [Vec<Raw<'_>>]) -> Vec<&'p (dyn ToSql + Sync)> {
    arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect()
}

fn places(dataset: &Dataset, names: &[String]) -> Vec<usize> {
    names.iter().filter_map(|name| dataset.columns.iter().position(|column| column.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Datasets;

    #[test]
    fn values_in_one_come_from_one_pair_alone() {
        let pair = |one: &'static [u8], two: &'static [u8]| joined([Some(one), Some(two)].into_iter()).unwrap();
        let values: [&'static [u8]; 6] =
            [b"", b"a", b"\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\x08", b"a\0\0\0\0\0\0\0\x01"];
        let mut seen = std::collections::BTreeSet::new();
        for one in values {
            for two in values {
                assert!(seen.insert(pair(one, two)), "{one:?} {two:?}");
            }
        }
        assert_eq!(joined([Some(&b"a"[..])].into_iter()).unwrap(), b"a");
        assert_eq!(joined([Some(&b"a"[..]), None].into_iter()), None);
    }

    #[test]
    fn one_column_is_asked_for_as_it_always_was() {
        let text = include_str!("../../../datasets/asset.toml");
        let datasets = Datasets::parse([("asset.toml", text)]).unwrap();
        let key = Key::of(datasets.get("asset").unwrap());
        assert_eq!(key.rows_of("*", "asset"), "select * from asset where \"account_id\" = any ($1::text[])");
        assert_eq!(key.text("t."), "t.\"account_id\"::text");
        assert_eq!(key.equal("t.", "s."), "t.\"account_id\" = s.\"account_id\"");
    }

    /// A table may have more decimals than the definition, and prints them.
    #[test]
    fn a_decimal_has_the_text_by_which_the_ledger_knows_it() {
        let text = include_str!("../../../datasets/asset.toml")
            .replace("key = \"account_id\"", "key = [\"account_id\", \"cash\"]");
        let datasets = Datasets::parse([("asset.toml", text.as_str())]).unwrap();
        let text = Key::of(datasets.get("asset").unwrap()).text("t.");
        let cash = "(case when t.\"cash\" = round(t.\"cash\", 2) then round(t.\"cash\", 2) else t.\"cash\" end)::text";
        assert!(text.contains(cash), "{text}");
    }

    #[test]
    fn several_columns_are_asked_for_together() {
        let text = include_str!("../../../datasets/asset.toml")
            .replace("key = \"account_id\"", "key = [\"account_id\", \"account_type\"]");
        let datasets = Datasets::parse([("asset.toml", text.as_str())]).unwrap();
        let key = Key::of(datasets.get("asset").unwrap());
        assert_eq!(
            key.rows_of("*", "asset"),
            "select t.* from unnest($1::text[], $2::int4[]) as _k (\"account_id\", \"account_type\") cross join lateral (select * from asset t \
             where t.\"account_id\" = _k.\"account_id\" and t.\"account_type\" = _k.\"account_type\" offset 0) as t"
        );
        assert_eq!(
            key.equal("t.", "s."),
            "t.\"account_id\" = s.\"account_id\" and t.\"account_type\" = s.\"account_type\""
        );
        assert_eq!(key.is_text(2), "\"account_id\" = $2::text::text and \"account_type\" = $3::text::int4");
    }
}
