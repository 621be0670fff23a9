//! Settings, read once when a program starts.
//!
//! Settings come in layers, and a later layer wins: `config/default.toml`, `config/<SMALL_ETL_ENV>.toml`, `DATABASE_URL`, and
//! variables such as `SMALL_ETL__LOAD__BATCH_SIZE`. The files are compiled in. A file of the same name in the folder `config` of the
//! working folder, or in the folder that `SMALL_ETL_CONFIG` names, replaces the compiled one.

mod places;
mod retention;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Config, ConfigError, Environment, File, FileFormat};
use include_dir::{Dir, include_dir};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::data_access::duckdb::StageOptions;
use crate::data_access::postgres::{ClaimTerms, DatabaseOptions, Login, TlsMode};
use crate::domain::Datasets;
use crate::domain::expression::unknown;
use crate::error::{Error, ErrorKind, Result};
use crate::services::bad_records::MOST_REJECTS;
use crate::services::parts::PipelineChoice;
use places::Places;

pub use retention::{LedgerSettings, ParkedSettings, ReconcileSettings};

static CONFIG_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/config");
static DATASET_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/datasets");
const PREFIX: &str = "SMALL_ETL";

/// Every key, as `section.key`. Any other key is refused, and the error names the nearest known one.
const KEYS: &[&str] = &[
    "database.login",
    "database.root_certificates",
    "database.secret_arn",
    "database.tls",
    "database.url",
    "datasets.path",
    "encryption.kms_key",
    "events.bus",
    "ledger.retention_days",
    "load.batch_size",
    "load.connections",
    "load.deadline_margin_seconds",
    "load.lease_seconds",
    "load.max_future_seconds",
    "load.max_reject_rate",
    "load.max_rejects",
    "log.format",
    "migrations.path",
    "migrations.rds_iam",
    "output.bucket",
    "output.prefix",
    "parked.expire_days",
    "queue.large_url",
    "queue.url",
    "reconcile.full_days",
    "rejects.retention_days",
    "source.bucket",
    "stage.memory_limit_mb",
    "stage.temp_folder",
    "stage.threads",
];

/// All settings.
// `Debug` does not print secrets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Settings {
    /// How to reach Postgres.
    #[serde(default)]
    pub database: DatabaseSettings,
    /// How a file is loaded.
    pub load: LoadSettings,
    /// The staging database.
    pub stage: StageSettings,
    /// Where additional definitions are.
    #[serde(default)]
    pub datasets: PathSetting,
    /// Where additional migrations are.
    #[serde(default)]
    pub migrations: MigrationSettings,
    /// Which parts the files of each dataset run through, by the name of the dataset.
    #[serde(default)]
    pub pipeline: BTreeMap<String, PipelineChoice>,
    /// The queue in front of ingest.
    #[serde(default)]
    pub queue: QueueSettings,
    /// Where files arrive.
    #[serde(default)]
    pub source: SourceSettings,
    /// How chosen columns are encrypted.
    #[serde(default)]
    pub encryption: EncryptionSettings,
    /// Which event bus is notified of what has happened.
    #[serde(default)]
    pub events: EventsSettings,
    /// Where rejects files and reports go.
    #[serde(default)]
    pub output: OutputSettings,
    /// What happens to rejects.
    #[serde(default)]
    pub rejects: RejectsSettings,
    /// What happens to parked rows.
    #[serde(default)]
    pub parked: ParkedSettings,
    /// How long the ledger is kept.
    #[serde(default)]
    pub ledger: LedgerSettings,
    /// The nightly run.
    #[serde(default)]
    pub reconcile: ReconcileSettings,
    /// How the program logs.
    pub log: LogSettings,
    /// `SMALL_ETL_ENV`: dev, test or prod.
    #[serde(skip)]
    pub environment: String,
}

/// Section `database`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct DatabaseSettings {
    /// The URL, including the password if `login` is `password`.
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// How to log in.
    #[serde(default)]
    pub login: LoginKind,
    /// The secret that holds user and password, if `login` is `secret`.
    pub secret_arn: Option<String>,
    /// How the connection is protected.
    pub tls: Option<TlsMode>,
    /// The certificate authorities to trust instead of the system's.
    pub root_certificates: Option<PathBuf>,
}

/// How to log in to Postgres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoginKind {
    /// With the password in the URL.
    #[default]
    Password,
    /// With a token of RDS.
    Iam,
    /// With a secret of AWS Secrets Manager.
    Secret,
}

/// Section `load`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LoadSettings {
    /// Records in one transaction.
    #[schemars(range(min = 1))]
    pub batch_size: i32,
    /// Connections to Postgres of one process.
    #[schemars(range(min = 1, max = 9))]
    pub connections: usize,
    /// How long a claim lasts without being renewed, in seconds.
    #[schemars(range(min = 1))]
    pub lease_seconds: u64,
    /// How far in the future the version of a row may lie, in seconds from the first claim of its file.
    #[serde(default = "most_future_seconds")]
    #[schemars(range(max = LONGEST_FUTURE_SECONDS))]
    pub max_future_seconds: u64,
    /// More rejects than this fail the file.
    #[serde(default = "most_rejects")]
    #[schemars(range(min = 0))]
    pub max_rejects: i64,
    /// A greater share of rejects than this fails the file.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_reject_rate: Option<f64>,
    /// How many seconds before the end of a call the last batch may begin.
    pub deadline_margin_seconds: u64,
}

/// The default if a `default.toml` from elsewhere does not set it: one day, so that a clock may be set to another time
/// zone.
fn most_future_seconds() -> u64 {
    86_400
}

/// Ten thousand years: as good as no bound, and every part of the program can represent that time.
const LONGEST_FUTURE_SECONDS: u64 = 315_576_000_000;

/// The default if a `default.toml` from elsewhere does not set it.
fn most_rejects() -> i64 {
    MOST_REJECTS
}

/// Section `stage`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct StageSettings {
    /// Memory of the staging database in megabytes.
    #[schemars(range(min = 16))]
    pub memory_limit_mb: u32,
    /// Threads of one query.
    #[schemars(range(min = 1, max = 64))]
    pub threads: u32,
    /// The folder for all temporary files.
    pub temp_folder: Option<PathBuf>,
}

/// A section with the single key `path`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct PathSetting {
    /// A folder of definitions, in addition to those that are compiled in.
    pub path: Option<PathBuf>,
}

/// Section `migrations`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct MigrationSettings {
    /// A folder of additional migrations.
    pub path: Option<PathBuf>,
    /// Whether the role of ingest logs in with tokens of RDS, and in no other way.
    #[serde(default)]
    pub rds_iam: bool,
}

/// Section `source`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct SourceSettings {
    /// The bucket that the nightly run compares with the ledger; by default every bucket that the ledger knows.
    pub bucket: Option<String>,
}

/// Section `encryption`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct EncryptionSettings {
    /// The name or ARN of a key of AWS KMS.
    pub kms_key: Option<String>,
}

/// Section `events`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct EventsSettings {
    /// The name or ARN of a bus of `EventBridge`; without it no events are sent.
    pub bus: Option<String>,
}

/// Section `queue`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct QueueSettings {
    /// The URL of the queue.
    pub url: Option<String>,
    /// The URL of the queue from which a larger machine takes the files that do not fit on the disk or into the time of ingest.
    pub large_url: Option<String>,
}

/// Section `output`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct OutputSettings {
    /// The bucket; by default the bucket of each file.
    pub bucket: Option<String>,
    /// The text before each key.
    #[serde(default)]
    pub prefix: String,
}

/// Section `rejects`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct RejectsSettings {
    /// How many days after the end of a load the nightly run deletes its rejects; by default it never does.
    #[schemars(range(min = 1, max = 36_500))]
    pub retention_days: Option<u32>,
}

/// Section `log`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object, for machines.
    Json,
    /// Text, for people.
    Text,
}

impl Settings {
    /// Reads all layers from this process's working folder and environment.
    ///
    /// # Errors
    /// `Configuration`: each unknown key with the nearest known one, and each value that does not fit, on a line of its own
    /// that begins with the file and its line, or with the variable.
    pub fn read() -> Result<Self> {
        Self::from_variables(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Reads all layers with these environment variables.
    ///
    /// # Errors
    /// The same as those of [`Settings::read`].
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let environment = variables.get("SMALL_ETL_ENV").cloned().unwrap_or_else(|| "dev".into());
        // A name with one underscore instead of two would otherwise be ignored silently.
        let meant = |name: &&String| name.starts_with("SMALL_ETL_") && !name.starts_with("SMALL_ETL__");
        let others = ["SMALL_ETL_ENV", "SMALL_ETL_CACHE", "SMALL_ETL_CONFIG"];
        if let Some(name) = variables.keys().filter(meant).find(|name| !others.contains(&name.as_str())) {
            return Err(Error::configuration(format!(
                "{name} is not a setting; write SMALL_ETL__SECTION__KEY, with two underscores"
            )));
        }
        let known = ["dev", "prod", "test"];
        if !known.contains(&environment.as_str()) {
            return Err(Error::configuration(format!(
                "SMALL_ETL_ENV: {}",
                unknown("environment", &environment, &known)
            )));
        }
        let (mut builder, mut places) = (Config::builder(), Places::default());
        let folder = PathBuf::from(variables.get("SMALL_ETL_CONFIG").map_or("config", String::as_str));
        for name in ["default", &environment] {
            let (file, text) = layer(&folder, &format!("{name}.toml"))?;
            places.add_file(&file, &text)?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let unreadable = |error| Error::with_source(ErrorKind::Configuration, "read the settings", error);
        if let Some(url) = variables.get("DATABASE_URL").filter(|url| !url.is_empty()) {
            let standard = Config::builder().set_default("database.url", url.as_str()).map_err(unreadable)?;
            builder = builder.add_source(standard.build().map_err(unreadable)?);
            places.add_variable("DATABASE_URL", "database.url");
        }
        for name in variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name) {
            if let Some(key) = name.strip_prefix("SMALL_ETL__") {
                places.add_variable(name, &key.to_lowercase().replace("__", "."));
            }
        }
        let own = Environment::with_prefix(PREFIX)
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            // Templates and shells set a variable to the empty string where others leave it unset.
            .ignore_empty(true)
            .source(Some(variables.into_iter().filter(|(name, _)| name.starts_with("SMALL_ETL__")).collect()));
        let config = builder.add_source(own).build().map_err(unreadable)?;
        refuse_unknown_keys(&config, &places)?;
        let settings: Self = config.try_deserialize().map_err(|error| {
            let place = key_of(&error).map_or("settings", |key| places.of(key)).to_owned();
            Error::with_source(ErrorKind::Configuration, place, error)
        })?;
        settings.check(&places)?;
        Ok(Self { environment, ..settings })
    }

    fn check(&self, places: &Places) -> Result<()> {
        let LoadSettings { batch_size, connections, lease_seconds, max_rejects, max_reject_rate, .. } = self.load;
        let future = self.load.max_future_seconds;
        let (prefix, days) = (&self.output.prefix, self.rejects.retention_days);
        let waiting = self.parked.expire_days;
        let rules = [
            ("ledger.retention_days", self.ledger.retention_days <= 36_500, "0 to 36500"),
            ("load.batch_size", batch_size >= 1, "at least 1"),
            ("load.connections", (1..10).contains(&connections), "1 to 9"),
            ("load.lease_seconds", lease_seconds >= 1, "at least 1"),
            ("load.max_future_seconds", future <= LONGEST_FUTURE_SECONDS, "at most 315576000000"),
            ("load.max_rejects", max_rejects >= 0, "at least 0"),
            ("load.max_reject_rate", max_reject_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), "0 to 1"),
            ("output.prefix", prefix.is_empty() || prefix.ends_with('/'), "empty, or end with /"),
            ("parked.expire_days", waiting.is_none_or(|days| (1..=36_500).contains(&days)), "1 to 36500"),
            ("reconcile.full_days", (1..=3_650).contains(&self.reconcile.full_days), "1 to 3650"),
            ("rejects.retention_days", days.is_none_or(|days| (1..=36_500).contains(&days)), "1 to 36500"),
            ("stage.memory_limit_mb", self.stage.memory_limit_mb >= 16, "at least 16"),
            ("stage.threads", (1..=64).contains(&self.stage.threads), "1 to 64"),
        ];
        let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
        let faults: Vec<String> =
            broken.map(|(key, _, bounds)| format!("{}: {key} must be {bounds}", places.of(key))).collect();
        refuse(&faults)
    }

    /// How to reach Postgres.
    ///
    /// # Errors
    /// `Configuration` if no URL is set.
    pub fn database(&self) -> Result<DatabaseOptions> {
        let url = self.database.url.clone().ok_or_else(|| {
            Error::configuration(
                "no database is configured; set DATABASE_URL to postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            )
        })?;
        let login = match (self.database.login, &self.database.secret_arn) {
            (LoginKind::Password, _) => Login::Password,
            (LoginKind::Iam, _) => Login::Iam,
            (LoginKind::Secret, Some(arn)) => Login::Secret(arn.clone()),
            (LoginKind::Secret, None) => {
                return Err(Error::configuration("database.login is secret; set database.secret_arn to its ARN"));
            }
        };
        Ok(DatabaseOptions {
            url,
            login,
            tls: self.database.tls,
            root_certificates: self.database.root_certificates.clone(),
            kms_key: self.encryption.kms_key.clone(),
            connections: self.load.connections,
            lease: self.lease(),
            events: self.events.bus.is_some(),
        })
    }

    /// The terms that the first claim of a file fixes.
    #[must_use]
    pub fn claim_terms(&self) -> ClaimTerms {
        ClaimTerms {
            batch_size: self.load.batch_size,
            max_rejects: Some(self.load.max_rejects),
            max_reject_rate: self.load.max_reject_rate,
            max_future: Some(Duration::from_secs(self.load.max_future_seconds)),
            lease: self.lease(),
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.load.lease_seconds)
    }

    /// How much a staging database may use.
    #[must_use]
    pub fn stage(&self) -> StageOptions {
        StageOptions {
            memory_limit_mb: self.stage.memory_limit_mb,
            threads: self.stage.threads,
            temp_folder: self.stage.temp_folder.clone(),
        }
    }

    /// The compiled datasets and those in `datasets.path`.
    ///
    /// # Errors
    /// `Configuration`, with file and line of the definition that is wrong.
    pub fn datasets(&self) -> Result<Datasets> {
        let mut files: BTreeMap<String, String> = DATASET_FILES
            .files()
            .filter_map(|file| Some((file.path().display().to_string(), file.contents_utf8()?.to_owned())))
            .collect();
        if let Some(folder) = &self.datasets.path {
            let unreadable = |error| {
                Error::with_source(
                    ErrorKind::Configuration,
                    format!("datasets.path {}: cannot be read", folder.display()),
                    error,
                )
            };
            for entry in std::fs::read_dir(folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    files.insert(name, std::fs::read_to_string(&path).map_err(unreadable)?);
                }
            }
        }
        Datasets::parse(files.iter().map(|(name, text)| (name.as_str(), text.as_str()))).map_err(Error::configuration)
    }
}

/// The key that an error is about.
fn key_of(error: &ConfigError) -> Option<&str> {
    match error {
        ConfigError::Type { key, .. } | ConfigError::At { key, .. } => key.as_deref(),
        _ => None,
    }
}

/// All faults in one error, a line each.
fn refuse(faults: &[String]) -> Result<()> {
    if faults.is_empty() { Ok(()) } else { Err(Error::configuration(faults.join("\n"))) }
}

/// Returns what one settings file is called and its text: from the folder if it is there, otherwise the compiled one.
fn layer(folder: &Path, name: &str) -> Result<(String, String)> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let file = CONFIG_FILES.get_file(name).and_then(|file| file.contents_utf8());
            Ok((format!("{name} (built in)"), file.unwrap_or_default().to_owned()))
        }
        Err(error) => Err(Error::with_source(ErrorKind::Configuration, format!("read {}", path.display()), error)),
    }
}

fn refuse_unknown_keys(config: &Config, places: &Places) -> Result<()> {
    let tree: Value = config
        .clone()
        .try_deserialize()
        .map_err(|error| Error::with_source(ErrorKind::Configuration, "read the settings", error))?;
    let mut faults = Vec::new();
    let mut refused = |key: &str| faults.push(format!("{}: {}", places.of(key), unknown("key", key, KEYS)));
    for (section, keys) in tree.as_object().into_iter().flatten() {
        let Value::Object(keys) = keys else {
            refused(section);
            continue;
        };
        // The keys of this section are datasets, and the parts check their own.
        if section == "pipeline" {
            continue;
        }
        for key in keys.keys() {
            let name = format!("{section}.{key}");
            if !KEYS.contains(&name.as_str()) {
                refused(&name);
            }
        }
    }
    refuse(&faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_variables(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn a_variable_wins_over_the_files() {
        let settings = read(&[("SMALL_ETL_ENV", "prod"), ("SMALL_ETL__LOAD__BATCH_SIZE", "7")]).unwrap();
        assert_eq!((settings.load.batch_size, settings.load.connections), (7, 2));
        assert_eq!((settings.log.format, settings.load.max_rejects), (LogFormat::Json, 1_000_000));
        assert_eq!(read(&[]).unwrap().log.format, LogFormat::Text);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let error = read(&[("SMALL_ETL__LOAD__BATCH_SICE", "7")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"SMALL_ETL__LOAD__BATCH_SICE: unknown key "load.batch_sice"; did you mean "load.batch_size"?"#
        );
        assert!(read(&[("SMALL_ETL_LOAD_BATCH_SIZE", "7")]).unwrap_err().to_string().contains("two underscores"));
        assert!(read(&[("SMALL_ETL_ENV", "production")]).unwrap_err().to_string().contains("did you mean \"prod\""));
    }

    #[test]
    fn every_key_in_the_default_file_is_known_and_every_known_key_is_there() {
        let text = include_str!("../config/default.toml");
        let is_pipeline = |line: &&str| line.starts_with("# [[pipeline");
        let text: Vec<&str> = text.lines().take_while(|line| !is_pipeline(line)).collect();
        let mut section = String::new();
        let mut keys: Vec<String> = Vec::new();
        for line in text {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').into();
            } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
                keys.push(format!("{section}.{key}"));
            }
        }
        keys.sort();
        assert_eq!(keys, KEYS);
    }

    #[test]
    fn a_secret_does_not_print() {
        let settings = read(&[("DATABASE_URL", "postgres://u:canary@h/d")]).unwrap();
        assert!(settings.database().is_ok());
        assert!(!format!("{settings:?}").contains("canary"));
    }

    #[test]
    fn a_value_out_of_bounds_is_refused() {
        let error = read(&[("SMALL_ETL__LOAD__CONNECTIONS", "10")]).unwrap_err();
        assert_eq!(error.to_string(), "SMALL_ETL__LOAD__CONNECTIONS: load.connections must be 1 to 9");
        let error = read(&[("SMALL_ETL__REJECTS__RETENTION_DAYS", "0")]).unwrap_err();
        assert!(error.to_string().ends_with("rejects.retention_days must be 1 to 36500"), "{error}");
        let error = read(&[("SMALL_ETL__OUTPUT__PREFIX", "out")]).unwrap_err();
        assert!(error.to_string().ends_with("output.prefix must be empty, or end with /"), "{error}");
    }

    #[test]
    fn without_a_database_the_error_says_what_to_set() {
        assert!(read(&[]).unwrap().database().unwrap_err().to_string().contains("DATABASE_URL"));
    }
}
