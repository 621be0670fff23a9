//! `key`, `content` and `version` of a definition: what tells the rows of a dataset apart, and which of two is the newer one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::column::{Column, Constraint};
use super::content::{CONTENT_KEY, Content};
use super::definition_text::DefinitionText;
use super::expression::unknown;
use super::rule::Severity;
use super::spanned::Spanned;
use super::types;

/// `key = "content"`, unless a column has that name.
const CONTENT: &str = "content";
/// `version = "arrival"`, unless a column has that name.
const ARRIVAL: &str = "arrival";

/// The most characters of a key. Each has at most four bytes, and an entry in an index of Postgres has at most 2,704,
/// which include the name of the dataset.
const LONGEST_KEY: u32 = 660;

/// The name of a column, or of several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the name of a column, or a list of names")]
pub(super) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }

    fn is(&self, text: &str) -> bool {
        matches!(self, Self::One(name) if name == text)
    }
}

/// Checks that a list names columns, each once.
pub(super) fn check_columns(
    source: &DefinitionText<'_>,
    names: &Spanned<Names>,
    columns: &[Column],
) -> Result<(), String> {
    let (all, known) = (names.get_ref().all(), columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>());
    if all.is_empty() {
        return Err(source.error(names, "the list names no column; name those of the key"));
    }
    for (place, name) in all.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            return Err(source.error(names, unknown("column", name, &known)));
        }
        if all[..place].contains(name) {
            return Err(source.error(names, format!("column {name:?} is named twice")));
        }
    }
    Ok(())
}

/// Bounds the texts of a key, or of a reference to one, so that an index can hold them.
pub(super) fn bound_texts(
    source: &DefinitionText<'_>,
    at: usize,
    indexed: &[String],
    columns: &mut [Column],
) -> Result<(), String> {
    let texts = || columns.iter().filter(|column| column.kind.is_text() && indexed.contains(&column.name));
    let declared: u32 = texts().filter_map(Column::max_length).fold(0, u32::saturating_add);
    let unbounded = texts().filter(|column| column.max_length().is_none()).count();
    let rest = LONGEST_KEY.saturating_sub(declared).checked_div(u32::try_from(unbounded).unwrap_or(u32::MAX));
    if declared > LONGEST_KEY || rest == Some(0) {
        let together = if texts().count() > 1 { " for its columns together" } else { "" };
        let message = format!(
            "max_length of a key is at most {LONGEST_KEY}{together}: an index of Postgres holds no longer ones"
        );
        return Err(source.error_at(at, message));
    }
    let Some(rest) = rest else { return Ok(()) };
    let unbounded =
        |column: &&mut Column| column.kind.is_text() && indexed.contains(&column.name) && column.max_length().is_none();
    for column in columns.iter_mut().filter(unbounded) {
        column.constraints.push((Constraint::MaxLength(rest), Severity::Error));
    }
    Ok(())
}

/// Characters of a content key: 64 of the hash, a hyphen, and the number of the copy.
const LONGEST_CONTENT_KEY: u32 = 84;

/// Reads the columns that a content key covers; `None` if a column is the key.
pub(super) fn read_content(
    source: &DefinitionText<'_>,
    key: &Spanned<Names>,
    content: Option<&Spanned<Vec<Spanned<String>>>>,
    (columns, ignored): (&[Column], &[String]),
) -> Result<Option<Content>, String> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if !key.get_ref().is(CONTENT) || names.contains(&CONTENT) {
        return match content {
            None => Ok(None),
            Some(content) => {
                Err(source.error(content, "content lists what a content key covers; write key = \"content\""))
            }
        };
    }
    if names.contains(&CONTENT_KEY) || ignored.iter().any(|name| name == CONTENT_KEY) {
        let message = format!("key = \"content\" fills column {CONTENT_KEY:?}, which the dataset may not define");
        return Err(source.error(key, message));
    }
    let mut covered: Vec<String> = Vec::new();
    match content {
        None => covered.extend(columns.iter().map(|column| column.name.clone())),
        Some(content) if content.get_ref().is_empty() => {
            return Err(source.error(content, "content names no column; name those that tell rows apart"));
        }
        Some(content) => {
            for name in content.get_ref() {
                if !names.contains(&name.get_ref().as_str()) {
                    return Err(source.error(name, unknown("column", name.get_ref(), &names)));
                }
                if covered.contains(name.get_ref()) {
                    return Err(source.error(name, format!("content names column {:?} twice", name.get_ref())));
                }
                covered.push(name.get_ref().clone());
            }
        }
    }
    if let Some(secret) = columns.iter().find(|column| column.encrypt && covered.contains(&column.name)) {
        let message = format!(
            "column {:?} is encrypted, and a hash of its values would give them away; name the other columns in content",
            secret.name
        );
        return Err(content.map_or_else(|| source.error(key, &message), |content| source.error(content, &message)));
    }
    covered.sort_unstable();
    Ok(Some(Content { columns: covered, is_given: false }))
}

/// The column that holds content keys.
pub(super) fn content_key() -> Column {
    Column {
        name: CONTENT_KEY.to_owned(),
        kind: types::text(),
        required: true,
        constraints: vec![(Constraint::MaxLength(LONGEST_CONTENT_KEY), Severity::Error)],
        encrypt: false,
    }
}

/// Reads the column that tells which of two rows is the newer one; `None` if the order of arrival does.
pub(super) fn read_version(
    source: &DefinitionText<'_>,
    version: &Spanned<String>,
    columns: &[Column],
) -> Result<Option<String>, String> {
    let Some(column) = columns.iter().find(|column| column.name == *version.get_ref()) else {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return match version.get_ref().as_str() {
            ARRIVAL => Ok(None),
            other => Err(source.error(version, unknown("column", other, &names))),
        };
    };
    if !column.kind.can_be_version() {
        let message = "the version column must have a type that orders rows: timestamp, local_timestamp, date, bigint, integer or \
            smallint; without one write version = \"arrival\"";
        return Err(source.error(version, message));
    }
    Ok(Some(column.name.clone()))
}

#[cfg(test)]
mod tests {
    use crate::domain::Datasets;

    const FLOW: &str = r#"
name = "flow"
table = "flow"
key = "content"
version = "arrival"
files = ["flows/**"]

[[column]]
name = "day"
type = "date"

[[column]]
name = "amount"
type = "decimal"
precision = 10
scale = 2
"#;

    fn read(text: &str) -> Result<Datasets, String> {
        Datasets::parse([("flow.toml", text)])
    }

    fn error_of(text: &str) -> String {
        read(text).unwrap_err()
    }

    #[test]
    fn a_content_key_is_the_last_column_and_files_do_not_have_it() {
        let datasets = read(FLOW).unwrap();
        let flow = datasets.get("flow").unwrap();
        assert_eq!((flow.key.join(" "), flow.version.as_deref()), ("content_key".to_owned(), None));
        assert_eq!(flow.content.as_ref().unwrap().columns, ["amount", "day"]);
        let names =
            |columns: &[crate::domain::Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&flow.columns), ["day", "amount", "content_key"]);
        assert_eq!(names(flow.file_columns()), ["day", "amount"]);
        assert_eq!(names(flow.clone().with_given_keys().file_columns()), ["day", "amount", "content_key"]);
    }

    #[test]
    fn a_content_key_covers_the_columns_that_are_named() {
        let some = FLOW.replace("version", "content = [\"day\"]\nversion");
        assert_eq!(read(&some).unwrap().get("flow").unwrap().content.as_ref().unwrap().columns, ["day"]);
        for (list, message) in
            [("[]", "names no column"), ("[\"days\"]", "did you mean \"day\""), ("[\"day\", \"day\"]", "twice")]
        {
            let error = error_of(&FLOW.replace("version", &format!("content = {list}\nversion")));
            assert!(error.contains("flow.toml line 5") && error.contains(message), "{error}");
        }
        let by_column = FLOW.replace("key = \"content\"", "key = \"day\"\ncontent = [\"day\"]");
        assert!(error_of(&by_column).contains("write key = \"content\""));
    }

    #[test]
    fn no_column_may_be_in_the_place_of_the_content_key_and_no_secret_in_its_hash() {
        let taken = FLOW.replace("name = \"day\"", "name = \"content_key\"");
        assert!(error_of(&taken).contains("may not define"), "{}", error_of(&taken));
        let secret = FLOW.replace("type = \"date\"", "type = \"date\"\nencrypt = true");
        assert!(error_of(&secret).contains("give them away"), "{}", error_of(&secret));
        assert!(read(&secret.replace("version", "content = [\"amount\"]\nversion")).is_ok());
    }

    /// Definitions from before there were content keys and arrivals go on to mean what they meant.
    #[test]
    fn a_column_that_is_called_content_or_arrival_is_meant() {
        let text = FLOW.replace("name = \"day\"\n", "name = \"content\"\nrequired = true\n");
        let text = text.replace(
            "name = \"amount\"\ntype = \"decimal\"\n",
            "name = \"arrival\"\ntype = \"bigint\"\nrequired = true\n",
        );
        let datasets = read(&text).unwrap();
        let flow = datasets.get("flow").unwrap();
        assert_eq!((flow.key.join(" "), flow.version.as_deref()), ("content".to_owned(), Some("arrival")));
        assert!(flow.content.is_none());
    }

    #[test]
    fn a_key_has_one_column_or_several_of_which_each_is_required_and_named_once() {
        let two = |key: &str| {
            let text = FLOW.replace("\"content\"", key).replace("\"date\"", "\"text\"\nrequired = true");
            text.replace("scale = 2", "scale = 2\nrequired = true")
        };
        let datasets = read(&two("[\"day\", \"amount\"]")).unwrap();
        let flow = datasets.get("flow").unwrap();
        assert_eq!(flow.key, ["day", "amount"]);
        assert_eq!(flow.ledger_key(&["a,b", "7"]), Ok("a\\,b,7.00".to_owned()));
        assert_eq!(flow.ledger_key(&["a\\,b,7.00"]), Ok("a\\,b,7.00".to_owned()));
        assert!(flow.ledger_key(&["a"]).unwrap_err().contains("give a value for each of day, amount"));
        assert!(flow.ledger_key(&["a", "x"]).unwrap_err().contains("is no key"));
        assert_eq!(read(&two("[\"day\"]")).unwrap().get("flow").unwrap().key, ["day"]);
        for (key, message) in [
            ("[]", "names no column"),
            ("[\"day\", \"days\"]", "did you mean \"day\""),
            ("[\"day\", \"day\"]", "named twice"),
            ("[\"day\", \"content\"]", "unknown column \"content\""),
            ("7", "the name of a column, or a list"),
        ] {
            let error = error_of(&two(key));
            assert!(error.starts_with("flow.toml line 4") && error.contains(message), "{error}");
        }
        let optional = FLOW.replace("\"content\"", "[\"day\", \"amount\"]");
        assert!(error_of(&optional).contains("must be required"), "{}", error_of(&optional));
    }

    #[test]
    fn the_texts_of_a_key_fit_into_an_index_together() {
        let columns = "[[column]]\nname = \"a\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"b\"\ntype = \"text\"\nrequired = true\n";
        let text = format!("{}{columns}", FLOW.replace("\"content\"", "[\"a\", \"b\"]"));
        let lengths = |text: &str| {
            let datasets = read(text)?;
            let flow = datasets.get("flow")?;
            Ok::<_, String>(
                ["a", "b"].map(|name| flow.column(name).and_then(crate::domain::Column::max_length).unwrap()),
            )
        };
        assert_eq!(lengths(&text), Ok([330, 330]));
        let one = text.replace("\"a\"\ntype = \"text\"", "\"a\"\ntype = \"text\"\nmax_length = 600");
        assert_eq!(lengths(&one), Ok([600, 60]));
        let error = lengths(&one.replace("600", "660")).unwrap_err();
        assert!(error.contains("at most 660 for its columns together"), "{error}");
    }

    #[test]
    fn a_reference_names_a_column_for_each_of_the_key() {
        let columns = "[[column]]\nname = \"a\"\ntype = \"text\"\n[[column]]\nname = \"b\"\ntype = \"date\"\n";
        let target = FLOW.replace("\"content\"", "[\"a\", \"b\"]");
        let target = format!("{target}{}", columns.replace("\n[[", "\nrequired = true\n[[")) + "required = true\n";
        let from = FLOW.replace("flow", "from") + columns;
        let read = |reference: &str| {
            let from = format!("{from}[reference]\ndataset = \"flow\"\n{reference}\n");
            Datasets::parse([("flow.toml", target.as_str()), ("from.toml", from.as_str())])
        };
        let datasets = read("columns = [\"a\", \"b\"]").unwrap();
        let reference = datasets.get("from").unwrap().reference.as_ref().unwrap();
        assert_eq!((reference.columns.join(" "), reference.key.join(" ")), ("a b".to_owned(), "a b".to_owned()));
        for (columns, message) in [
            ("column = \"a\"", "name a column for each"),
            ("columns = [\"b\", \"a\"]", "has another type"),
            ("column = \"a\"\ncolumns = [\"a\", \"b\"]", "names its column, or its columns"),
            ("", "names its column, or its columns"),
            ("columns = [\"a\", \"c\"]", "unknown column \"c\""),
        ] {
            let error = read(columns).unwrap_err();
            assert!(error.starts_with("from.toml line ") && error.contains(message), "{columns}: {error}");
        }
        let content = Datasets::parse([
            ("flow.toml", FLOW),
            ("from.toml", &format!("{from}[reference]\ndataset = \"flow\"\ncolumn = \"a\"\n")),
        ]);
        assert!(content.unwrap_err().contains("nothing can refer to it"));
    }

    #[test]
    fn a_table_may_lie_in_any_schema() {
        for (name, is_one) in [
            ("flow", true),
            ("bank.flow", true),
            ("bank.", false),
            (".flow", false),
            ("a.b.c", false),
            ("Bank.flow", false),
        ] {
            let text = FLOW.replace("table = \"flow\"", &format!("table = \"{name}\""));
            assert_eq!(
                read(&text).map(|datasets| datasets.get("flow").unwrap().table.clone()).ok(),
                is_one.then(|| name.to_owned())
            );
        }
    }

    #[test]
    fn a_dataset_may_have_limits_of_its_own() {
        let with = |load: &str| read(&format!("{FLOW}\n[load]\n{load}\n"));
        let load = with("batch_size = 7\nmax_reject_rate = 0.5").unwrap().get("flow").unwrap().load;
        assert_eq!((load.batch_size, load.max_rejects, load.max_reject_rate), (Some(7), None, Some(0.5)));
        for (wrong, message) in [
            ("batch_size = 0", "batch_size must be at least 1"),
            ("max_rejects = -1", "max_rejects must be at least 0"),
            ("max_reject_rate = 1.5", "max_reject_rate must be 0 to 1"),
            ("max_reject = 1", "unknown field"),
            ("max_parked = 1", "max_parked needs a [reference]"),
        ] {
            let error = with(wrong).unwrap_err();
            assert!(error.starts_with("flow.toml line ") && error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_version_is_a_column_that_orders_rows_or_the_arrival() {
        for kind in ["timestamp", "local_timestamp", "date", "bigint", "integer", "smallint"] {
            let text =
                FLOW.replace("\"arrival\"", "\"day\"").replace("\"date\"", &format!("\"{kind}\"\nrequired = true"));
            assert_eq!(read(&text).unwrap().get("flow").unwrap().version.as_deref(), Some("day"), "{kind}");
        }
        let text = FLOW.replace("\"arrival\"", "\"amount\"");
        assert!(error_of(&text).contains("must have a type that orders rows"), "{}", error_of(&text));
        let text = FLOW.replace("\"arrival\"", "\"days\"");
        assert!(error_of(&text).contains("did you mean \"day\""), "{}", error_of(&text));
    }
}
