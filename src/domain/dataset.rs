//! Datasets are data: one TOML file each names the table, the columns, the rules, the references, the statistics.
//!
//! A definition is checked when it is read, so that a mistake in it is found at the start, with file and line, and
//! not by the first row that meets it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use globset::GlobSet;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::calendar::Calendar;
use super::column::{Column, ColumnType};
use super::definition::{read_definition, resolve_references};
use super::expression::unknown;

/// What a violation does to its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The row is rejected.
    #[default]
    Error,
    /// The row is loaded, and counted.
    Warning,
}

/// A rule over several columns of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowRule {
    /// Its name in `etl.reject`.
    pub id: String,
    /// What a violation does.
    pub severity: Severity,
    /// The column that a violation names.
    pub column: String,
    /// A `DuckDB` boolean expression: the rule runs only where it is true.
    pub when: Option<String>,
    /// A `DuckDB` boolean expression that must be true; none where a validator of the pipeline finds who breaks the rule.
    pub check: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// The columns that `when` and `check` read.
    pub reads: Vec<String>,
}

impl RowRule {
    /// A rule that a validator of the pipeline checks; what breaks it is rejected.
    #[must_use]
    pub fn found(id: &str, column: &str, message: &str) -> Self {
        Self {
            id: id.to_owned(),
            severity: Severity::Error,
            column: column.to_owned(),
            when: None,
            check: None,
            message: message.to_owned(),
            reads: Vec::new(),
        }
    }
}

/// A warning where a column differs from one of the row that it refers to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Its name.
    pub id: String,
    /// The column here.
    pub column: String,
    /// The column there.
    pub equals: String,
}

/// A row of another dataset that must be in its table before this one is written. Until then the row is parked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The column here.
    pub column: String,
    /// The dataset whose key it holds.
    pub dataset: String,
    /// Its table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// The type of its key.
    pub key_kind: ColumnType,
    /// What should agree between the two rows.
    pub agreements: Vec<Agreement>,
}

/// A figure over the accepted rows of a file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    /// Its name in the report.
    pub id: String,
    /// A `DuckDB` aggregate over the columns.
    pub expression: String,
    /// One figure for each value of this column.
    pub group_by: Option<String>,
}

/// A kind of file: what it holds, what is checked, where it goes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// The table in schema `public`.
    pub table: String,
    /// The column by which rows are upserted.
    pub key: String,
    /// The timestamp that tells an older row from a newer one.
    pub version: String,
    /// A row with a later version is rejected, or it would make every later row of its key stale. `None` without a bound.
    pub latest_version: Option<DateTime<Utc>>,
    /// The columns that are loaded.
    pub columns: Vec<Column>,
    /// Columns that the file may have and that are never loaded.
    pub ignored: Vec<String>,
    /// The cells that mean null.
    pub null_values: Vec<String>,
    /// The rules over several columns.
    pub rules: Vec<RowRule>,
    /// The row of another dataset that must be there first.
    pub reference: Option<Reference>,
    /// What is computed over the accepted rows.
    pub statistics: Vec<Statistic>,
    /// Whether a file needs a manifest beside it.
    pub manifest: ManifestRule,
    /// When a file of it is due.
    pub expected: Option<Calendar>,
    /// What the keys of its files begin with: each pattern up to its first wildcard.
    pub prefixes: Vec<String>,
    pub(super) files: GlobSet,
}

/// Whether a file needs a manifest beside it. One that is there is always checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestRule {
    /// Without one the file is not loaded.
    #[serde(default)]
    pub required: bool,
    /// How many seconds after its first claim a file that has none fails.
    #[serde(default)]
    pub wait_seconds: u32,
}

impl Dataset {
    /// Whether an object key is that of one of its files.
    #[must_use]
    pub fn claims(&self, key: &str) -> bool {
        self.files.is_match(key)
    }

    /// The type of the key.
    #[must_use]
    pub fn key_kind(&self) -> ColumnType {
        // A definition without its key column is refused when it is read.
        self.column(&self.key).map_or(ColumnType::Text, |column| column.kind)
    }

    /// The columns that are encrypted on their way to the table.
    pub fn encrypted(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.encrypt)
    }

    /// The same without its encrypted columns and the rules that read them: what can be checked on the table as it is.
    #[must_use]
    pub fn without_encrypted(&self) -> Self {
        let mut plain = self.clone();
        let hidden: Vec<String> = self.encrypted().map(|column| column.name.clone()).collect();
        plain.columns.retain(|column| !column.encrypt);
        plain.rules.retain(|rule| !rule.reads.iter().any(|column| hidden.contains(column)));
        plain
    }

    /// The same, but rows with a later version are rejected.
    #[must_use]
    pub fn with_latest_version(&self, latest: Option<DateTime<Utc>>) -> Self {
        Self { latest_version: latest, ..self.clone() }
    }

    fn with_warnings_as_errors(mut self) -> Self {
        let of_columns = self.columns.iter_mut().flat_map(|column| &mut column.constraints);
        of_columns.for_each(|(_, severity)| *severity = Severity::Error);
        self.rules.iter_mut().for_each(|rule| rule.severity = Severity::Error);
        self
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// All datasets that the program knows, with the version of the set.
#[derive(Clone, Debug)]
pub struct Datasets {
    version: String,
    definitions: BTreeMap<String, String>,
    all: Vec<Dataset>,
}

impl Datasets {
    /// Reads and checks a set of definitions: pairs of a file name (for messages) and its text.
    ///
    /// # Errors
    /// A message with file and line for the first definition that is wrong.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let files: Vec<_> = files.into_iter().collect();
        let mut datasets = Vec::new();
        let mut definitions = BTreeMap::new();
        for (file, text) in &files {
            let dataset = read_definition(file, text)?;
            if definitions.insert(dataset.name.clone(), (*text).to_owned()).is_some() {
                return Err(format!("{file}: dataset {:?} is defined twice", dataset.name));
            }
            datasets.push(dataset);
        }
        resolve_references(&mut datasets, &files)?;
        let mut hash = Sha256::new();
        for (name, text) in &definitions {
            hash.update(format!("{name}\0{text}\0"));
        }
        let mut version = hex::encode(hash.finalize());
        version.truncate(16);
        Ok(Self { version, definitions, all: datasets })
    }

    /// The same set with one definition replaced.
    ///
    /// # Errors
    /// A message with file and line where the definition is wrong, or is that of another dataset.
    pub fn with_definition(&self, name: &str, file: &str, text: &str) -> Result<Self, String> {
        let replaced = read_definition(file, text)?.name;
        if replaced != name {
            return Err(format!("{file}: this is the definition of {replaced:?}, not of {name:?}"));
        }
        self.get(name)?;
        let others = self.definitions().filter(|(other, _)| *other != name);
        Self::parse(others.chain([(file, text)]))
    }

    /// The same set, but what would only warn rejects the row.
    #[must_use]
    pub fn with_warnings_as_errors(&self) -> Self {
        let all = self.all.iter().cloned().map(Dataset::with_warnings_as_errors).collect();
        Self { all, ..self.clone() }
    }

    /// The same set, but rows with a later version are rejected.
    #[must_use]
    pub fn with_latest_version(&self, latest: Option<DateTime<Utc>>) -> Self {
        Self { all: self.all.iter().map(|dataset| dataset.with_latest_version(latest)).collect(), ..self.clone() }
    }

    /// The same set, where each dataset has further rules.
    ///
    /// # Errors
    /// A message where an id is used twice, or a column is none of the dataset's.
    pub fn with_rules(mut self, rules: impl Fn(&Dataset) -> Vec<RowRule>) -> Result<Self, String> {
        for dataset in &mut self.all {
            for rule in rules(dataset) {
                let wrong = |what| Err(format!("dataset {}: rule {} of a validator: {what}", dataset.name, rule.id));
                if dataset.column(&rule.column).is_none() {
                    return wrong(format!("there is no column {:?}", rule.column));
                }
                if dataset.rules.iter().any(|known| known.id == rule.id) {
                    return wrong("the dataset has a rule of that name".to_owned());
                }
                dataset.rules.push(rule);
            }
        }
        Ok(self)
    }

    /// The hash of all definitions, recorded with every load.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Each dataset's name and definition as it was read.
    pub fn definitions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.definitions.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The dataset of that name.
    ///
    /// # Errors
    /// A message with the nearest name.
    pub fn get(&self, name: &str) -> Result<&Dataset, String> {
        let found = self.all.iter().find(|dataset| dataset.name == name);
        found.ok_or_else(|| unknown("dataset", name, &self.names()))
    }

    /// All names, in the order of their definition.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.all.iter().map(|dataset| dataset.name.as_str()).collect()
    }

    /// The datasets whose rows wait for rows of `name`.
    #[must_use]
    pub fn referring_to(&self, name: &str) -> Vec<&Dataset> {
        let refers = |dataset: &&Dataset| dataset.reference.as_ref().is_some_and(|reference| reference.dataset == name);
        self.all.iter().filter(refers).collect()
    }

    /// All of them, in the order of their definition.
    pub fn all(&self) -> impl Iterator<Item = &Dataset> {
        self.all.iter()
    }

    /// What to list to see every file that a dataset may claim: no prefix is the beginning of another.
    #[must_use]
    pub fn prefixes(&self) -> Vec<&str> {
        let mut prefixes: Vec<&str> =
            self.all.iter().flat_map(|dataset| &dataset.prefixes).map(String::as_str).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by(|longer, shorter| longer.starts_with(*shorter));
        prefixes
    }

    /// The dataset that claims an object key, if any does.
    #[must_use]
    pub fn claiming(&self, key: &str) -> Option<&Dataset> {
        self.all.iter().find(|dataset| dataset.claims(key))
    }
}
