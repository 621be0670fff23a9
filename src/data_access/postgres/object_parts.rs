//! What the ledger knows of the parts of an object.

use tokio_postgres::types::ToSql;

use super::sql_file::{Parameter, with_parameters};
use super::{Database, query_error};
use crate::domain::{LoadId, ObjectVersion};
use crate::error::Result;

/// A part of a version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPart {
    /// Its name; empty for the whole object.
    pub name: String,
    /// The last load of it, if there is one.
    pub load: Option<KnownLoad>,
    /// Whether the last claim of the version names it as one of its parts.
    pub is_listed: bool,
}

impl KnownPart {
    fn is(&self, state: PartState) -> bool {
        self.load.as_ref().is_some_and(|load| load.state == state)
    }

    /// Whether it has not begun or not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.load.is_none() || self.is(PartState::Held) || self.is(PartState::Left)
    }

    /// Whether a claim would take it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.load.is_none() || self.is(PartState::Left) || self.is_returned() || self.is_resent()
    }

    /// Whether the object has come back to this content after another one.
    #[must_use]
    pub fn is_returned(&self) -> bool {
        self.is(PartState::Returned)
    }

    /// Whether it could not be read, and the object was put once more since.
    #[must_use]
    pub fn is_resent(&self) -> bool {
        self.is(PartState::Resent)
    }

    /// Whether rows of it are loaded, and were not undone.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.load.as_ref().is_some_and(|load| load.is_loaded)
    }

    /// Whether its rows may be those of the dataset.
    #[must_use]
    pub fn may_be_of(&self, dataset: &str) -> bool {
        self.load.as_ref().is_none_or(|load| load.dataset == dataset)
    }
}

/// A load of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLoad {
    /// Its dataset.
    pub dataset: String,
    /// The source by which it was read, if that is known.
    pub source: Option<String>,
    /// How far it is.
    pub state: PartState,
    /// Whether any of its loads has brought rows and was not undone.
    pub is_loaded: bool,
}

/// How far a load of a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    /// A worker has it.
    Held,
    /// It has not ended, and no worker has it.
    Left,
    /// It has ended, and the object has come back to this content after another one.
    Returned,
    /// It has ended, because it could not be read, and the object was put once more since.
    Resent,
    /// It has ended.
    Ended,
}

/// A load that nobody works on and nobody can finish.
#[derive(Clone, Debug)]
pub struct ReplacedLoad {
    /// The version of the object that it was of.
    pub object: ObjectVersion,
    /// The part of it, or an empty text for the whole object.
    pub part: String,
    /// Its dataset.
    pub dataset: String,
}

impl Database {
    /// The loads of other contents of a file, or of an object without versions, that have begun, have not ended, and are held by nobody: all, or
    /// those of contents that were put before this one.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn replaced_loads(&self, object: &ObjectVersion, all: bool) -> Result<Vec<ReplacedLoad>> {
        let statement = "select version, part, dataset, modified_at from etl.load where bucket = $1 and key = $2 and version <> $3 and version_id is null \
            and finished_at is null and lease_expires_at <= clock_timestamp() and ($4 or etl.is_later($5, $6, sequencer, modified_at)) order by id";
        let ObjectVersion { bucket, key, version, modified, .. } = object;
        let parameters: [&(dyn ToSql + Sync); 6] =
            [bucket, &key.as_str(), version, &all, &object.sequencer_text(), modified];
        let rows = self.connection("replaced_loads").await?.query(statement, &parameters).await;
        let rows = rows.map_err(|error| query_error("look for loads of a file that was replaced", error))?;
        let loads = rows.iter().map(|row| {
            let (version, modified) = (row.get("version"), row.get("modified_at"));
            let object = ObjectVersion { version, modified, size: None, ..object.clone() };
            ReplacedLoad { object, part: row.get("part"), dataset: row.get("dataset") }
        });
        Ok(loads.collect())
    }

    /// The parts of a version of an object: those that the last of its claims names, in their order, and all others that have a load.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn known_parts(&self, object: &ObjectVersion) -> Result<Vec<KnownPart>> {
        let (key, sequencer) = (object.key.as_str(), object.sequencer_text());
        let parameters: [Parameter<'_>; 6] = [
            ("bucket", &object.bucket),
            ("key", &key),
            ("version", &object.version),
            ("version_id", &object.version_id),
            ("sequencer", &sequencer),
            ("written", &object.modified),
        ];
        let (statement, parameters) = with_parameters(include_str!("known_parts.sql"), &parameters);
        let rows = self.connection("known_parts").await?.query(&statement, &parameters).await;
        let rows = rows.map_err(|error| query_error("look for the parts of the object in the ledger", error))?;
        let parts = rows.iter().map(|row| KnownPart {
            name: row.get("part"),
            is_listed: row.get("is_listed"),
            load: row.get::<_, Option<String>>("dataset").map(|dataset| KnownLoad {
                dataset,
                source: row.get("source"),
                state: match () {
                    () if row.get("is_open") && row.get("is_held") => PartState::Held,
                    () if row.get("is_open") => PartState::Left,
                    () if row.get("is_returned") => PartState::Returned,
                    () if row.get("is_resent") => PartState::Resent,
                    () => PartState::Ended,
                },
                is_loaded: row.get("is_loaded"),
            }),
        });
        Ok(parts.collect())
    }

    /// The dataset of a load of a file from that bucket, if there is such a load.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn dataset_of(&self, load: LoadId, bucket: &str) -> Result<Option<String>> {
        let statement = "select dataset from etl.load where id = $1 and bucket = $2";
        let row = self.connection("dataset_of").await?.query_opt(statement, &[&load.0, &bucket]).await;
        row.map(|row| row.map(|row| row.get(0))).map_err(|error| query_error("look for a load in the ledger", error))
    }
}
