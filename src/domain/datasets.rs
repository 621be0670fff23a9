//! Datasets are data: one TOML file for each names the table, the columns, the rules, the reference and the statistics.
//!
//! A definition is checked when it is read. So a mistake is found at the start, with file and line, and not by the
//! first row that meets it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::dataset::Dataset;
use super::definition::{check_names, is_implied, read_definition, resolve_references};
use super::definition_text::all;
use super::expression::unknown;
use super::rule::RowRule;
use super::source::model::Source;

/// All datasets that the program knows, and the version of the set.
#[derive(Clone, Debug)]
pub struct Datasets {
    version: String,
    definitions: BTreeMap<String, String>,
    all: Vec<Dataset>,
}

impl Datasets {
    /// Reads and checks a set of definitions: pairs of a file name, for messages, and its text.
    ///
    /// # Errors
    /// A message with file and line for each fault, a line each.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let read = |file: &str, text: &str| check_names(file, text).and_then(|()| read_definition(file, text));
        Self::of(&files.into_iter().collect::<Vec<_>>(), read)
    }

    /// Reads a set that a program has accepted before. It may contain what is refused today: a load that began with it
    /// also ends with it.
    ///
    /// # Errors
    /// A message with file and line for each definition that cannot be read.
    pub fn frozen<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        Self::of(&files.into_iter().collect::<Vec<_>>(), read_definition)
    }

    fn of(files: &[(&str, &str)], read: impl Fn(&str, &str) -> Result<Dataset, String>) -> Result<Self, String> {
        let mut datasets = all(files.iter().map(|(file, text)| read(file, text)))?;
        let mut definitions = BTreeMap::new();
        for (dataset, (file, text)) in datasets.iter().zip(files) {
            if definitions.insert(dataset.name.clone(), (*text).to_owned()).is_some() {
                return Err(format!("{file}: dataset {:?} is defined twice", dataset.name));
            }
        }
        resolve_references(&mut datasets, files)?;
        let mut hash = Sha256::new();
        for (name, text) in &definitions {
            hash.update(format!("{name}\0{text}\0"));
        }
        let mut version = hex::encode(hash.finalize());
        version.truncate(16);
        Ok(Self { version, definitions, all: datasets })
    }

    /// What the content keys of a dataset covered under a definition: names of columns, each with what its values are. Empty if a column
    /// was its key.
    ///
    /// # Errors
    /// A message with file and line if the definition cannot be read.
    pub fn content_of(file: &str, text: &str) -> Result<Vec<(String, &'static str)>, String> {
        read_definition(file, text).map(|dataset| dataset.content_form())
    }

    /// The columns that files had under a definition, each with what its values were.
    ///
    /// # Errors
    /// A message with file and line if the definition cannot be read.
    pub fn columns_of(file: &str, text: &str) -> Result<Vec<(String, &'static str)>, String> {
        let dataset = read_definition(file, text)?;
        Ok(dataset.file_columns().iter().map(|column| (column.name.clone(), column.kind.rule())).collect())
    }

    /// Returns the set with one definition replaced.
    ///
    /// # Errors
    /// A message with file and line if the definition is wrong or belongs to another dataset.
    pub fn with_definition(&self, name: &str, file: &str, text: &str) -> Result<Self, String> {
        let replaced = read_definition(file, text)?.name;
        if replaced != name {
            return Err(format!("{file}: this is the definition of {replaced:?}, not of {name:?}"));
        }
        self.get(name)?;
        let others = self.definitions().filter(|(other, _)| *other != name);
        Self::parse(others.chain([(file, text)]))
    }

    /// Returns the set with every warning as an error.
    #[must_use]
    pub fn with_warnings_as_errors(&self) -> Self {
        let all = self.all.iter().cloned().map(Dataset::with_warnings_as_errors).collect();
        Self { all, ..self.clone() }
    }

    /// Returns the set with a bound: rows with a later version are rejected.
    #[must_use]
    pub fn with_latest_version(&self, latest: Option<DateTime<Utc>>) -> Self {
        Self { all: self.all.iter().map(|dataset| dataset.with_latest_version(latest)).collect(), ..self.clone() }
    }

    /// Returns the set with additional rules for each dataset.
    ///
    /// # Errors
    /// A message if an id is used twice or if the dataset does not have the column.
    pub fn with_rules(mut self, rules: impl Fn(&Dataset) -> Vec<RowRule>) -> Result<Self, String> {
        for dataset in &mut self.all {
            for rule in rules(dataset) {
                let wrong = |what| Err(format!("dataset {}: rule {} of a validator: {what}", dataset.name, rule.id));
                if dataset.column(&rule.column).is_none() {
                    return wrong(format!("there is no column {:?}", rule.column));
                }
                let agreements = dataset.reference.iter().flat_map(|reference| &reference.agreements);
                let mut known =
                    dataset.rules.iter().map(|rule| &rule.id).chain(agreements.map(|agreement| &agreement.id));
                if is_implied(&rule.id) || known.any(|id| *id == rule.id) {
                    return wrong("the dataset has a rule of that name".to_owned());
                }
                dataset.rules.push(rule);
            }
        }
        Ok(self)
    }

    /// The same set without some of its datasets.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let all = self.all.iter().filter(|dataset| !names.contains(&dataset.name.as_str())).cloned().collect();
        Self { all, ..self.clone() }
    }

    /// Returns the hash of all definitions, which is recorded with every load.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the name of each dataset and its definition as it was read.
    pub fn definitions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.definitions.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Returns the dataset with that name.
    ///
    /// # Errors
    /// A message that suggests the nearest name.
    pub fn get(&self, name: &str) -> Result<&Dataset, String> {
        let found = self.all.iter().find(|dataset| dataset.name == name);
        found.ok_or_else(|| unknown("dataset", name, &self.names()))
    }

    /// Returns all names, in the order of the definitions.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.all.iter().map(|dataset| dataset.name.as_str()).collect()
    }

    /// Returns the datasets whose rows wait for rows of `name`.
    #[must_use]
    pub fn referring_to(&self, name: &str) -> Vec<&Dataset> {
        let refers = |dataset: &&Dataset| dataset.reference.as_ref().is_some_and(|reference| reference.dataset == name);
        self.all.iter().filter(refers).collect()
    }

    /// Returns all datasets, in the order of the definitions.
    pub fn all(&self) -> impl Iterator<Item = &Dataset> {
        self.all.iter()
    }

    /// Returns the prefixes to list to see every file that a dataset may claim. No prefix is the beginning of another
    /// one.
    #[must_use]
    pub fn prefixes(&self) -> Vec<&str> {
        let mut prefixes: Vec<&str> = self.all.iter().flat_map(Dataset::prefixes).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by(|longer, shorter| longer.starts_with(*shorter));
        prefixes
    }

    /// Returns the first dataset that claims an object key, if any.
    #[must_use]
    pub fn claiming(&self, key: &str) -> Option<&Dataset> {
        self.all.iter().find(|dataset| dataset.claims(key))
    }

    /// The datasets that read an object: the one that claims its key, or if that one reads a part of it, all that do.
    pub fn reading(&self, key: &str) -> impl Iterator<Item = &Dataset> {
        let reads_parts = |dataset: &Dataset| dataset.sources_for(key, false).any(Source::reads_parts);
        let first = self.claiming(key);
        let several = first.and_then(|dataset| dataset.source_claiming(key)).is_some_and(Source::reads_parts);
        let others = self.all.iter().filter(|dataset| several && reads_parts(dataset)).collect::<Vec<_>>();
        first.filter(|_| !several).into_iter().chain(others)
    }

    /// Returns the pairs of datasets that can claim the same key, each with such a key.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(&Dataset, &Dataset, String)> {
        let others = |place: usize| self.all[place + 1..].iter();
        let pairs = self.all.iter().enumerate().flat_map(|(place, one)| others(place).map(move |other| (one, other)));
        pairs.filter_map(|(one, other)| Some((one, other, one.common_key(other)?))).collect()
    }
}
