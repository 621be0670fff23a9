//! A dataset: its table, key, version, columns, rules, reference and statistics.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use super::calendar::Calendar;
use super::column::Column;
use super::content::Content;
use super::expression::{Expression, unknown};
use super::files::Files;
use super::limits::LoadLimits;
use super::mode::{Filled, Mode};
use super::replacement::Replacement;
use super::row_key;
use super::rule::{RowRule, Severity};
use super::source::model::Source;
use super::tombstone::Tombstone;
use super::types::ColumnType;

/// Warns if a column differs from one of the row that it refers to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// The id of the rule.
    pub id: String,
    /// The column of this dataset.
    pub column: String,
    /// The column of the other dataset.
    pub equals: String,
}

/// A row of another dataset that must be in its table before a row of this one is written. Until then the row is
/// parked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The columns here, one for each of its key.
    pub columns: Vec<String>,
    /// The dataset whose key they hold.
    pub dataset: String,
    /// The table of the other dataset.
    pub table: String,
    /// The columns of its key.
    pub key: Vec<String>,
    /// The types of those.
    pub key_kinds: Vec<ColumnType>,
    /// The columns that should agree between the two rows.
    pub agreements: Vec<Agreement>,
}

/// The figure that lists columns of a file that its dataset does not declare.
pub const EXTRA_COLUMNS: &str = "extra_columns";
/// The figure that shows in what a file agrees with its manifest.
pub const MANIFEST: &str = "manifest";
/// The figure with what a file and its own footer agree in.
pub const FOOTER: &str = "footer";
/// The figures that every dataset has. No statistic of a definition may have such a name.
pub(super) const OWN_FIGURES: &[&str] = &[EXTRA_COLUMNS, MANIFEST];

/// A figure over the accepted rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// The name in the report.
    pub id: String,
    /// An aggregate over the columns.
    pub expression: Expression,
    /// If set, there is one figure for each value of this column.
    pub group_by: Option<String>,
}

/// A kind of file: what it contains, what is checked, and where it goes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The name.
    pub name: String,
    /// The table in schema `public`, or `SCHEMA.TABLE`.
    pub table: String,
    /// What a file does to the table.
    pub mode: &'static dyn Mode,
    /// The columns by which rows are upserted.
    pub key: Vec<String>,
    /// What the program fills the column of the key from; `None` if files bring it.
    pub content: Option<Content>,
    /// The column that tells an older row from a newer one; `None` if the row of the object that arrived later is the newer one.
    pub version: Option<String>,
    /// Which records delete the row with their key.
    pub tombstone: Option<Tombstone>,
    /// The table that keeps rows as they were before loads overwrote or deleted them.
    pub history: Option<String>,
    /// A row with a later version is rejected. Otherwise it would make every later row of its key stale. `None` means
    /// no bound.
    pub latest_version: Option<DateTime<Utc>>,
    /// The columns that are loaded: those that files bring, then those that the program fills.
    pub columns: Vec<Column>,
    /// What the program fills columns with when it writes a row.
    pub filled: Vec<Filled>,
    /// What a file replaces, in the mode that replaces.
    pub replacement: Option<Replacement>,
    /// Columns that the file may have and that are never loaded.
    pub ignored: Vec<String>,
    /// The cells that mean null.
    pub null_values: Vec<String>,
    /// The rules over several columns.
    pub rules: Vec<RowRule>,
    /// The row of another dataset that must exist first.
    pub reference: Option<Reference>,
    /// The statistics over the accepted rows.
    pub statistics: Vec<Statistic>,
    /// Whether a file needs a manifest beside it.
    pub manifest: ManifestRule,
    /// What it says of its loads instead of the settings.
    pub load: LoadLimits,
    /// When a file is due.
    pub expected: Option<Calendar>,
    /// How senders write its files, where that is not the plain form.
    pub sources: Vec<Source>,
    /// The columns that are read and not staged, because the file is only checked, and no check reads them again.
    pub unstaged: Vec<String>,
    pub(super) files: Files,
}

/// Whether a file needs a manifest beside it. A manifest that exists is always checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestRule {
    /// Whether a file without a manifest is not loaded.
    #[serde(default)]
    pub required: bool,
    /// How many seconds after its first claim a file without a manifest fails.
    #[serde(default)]
    pub wait_seconds: u32,
}

impl Dataset {
    /// Whether an object key belongs to this dataset.
    #[must_use]
    pub fn claims(&self, key: &str) -> bool {
        self.files.claim(key) || self.source_claiming(key).is_some()
    }

    /// The source that claims an object key, if any does. Any other key is that of a file in the plain form.
    #[must_use]
    pub fn source_claiming(&self, key: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.claims(key))
    }

    /// The source of a file by its key; if it lies on this machine, by the longest end of its path that is a key of this dataset.
    #[must_use]
    pub fn source_for(&self, key: &str, local: bool) -> Option<&Source> {
        self.sources_for(key, local).next()
    }

    /// The same, and all other sources that claim the key.
    pub fn sources_for(&self, key: &str, local: bool) -> impl Iterator<Item = &Source> {
        let ends = key.match_indices('/').map(|(at, _)| &key[at + 1..]).filter(|_| local);
        let claimed = std::iter::once(key).chain(ends).find(|key| self.claims(key)).map(str::to_owned);
        self.sources.iter().filter(move |source| claimed.as_ref().is_some_and(|key| source.claims(key)))
    }

    /// Whether it has files in the plain form.
    #[must_use]
    pub fn has_plain_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The source of that name.
    ///
    /// # Errors
    /// A message with the nearest name.
    pub fn source(&self, name: &str) -> Result<&Source, String> {
        let names = || self.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>();
        let found = self.sources.iter().find(|source| source.name == name);
        found.ok_or_else(|| format!("dataset {}: {}", self.name, unknown("source", name, &names())))
    }

    /// A key that both this dataset and another would claim, if there is one. Parts of one object may go to several datasets.
    pub(super) fn common_key(&self, other: &Self) -> Option<String> {
        let parts = |dataset: &Self| {
            let sources = dataset.sources.iter().filter(|source| source.reads_parts());
            sources.map(|source| source.files.clone()).collect::<Vec<_>>()
        };
        let whole = |dataset: &Self| {
            let sources = dataset.sources.iter().filter(|source| !source.reads_parts());
            std::iter::once(dataset.files.clone()).chain(sources.map(|source| source.files.clone())).collect::<Vec<_>>()
        };
        let common = |some: &[Files], others: &[Files]| {
            some.iter().find_map(|files| others.iter().find_map(|others| files.common_key(others)))
        };
        let (own, others) = (whole(self), whole(other));
        common(&own, &[others.clone(), parts(other)].concat()).or_else(|| common(&parts(self), &others))
    }

    /// What the keys of its files begin with.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.files.prefixes().chain(self.sources.iter().flat_map(Source::prefixes))
    }

    /// The columns of the key.
    #[must_use]
    pub fn key_columns(&self) -> Vec<&Column> {
        // A definition without one of them is refused when it is read.
        self.key.iter().filter_map(|name| self.column(name)).collect()
    }

    /// A key as the ledger knows it: from a cell for each of its columns, or from one text as the ledger prints it.
    ///
    /// # Errors
    /// A message if no row can have this key.
    pub fn ledger_key<T: AsRef<str>>(&self, values: &[T]) -> Result<String, String> {
        let columns = self.key_columns();
        let shown = || values.iter().map(|value| format!("{:?}", value.as_ref())).collect::<Vec<_>>().join(" ");
        let values: Option<Vec<String>> = match values {
            [text] => row_key::split(text.as_ref(), columns.len()),
            several => Some(several.iter().map(|value| value.as_ref().to_owned()).collect()),
        };
        let wrong = || format!("{} is no key of dataset {}", shown(), self.name);
        let Some(values) = values.filter(|values| values.len() == columns.len()) else {
            return Err(format!("{}; give a value for each of {}", wrong(), self.key.join(", ")));
        };
        let values: Option<Vec<String>> =
            columns.iter().zip(&values).map(|(column, text)| column.kind.key(text)).collect();
        values.map(|values| row_key::joined(values.iter().map(String::as_str))).ok_or_else(wrong)
    }

    /// The columns that files bring: all but those that the program fills.
    #[must_use]
    pub fn file_columns(&self) -> &[Column] {
        let made = usize::from(self.content.as_ref().is_some_and(|content| !content.is_given));
        &self.columns[..self.columns.len() - made - self.filled.len()]
    }

    /// The columns of the staging database: those that files bring, except what is not staged, and a content key.
    pub fn staged_columns(&self) -> impl Iterator<Item = &Column> {
        let filled = self.file_columns().len();
        let columns = self.columns[..filled].iter().chain(&self.columns[filled + self.filled.len()..]);
        columns.filter(|column| !self.unstaged.contains(&column.name))
    }

    /// Whether a load deletes rows of the table.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.tombstone.is_some()
            || self.mode.takes_away() && self.replacement.as_ref().is_none_or(|replacement| replacement.flag.is_none())
    }

    /// Whether a row is known by its place, because the program fills the columns of the key with it.
    #[must_use]
    pub fn is_known_by_place(&self) -> bool {
        self.filled.contains(&Filled::LoadId)
    }

    /// The columns that the table has: all but one that only files have, to tell tombstones by.
    #[must_use]
    pub fn table_columns(&self) -> &[Column] {
        let of_files = usize::from(self.tombstone.as_ref().is_some_and(|tombstone| !tombstone.in_table));
        &self.columns[..self.columns.len() - of_files]
    }

    /// The same for rows of the table: each is a row, and none a tombstone.
    #[must_use]
    pub fn as_in_table(&self) -> Self {
        let columns = self.table_columns().to_vec();
        let mut rows = Self { tombstone: None, ..self.clone() };
        let has = |name: &String| columns.iter().any(|column| column.name == *name);
        rows.rules.retain(|rule| rule.reads.iter().chain([&rule.column]).all(has));
        rows.columns = columns;
        // A source says where each column is.
        rows.sources.clear();
        rows
    }

    /// What a tombstone has of a row: its key and its version.
    #[must_use]
    pub fn as_tombstones(&self) -> Self {
        let mut rows = self.as_in_table();
        rows.columns.retain(|column| self.key.contains(&column.name) || self.version.as_ref() == Some(&column.name));
        rows
    }

    /// The columns that content keys cover, each with what its values are: under another list a row has another key.
    #[must_use]
    pub fn content_form(&self) -> Vec<(String, &'static str)> {
        let covered = self.content.iter().flat_map(|content| &content.columns);
        covered.filter_map(|name| Some((name.clone(), self.column(name)?.kind.rule()))).collect()
    }

    /// The same for rows that bring what the program filled.
    #[must_use]
    pub fn with_given_keys(mut self) -> Self {
        self.content = self.content.map(|content| Content { is_given: true, ..content });
        self.filled.clear();
        self
    }

    /// Returns the columns that are encrypted on their way to the table.
    pub fn encrypted(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.encrypt)
    }

    /// Returns this dataset without its encrypted columns and the rules that read them. This is what can be checked in
    /// the table itself.
    #[must_use]
    pub fn without_encrypted(&self) -> Self {
        let mut plain = self.clone();
        let hidden: Vec<String> = self.encrypted().map(|column| column.name.clone()).collect();
        plain.columns.retain(|column| !column.encrypt);
        // A source says where each column is.
        plain.sources.clear();
        plain.rules.retain(|rule| !rule.reads.iter().any(|column| hidden.contains(column)));
        plain
    }

    /// The same without its sources: every file is in the plain form.
    #[must_use]
    pub fn in_plain_form(&self) -> Self {
        Self { sources: Vec::new(), ..self.clone() }
    }

    /// Returns this dataset with a bound: rows with a later version are rejected.
    #[must_use]
    pub fn with_latest_version(&self, latest: Option<DateTime<Utc>>) -> Self {
        Self { latest_version: latest, ..self.clone() }
    }

    /// Returns this dataset with every warning as an error.
    #[must_use]
    pub fn with_warnings_as_errors(mut self) -> Self {
        let of_columns = self.columns.iter_mut().flat_map(|column| &mut column.constraints);
        of_columns.for_each(|(_, severity)| *severity = Severity::Error);
        self.rules.iter_mut().for_each(|rule| rule.severity = Severity::Error);
        self
    }

    /// Returns the column with that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}
