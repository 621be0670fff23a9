//! What is pruned from the ledger, and for how long it is kept. The functions of the owner do it (`migrations/V21__retention.sql`): they refuse
//! a cut-off that is later than the one that `migrate` has recorded.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use super::{Database, query_error};
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{LoadId, ObjectVersion};
use crate::error::{Error, ErrorKind, Result};

/// How many loads one transaction looks at.
const LOADS_AT_ONCE: i32 = 200;
/// How many other lines of each kind one transaction deletes.
const LINES_AT_ONCE: i32 = 5_000;
/// How many settled versions one page has.
const VERSIONS_AT_ONCE: i64 = 1_000;

/// A version whose loads are pruned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettledVersion {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version.
    pub version: String,
}

/// What one transaction has pruned.
#[derive(Clone, Copy, Debug)]
pub struct PrunedLoads {
    /// The last load that was looked at; `None` if there was none left.
    pub last: Option<LoadId>,
    /// How many loads are gone.
    pub count: i64,
}

impl Database {
    /// Records for how many days the ledger is kept; for ever if that is 0. Only the owner of the ledger may do that.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn keep_ledger_for(&self, days: u32) -> Result<()> {
        let days = i32::try_from(days).ok().filter(|days| *days > 0);
        let statement = "update etl.retention set days = $1 where days is distinct from $1";
        let recorded = self.connection("keep_ledger_for").await?.execute(statement, &[&days]).await;
        recorded.map(|_| ()).map_err(|error| query_error("record how long the ledger is kept", error))
    }

    /// Returns the midnight before which the ledger may be pruned if it is kept for that many days.
    ///
    /// # Errors
    /// `Configuration` if the ledger is to be kept longer, as `migrate` has recorded; `Connection` or `System`.
    pub async fn cut_off(&self, days: u32) -> Result<DateTime<Utc>> {
        let statement =
            "select days, date_trunc('day', clock_timestamp() - make_interval(days => $1), 'UTC') from etl.retention";
        let row =
            self.connection("cut_off").await?.query_one(statement, &[&i32::try_from(days).unwrap_or(i32::MAX)]).await;
        let row = row.map_err(|error| query_error("read how long the ledger is kept", error))?;
        let recorded: Option<i32> = row.get(0);
        if recorded.is_some_and(|recorded| i64::from(recorded) <= i64::from(days)) {
            return Ok(row.get(1));
        }
        let kept = recorded.map_or("for ever".to_owned(), |recorded| format!("for {recorded} days"));
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "ledger.retention_days is {days}, but the ledger says that it is kept {kept}; run `small-etl migrate` with the same setting"
            ),
        ))
    }

    /// Prunes, of the next loads after `after`, those that ended before `before`, in one transaction.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn prune_loads(&self, before: DateTime<Utc>, after: LoadId) -> Result<PrunedLoads> {
        let statement = "select last, pruned from etl.prune_loads($1, $2, $3)";
        let row =
            self.connection("prune_loads").await?.query_one(statement, &[&before, &after.0, &LOADS_AT_ONCE]).await;
        row.map(|row| PrunedLoads { last: row.get::<_, Option<i64>>(0).map(LoadId), count: row.get(1) })
            .map_err(|error| query_error("prune the ledger", error))
    }

    /// Deletes some of the lines of the audit trail, of nightly runs and of sent events that are older than that. Returns how many there were.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn prune_records(&self, before: DateTime<Utc>) -> Result<i64> {
        let statement = "select etl.prune_records($1, $2)";
        let row = self.connection("prune_records").await?.query_one(statement, &[&before, &LINES_AT_ONCE]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("prune the audit trail", error))
    }

    /// Returns the moment before which loads of a dataset are pruned, if any are.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn pruned_before(&self, dataset: &str) -> Result<Option<DateTime<Utc>>> {
        let statement =
            "select pruned_before from etl.retention where exists (select from etl.pruned where dataset = $1)";
        let row = self.connection("pruned_before").await?.query_opt(statement, &[&dataset]).await;
        row.map(|row| row.and_then(|row| row.get(0)))
            .map_err(|error| query_error("read what is pruned from the ledger", error))
    }

    /// The error where the ledger does not have a load.
    pub(super) async fn no_such_load(&self, load: LoadId) -> Error {
        let statement = "select pruned_before from etl.retention where exists (select from etl.pruned)";
        let pruned = async { self.connection("no_such_load").await.ok()?.query_opt(statement, &[]).await.ok()? };
        let before: Option<DateTime<Utc>> = pruned.await.and_then(|row| row.get(0));
        let pruned = before
            .map(|before| format!("; loads that ended before {} are pruned", before.format("%Y-%m-%d")))
            .unwrap_or_default();
        let message = format!("there is no load {load}{pruned}; `small-etl status` lists the latest");
        Error::new(ErrorKind::Configuration, message)
    }

    /// Returns the next versions in buckets whose loads are pruned, in the order of bucket and key. A page has all versions of its keys; it is empty
    /// at the end.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn settled_versions(&self, after: (&str, &str)) -> Result<Vec<SettledVersion>> {
        let statement = "with keys as materialized ( \
                select distinct bucket, key from (select bucket, key from etl.settled \
                    where (bucket collate \"C\", key collate \"C\") > ($1, $2) and bucket <> $3 \
                    order by bucket collate \"C\", key collate \"C\" limit $4) k) \
            select bucket, key, version from (select distinct bucket, key, version from keys join etl.settled using (bucket, key)) v \
            order by bucket collate \"C\", key collate \"C\", version";
        let rows = self
            .connection("settled_versions")
            .await?
            .query(statement, &[&after.0, &after.1, &LOCAL_BUCKET, &VERSIONS_AT_ONCE])
            .await;
        let rows = rows.map_err(|error| query_error("read which versions are settled", error))?;
        Ok(rows.iter().map(|row| SettledVersion { bucket: row.get(0), key: row.get(1), version: row.get(2) }).collect())
    }

    /// Forgets versions whose loads are pruned.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn forget_settled(&self, versions: &[&SettledVersion]) -> Result<u64> {
        let column = |value: fn(&SettledVersion) -> &str| versions.iter().map(|found| value(found)).collect::<Vec<_>>();
        let statement = "delete from etl.settled where (bucket, key, version) in ( \
            select * from unnest($1::text[], $2::text[], $3::text[]))";
        let (buckets, keys) = (column(|found| &found.bucket), column(|found| &found.key));
        let gone = self
            .connection("forget_settled")
            .await?
            .execute(statement, &[&buckets, &keys, &column(|found| &found.version)])
            .await;
        gone.map_err(|error| query_error("forget versions that are gone", error))
    }
}

/// Returns the last load of a part of a version whose loads are pruned.
pub(super) async fn settled(
    transaction: &Transaction<'_>,
    object: &ObjectVersion,
    part: &str,
) -> std::result::Result<Row, PostgresError> {
    let statement = "select load_id, attempt, dataset, source, reason from etl.settled \
        where bucket = $1 and key = $2 and version = $3 and part = $4 order by run desc limit 1";
    transaction.query_one(statement, &[&object.bucket, &object.key.as_str(), &object.version, &part]).await
}
