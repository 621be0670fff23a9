//! `[tombstone]` of a definition: which records of a file delete the row with their key instead of bringing one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::column::{Column, Literal};
use super::definition_text::DefinitionText;
use super::expression::unknown;
use super::mode::Mode;
use super::spanned::Spanned;

/// Which records delete the row with their key.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// The column that tells tombstones from rows.
    pub column: String,
    /// Its values in records that delete.
    pub values: Vec<Literal>,
    /// Whether the table has this column. If not, it is the last of the dataset.
    pub in_table: bool,
}

/// The records that delete.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TombstoneDefinition {
    /// The column that tells tombstones from rows.
    column: Spanned<String>,
    /// Its values in records that delete the row with their key.
    values: Spanned<Vec<Literal>>,
    /// Whether the table has this column.
    #[serde(default = "yes")]
    in_table: bool,
}

fn yes() -> bool {
    true
}

/// Reads the tombstones, and moves a column that the table does not have to the end of `columns`. `used` are the columns that rows
/// are written and compared by.
pub(super) fn read_tombstone(
    source: &DefinitionText<'_>,
    definition: &Spanned<TombstoneDefinition>,
    (mode, has_content_key): (&dyn Mode, bool),
    used: &[String],
    columns: &mut Vec<Column>,
) -> Result<Tombstone, String> {
    let TombstoneDefinition { column: name, values, in_table } = definition.get_ref();
    if !mode.has_key() || mode.takes_away() {
        let message = format!("mode {:?} has no tombstones; leave out mode, or [tombstone]", mode.name());
        return Err(source.error(definition, message));
    }
    if has_content_key {
        let message = "a tombstone names the row to delete by its key, and key = \"content\" is made of the whole row; \
            let columns be the key";
        return Err(source.error(definition, message));
    }
    let Some(place) = columns.iter().position(|column| column.name == *name.get_ref()) else {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(source.error(name, unknown("column", name.get_ref(), &names)));
    };
    let column = &columns[place];
    if !column.kind.can_be_compared() {
        let message = format!("column {:?} of type {} cannot tell tombstones", column.name, column.kind.rule());
        return Err(source.error(name, message));
    }
    if used.contains(&column.name) {
        let message = format!(
            "column {:?} is key, version or reference and cannot tell tombstones as well; name another",
            column.name
        );
        return Err(source.error(name, message));
    }
    if column.encrypt {
        return Err(source.error(name, format!("column {:?} is encrypted and cannot tell tombstones", column.name)));
    }
    if values.get_ref().is_empty() {
        return Err(source.error(values, "values lists nothing; name the values of records that delete"));
    }
    if let Some(wrong) = values.get_ref().iter().find(|value| column.kind.literal(&value.to_string()).is_none()) {
        let message = format!("{:?} is not a value of type {}", wrong.to_string(), column.kind.rule());
        return Err(source.error(values, message));
    }
    if !in_table {
        let column = columns.remove(place);
        columns.push(column);
    }
    Ok(Tombstone { column: name.get_ref().clone(), values: values.get_ref().clone(), in_table: *in_table })
}

#[cfg(test)]
mod tests {
    use crate::domain::Datasets;

    const QUOTE: &str = r#"
name = "quote"
table = "quote"
key = "code"
version = "revision"
files = ["quotes/**"]

[[column]]
name = "op"
type = "text"
allowed = ["I", "U", "D"]

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "revision"
type = "bigint"
required = true

[tombstone]
column = "op"
values = ["D"]
"#;

    fn read(text: &str) -> Result<Datasets, String> {
        Datasets::parse([("quote.toml", text)])
    }

    #[test]
    fn a_column_that_the_table_lacks_is_the_last_and_only_files_have_it() {
        let names = |in_table: &str| {
            let datasets = read(&format!("{QUOTE}{in_table}")).unwrap();
            let quote = datasets.get("quote").unwrap();
            let names = |columns: &[crate::domain::Column]| {
                columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>().join(" ")
            };
            (names(quote.file_columns()), names(quote.table_columns()), names(&quote.as_in_table().columns))
        };
        let all = || "op code revision".to_owned();
        assert_eq!(names(""), (all(), all(), all()));
        let table = || "code revision".to_owned();
        assert_eq!(names("in_table = false\n"), ("code revision op".to_owned(), table(), table()));
    }

    #[test]
    fn what_cannot_tell_tombstones_is_refused_with_its_line() {
        for (from, to, message) in [
            ("column = \"op\"", "column = \"ops\"", "line 24: unknown column \"ops\""),
            ("column = \"op\"", "column = \"revision\"", "line 24: column \"revision\" is key, version or reference"),
            ("values = [\"D\"]", "values = []", "line 25: values lists nothing"),
            (
                "\"text\"\nallowed = [\"I\", \"U\", \"D\"]",
                "\"integer\"",
                "line 24: \"D\" is not a value of type integer",
            ),
            ("\"text\"\nallowed = [\"I\", \"U\", \"D\"]", "\"text\"\nencrypt = true", "is encrypted"),
            ("key = \"code\"", "key = \"content\"", "line 23: a tombstone names the row to delete by its key"),
        ] {
            let error = read(&QUOTE.replace(from, to)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_rule_over_a_column_of_the_file_alone_is_not_checked_in_the_table() {
        let rule = "[[rule]]\nid = \"r\"\ncolumn = \"code\"\ncheck = \"op <> 'U' or revision > 1\"\nmessage = \"m\"\n";
        let datasets = read(&format!("{QUOTE}in_table = false\n{rule}")).unwrap();
        let quote = datasets.get("quote").unwrap();
        assert_eq!((quote.rules.len(), quote.as_in_table().rules.len()), (1, 0));
    }
}
