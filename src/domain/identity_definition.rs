//! What a definition says of the identity of rows, or what its mode says instead.

use super::column::Column;
use super::content::{CONTENT_KEY, Content};
use super::definition_text::DefinitionText;
use super::key_definition::{Names, check_columns, read_content, read_version};
use super::limits::LoadLimits;
use super::mode::{Filled, MODES, Mode, mode};
use super::spanned::Spanned;

/// What a definition says of it.
pub(super) struct Given<'a> {
    pub(super) name: &'a Spanned<String>,
    pub(super) key: Option<&'a Spanned<Names>>,
    pub(super) content: Option<&'a Spanned<Vec<Spanned<String>>>>,
    pub(super) version: Option<&'a Spanned<String>>,
}

/// How the rows of a dataset are told apart, and which of two is the newer one.
pub(super) struct Identity {
    pub(super) key: Vec<String>,
    pub(super) content: Option<Content>,
    pub(super) version: Option<String>,
    pub(super) filled: Vec<Filled>,
}

/// Reads it, as far as rows have one in this mode.
pub(super) fn read_identity(
    source: &DefinitionText<'_>,
    given: &Given<'_>,
    mode: &dyn Mode,
    (columns, ignored): (&[Column], &[String]),
) -> Result<Identity, String> {
    if !mode.has_key() {
        return read_place(source, given, mode, (columns, ignored));
    }
    let missing = |field: &str| source.error_at(0, format!("missing field `{field}`"));
    let key = given.key.ok_or_else(|| missing("key"))?;
    let content = read_content(source, key, given.content, (columns, ignored))?;
    let names = if content.is_some() {
        vec![CONTENT_KEY.to_owned()]
    } else {
        check_columns(source, key, columns)?;
        key.get_ref().all().to_vec()
    };
    let version = match given.version {
        None if mode.is_by_arrival() => None,
        None => return Err(missing("version")),
        Some(version) => {
            let column = read_version(source, version, columns)?;
            if column.is_some() && mode.is_by_arrival() {
                let message = format!(
                    "in mode {:?} the file that arrived later is the newer one, whatever its rows say; write version = \"arrival\"",
                    mode.name()
                );
                return Err(source.error(version, message));
            }
            column
        }
    };
    Ok(Identity { key: names, content, version, filled: Vec::new() })
}

/// The identity of rows that are known by their place.
fn read_place(
    source: &DefinitionText<'_>,
    given: &Given<'_>,
    mode: &dyn Mode,
    (columns, ignored): (&[Column], &[String]),
) -> Result<Identity, String> {
    let mode = mode.name();
    let why = format!("mode {mode:?} has no key and no version, because each row of a file is a row of its own; leave");
    if let Some(key) = given.key {
        return Err(source.error(key, format!("{why} key out, or choose mode \"upsert\"")));
    }
    if let Some(content) = given.content {
        return Err(source.error(content, format!("{why} content out, or choose mode \"upsert\"")));
    }
    if let Some(version) = given.version {
        return Err(source.error(version, format!("{why} version out, or choose mode \"upsert\"")));
    }
    for filled in Filled::PLACE {
        let name = filled.name();
        if columns.iter().any(|column| column.name == name) || ignored.iter().any(|ignored| ignored == name) {
            let message = format!("mode {mode:?} fills column {name:?}, which the dataset may not define");
            return Err(source.error(given.name, message));
        }
    }
    let key = Filled::PLACE.map(|filled| filled.name().to_owned()).to_vec();
    Ok(Identity { key, content: None, version: None, filled: Filled::PLACE.to_vec() })
}

/// Checks what a key, a version and a reference need of their columns.
pub(super) fn check_key(
    columns: &[Column],
    (key, version): (&[String], Option<&str>),
    refers: &[String],
) -> Result<(), String> {
    for column in columns {
        let must_be_required = key.contains(&column.name) || Some(column.name.as_str()) == version;
        if must_be_required && !column.required {
            return Err(format!("column {:?} is key or version and must be required", column.name));
        }
        if must_be_required && column.encrypt {
            return Err(format!("column {:?} is key or version and cannot be encrypted", column.name));
        }
        if let Some(why) =
            column.kind.not_a_key().filter(|_| key.contains(&column.name) || refers.contains(&column.name))
        {
            return Err(format!("column {:?} of type {} cannot be a key: {why}", column.name, column.kind.rule()));
        }
    }
    Ok(())
}

/// Reads the mode; without one, rows are upserted.
pub(super) fn read_mode(
    source: &DefinitionText<'_>,
    name: Option<&Spanned<String>>,
) -> Result<&'static dyn Mode, String> {
    name.map_or(Ok(MODES[0]), |name| mode(name.get_ref()).map_err(|message| source.error(name, message)))
}

/// Reads the limits that the dataset has of its own.
pub(super) fn read_limits(
    source: &DefinitionText<'_>,
    load: Option<&Spanned<LoadLimits>>,
    refers: bool,
) -> Result<LoadLimits, String> {
    let Some(load) = load else { return Ok(LoadLimits::default()) };
    let limits = *load.get_ref();
    limits.check(refers).map(|()| limits).map_err(|message| source.error(load, message))
}

#[cfg(test)]
mod tests {
    use crate::domain::Datasets;

    const VISIT: &str = r#"
name = "visit"
table = "visit"
mode = "append"
files = ["visits/**"]

[[column]]
name = "page"
type = "text"
required = true
"#;

    const POSITION: &str = r#"
name = "position"
table = "position"
mode = "replace"
key = ["account", "code"]
replace_by = "account"
files = ["positions/**"]

[[column]]
name = "account"
type = "integer"
required = true

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "price"
type = "double"
required = true
"#;

    fn read(text: &str) -> Result<Datasets, String> {
        Datasets::parse([("a.toml", text)])
    }

    #[test]
    fn an_appended_row_is_known_by_its_place_which_files_do_not_have() {
        let datasets = read(VISIT).unwrap();
        let visit = datasets.get("visit").unwrap();
        assert_eq!(
            (visit.key.join(" "), visit.version.is_none(), visit.deletes()),
            ("load_id record".into(), true, true)
        );
        let names =
            |columns: Vec<&crate::domain::Column>| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(visit.columns.iter().collect()), ["page", "load_id", "record"]);
        assert_eq!(names(visit.file_columns().iter().collect()), ["page"]);
        assert_eq!(names(visit.staged_columns().collect()), ["page"]);
        let given = visit.clone().with_given_keys();
        assert_eq!(names(given.file_columns().iter().collect()), ["page", "load_id", "record"]);
        assert!(visit.is_known_by_place() && !given.is_known_by_place());
        assert_eq!(visit.ledger_key(&["7", "12"]), Ok("7,12".to_owned()));
    }

    #[test]
    fn the_mode_says_what_else_a_definition_may_say() {
        let position = |from: &str, to: &str| POSITION.replace(from, to);
        for (text, line, message) in [
            (VISIT.replace("\"append\"", "\"apend\""), 4, "unknown mode \"apend\"; did you mean \"append\"?"),
            (VISIT.replace("files", "key = \"page\"\nfiles"), 5, "leave key out, or choose mode \"upsert\""),
            (VISIT.replace("files", "version = \"arrival\"\nfiles"), 5, "leave version out"),
            (VISIT.replace("\"page\"", "\"record\""), 2, "fills column \"record\", which the dataset may not define"),
            (VISIT.replace("mode = \"append\"", ""), 1, "missing field `key`"),
            (VISIT.replace("files", "empty = \"keep\"\nfiles"), 5, "empty is an option of mode \"replace\""),
            (
                position("files", "version = \"code\"\nfiles").replace("\"text\"", "\"bigint\""),
                7,
                "write version = \"arrival\"",
            ),
            (position("\"account\"\nfiles", "\"acount\"\nfiles"), 6, "unknown column \"acount\""),
            (
                position("\"account\"\nfiles", "[\"account\", \"price\"]\nfiles"),
                6,
                "\"price\" is in replace_by and has a type",
            ),
            (position("files", "deleted = \"price\"\nfiles"), 7, "fills column \"price\""),
            (position("files", "max_delete_rate = 1.5\nfiles"), 7, "max_delete_rate must be 0 to 1"),
            (position("files", "empty = \"delete\"\nfiles"), 7, "let every source take column \"account\""),
            (position("files", "empty = \"drop\"\nfiles"), 7, "unknown variant `drop`, expected `keep` or `delete`"),
            (
                position("mode = \"replace\"\n", "version = \"arrival\"\n"),
                6,
                "replace_by is an option of mode \"replace\"",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(
                error.starts_with(&format!("a.toml line {line}: ")) && error.contains(message),
                "{message}: {error}"
            );
        }
    }

    #[test]
    fn a_file_may_replace_a_scope_or_the_whole_table_and_flag_rows() {
        let datasets = read(POSITION).unwrap();
        let position = datasets.get("position").unwrap();
        let replacement = position.replacement.as_ref().unwrap();
        assert_eq!(
            (&replacement.scope[..], position.version.is_none(), position.deletes()),
            (&["account".to_owned()][..], true, true)
        );
        let whole = POSITION.replace("replace_by = \"account\"", "deleted = \"is_gone\"\nempty = \"delete\"");
        let datasets = read(&whole).unwrap();
        let position = datasets.get("position").unwrap();
        assert!(position.replacement.as_ref().unwrap().empty_deletes && !position.deletes());
        assert_eq!(position.columns.last().unwrap().name, "is_gone");
        assert_eq!(position.file_columns().len(), 3);
    }

    #[test]
    fn nothing_can_refer_to_rows_that_are_known_by_their_place() {
        let other =
            VISIT.replace("visit", "other").replace("mode = \"append\"", "key = \"page\"\nversion = \"arrival\"");
        let other = format!("{other}[reference]\ncolumn = \"page\"\ndataset = \"visit\"\n");
        let error = Datasets::parse([("visit.toml", VISIT), ("other.toml", other.as_str())]).unwrap_err();
        assert!(error.contains("the place of a row; nothing can refer to it"), "{error}");
    }
}
