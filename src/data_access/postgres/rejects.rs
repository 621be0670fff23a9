//! `etl.reject`: rejected records, which earlier ones they were to mend, and what mended them.

use std::sync::Arc;

use chrono::{DateTime, Days, Utc};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::nightly::recent;
use super::sql_file::filled;
use super::{Database, query_error};
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{ByteRange, LineNumber, LoadId, RecordNumber, Violation};
use crate::error::Result;

/// Which rejects to return.
#[derive(Clone, Debug, Default)]
pub struct RejectFilter {
    /// Only those of this load.
    pub load: Option<LoadId>,
    /// Only those of records that break this rule. A record may break others, too.
    pub rule: Option<String>,
    /// Only those of this dataset.
    pub dataset: Option<String>,
    /// Only those with this key.
    pub key: Option<String>,
    /// Of parts of this name alone.
    pub part: Option<String>,
    /// Also rejects that were resolved, or that a later attempt replaced.
    pub all: bool,
}

impl RejectFilter {
    /// What `etl.reject r` must fulfil; parameters 1 to 5 are load, rule, dataset, key and part.
    fn condition(&self) -> String {
        let waiting = "exists (select from etl.open_reject o where o.reject_id = r.id)";
        format!(
            "($1::bigint is null or r.load_id = $1) and ($2::text is null or r.rule = $2) and ($4::text is null or r.key = $4) \
             and ($3::text is null or exists (select from etl.load d where d.id = r.load_id and d.dataset = $3)) \
             and ($5::text is null or exists (select from etl.load p where p.id = r.load_id and p.part = $5)) and {}",
            if self.all { "true" } else { waiting }
        )
    }

    fn load_number(&self) -> Option<i64> {
        self.load.map(|load| load.0)
    }
}

/// A reject with the file that it came from.
#[derive(Clone, Debug)]
pub struct StoredReject {
    /// The load that kept it.
    pub load_id: LoadId,
    /// Bucket and key of the file.
    pub file: (String, String),
    /// The part of the file, or an empty text for the whole file.
    pub part: String,
    /// The dataset.
    pub dataset: String,
    /// The version of the definitions that it was checked against.
    pub dataset_version: String,
    /// Whether it is waiting to be mended.
    pub open: bool,
    /// The load that mended it.
    pub resolved_by: Option<LoadId>,
    /// The load and record in which the row was first rejected.
    pub first: (LoadId, RecordNumber),
    /// What is wrong.
    pub violation: Violation,
}

impl StoredReject {
    fn of(row: &Row, raw: Arc<[u8]>) -> Self {
        let range: (Option<i64>, Option<i64>) = (row.get("byte_offset"), row.get("byte_length"));
        Self {
            load_id: LoadId(row.get("load_id")),
            file: (row.get("bucket"), row.get("file")),
            part: row.get("part"),
            dataset: row.get("dataset"),
            dataset_version: row.get("dataset_version"),
            open: row.get("open"),
            resolved_by: row.get::<_, Option<i64>>("resolved_by").map(LoadId),
            first: (LoadId(row.get("first_load_id")), RecordNumber(row.get("first_record"))),
            violation: Violation {
                record: RecordNumber(row.get("record")),
                line: LineNumber(row.get("line")),
                column: row.get("column"),
                rule: row.get("rule"),
                message: row.get("message"),
                value: row.get("value"),
                raw,
                bytes: range.0.zip(range.1).map(|(offset, length)| ByteRange { offset, length }),
                key: row.get("key"),
                data_key: None,
            },
        }
    }
}

fn raw(row: &Row) -> Option<&[u8]> {
    row.get("raw")
}

/// Where a page of rejects ended; the next one begins after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RejectCursor(i64, i64);

/// A load whose rejects file must be written or deleted.
#[derive(Clone, Debug)]
pub struct PendingRejects {
    /// The load.
    pub load_id: LoadId,
    /// The bucket of its file, or [`LOCAL_BUCKET`].
    pub bucket: String,
    /// The dataset.
    pub dataset: String,
}

impl PendingRejects {
    fn of(row: &Row) -> Self {
        Self { load_id: LoadId(row.get("id")), bucket: row.get("bucket"), dataset: row.get("dataset") }
    }
}

/// The most records in one page, and the most bytes of their content.
const RECORDS_IN_A_PAGE: i64 = 2_000;
const BYTES_IN_A_PAGE: i64 = 8 * 1024 * 1024;

impl Database {
    /// Returns the next page of rejects in the order of load and record, and where it ends. A page has whole records
    /// and is bounded in bytes. It is empty at the end.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn page_of_rejects(
        &self,
        filter: &RejectFilter,
        cursor: RejectCursor,
    ) -> Result<(Vec<StoredReject>, RejectCursor)> {
        let statement = filled(include_str!("rejects_page.sql"), &[("is_wanted", &filter.condition())]);
        let RejectFilter { rule, dataset, key, part, .. } = filter;
        let (load, RejectCursor(after_load, after_record)) = (filter.load_number(), cursor);
        let (most, size) = (RECORDS_IN_A_PAGE, BYTES_IN_A_PAGE);
        let parameters: [&(dyn ToSql + Sync); 9] =
            [&load, rule, dataset, key, part, &after_load, &after_record, &most, &size];
        let rows = self.connection("page_of_rejects").await?.query(&statement, &parameters).await;
        let rows = rows.map_err(|error| query_error("read the rejects", error))?;
        let is_sealed = |row: &&Row| raw(row).is_some() && row.get::<_, Option<i64>>("data_key").is_some();
        let loads: Vec<i64> = rows.iter().filter(is_sealed).map(|row| row.get("load_id")).collect();
        if !loads.is_empty() {
            self.note_decryption(&loads).await?;
        }
        let mut bytes: Arc<[u8]> = Arc::default();
        let mut page = Vec::with_capacity(rows.len());
        for row in &rows {
            // The first violation of a record has its bytes.
            if row.get("is_first") {
                bytes = self.bytes_of(row).await?;
            }
            page.push(StoredReject::of(row, Arc::clone(&bytes)));
        }
        let end = page.last().map_or(cursor, |last| RejectCursor(last.load_id.0, last.violation.record.0));
        Ok((page, end))
    }

    /// The bytes of a record; none if the violation that held them has been deleted.
    async fn bytes_of(&self, row: &Row) -> Result<Arc<[u8]>> {
        Ok(match (raw(row), row.get("data_key")) {
            (None, _) => Arc::default(),
            (Some(bytes), None) => bytes.into(),
            (Some(sealed), Some(key)) => self.opened(key, row, sealed).await?.into(),
        })
    }

    /// Counts the rejected records that match the filter.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn count_rejects(&self, filter: &RejectFilter) -> Result<i64> {
        let statement = format!(
            "select count(*) from (select distinct r.load_id, r.record from etl.reject r where {}) as record",
            filter.condition()
        );
        let RejectFilter { rule, dataset, key, part, .. } = filter;
        let parameters: [&(dyn ToSql + Sync); 5] = [&filter.load_number(), rule, dataset, key, part];
        let row = self.connection("count_rejects").await?.query_one(&statement, &parameters).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("count the rejects", error))
    }

    /// Returns the loads that hold the last attempts to mend rejects of this load, the earliest first, at most ten.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn holding_rejects_of(&self, load: LoadId) -> Result<Vec<LoadId>> {
        let statement = "select distinct last.load_id from etl.reject r join etl.reject last \
                on last.first_load_id = r.first_load_id and last.first_record = r.first_record and last.load_id > r.load_id \
            where r.load_id = $1 and exists (select from etl.open_reject o where o.reject_id = last.id) order by 1 limit 10";
        let rows = self.connection("holding_rejects_of").await?.query(statement, &[&load.0]).await;
        let rows = rows.map_err(|error| query_error("look for later attempts to mend rejects", error))?;
        Ok(rows.iter().map(|row| LoadId(row.get(0))).collect())
    }

    /// Returns the bytes of the header of a load's file; `None` if the file has no header.
    ///
    /// # Errors
    /// `Connection` or `System`; `Configuration` if there is no such load.
    pub async fn written_as(&self, load: LoadId) -> Result<WrittenAs> {
        let statement = "select header, source, around, dataset, dataset_version from etl.load where id = $1";
        let row = self.connection("written_as").await?.query_opt(statement, &[&load.0]).await;
        let row = row.map_err(|error| query_error("read the header of a load", error))?;
        let written = row.map(|row| WrittenAs {
            header: row.get::<_, Option<Vec<u8>>>(0).unwrap_or_default(),
            source: row.get(1),
            around: row.get(2),
            dataset: row.get(3),
            dataset_version: row.get(4),
        });
        let Some(written) = written else { return Err(self.no_such_load(load).await) };
        Ok(written)
    }

    /// Records where the rejects file of a load is.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn note_rejects_file(&self, load: LoadId, bucket: &str, key: &str) -> Result<()> {
        let statement = "update etl.load set rejects_bucket = $2, rejects_key = $3 where id = $1";
        let outcome = self.connection("note_rejects_file").await?.execute(statement, &[&load.0, &bucket, &key]).await;
        outcome.map(|_| ()).map_err(|error| query_error("note the rejects file", error))
    }

    /// Returns the next `count` loads after `after` that ended since then or [shortly before](recent) with rejects and have no rejects file, in
    /// their order. With `local`, also loads of files on this machine.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn pending_rejects(
        &self,
        local: bool,
        since: Option<DateTime<Utc>>,
        after: LoadId,
        count: i64,
    ) -> Result<Vec<PendingRejects>> {
        let statement = format!(
            "with ended as materialized ({}) select id, bucket, dataset from ended join etl.load l using (id) order by id",
            recent(
                since,
                "rejects_key is null and rejected > 0 and header is not null and ($4 or bucket <> $5) \
                 and exists (select from etl.reject r where r.load_id = load.id)"
            )
        );
        let rows = self
            .connection("pending_rejects")
            .await?
            .query(&statement, &[&since, &after.0, &count, &local, &LOCAL_BUCKET])
            .await
            .map_err(|error| query_error("look for rejects files that are missing", error))?;
        Ok(rows.iter().map(PendingRejects::of).collect())
    }

    /// Returns the next `count` loads after `after` that ended more than `days` ago and still have rejects or a rejects file, in
    /// their order; with bucket and key of the file, if they were recorded. What was that old at the moment `since` is left out, except that
    /// of the [day before](recent). A row that waited too long is a reject from then on.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn expired_rejects(
        &self,
        days: u32,
        since: Option<DateTime<Utc>>,
        after: LoadId,
        count: i64,
    ) -> Result<Vec<(PendingRejects, Option<(String, String)>)>> {
        // The time of the transaction can bound an index.
        let statement = format!(
            "with ended as materialized ( \
                 select id from ( \
                     ({}) \
                     union select p.load_id from etl.parked p where p.outcome = 'expired' and p.load_id > $2 \
                         and p.released_at < now() - make_interval(days => $4) \
                         and ($1::timestamptz is null or p.released_at >= $1 - make_interval(days => $4 + 1)) \
                         and exists (select from etl.reject r where r.load_id = p.load_id) \
                 ) l where not exists ( \
                     select from etl.parked p where p.load_id = l.id and p.outcome = 'expired' \
                         and p.released_at >= now() - make_interval(days => $4)) \
                 order by id limit $3) \
             select id, bucket, dataset, rejects_bucket, rejects_key from ended join etl.load l using (id) order by id",
            recent(
                since,
                "finished_at < now() - make_interval(days => $4) \
                 and (rejects_key is not null or exists (select from etl.reject r where r.load_id = load.id))"
            )
        );
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let since = since.and_then(|since| since.checked_sub_days(Days::new(days.unsigned_abs().into())));
        let rows =
            self.connection("expired_rejects").await?.query(&statement, &[&since, &after.0, &count, &days]).await;
        let rows = rows.map_err(|error| query_error("look for rejects whose time is over", error))?;
        Ok(rows
            .iter()
            .map(|row| {
                let file: (Option<String>, Option<String>) = (row.get("rejects_bucket"), row.get("rejects_key"));
                (PendingRejects::of(row), file.0.zip(file.1))
            })
            .collect())
    }

    /// Deletes the rejects of a load and the record of its rejects file. Returns how many rejects there were, and how
    /// many of them were open.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn delete_rejects(&self, load: LoadId) -> Result<(i64, i64)> {
        let statement = "with gone as (delete from etl.reject where load_id = $1 returning state), \
                forgotten as (update etl.load set rejects_bucket = null, rejects_key = null where id = $1) \
            select count(*) as deleted, count(*) filter (where state = 'open') as open from gone";
        let row = self.connection("delete_rejects").await?.query_one(statement, &[&load.0]).await;
        row.map(|row| (row.get(0), row.get(1))).map_err(|error| query_error("delete rejects", error))
    }
}

/// How the records of a load were written, so that its rejects can be written likewise.
#[derive(Clone, Debug, Default)]
pub struct WrittenAs {
    /// The header.
    pub header: Vec<u8>,
    /// The source, where the file was not in the plain form.
    pub source: Option<String>,
    /// What the file told around its table.
    pub around: Option<Value>,
    /// The dataset, and the version of the definitions in force.
    pub dataset: String,
    /// The version of the definitions that were in force.
    pub dataset_version: String,
}
