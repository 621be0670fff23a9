//! `history` of a definition: the table that keeps rows as they were before a load overwrote or deleted them.

use super::column::Column;
use super::definition_text::DefinitionText;
use super::spanned::Spanned;

/// The load that wrote a row. The table of the dataset and its history have it.
pub const WRITTEN_BY: &str = "written_by";
/// Since when the row holds. The table of the dataset and its history have it.
pub const VALID_FROM: &str = "valid_from";
/// The load that overwrote or deleted a row of the history.
pub const REPLACED_BY: &str = "replaced_by";
/// When it did.
pub const VALID_TO: &str = "valid_to";
/// How: `updated`, `removed` by a tombstone, `deleted` because its file did not have it, or `undone`.
pub const ENDED_AS: &str = "ended_as";

/// What the program fills in the table of a dataset with a history: names and types.
pub const OF_TABLE: [(&str, &str); 2] = [(WRITTEN_BY, "bigint"), (VALID_FROM, "timestamp with time zone")];
/// What it fills in the history as well.
pub const OF_HISTORY: [(&str, &str); 3] =
    [(REPLACED_BY, "bigint"), (VALID_TO, "timestamp with time zone"), (ENDED_AS, "text")];

/// Reads the name of the history.
pub(super) fn read_history(
    source: &DefinitionText<'_>,
    history: &Spanned<String>,
    table: &str,
    columns: &[Column],
) -> Result<String, String> {
    let name = source.table_name(history)?;
    let plain = |name: &str| name.strip_prefix("public.").unwrap_or(name).to_owned();
    if plain(&name) == plain(table) {
        return Err(source.error(history, "the history is a table of its own; give it another name"));
    }
    let filled = || OF_TABLE.iter().chain(&OF_HISTORY).map(|(name, _)| *name);
    if let Some(taken) = columns.iter().find(|column| filled().any(|name| name == column.name)) {
        let message = format!("a history fills column {:?}, which the dataset may not define", taken.name);
        return Err(source.error(history, message));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use crate::domain::Datasets;

    #[test]
    fn a_history_is_another_table_and_its_columns_are_filled_by_the_program() {
        let text = include_str!("../../datasets/asset.toml");
        let read = |history: &str, text: &str| {
            let text = text.replacen("version =", &format!("history = \"{history}\"\nversion ="), 1);
            Datasets::parse([("asset.toml", text.as_str())])
        };
        let datasets = read("old.asset", text).unwrap();
        assert_eq!(datasets.get("asset").unwrap().history.as_deref(), Some("old.asset"));
        assert!(read("public.asset", text).unwrap_err().contains("give it another name"));
        assert!(read("Old", text).unwrap_err().contains("is no name"));
        let taken = text.replace("\"frozen_cash\"", "\"valid_to\"");
        assert!(read("old", &taken).unwrap_err().contains("fills column \"valid_to\""));
    }
}
