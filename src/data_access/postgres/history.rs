//! What people ask the ledger: how the loads went, how one load went, and where a row comes from.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::key::Key;
use super::ledger::counts;
use super::sql_names::table_name;
use super::{Database, query_error};
use crate::domain::object::{BUCKETS_WITHOUT_FILES, LOCAL_BUCKET};
use crate::domain::row_history::WRITTEN_BY;
use crate::domain::{Counts, Dataset, LoadId, Location, ObjectVersion, row_key};
use crate::error::Result;

/// A load as it is shown to people.
#[derive(Clone, Debug, Serialize)]
pub struct LoadSummary {
    /// The load.
    pub load_id: LoadId,
    /// The dataset.
    pub dataset: String,
    /// The bucket of the file, or [`LOCAL_BUCKET`].
    pub bucket: String,
    /// The key of the file, or its absolute path.
    pub key: String,
    /// The version of the file.
    pub version: String,
    /// The part of it, or an empty text for the whole file.
    pub part: String,
    /// How often this version was loaded before.
    pub run: i32,
    /// `loading`, `interrupted`, `loaded`, `failed` or `superseded`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// The reason, explained for people.
    pub error: Option<String>,
    /// How many workers have held it.
    pub attempt: i32,
    /// When it was first claimed.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How many records had which outcome. While the load is running: those of the batches so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// Rejected records that have not been mended.
    pub open_rejects: i64,
    /// Rows that still wait for their reference.
    pub still_parked: i64,
    /// Rows that have waited too long for their reference, and are rejects now.
    pub expired: i64,
    /// The version of the definitions.
    pub dataset_version: String,
    /// The bucket of the rejects file.
    pub rejects_bucket: Option<String>,
    /// The key of the rejects file.
    pub rejects_key: Option<String>,
}

/// How many loads, and how many of the oldest and of the newest waiting rejects and rows, are counted at most.
const MOST_COUNTED: i64 = 10_000;

impl LoadSummary {
    fn of(row: &Row) -> Self {
        Self {
            load_id: LoadId(row.get("load_id")),
            dataset: row.get("dataset"),
            bucket: row.get("bucket"),
            key: row.get("file"),
            version: row.get("version"),
            part: row.get("part"),
            run: row.get("run"),
            state: row.get("state"),
            reason: row.get("reason"),
            error: row.get("error"),
            attempt: row.get("attempt"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            counts: counts(row),
            open_rejects: row.get("open_rejects"),
            still_parked: row.get("still_parked"),
            expired: row.get("expired"),
            dataset_version: row.get("dataset_version"),
            rejects_bucket: row.get("rejects_bucket"),
            rejects_key: row.get("rejects_key"),
        }
    }
}

/// What is waiting in one dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// The dataset.
    pub dataset: String,
    /// Rejected records that have not been mended.
    pub open_rejects: i64,
    /// When the oldest of them was rejected.
    pub oldest_reject: Option<DateTime<Utc>>,
    /// Rows that are waiting for their reference.
    pub parked: i64,
    /// Since when the oldest of them has been waiting.
    pub oldest_parked: Option<DateTime<Utc>>,
}

/// How the loads went, and what is waiting.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Loads, newest first.
    pub loads: Vec<LoadSummary>,
    /// How many more loads there are; of very many, not all are counted.
    pub more: i64,
    /// Datasets that have rejects or parked rows.
    pub waiting: Vec<Waiting>,
    /// Whether everything was counted. If not, the numbers in `waiting` and `more` are lower bounds.
    pub counted: bool,
}

/// One load with everything that its report shows.
#[derive(Clone, Debug)]
pub struct LoadDetail {
    /// The load.
    pub summary: LoadSummary,
    /// The source by which its file was read, if that was not in the plain form.
    pub source: Option<String>,
    /// How many lines of the file are no records, by what they are.
    pub dropped: Value,
    /// The statistics of the accepted rows.
    pub statistics: Value,
    /// For each batch, when it was committed and how many records it has, in the order of the commits.
    pub batches: Vec<(DateTime<Utc>, i64)>,
    /// Column, rule, number of rejected records, and number of those that are open; the most frequent first.
    pub rules: Vec<(Option<String>, String, i64, i64)>,
}

/// One occurrence of a row with this key in a file, or its absence in a file that replaced it.
#[derive(Clone, Debug, Serialize)]
pub struct RowAttempt {
    /// The load.
    pub load_id: LoadId,
    /// The bucket of the file, or [`LOCAL_BUCKET`].
    pub bucket: String,
    /// The key of the file, or its absolute path.
    pub key: String,
    /// The version of the file.
    pub version: String,
    /// The part of it, or an empty text for the whole file.
    pub part: String,
    /// The physical line of the row; `None` for rows that were parked before lines were recorded, and for a row that the file does not
    /// have.
    pub line: Option<i64>,
    /// `inserted`, `updated`, `removed`, `unchanged`, `stale`, `parked` if the row is still waiting, or `deleted` if the file does not
    /// have the row and replaced it.
    pub outcome: String,
    /// When that was committed.
    pub at: DateTime<Utc>,
    /// Since when the row had waited for its reference, if it had to wait.
    pub parked_at: Option<DateTime<Utc>>,
    /// The load that released it.
    pub released_by: Option<LoadId>,
    /// The version of the definitions that it was checked against.
    pub dataset_version: String,
    /// The transaction that wrote it.
    #[serde(skip)]
    pub transaction: Option<String>,
}

/// A version of a file that was loaded.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// The last load that read it.
    pub load_id: LoadId,
    /// Where the file is.
    pub location: Location,
    /// The version.
    pub version: String,
    /// The source by which it was read, if it was not in the plain form.
    pub source: Option<String>,
    /// Which part of it, or an empty text for the whole file.
    pub part: String,
    /// The load rejected rows with a version later than this.
    pub latest_version: Option<DateTime<Utc>>,
}

/// The row of the table with a given key.
#[derive(Clone, Debug)]
pub struct PresentRow {
    /// The transaction that wrote its present values.
    pub transaction: String,
    /// The load that wrote them first, where the table says so: an undo may have given them back since.
    pub written_by: Option<LoadId>,
}

impl Database {
    /// Returns the loads that began since then, newest first and at most `limit`, and everything that is waiting.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn status(&self, since: Option<DateTime<Utc>>, limit: i64) -> Result<Status> {
        let failed = |error| query_error("read the history of loads", error);
        let connection = self.connection("status").await?;
        // What the view counts, it counts of these loads alone.
        let statement = "select * from etl.load_history where load_id = any (array( \
                select id from etl.load where $1::timestamptz is null or started_at >= $1 order by id desc limit $2)) \
            order by load_id desc";
        let loads = connection.query(statement, &[&since, &limit]).await.map_err(failed)?;
        let loads: Vec<LoadSummary> = loads.iter().map(LoadSummary::of).collect();
        let shown = i64::try_from(loads.len()).unwrap_or(i64::MAX);
        let statement = "select count(*) from ( \
            select from etl.load where started_at >= coalesce($1::timestamptz, '-infinity') order by started_at desc limit $2) l";
        let most = shown.saturating_add(MOST_COUNTED);
        let all: i64 = connection.query_one(statement, &[&since, &most]).await.map_err(failed)?.get(0);
        // The oldest and the newest are at the ends of indexes.
        let waiting = connection.query(include_str!("waiting.sql"), &[&MOST_COUNTED]).await.map_err(failed)?;
        Ok(Status {
            more: all - shown,
            counted: all < most && waiting.iter().all(|row| row.get("counted")),
            loads,
            waiting: waiting
                .iter()
                .map(|row| Waiting {
                    dataset: row.get("dataset"),
                    open_rejects: row.get("open"),
                    oldest_reject: row.get("oldest_reject"),
                    parked: row.get("parked"),
                    oldest_parked: row.get("oldest_parked"),
                })
                .collect(),
        })
    }

    /// Returns one load with everything that its report shows.
    ///
    /// # Errors
    /// `Connection` or `System`; `Configuration` if there is no such load.
    pub async fn load_detail(&self, load: LoadId) -> Result<LoadDetail> {
        let failed = |error| query_error("read a load from the ledger", error);
        let connection = self.connection("load_detail").await?;
        let statement = "select h.*, l.statistics, l.source, l.dropped from etl.load_history h join etl.load l on l.id = h.load_id where l.id = $1";
        let row = connection.query_opt(statement, &[&load.0]).await.map_err(failed)?;
        let Some(row) = row else { return Err(self.no_such_load(load).await) };
        let statement = "select committed_at, last_record - first_record + 1 as records from etl.load_batch \
            where load_id = $1 order by 1";
        let batches = connection.query(statement, &[&load.0]).await.map_err(failed)?;
        let statement = "select \"column\", rule, count(distinct record) as records, \
                count(distinct record) filter (where state = 'open') as open \
            from etl.reject where load_id = $1 group by 1, 2 order by 3 desc, 1 nulls first, 2";
        let rules = connection.query(statement, &[&load.0]).await.map_err(failed)?;
        Ok(LoadDetail {
            summary: LoadSummary::of(&row),
            source: row.get("source"),
            dropped: row.get::<_, Option<Value>>("dropped").unwrap_or_default(),
            statistics: row.get::<_, Option<Value>>("statistics").unwrap_or_default(),
            batches: batches.iter().map(|row| (row.get(0), row.get(1))).collect(),
            rules: rules.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect(),
        })
    }

    /// Returns every occurrence of this key in a file, in the order in which the batches wrote it. Their ticks tell that order, whatever clocks
    /// say; what still waits comes last.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn row_attempts(&self, dataset: &Dataset, key: &str) -> Result<Vec<RowAttempt>> {
        let statement = include_str!("row_attempts.sql");
        let rows = self.connection("row_attempts").await?.query(statement, &[&dataset.name, &key]).await;
        let rows = rows.map_err(|error| query_error("look for a row in the ledger", error))?;
        let attempts = rows.iter().map(|row| RowAttempt {
            load_id: LoadId(row.get("load_id")),
            bucket: row.get("bucket"),
            key: row.get("key"),
            version: row.get("version"),
            part: row.get("part"),
            line: row.get("line"),
            outcome: row.get("outcome"),
            at: row.get("at"),
            parked_at: row.get("parked_at"),
            released_by: row.get::<_, Option<i64>>("released_by").map(LoadId),
            dataset_version: row.get("dataset_version"),
            transaction: row.get("transaction"),
        });
        Ok(attempts.collect())
    }

    /// Returns the row that has this key now, if there is one.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn present_row(&self, dataset: &Dataset, key: &str) -> Result<Option<PresentRow>> {
        let columns = Key::of(dataset);
        let statement = format!(
            "select xmin::text as transaction, {} as written_by from {} where {}",
            if dataset.history.is_some() { WRITTEN_BY } else { "null::bigint" },
            table_name(&dataset.table),
            columns.is_text(1),
        );
        let values = row_key::split(key, columns.len()).unwrap_or_default();
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let row = self.connection("present_row").await?.query_opt(&statement, &values).await;
        let row = row.map_err(|error| query_error("look for a row in its table", error))?;
        Ok(row.map(|row| PresentRow {
            transaction: row.get("transaction"),
            written_by: row.get::<_, Option<i64>>("written_by").map(LoadId),
        }))
    }

    /// The versions of files, and of parts of files, that were read as `dataset` since then, each once, in the order of their loads.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn files_since(&self, dataset: &str, since: DateTime<Utc>) -> Result<Vec<LoadedFile>> {
        let statement = "select * from ( \
                select distinct on (bucket, key, version, part) id, bucket, key, version, part, version_id, source, \
                    started_at + make_interval(secs => max_future_seconds) as latest_version from etl.load \
                where dataset = $1 and started_at >= $2 and finished_at is not null and bucket <> all ($3) \
                    and coalesce(reason, '') not in ('not_found', 'forbidden') order by bucket, key, version, part, id desc) l order by id";
        let rows = self
            .connection("files_since")
            .await?
            .query(statement, &[&dataset, &since, &&BUCKETS_WITHOUT_FILES[..]])
            .await;
        let rows = rows.map_err(|error| query_error("look for the files of a dataset", error))?;
        let files = rows.iter().map(|row| {
            let bucket: String = row.get("bucket");
            let object = ObjectVersion {
                local: bucket == LOCAL_BUCKET,
                bucket,
                key: row.get::<_, String>("key").into(),
                version: row.get("version"),
                version_id: row.get("version_id"),
                size: None,
                sequencer: None,
                modified: None,
            };
            LoadedFile {
                load_id: LoadId(row.get("id")),
                location: Location::of(&object),
                version: object.version,
                source: row.get("source"),
                part: row.get("part"),
                latest_version: row.get("latest_version"),
            }
        });
        Ok(files.collect())
    }
}
