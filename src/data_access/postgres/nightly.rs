//! What the nightly run asks the ledger and the tables, and its own row in `etl.reconciliation`.

use std::pin::pin;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::key::Key;
use super::parked::{Freed, Release, WaitingPage, Whose, free, refused};
use super::resolve::resolve_released;
use super::sql_file::filled;
use super::sql_names::{quoted, table_name};
use super::{Database, query_error};
use crate::domain::object::{BUCKETS_WITHOUT_FILES, LOCAL_BUCKET, place_of_part};
use crate::domain::{Dataset, LoadId, ObjectVersion};
use crate::error::Result;

/// What the ledger knows about a version that is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The ledger has neither this version nor another one of its key.
    Missing,
    /// The ledger has only other versions of its key, or this version has come back after one of those.
    Changed,
    /// A worker has stopped before the end of the version or of one of its parts, and no other worker holds it.
    Interrupted,
    /// The version could not be read, or it had been replaced. That may no longer be true.
    Unreadable,
    /// Each part of the version is finished, or a worker holds one of them.
    Settled,
}

/// What the ledger says of a version with all its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStanding {
    /// What it says.
    pub standing: Standing,
    /// The parts that could not be read; the whole object has the empty name.
    pub unreadable: Vec<String>,
}

/// How a run of the reconciliation ended.
#[derive(Clone, Copy, Debug)]
pub struct RunEnd<'a> {
    /// `done`, `interrupted` or `failed`.
    pub state: &'a str,
    /// Versions that were compared.
    pub compared: i64,
    /// Files that were sent for loading.
    pub sent: i64,
    /// Parked rows that were released.
    pub released: i64,
    /// The number of discrepancies.
    pub discrepancies: i64,
    /// Files that were due and did not arrive.
    pub missing_files: i64,
    /// The whole result.
    pub report: &'a Value,
    /// Bucket and key of the report.
    pub place: Option<(&'a str, &'a str)>,
    /// Why it failed.
    pub error: Option<&'a str>,
}

/// A load that has not ended, and that nobody works on.
#[derive(Clone, Debug)]
pub struct LeftBehind {
    /// The load.
    pub load_id: LoadId,
    /// Its dataset.
    pub dataset: String,
    /// Its file, for people.
    pub file: String,
    /// How many rows it has inserted, updated or removed.
    pub rows: i64,
}

/// A part of a table that was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedRows {
    /// The number of rows.
    pub count: usize,
    /// The last key, after which the next part begins; `None` if this was the last part.
    pub last: Option<String>,
}

/// The cell for a null in an exported table. No file contains this text.
pub const NULL: &str = "\u{1}null\u{1}";

impl Database {
    /// Begins a run and returns its number.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn begin_reconciliation(&self, bucket: Option<&str>, prefix: Option<&str>) -> Result<i64> {
        self.check_schema().await?;
        // A run that was killed could not record its end.
        let forget = "update etl.reconciliation set state = 'failed', finished_at = clock_timestamp(), error = 'its process ended' \
            where state = 'running' and started_at < clock_timestamp() - interval '1 day'";
        let connection = self.connection("begin_reconciliation").await?;
        if let Err(error) = connection.execute(forget, &[]).await {
            return Err(self.first_write_error(connection, "begin the reconciliation", error).await);
        }
        let statement = "insert into etl.reconciliation (bucket, prefix) values ($1, $2) returning id";
        // On the same connection: a pool may have no other.
        let row = connection.query_one(statement, &[&bucket, &prefix]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("begin the reconciliation", error))
    }

    /// Ends a run.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn end_reconciliation(&self, id: i64, end: RunEnd<'_>) -> Result<()> {
        let statement = "update etl.reconciliation set state = $2, finished_at = clock_timestamp(), compared = $3, sent = $4, \
            released = $5, discrepancies = $6, missing_files = $7, report = $8, report_bucket = $9, report_key = $10, error = $11 \
            where id = $1";
        let RunEnd { state, compared, sent, released, discrepancies, missing_files, report, place, error } = end;
        let (bucket, key) = place.unzip();
        let ended = self
            .connection("end_reconciliation")
            .await?
            .execute(
                statement,
                &[
                    &id,
                    &state,
                    &compared,
                    &sent,
                    &released,
                    &discrepancies,
                    &missing_files,
                    report,
                    &bucket,
                    &key,
                    &error,
                ],
            )
            .await;
        ended.map(|_| ()).map_err(|error| query_error("end the reconciliation", error))
    }

    /// Returns the buckets whose files the ledger knows.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn buckets(&self) -> Result<Vec<String>> {
        // One look at the index for each bucket.
        let statement = "with recursive known (bucket) as ( \
                (select bucket from etl.load order by bucket limit 1) union all \
                select (select l.bucket from etl.load l where l.bucket > known.bucket order by l.bucket limit 1) from known where bucket is not null \
            ), pruned (bucket) as ( \
                (select bucket from etl.settled order by bucket limit 1) union all \
                select (select s.bucket from etl.settled s where s.bucket > pruned.bucket order by s.bucket limit 1) from pruned where bucket is not null) \
            select bucket from (select bucket from known union select bucket from pruned) b \
            where bucket is not null and bucket <> $1 and bucket <> all ($2) order by 1";
        let rows =
            self.connection("buckets").await?.query(statement, &[&LOCAL_BUCKET, &&BUCKETS_WITHOUT_FILES[..]]).await;
        rows.map(|rows| rows.iter().map(|row| row.get(0)).collect())
            .map_err(|error| query_error("read the buckets of the ledger", error))
    }

    /// Returns what the ledger knows about these versions in one bucket, in their order.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn standings(&self, bucket: &str, versions: &[&ObjectVersion]) -> Result<Vec<VersionStanding>> {
        let keys: Vec<&str> = versions.iter().map(|object| object.key.as_str()).collect();
        let ids: Vec<&str> = versions.iter().map(|object| object.version.as_str()).collect();
        // A version with an id of its own never comes back.
        let written: Vec<_> = versions.iter().map(|object| object.modified.filter(|_| object.has_etag())).collect();
        let rows = self
            .connection("standings")
            .await?
            .query(include_str!("standings.sql"), &[&bucket, &keys, &ids, &written])
            .await;
        let rows = rows.map_err(|error| query_error("compare a listing with the ledger", error))?;
        let standing = |row: &Row| match row.get("claimed") {
            false if row.get("known") => Standing::Changed,
            false => Standing::Missing,
            true if row.get("held") => Standing::Settled,
            true if row.get("returned") => Standing::Changed,
            true if row.get("left_over") => Standing::Interrupted,
            true if row.get::<_, Vec<String>>("unreadable").is_empty() => Standing::Settled,
            true => Standing::Unreadable,
        };
        let standings =
            rows.iter().map(|row| VersionStanding { standing: standing(row), unreadable: row.get("unreadable") });
        Ok(standings.collect())
    }

    /// Loads up to `limit` parked rows of a page, of finished loads, whose reference has arrived in some other way than by a load.
    /// Each row counts as released by the load that parked it.
    ///
    /// # Errors
    /// `Connection` or `Conflict` if it may be tried again.
    pub async fn release_waiting(&self, dataset: &Dataset, page: &WaitingPage, limit: i64) -> Result<Release> {
        let Some(reference) = &dataset.reference else { return Ok(Release::Done) };
        let failed = |error| query_error("release parked rows", error);
        let mut connection = self.connection("release_waiting").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        let Freed { release, loads, warnings } =
            free(&transaction, dataset, reference, Whose::Page(page), limit).await?;
        if !matches!(release, Release::Rows(1..)) {
            return Ok(release);
        }
        let count = "with freed as ( \
                select load_id, count(*) as released, sum(warnings)::bigint as warnings \
                from unnest($1::bigint[], $2::bigint[]) as f (load_id, warnings) group by 1) \
            update etl.load l set released = l.released + f.released, warnings = l.warnings + f.warnings \
            from freed f where l.id = f.load_id returning l.id";
        for load in transaction.query(count, &[&loads, &warnings]).await.map_err(failed)? {
            resolve_released(&transaction, LoadId(load.get(0))).await.map_err(failed)?;
        }
        match transaction.commit().await {
            Ok(()) => Ok(release),
            Err(error) => refused(dataset, error),
        }
    }

    /// Checks the next `count` loads after `after` that ended since then or [shortly before](recent). Returns
    /// the loads whose counts differ from those of their batches, parked rows and released rows; how many loads were
    /// checked; and the load after which there may be more. Loads from before what is pruned are left out: rows that they released may be gone.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn unbalanced_loads(
        &self,
        since: Option<DateTime<Utc>>,
        after: LoadId,
        count: i64,
    ) -> Result<(Vec<LoadId>, usize, Option<LoadId>)> {
        let ended = recent(since, "(finished_at < (select pruned_before from etl.retention)) is not true");
        let statement = filled(include_str!("unbalanced.sql"), &[("ended", &ended)]);
        let rows = self.connection("unbalanced_loads").await?.query(&statement, &[&since, &after.0, &count]).await;
        let rows = rows.map_err(|error| query_error("check the balance of the ledger", error))?;
        let wrong = rows.iter().filter(|row| row.get("wrong")).map(|row| LoadId(row.get("id"))).collect();
        let last = rows.last().filter(|_| i64::try_from(rows.len()) == Ok(count)).map(|row| LoadId(row.get("id")));
        Ok((wrong, rows.len(), last))
    }

    /// Returns how many rows the table of a dataset has, and how many the ledger has inserted and not removed.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn row_counts(&self, dataset: &Dataset) -> Result<(i64, i64)> {
        // One statement means one snapshot: a batch and its checkpoint are seen together or not at all.
        let statement = format!(
            "select (select count(*) from {}), \
                 (select coalesce(sum(b.inserted - b.removed), 0)::bigint from etl.load_batch b join etl.load l on l.id = b.load_id \
                     where l.dataset = $1) \
                 - (select coalesce(sum(deleted), 0)::bigint from etl.load l where dataset = $1 and not exists ( \
                     select from etl.replacement r where r.load_id = l.id and r.flagged)) \
                 + (select count(*) from etl.parked where dataset = $1 and outcome = 'inserted') \
                 + (select coalesce(sum(rows), 0)::bigint from etl.pruned where dataset = $1)",
            table_name(&dataset.table)
        );
        let row = self.connection("row_counts").await?.query_one(&statement, &[&dataset.name]).await;
        row.map(|row| (row.get(0), row.get(1))).map_err(|error| query_error("count the rows of a table", error))
    }

    /// Returns about how many rows the table of a dataset has, as the planner of the server knows it, and about how many batches the ledger
    /// has.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn estimated_rows(&self, dataset: &Dataset) -> Result<(i64, i64)> {
        // A table with partitions has no rows of its own.
        let statement = "select coalesce(sum(greatest(c.reltuples, 0)) filter (where c.relkind <> 'p'), 0)::bigint, \
                (select greatest(reltuples, 0)::bigint from pg_class where oid = 'etl.load_batch'::regclass) \
            from pg_class c where c.oid = to_regclass($1) or c.oid in (select relid from pg_partition_tree(to_regclass($1)))";
        let row = self.connection("estimated_rows").await?.query_one(statement, &[&table_name(&dataset.table)]).await;
        row.map(|row| (row.get(0), row.get(1))).map_err(|error| query_error("estimate the rows of a table", error))
    }

    /// Returns how many rows of a part of the table of a dataset refer to a row that does not exist, and the first of their keys. The part is
    /// what [`Database::export`] has passed on: the rows after the key `after`, up to `last`.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn orphans(
        &self,
        dataset: &Dataset,
        after: Option<&str>,
        last: Option<&str>,
    ) -> Result<(i64, Option<String>)> {
        let Some(reference) = &dataset.reference else { return Ok((0, None)) };
        let here = || reference.columns.iter().map(|column| format!("t.{}", quoted(column)));
        let refers = here().map(|column| format!("{column} is not null")).collect::<Vec<_>>().join(" and ");
        let statement = format!(
            "select count(*), min({}) from {} t where ({}) and {refers} and not exists (select from {} r where {})",
            Key::of(dataset).text("t."),
            table_name(&dataset.table),
            between(&Key::of(dataset), after, last),
            table_name(&reference.table),
            Key::referred(dataset, reference).equals("r.", here()),
        );
        let row = self.connection("orphans").await?.query_one(&statement, &[]).await;
        row.map(|row| (row.get(0), row.get(1))).map_err(|error| query_error("check the references of a table", error))
    }

    /// Passes about `most` rows of the table of a dataset to `take`, as a file of that dataset: the header, then one
    /// record at a time. They are the first rows by key, or the first ones after the key `after`. A null is written as
    /// [`NULL`]; rows without a key come last.
    ///
    /// # Errors
    /// The errors of `take`, `Connection`, `System`.
    pub async fn export(
        &self,
        dataset: &Dataset,
        after: Option<&str>,
        most: usize,
        mut take: impl AsyncFnMut(Bytes) -> Result<()>,
    ) -> Result<ExportedRows> {
        let failed = |error| query_error("read a table", error);
        let (columns, table) = (Key::of(dataset), table_name(&dataset.table));
        let (key, text) = (columns.list(""), columns.text(""));
        let later = later(&columns, after);
        let mut connection = self.connection("export").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        // If the server must first sort a part of a table, it may take longer than other statements are allowed to.
        transaction.batch_execute("set local statement_timeout = 0").await.map_err(failed)?;
        let end = format!("select {text} from {table} where {later} order by {key} offset $1 limit 1");
        let offset = i64::try_from(most).unwrap_or(i64::MAX).max(1) - 1;
        let end = transaction.query_opt(&end, &[&offset]).await.map_err(failed)?;
        let last: Option<String> = end.and_then(|row| row.get(0));
        let wanted = between(&columns, after, last.as_deref());
        let columns = dataset.table_columns().iter().map(|column| {
            let name = quoted(&column.name);
            format!("{} as {name}", column.kind.export(&name))
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let copy = format!(
            "copy (select {columns} from {table} where {wanted} order by {key}) \
             to stdout (format csv, header, null '{NULL}')"
        );
        let mut rows = pin!(transaction.copy_out(&copy).await.map_err(failed)?);
        let mut lines = 0_usize;
        while let Some(line) = rows.try_next().await.map_err(failed)? {
            take(line).await?;
            lines += 1;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(ExportedRows { count: lines.saturating_sub(1), last })
    }

    /// Returns whether a file of the dataset arrived between two moments.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn came_in(&self, dataset: &str, window: (DateTime<Utc>, DateTime<Utc>)) -> Result<bool> {
        // Loading a version again, or a mended rejects file, does not mean that the sender sent something. A version
        // that came back does.
        let statement = "select exists (select from etl.load l where dataset = $1 and started_at between $2 and $3 and bucket <> all ($4) \
            and (run = 0 or exists (select from etl.known_load p where p.bucket = l.bucket and p.key = l.key and p.version = l.version \
                and p.part = l.part and p.run = l.run - 1 and etl.is_later(l.sequencer, l.modified_at, p.sequencer, p.modified_at))) \
            and reason is distinct from 'not_found' and reason is distinct from 'forbidden' \
            and not exists (select from etl.resubmission s where s.load_id = l.id))";
        let row = self
            .connection("came_in")
            .await?
            .query_one(statement, &[&dataset, &window.0, &window.1, &&BUCKETS_WITHOUT_FILES[..]])
            .await;
        row.map(|row| row.get(0)).map_err(|error| query_error("look for a file that was due", error))
    }

    /// Returns the first loads of objects, at most so many, that have not ended although nobody has worked on them for a day.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn left_behind(&self, most: i64) -> Result<Vec<LeftBehind>> {
        let statement = "select l.id, l.dataset, l.bucket, l.key, l.part, coalesce(b.rows, 0)::bigint as rows from etl.load l left join lateral ( \
                select sum(inserted + updated + removed) as rows from etl.load_batch where load_id = l.id) b on true \
            where finished_at is null and lease_expires_at < clock_timestamp() - interval '1 day' and bucket <> $2 and bucket <> all ($3) \
            order by l.id limit $1";
        let parameters: [&(dyn ToSql + Sync); 3] = [&most, &LOCAL_BUCKET, &&BUCKETS_WITHOUT_FILES[..]];
        let rows = self.connection("left_behind").await?.query(statement, &parameters).await;
        let rows = rows.map_err(|error| query_error("look for loads that have not ended", error))?;
        let left = rows.iter().map(|row| LeftBehind {
            load_id: LoadId(row.get("id")),
            dataset: row.get("dataset"),
            file: place_of_part(row.get("bucket"), row.get("key"), row.get("part")),
            rows: row.get("rows"),
        });
        Ok(left.collect())
    }

    /// Returns for how many seconds the oldest parked row has waited.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn oldest_parked(&self) -> Result<Option<f64>> {
        let statement = "select extract(epoch from clock_timestamp() - min(parked_at))::float8 from etl.parked where released_by is null";
        let row = self.connection("oldest_parked").await?.query_one(statement, &[]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("look for the oldest parked row", error))
    }

    /// Returns how many sessions this login has on the server, from all programs.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn sessions(&self) -> Result<i64> {
        let statement =
            "select count(*) from pg_stat_activity where usename = current_user and backend_type = 'client backend'";
        let row = self.connection("sessions").await?.query_one(statement, &[]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("count the sessions", error))
    }
}

/// SQL: the loads that ended since the moment of parameter 1, in their order, after load 2 and at most as many as parameter 3 says. Without that
/// moment, all that have ended. A load records its end before others see it, and a large one takes long to close, so those of the day before
/// are looked at again.
pub(super) fn recent(since: Option<DateTime<Utc>>, condition: &str) -> String {
    match since {
        None => format!(
            "select id from etl.load where $1::timestamptz is null and finished_at is not null and id > $2 and {condition} order by id limit $3"
        ),
        // `offset` keeps the planner from walking through all older loads in the order of their numbers.
        Some(_) => format!(
            "select id from ( \
                 select id from etl.load where finished_at >= $1::timestamptz - interval '1 day' and id > $2 and {condition} offset 0) l \
             order by id limit $3"
        ),
    }
}

/// SQL condition: the rows of a table after a key.
fn later(columns: &Key<'_>, after: Option<&str>) -> String {
    after.map_or("true".into(), |after| columns.compared(">", after))
}

/// SQL condition: the rows of a table after a key and up to another; the last part has also the rows without a key.
fn between(columns: &Key<'_>, after: Option<&str>, last: Option<&str>) -> String {
    let later = later(columns, after);
    match last {
        Some(last) => format!("{later} and {}", columns.compared("<=", last)),
        None => format!("({later} or {})", columns.lacks_one()),
    }
}
