//! `etl.load`: who may load which file version, and how each load ended.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, TryStreamExt};
use serde_json::Value;
use tokio_postgres::{Row, Transaction};

use super::data_keys::sealed;
use super::rejects::{Mending, copy_rejects, link_and_resolve};
use super::tie::batches_of;
use super::{Database, query_error};
use crate::domain::{
    BatchNumber, Counts, Dataset, Datasets, LoadId, LoadStatus, ObjectKey, ObjectVersion, RejectedChunk,
};
use crate::error::{Error, ErrorKind, Reason, Result};

/// What a first claim freezes for the whole life of a load.
#[derive(Clone, Debug)]
pub struct ClaimTerms {
    /// Records in a batch.
    pub batch_size: i32,
    /// More rejects than this fail the file.
    pub max_rejects: Option<i64>,
    /// A greater share of rejects than this fails the file.
    pub max_reject_rate: Option<f64>,
    /// A row whose version lies further in the future, counted from the first claim, is rejected; `None` for a load from before
    /// there was a bound.
    pub max_future: Option<Duration>,
    /// How long the claim holds without a sign of life.
    pub lease: Duration,
}

impl ClaimTerms {
    /// The latest version that a row may have in a file that was first claimed then.
    #[must_use]
    pub fn latest_version(&self, claimed_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        claimed_at.checked_add_signed(TimeDelta::from_std(self.max_future?).ok()?)
    }
}

/// Proves that a worker holds a load: every write must show it. No two claims have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingToken(pub(super) i64);

/// A load that this worker holds.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The row of `etl.load`.
    pub load_id: LoadId,
    /// How often this version was loaded before.
    pub run: i32,
    /// The fencing token of this claim.
    pub token: FencingToken,
    /// How many workers have held this load, this one included.
    pub attempt: i32,
    /// When the first of them claimed it, by the clock of the server.
    pub started_at: DateTime<Utc>,
    /// How long ago that was.
    pub age: Duration,
    /// How many of the last workers committed nothing, this one counted until it does.
    pub stalled: i32,
    /// The dataset of the first claim.
    pub dataset: String,
    /// The source by which the file is read, that of the first claim, or the one that the file names itself.
    pub source: Option<String>,
    /// The version of the definitions in force, those of the first claim.
    pub dataset_version: String,
    /// The terms in force, those of the first claim.
    pub terms: ClaimTerms,
    /// Whether the object has had another content since, and then this one again: once the load has ended, that is to be a load of
    /// its own.
    pub returned: bool,
    /// What has a lower tick was committed before it was claimed, or before the load that it precedes.
    pub(super) since: i64,
}

/// What a worker wants to claim, and how it would load it.
#[derive(Clone, Copy, Debug)]
pub struct FileToClaim<'a> {
    /// The version of the object.
    pub object: &'a ObjectVersion,
    /// Its dataset.
    pub dataset: &'a str,
    /// The source that describes it, if it is not in the plain form.
    pub source: Option<&'a str>,
    /// The definitions.
    pub datasets: &'a Datasets,
    /// What a first claim freezes.
    pub terms: &'a ClaimTerms,
    /// Whether a load that is finished gets a next run.
    pub again: bool,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours now.
    Taken(Claim),
    /// It was finished before.
    Finished {
        /// The row of `etl.load`.
        load_id: LoadId,
        /// How many workers held it.
        attempt: i32,
        /// As which dataset.
        dataset: String,
        /// Why it failed, if it did.
        reason: Option<String>,
        /// The same for people.
        error: Option<String>,
        /// Where its rejects file lies.
        rejects_key: Option<String>,
    },
    /// Another worker holds it.
    Held {
        /// The row of `etl.load`.
        load_id: LoadId,
        /// How many workers have held it.
        attempt: i32,
        /// What is left of its lease.
        remaining: Duration,
    },
}

/// What a worker has seen of a file, as far as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenFile<'a> {
    /// How many records it has.
    pub read: i64,
    /// Its header.
    pub header: Option<&'a [u8]>,
    /// When it was written, where its place says so.
    pub modified: Option<DateTime<Utc>>,
    /// The source by which it was read, where it is not in the plain form.
    pub source: Option<&'a str>,
    /// What it told around its table.
    pub around: Option<&'a Value>,
    /// How many of its lines are no records.
    pub dropped: Option<&'a Value>,
}

impl SeenFile<'_> {
    /// The parameters of the statements that note it, after those of the claim.
    fn parameters<'p>(
        &'p self,
        load: &'p i64,
        token: &'p i64,
        lease: &'p f64,
    ) -> [&'p (dyn tokio_postgres::types::ToSql + Sync); 9] {
        let Self { read, header, modified, source, around, dropped } = self;
        [load, token, lease, read, header, modified, source, around, dropped]
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

/// How a worker leaves a load.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// `Loaded`, `Failed`, `Superseded` or `Interrupted`.
    pub status: LoadStatus,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The same for people.
    pub error: Option<&'a str>,
    /// Records after the header, as far as they were read.
    pub read: i64,
    /// What the dataset computes over its accepted rows.
    pub statistics: &'a Value,
    /// Whether this worker is to count as one that stalled, unless it committed something.
    pub stalled: bool,
}

impl Database {
    /// A token that nobody has, for one claim and its repetitions.
    ///
    /// # Errors
    /// `Connection` or `System`; `Configuration` where the database is read-only by its settings.
    pub async fn fencing_token(&self) -> Result<FencingToken> {
        let connection = self.connection().await?;
        let taken = async {
            let statement = connection.prepare_cached("select nextval('etl.lease_token')").await?;
            connection.query_one(&statement, &[]).await
        };
        match taken.await {
            Ok(row) => Ok(FencingToken(row.get(0))),
            Err(error) => Err(self.first_write_error(connection, "take a fencing token", error).await),
        }
    }

    /// Claims a file for this worker, or says who has it.
    ///
    /// To repeat it with the same token does no harm: a claim whose answer was lost is found again.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn claim(&self, token: FencingToken, file: FileToClaim<'_>) -> Result<Claimed> {
        let FileToClaim { object, dataset, source, datasets, terms, again } = file;
        let mut connection = self.connection().await?;
        let step = "claim the file in the ledger";
        let failed = |error| query_error(step, error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let (names, definitions): (Vec<_>, Vec<_>) = datasets.definitions().unzip();
        let statement = "insert into etl.dataset (version, name, definition) \
            select $1, name, definition from unnest($2::text[], $3::text[]) as d (name, definition) on conflict do nothing";
        let statement = transaction.prepare_cached(statement).await.map_err(failed)?;
        transaction.execute(&statement, &[&datasets.version(), &names, &definitions]).await.map_err(failed)?;
        // Of two versions that are claimed at once, the one with the higher id sees the other, and so it is with two loads of a dataset.
        // Nobody waits for the disk: a claim that the server forgets takes with it whatever was committed under it, since that
        // came later.
        let alone = "select set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0)), \
            pg_advisory_xact_lock(hashtextextended('etl.load ' || $3, 0))";
        let alone = transaction.prepare_cached(alone).await.map_err(failed)?;
        transaction.execute(&alone, &[&object.bucket, &object.key.as_str(), &dataset]).await.map_err(failed)?;
        let insert = transaction.prepare_cached(include_str!("claim.sql")).await.map_err(failed)?;
        let inserted = transaction
            .query_opt(
                &insert,
                &[
                    &object.bucket,
                    &object.key.as_str(),
                    &object.version,
                    &object.sequencer,
                    &dataset,
                    &datasets.version(),
                    &object.size.and_then(|size| i64::try_from(size).ok()),
                    &terms.batch_size,
                    &terms.max_rejects,
                    &terms.max_reject_rate,
                    &terms.lease.as_secs_f64(),
                    &again,
                    &token.0,
                    &object.version_id,
                    &object.modified,
                    &seconds(terms.max_future),
                    &source,
                ],
            )
            .await
            .map_err(failed)?;
        if inserted.as_ref().is_some_and(|row| row.get("late")) {
            // A batch that is under way does not know yet that it has to keep it out (`tie`).
            let alone = format!("select pg_advisory_xact_lock({})", batches_of(dataset));
            transaction.execute(&alone, &[]).await.map_err(failed)?;
        }
        let claimed = match inserted {
            Some(row) => Claimed::Taken(Claim {
                load_id: LoadId(row.get("id")),
                run: row.get("run"),
                token,
                attempt: 1,
                started_at: row.get("started_at"),
                age: Duration::ZERO,
                stalled: 1,
                dataset: dataset.to_owned(),
                source: source.map(str::to_owned),
                dataset_version: datasets.version().to_owned(),
                terms: terms.clone(),
                returned: false,
                since: row.get("since"),
            }),
            None => claim_again(&transaction, token, object, terms.lease).await.map_err(failed)?,
        };
        transaction.commit().await.map_err(failed)?;
        Ok(claimed)
    }

    /// The newest version of an object whose load was left to a next worker, if there is one.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn interrupted(&self, bucket: &str, key: &ObjectKey) -> Result<Option<ObjectVersion>> {
        let statement = "select version, version_id, sequencer, size_bytes, modified_at from etl.load \
            where bucket = $1 and key = $2 and state = 'interrupted' order by id desc limit 1";
        let row = self.connection().await?.query_opt(statement, &[&bucket, &key.as_str()]).await;
        let row = row.map_err(|error| query_error("look for an interrupted load", error))?;
        Ok(row.map(|row| ObjectVersion {
            bucket: bucket.to_owned(),
            key: key.clone(),
            version: row.get("version"),
            version_id: row.get("version_id"),
            size: row.get::<_, Option<i64>>("size_bytes").and_then(|size| u64::try_from(size).ok()),
            sequencer: row.get("sequencer"),
            modified: row.get("modified_at"),
            local: false,
        }))
    }

    /// The definitions under which a load was first claimed: names and texts.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn definitions(&self, dataset_version: &str) -> Result<Vec<(String, String)>> {
        let statement = "select name, definition from etl.dataset where version = $1 order by name";
        let rows = self.connection().await?.query(statement, &[&dataset_version]).await;
        let rows = rows.map_err(|error| query_error("read the frozen definitions", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Shows that this worker lives.
    ///
    /// # Errors
    /// `LeaseLost` when another worker has taken over.
    pub async fn renew_lease(&self, claim: &Claim) -> Result<()> {
        self.note_read(claim, SeenFile::default()).await
    }

    /// Notes how many records the file has and what it said of itself, and shows that this worker lives.
    ///
    /// # Errors
    /// `LeaseLost` when another worker has taken over.
    pub async fn note_read(&self, claim: &Claim, file: SeenFile<'_>) -> Result<()> {
        let connection = self.connection().await?;
        let failed = |error| query_error("renew the lease", error);
        let statement = "update etl.load set read = greatest(read, $4), header = coalesce($5, header), \
                modified_at = coalesce($6, modified_at), source = coalesce($7, source), around = coalesce($8, around), \
                dropped = coalesce($9, dropped), lease_expires_at = clock_timestamp() + make_interval(secs => $3) \
            where id = $1 and lease_token = $2 and state = 'loading'";
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let lease = claim.terms.lease.as_secs_f64();
        let renewed = connection
            .execute(&statement, &file.parameters(&claim.load_id.0, &claim.token.0, &lease))
            .await
            .map_err(failed)?;
        if renewed == 1 { Ok(()) } else { Err(lease_lost(claim)) }
    }

    /// Gives the lease back after an error, so that the next delivery need not wait for its end. With `stalled` this
    /// worker counts as one that stalled, unless it committed something.
    ///
    /// # Errors
    /// `Connection` or `System`; the lease then ends by itself.
    pub async fn give_back_lease(&self, claim: &Claim, stalled: bool) -> Result<()> {
        let statement = "update etl.load set lease_expires_at = clock_timestamp(), \
                stalled = case when $3 then stalled else greatest(stalled - 1, 0) end \
            where id = $1 and lease_token = $2 and state = 'loading'";
        let outcome = self.connection().await?.execute(statement, &[&claim.load_id.0, &claim.token.0, &stalled]).await;
        outcome.map(|_| ()).map_err(|error| query_error("give the lease back", error))
    }

    /// How many of the last workers committed nothing, this one included.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn stalled(&self, claim: &Claim) -> Result<i32> {
        let statement = "select stalled from etl.load where id = $1";
        let row = self.connection().await?.query_one(statement, &[&claim.load_id.0]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("read the ledger", error))
    }

    /// The batches that are committed.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn committed_batches(&self, load: LoadId) -> Result<HashSet<BatchNumber>> {
        let statement = "select batch from etl.load_batch where load_id = $1";
        let connection = self.connection().await?;
        let failed = |error| query_error("read the checkpoints", error);
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let rows = connection.query(&statement, &[&load.0]).await.map_err(failed)?;
        Ok(rows.iter().map(|row| BatchNumber(row.get(0))).collect())
    }

    /// Closes a load, or leaves it to the next worker, and keeps its `rejects`, which come in chunks. The batches are
    /// summed; the ledger's constraint proves the sum of a load that is finished. Its rejects are linked with the earlier
    /// ones that they were to mend, and those that its rows have mended are resolved.
    ///
    /// To repeat it does no harm: what was closed under this claim is found again.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection`; `System` when a record is missing from the sum.
    pub async fn close(
        &self,
        claim: &Claim,
        dataset: &Dataset,
        closing: &Closing<'_>,
        rejects: impl Stream<Item = Result<RejectedChunk>>,
    ) -> Result<Counts> {
        let cipher = self.cipher_for(dataset).await?;
        let mut connection = self.connection().await?;
        let failed = |error| query_error("close the load in the ledger", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let mut rejects = pin!(rejects);
        while let Some(chunk) = rejects.try_next().await? {
            let mut mending = Mending::of(&chunk.resubmissions);
            mending.note(chunk.violations.iter().map(|violation| (violation.record.0, violation.key.as_deref())));
            let violations = sealed(cipher.as_deref(), dataset, claim.load_id, chunk.violations)?;
            copy_rejects(&transaction, claim.load_id, &violations).await?;
            mending.keep(&transaction, claim.load_id, dataset).await.map_err(failed)?;
        }
        // A step whose answer was lost may be committing still. What is summed must be what there is after it.
        let alone = "select 1 from etl.load where id = $1 and lease_token = $2 and state = 'loading' for no key update";
        let alone = transaction.prepare_cached(alone).await.map_err(failed)?;
        transaction.query_opt(&alone, &[&claim.load_id.0, &claim.token.0]).await.map_err(failed)?;
        let state = closing.status.name();
        let close = transaction
            .prepare_cached(
                "with batches as ( \
                     select coalesce(sum(inserted), 0)::bigint as inserted, coalesce(sum(updated), 0)::bigint as updated, \
                         coalesce(sum(unchanged), 0)::bigint as unchanged, coalesce(sum(stale), 0)::bigint as stale, \
                         coalesce(sum(parked), 0)::bigint as parked, coalesce(sum(warnings), 0)::bigint as warnings \
                     from etl.load_batch where load_id = $1 \
                 ), rejects as ( \
                     select count(distinct record) as rejected from etl.reject where load_id = $1 \
                 ), freed as ( \
                     select count(*) as released, coalesce(sum(warnings), 0)::bigint as warnings \
                     from etl.parked where released_by = $1 \
                 ), outcomes as ( \
                     select b.*, r.rejected, f.released, b.warnings + f.warnings as all_warnings, \
                         b.inserted + b.updated + b.unchanged + b.stale + b.parked + r.rejected as records \
                     from batches b, rejects r, freed f \
                 ) \
                 update etl.load l set state = $3, reason = $4, error = $5, \
                     read = case when $3 = 'loaded' then $6 else greatest(l.read, $6, o.records) end, \
                     inserted = o.inserted, updated = o.updated, unchanged = o.unchanged, stale = o.stale, \
                     parked = o.parked, rejected = o.rejected, \
                     withheld = case when $3 in ('failed', 'superseded') then greatest(l.read, $6, o.records) - o.records \
                         else 0 end, \
                     warnings = o.all_warnings, released = o.released, statistics = $7, \
                     stalled = case when $8 then l.stalled else greatest(l.stalled - 1, 0) end, \
                     finished_at = case when $3 <> 'interrupted' then clock_timestamp() end, \
                     lease_expires_at = clock_timestamp() \
                 from outcomes o where l.id = $1 and l.lease_token = $2 and l.state = 'loading' \
                 returning l.read, l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.withheld, \
                     l.warnings, l.released",
            )
            .await
            .map_err(failed)?;
        let closed = transaction
            .query_opt(
                &close,
                &[
                    &claim.load_id.0,
                    &claim.token.0,
                    &state,
                    &closing.reason.map(Reason::name),
                    &closing.error,
                    &closing.read,
                    closing.statistics,
                    &closing.stalled,
                ],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = closed {
            if closing.status != LoadStatus::Interrupted {
                link_and_resolve(&transaction, claim.load_id).await.map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)?;
            return Ok(counts(&row));
        }
        // The commit before this attempt may have succeeded although its answer was lost.
        transaction.rollback().await.map_err(failed)?;
        let statement = "select read, inserted, updated, unchanged, stale, parked, rejected, withheld, warnings, released \
            from etl.load where id = $1 and lease_token = $2 and state = $3";
        let row = connection.query_opt(statement, &[&claim.load_id.0, &claim.token.0, &state]).await.map_err(failed)?;
        row.as_ref().map(counts).ok_or_else(|| lease_lost(claim))
    }
}

pub(super) fn counts(row: &Row) -> Counts {
    Counts {
        read: row.get("read"),
        inserted: row.get("inserted"),
        updated: row.get("updated"),
        unchanged: row.get("unchanged"),
        stale: row.get("stale"),
        parked: row.get("parked"),
        rejected: row.get("rejected"),
        withheld: row.get("withheld"),
        warnings: row.get("warnings"),
        released: row.get("released"),
    }
}

fn seconds(time: Option<Duration>) -> Option<i64> {
    time.and_then(|time| i64::try_from(time.as_secs()).ok())
}

/// There is a row already: it is finished, or held, or free to be taken over, or this very claim's.
async fn claim_again(
    transaction: &Transaction<'_>,
    token: FencingToken,
    object: &ObjectVersion,
    lease: Duration,
) -> Result<Claimed, tokio_postgres::Error> {
    let row = transaction
        .query_one(
            "select id, attempt, dataset, state, reason, error, rejects_key, lease_token = $4 as ours, \
                 coalesce($7, 'null') = 'null' and exists ( \
                     select from etl.load o where o.bucket = l.bucket and o.key = l.key and o.version <> l.version \
                         and etl.is_later($5, $6, o.sequencer, o.modified_at) \
                         and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at)) as returned, \
                 extract(epoch from lease_expires_at - clock_timestamp())::float8 as remaining \
             from etl.load l where bucket = $1 and key = $2 and version = $3 order by run desc limit 1 for no key update",
            &[
                &object.bucket,
                &object.key.as_str(),
                &object.version,
                &token.0,
                &object.sequencer,
                &object.modified,
                &object.version_id,
            ],
        )
        .await?;
    let (load_id, attempt, ours) = (LoadId(row.get("id")), row.get("attempt"), row.get::<_, bool>("ours"));
    let remaining = Duration::try_from_secs_f64(row.get("remaining")).unwrap_or_default();
    let (state, returned): (&str, bool) = (row.get("state"), row.get("returned"));
    if state == "loading" && !ours && !remaining.is_zero() {
        return Ok(Claimed::Held { load_id, attempt, remaining });
    }
    if !returned {
        // It may have been claimed by its name, without the event that tells its place among the versions of its key.
        let order = "update etl.load set sequencer = $2::text, modified_at = coalesce(modified_at, $3) \
            where id = $1 and sequencer is null and $2::text is not null";
        transaction.execute(order, &[&load_id.0, &object.sequencer, &object.modified]).await?;
    }
    if matches!(state, "loaded" | "failed" | "superseded") {
        let (dataset, reason, error) = (row.get("dataset"), row.get("reason"), row.get("error"));
        let rejects_key = row.get("rejects_key");
        return Ok(Claimed::Finished { load_id, attempt, dataset, reason, error, rejects_key });
    }
    let row = transaction
        .query_one(
            "update etl.load l set state = 'loading', lease_token = $3, \
                 attempt = attempt + case when $4 then 0 else 1 end, stalled = stalled + case when $4 then 0 else 1 end, \
                 lease_expires_at = clock_timestamp() + make_interval(secs => $2) \
             where id = $1 \
             returning run, attempt, started_at, extract(epoch from clock_timestamp() - started_at)::float8 as age, stalled, dataset, \
                 source, dataset_version, batch_size, max_rejects, max_reject_rate, max_future_seconds, \
                 case when precedes is null then claimed_tick else coalesce(( \
                     select n.claimed_tick from etl.load n where n.id = l.precedes), 0) end as since",
            &[&load_id.0, &lease.as_secs_f64(), &token.0, &ours],
        )
        .await?;
    Ok(Claimed::Taken(Claim {
        load_id,
        run: row.get("run"),
        token,
        attempt: row.get("attempt"),
        started_at: row.get("started_at"),
        age: Duration::try_from_secs_f64(row.get("age")).unwrap_or_default(),
        stalled: row.get("stalled"),
        dataset: row.get("dataset"),
        source: row.get("source"),
        dataset_version: row.get("dataset_version"),
        terms: ClaimTerms {
            batch_size: row.get("batch_size"),
            max_rejects: row.get("max_rejects"),
            max_reject_rate: row.get("max_reject_rate"),
            max_future: row
                .get::<_, Option<i64>>("max_future_seconds")
                .map(|most| Duration::from_secs(most.unsigned_abs())),
            lease,
        },
        returned,
        since: row.get("since"),
    }))
}

/// The last statement of every transaction of a load that writes rows: without the token there is no commit. It renews
/// the lease, and notes that the load gets on, and what is known of the file.
pub(super) async fn commit_step(
    transaction: &deadpool_postgres::Transaction<'_>,
    claim: &Claim,
    file: SeenFile<'_>,
) -> Result<()> {
    let failed = |error| query_error("renew the lease", error);
    let statement = "update etl.load set lease_expires_at = clock_timestamp() + make_interval(secs => $3), stalled = 0, \
            read = greatest(read, $4), header = coalesce(header, $5), modified_at = coalesce($6, modified_at), \
            source = coalesce($7, source), around = coalesce(around, $8), dropped = coalesce(dropped, $9) \
        where id = $1 and lease_token = $2 and state = 'loading'";
    let statement = transaction.prepare_cached(statement).await.map_err(failed)?;
    let lease = claim.terms.lease.as_secs_f64();
    let renewed = transaction
        .execute(&statement, &file.parameters(&claim.load_id.0, &claim.token.0, &lease))
        .await
        .map_err(failed)?;
    if renewed == 1 { Ok(()) } else { Err(lease_lost(claim)) }
}

fn lease_lost(claim: &Claim) -> Error {
    Error::new(ErrorKind::LeaseLost, format!("load {}: another worker has taken over", claim.load_id))
}
