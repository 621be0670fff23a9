//! Parts by name: those of this crate, those that a program adds, and which of them the files of a dataset run through.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::extract::FileExtractor;
use super::form::Form;
use super::http_source::{self, HttpSource};
use super::kafka_source::{self, KafkaSource};
use super::lake::{self, ParquetLoader};
use super::load::PostgresLoader;
pub use super::part_settings::{PartSettings, Surroundings};
use super::validate::{DuckDbValidator, settle};
use super::{Extractor, Lander, Loader, Validated, Validator};
use crate::data_access::duckdb::Stage;
use crate::domain::expression::unknown;
use crate::domain::json_schema::schema_of;
use crate::domain::{Arrival, Dataset, Location, ObjectKey, RowRule};
use crate::error::{Error, Result};

/// The parts that the settings choose for the files of one dataset. An empty list means the default: `s3_csv`,
/// `duckdb`, `postgresql`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineChoice {
    /// The extractors. The first one whose `files` match the key of a file reads it.
    pub extractor: Vec<PartChoice>,
    /// The validators, which check the rows one after another.
    pub validator: Vec<PartChoice>,
    /// The loaders, which write the rows one after another. The first is `postgresql`, which keeps the ledger.
    pub loader: Vec<PartChoice>,
}

/// One part.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct PartChoice {
    /// The name under which it is registered.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name that tells this part from another of the same type; the ledger records a loader by it. The default is
    /// the type.
    pub name: Option<String>,
    /// For an extractor, patterns of the keys that it reads; by default all keys, or those below its prefix.
    pub files: Option<Vec<String>>,
    /// The options of the part itself.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

impl PartChoice {
    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), name: None, files: None, options: Map::new() }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.kind)
    }
}

type Makers<T> = BTreeMap<String, Box<dyn Fn(&PartSettings<'_>) -> Result<Arc<T>> + Send + Sync>>;

/// The parts that settings may name.
pub struct Parts {
    extractors: Makers<dyn Extractor>,
    validators: Makers<dyn Validator>,
    loaders: Makers<dyn Loader>,
}

/// The parts of this crate.
impl Default for Parts {
    fn default() -> Self {
        let none = Self { extractors: BTreeMap::new(), validators: BTreeMap::new(), loaders: BTreeMap::new() };
        let file = |form| {
            move |settings: &PartSettings<'_>| {
                settings.no_options()?;
                Ok(Arc::new(FileExtractor::new(settings.store(), form)) as Arc<dyn Extractor>)
            }
        };
        none.with_extractor(CSV, file(Form::Csv))
            .with_extractor("s3_json_lines", file(Form::JsonLines))
            .with_extractor("s3_parquet", file(Form::Parquet))
            .with_extractor("http", |settings| Ok(Arc::new(HttpSource::extractor(settings)?)))
            .with_extractor("kafka", |settings| Ok(Arc::new(KafkaSource::extractor(settings)?)))
            .with_loader("parquet", |settings| Ok(Arc::new(ParquetLoader::new(settings)?)))
            .with_validator(DUCKDB, |settings| {
                settings.no_options()?;
                Ok(Arc::new(DuckDbValidator))
            })
            .with_loader(POSTGRESQL, |settings| {
                settings.no_options()?;
                Ok(Arc::new(PostgresLoader))
            })
    }
}

/// The options of the parts of this crate that have some, as JSON schemas by the type of the part.
#[must_use]
pub fn options_of_parts() -> [(&'static str, Value); 3] {
    [
        ("http", schema_of::<http_source::Options>("The options of the extractor http")),
        ("kafka", schema_of::<kafka_source::Options>("The options of the extractor kafka")),
        ("parquet", schema_of::<lake::Options>("The options of the loader parquet")),
    ]
}

const CSV: &str = "s3_csv";
const DUCKDB: &str = "duckdb";
const POSTGRESQL: &str = "postgresql";

impl Parts {
    /// Adds an extractor, or replaces the one with that name.
    #[must_use]
    pub fn with_extractor<F>(mut self, name: &str, make: F) -> Self
    where
        F: Fn(&PartSettings<'_>) -> Result<Arc<dyn Extractor>> + Send + Sync + 'static,
    {
        self.extractors.insert(name.to_owned(), Box::new(make));
        self
    }

    /// Adds a validator, or replaces the one with that name.
    #[must_use]
    pub fn with_validator<F>(mut self, name: &str, make: F) -> Self
    where
        F: Fn(&PartSettings<'_>) -> Result<Arc<dyn Validator>> + Send + Sync + 'static,
    {
        self.validators.insert(name.to_owned(), Box::new(make));
        self
    }

    /// Adds a loader, or replaces the one with that name.
    #[must_use]
    pub fn with_loader<F>(mut self, name: &str, make: F) -> Self
    where
        F: Fn(&PartSettings<'_>) -> Result<Arc<dyn Loader>> + Send + Sync + 'static,
    {
        self.loaders.insert(name.to_owned(), Box::new(make));
        self
    }

    /// Makes the parts for the files of one dataset.
    ///
    /// # Errors
    /// `Configuration`: an unknown type, with the nearest known one; an option that a part does not know.
    pub fn pipeline(&self, dataset: &str, choice: &PipelineChoice, around: &Surroundings) -> Result<Pipeline> {
        let place = |kind: &str| format!("pipeline.{dataset}.{kind}");
        let (extractor, validator, loader) = (place("extractor"), place("validator"), place("loader"));
        let mut extractors = Vec::new();
        for part in or_standard(&choice.extractor, CSV) {
            let files = part.files.as_deref().map(|files| patterns(&extractor, files)).transpose()?;
            extractors.push((files, make(&self.extractors, "extractor", &extractor, &part, around)?));
        }
        let with_files = choice.validator.iter().chain(&choice.loader).find(|part| part.files.is_some());
        let with_name = choice.extractor.iter().chain(&choice.validator).find(|part| part.name.is_some());
        if let Some(part) = with_files.or(with_name) {
            let message = format!(
                "pipeline.{dataset}: {:?}: only an extractor can have files, and only a loader a name",
                part.kind
            );
            return Err(Error::configuration(message));
        }
        let checks = or_standard(&choice.validator, DUCKDB);
        if !checks.iter().any(|part| part.kind == DUCKDB) {
            let message =
                format!("{validator}: {DUCKDB:?} is missing; add it, because it checks the rules of the dataset");
            return Err(Error::configuration(message));
        }
        let mut validators = Vec::new();
        for part in &checks {
            validators.push(make(&self.validators, "validator", &validator, part, around)?);
        }
        let mut loaders = Vec::new();
        let chosen = or_standard(&choice.loader, POSTGRESQL);
        let mut names = HashSet::new();
        for part in &chosen {
            if !names.insert(part.name()) {
                return Err(Error::configuration(format!(
                    "{loader}: there are two named {:?}; give each its own name",
                    part.name()
                )));
            }
            loaders.push((part.name().to_owned(), make(&self.loaders, "loader", &loader, part, around)?));
        }
        if chosen.first().is_none_or(|part| part.kind != POSTGRESQL) {
            return Err(Error::configuration(format!(
                "{loader}: the first must be {POSTGRESQL:?}, which keeps the ledger"
            )));
        }
        let ledger = loaders.remove(0).1;
        Ok(Pipeline { extractors, validators, ledger, loaders })
    }
}

fn or_standard(chosen: &[PartChoice], standard: &str) -> Vec<PartChoice> {
    if chosen.is_empty() { vec![PartChoice::of(standard)] } else { chosen.to_vec() }
}

fn make<T: ?Sized>(
    makers: &Makers<T>,
    kind: &str,
    place: &str,
    part: &PartChoice,
    surroundings: &Surroundings,
) -> Result<Arc<T>> {
    let known: Vec<&str> = makers.keys().map(String::as_str).collect();
    let make = makers
        .get(&part.kind)
        .ok_or_else(|| Error::configuration(format!("{place}: {}", unknown(kind, &part.kind, &known))))?;
    make(&PartSettings { place: format!("{place} {:?}", part.kind), options: &part.options, surroundings })
}

fn patterns(place: &str, files: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    let wrong = |error| Error::configuration(format!("{place}: files: {error}"));
    for pattern in files {
        set.add(Glob::new(pattern).map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// The parts that the files of one dataset run through.
pub struct Pipeline {
    extractors: Vec<(Option<GlobSet>, Arc<dyn Extractor>)>,
    /// The validators, in order.
    pub validators: Vec<Arc<dyn Validator>>,
    /// The loader that writes to Postgres and keeps the ledger.
    pub ledger: Arc<dyn Loader>,
    /// The other loaders, with their names.
    pub loaders: Vec<(String, Arc<dyn Loader>)>,
}

impl Pipeline {
    /// Returns the extractor that reads the file at a location. A file on this machine is matched by its absolute path.
    ///
    /// # Errors
    /// `Configuration` if no extractor reads it.
    pub fn extractor_at(&self, location: &Location) -> Result<&Arc<dyn Extractor>> {
        match location {
            Location::S3 { key, .. } => self.extractor(key),
            Location::File(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                self.extractor(&ObjectKey::of_path(&path))
            }
        }
    }

    /// Returns the extractor that reads the file with that key.
    ///
    /// # Errors
    /// `Configuration` if no extractor reads it.
    pub fn extractor(&self, key: &ObjectKey) -> Result<&Arc<dyn Extractor>> {
        let mut readers = self.extractors.iter().filter(|(files, extractor)| match files {
            Some(files) => files.is_match(key.as_str()),
            None => extractor.prefix().is_none_or(|prefix| key.as_str().starts_with(prefix)),
        });
        readers.next().map(|(_, extractor)| extractor).ok_or_else(|| {
            Error::configuration(format!("{key}: no extractor of its dataset reads this key; widen its files"))
        })
    }

    /// Checks whether every extractor can read files of the dataset.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    pub fn check(&self, dataset: &Dataset) -> Result<()> {
        for (_, extractor) in &self.extractors {
            extractor.check(dataset)?;
            let Some(prefix) = extractor.prefix() else { continue };
            if !Arc::ptr_eq(self.extractor(&prefix.into())?, extractor) {
                return Err(Error::configuration(format!(
                    "pipeline.{}.extractor: another extractor reads what is landed below {prefix}; list it after the one that lands there",
                    dataset.name
                )));
            }
        }
        Ok(())
    }

    /// Returns what lands this arrival, if one of its extractors does.
    #[must_use]
    pub fn lander(&self, arrival: &Arrival) -> Option<&dyn Lander> {
        self.extractors.iter().filter_map(|(_, extractor)| extractor.lander()).find(|lander| lander.takes(arrival))
    }

    /// Runs every validator on the staged rows, then keeps one of several rows with the same key.
    ///
    /// # Errors
    /// The same as those of [`Validator::validate`].
    pub async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Validated> {
        for validator in &self.validators {
            validator.validate(dataset, stage).await?;
        }
        settle(dataset, stage).await
    }

    /// The rules that the validators check in addition to those of the definition.
    #[must_use]
    pub fn rules(&self, dataset: &Dataset) -> Vec<RowRule> {
        self.validators.iter().flat_map(|validator| validator.rules(dataset)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(settings: &str) -> Result<Pipeline> {
        Parts::default().pipeline("trade", &toml::from_str(settings).unwrap(), &Surroundings::default())
    }

    #[test]
    fn an_unknown_type_is_named_with_the_nearest_known_one() {
        let error = pipeline("[[extractor]]\ntype = \"s3_cvs\"").map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"pipeline.trade.extractor: unknown extractor "s3_cvs"; did you mean "s3_csv"?"#
        );
    }

    #[test]
    fn an_option_that_a_part_does_not_know_is_refused() {
        let error = pipeline("[[loader]]\ntype = \"postgresql\"\nprefix = \"x\"").map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), r#"pipeline.trade.loader "postgresql": there is no option "prefix""#);
    }

    #[test]
    fn a_key_that_would_be_ignored_is_refused() {
        let refused = |settings: &str| pipeline(settings).map(|_| ()).unwrap_err().to_string();
        assert!(
            refused("[[loader]]\ntype = \"postgresql\"\nfiles = [\"*\"]").contains("only an extractor can have files")
        );
        assert!(refused("[[validator]]\ntype = \"duckdb\"\nname = \"x\"").contains("and only a loader a name"));
        assert!(refused("[[extractor]]\ntype = \"s3_csv\"\nname = \"x\"").contains("and only a loader a name"));
        let parts = Parts::default().with_validator("own", |_| Ok(Arc::new(DuckDbValidator)));
        let choice = toml::from_str("[[validator]]\ntype = \"own\"").unwrap();
        let error = parts.pipeline("trade", &choice, &Surroundings::default()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("\"duckdb\" is missing"), "{error}");
    }

    #[test]
    fn the_page_on_parts_lists_every_part() {
        let (parts, page) = (Parts::default(), include_str!("../../docs/parts.md"));
        let extractors = parts.extractors.keys().map(|name| format!("| extractor `{name}` |"));
        let validators = parts.validators.keys().map(|name| format!("| validator `{name}` |"));
        let loaders = parts.loaders.keys().map(|name| format!("| loader `{name}` |"));
        for row in extractors.chain(validators).chain(loaders) {
            assert!(page.contains(&row), "docs/parts.md lacks {row}");
        }
    }

    #[test]
    fn the_ledger_is_kept_first_and_names_differ() {
        let twice = "[[loader]]\ntype = \"postgresql\"\n[[loader]]\ntype = \"postgresql\"";
        let error = pipeline(twice).map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"pipeline.trade.loader: there are two named "postgresql"; give each its own name"#
        );
    }

    #[test]
    fn the_first_extractor_whose_files_match_reads_a_key() {
        let only_csv = pipeline("[[extractor]]\ntype = \"s3_csv\"\nfiles = [\"**/*.csv\"]").unwrap();
        assert!(only_csv.extractor(&"in/a.csv".to_owned().into()).is_ok());
        let error = only_csv.extractor(&"in/a.json".to_owned().into()).map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("in/a.json: no extractor"), "{error}");
        assert!(pipeline("").unwrap().extractor(&"anything".to_owned().into()).is_ok());
    }
}
