//! What the ledger knows of the parts of an object.

use tokio_postgres::types::ToSql;

use super::{Database, query_error};
use crate::domain::{LoadId, ObjectVersion};
use crate::error::Result;

/// A part of a version of an object, as its last claim names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPart {
    /// Its name; empty for the whole object.
    pub name: String,
    /// The last load of it, if there is one.
    pub load: Option<KnownLoad>,
}

impl KnownPart {
    /// Whether it has not begun or not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.load.as_ref().is_none_or(|load| load.is_open)
    }
}

/// A load of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLoad {
    /// Its dataset.
    pub dataset: String,
    /// The source by which it was read, if that is known.
    pub source: Option<String>,
    /// Whether a claim would take it: it has not ended and nobody has it, or the object has come back to this content.
    pub is_wanted: bool,
    /// Whether it has not ended.
    pub is_open: bool,
    /// Whether its rows are loaded, and were not undone.
    pub is_loaded: bool,
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
    /// The loads of other contents of a file, or of an object without versions, that have begun, have not ended, and are held by nobody.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn replaced_loads(&self, object: &ObjectVersion) -> Result<Vec<ReplacedLoad>> {
        let statement = "select version, part, dataset, modified_at from etl.load where bucket = $1 and key = $2 and version <> $3 and version_id is null \
            and finished_at is null and lease_expires_at <= clock_timestamp() order by id";
        let parameters: [&(dyn ToSql + Sync); 3] = [&object.bucket, &object.key.as_str(), &object.version];
        let rows = self.connection("replaced_loads").await?.query(statement, &parameters).await;
        let rows = rows.map_err(|error| query_error("look for loads of a file that was replaced", error))?;
        let loads = rows.iter().map(|row| {
            let (version, modified) = (row.get("version"), row.get("modified_at"));
            let object = ObjectVersion { version, modified, size: None, ..object.clone() };
            ReplacedLoad { object, part: row.get("part"), dataset: row.get("dataset") }
        });
        Ok(loads.collect())
    }

    /// The parts of a version of an object, as the last of its loads was claimed; none if there is no load of it.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn known_parts(&self, object: &ObjectVersion) -> Result<Vec<KnownPart>> {
        let statement = "select p.part, l.dataset, l.source, l.finished_at is null as is_open, \
                l.state = 'loaded' and not exists ( \
                    select from etl.load u where u.bucket = 'undo://' and u.key = l.id::text and u.state = 'loaded') as is_loaded, \
                l.finished_at is null and not (l.state = 'loading' and l.lease_expires_at > clock_timestamp()) \
                or l.finished_at is not null and coalesce($6, 'null') = 'null' and exists ( \
                    select from etl.known_load o where o.bucket = $1 and o.key = $2 and o.version <> $3 \
                        and etl.is_later($4, $5, o.sequencer, o.modified_at) \
                        and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at)) as is_wanted \
            from (select parts from etl.known_load where bucket = $1 and key = $2 and version = $3 order by id + 0 desc limit 1) w \
                cross join lateral unnest(w.parts) with ordinality as p (part, place) \
                left join lateral ( \
                    select * from etl.known_load where bucket = $1 and key = $2 and version = $3 and part = p.part \
                    order by run desc limit 1) l on true \
            order by p.place";
        let ObjectVersion { bucket, key, version, sequencer, modified, version_id, .. } = object;
        let rows = self
            .connection("known_parts")
            .await?
            .query(statement, &[bucket, &key.as_str(), version, sequencer, modified, version_id])
            .await;
        let rows = rows.map_err(|error| query_error("look for the parts of the object in the ledger", error))?;
        let parts = rows.iter().map(|row| KnownPart {
            name: row.get("part"),
            load: row.get::<_, Option<String>>("dataset").map(|dataset| KnownLoad {
                dataset,
                source: row.get("source"),
                is_wanted: row.get("is_wanted"),
                is_open: row.get("is_open"),
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
