//! `etl.load`: how far each load is, and how it ended.

use std::collections::HashSet;
use std::pin::pin;

use chrono::{DateTime, Utc};
use deadpool_postgres::{Object, Transaction};
use futures::{Stream, TryStreamExt};
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error as PostgresError, Row};

use super::claim::{Claim, lease_lost};
use super::data_keys::sealed;
use super::mending::{Mending, copy_rejects};
use super::resolve::link_and_resolve;
use super::sql_file::{Parameter, with_parameters};
use super::{Database, query_error};
use crate::domain::{
    BatchNumber, Counts, Dataset, LoadId, LoadStatus, ObjectKey, ObjectVersion, RejectedChunk, Sequencer,
};
use crate::error::{Reason, Result};

/// What a worker knows of a file so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenFile<'a> {
    /// The number of records.
    pub read: i64,
    /// The header.
    pub header: Option<&'a [u8]>,
    /// When the file was written, if that is known.
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
    fn parameters<'p>(&'p self, load: &'p i64, token: &'p i64, lease: &'p f64) -> [&'p (dyn ToSql + Sync); 9] {
        let Self { read, header, modified, source, around, dropped } = self;
        [load, token, lease, read, header, modified, source, around, dropped]
    }

    /// Leaves out when it was written if it has come back after another content. That time belongs to the next run: with it, the
    /// ledger would no longer know that another content lay in between.
    fn of_this_run(self, claim: &Claim) -> Self {
        Self { modified: self.modified.filter(|_| !claim.returned), ..self }
    }
}

/// How a worker leaves a load.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// `Loaded`, `Failed`, `Superseded` or `Interrupted`.
    pub status: LoadStatus,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The reason, explained for people.
    pub error: Option<&'a str>,
    /// How many records after the header were read.
    pub read: i64,
    /// The statistics of the accepted rows.
    pub statistics: &'a Value,
    /// Whether this worker counts as one that stalled, unless it has committed something.
    pub stalled: bool,
}

impl Database {
    /// Returns the newest version of an object whose load was left to the next worker, if there is one.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn interrupted(&self, bucket: &str, key: &ObjectKey) -> Result<Option<ObjectVersion>> {
        let statement = "select version, version_id, sequencer, size_bytes, modified_at from etl.load \
            where bucket = $1 and key = $2 and state = 'interrupted' order by id desc limit 1";
        let row = self.connection("interrupted").await?.query_opt(statement, &[&bucket, &key.as_str()]).await;
        let row = row.map_err(|error| query_error("look for an interrupted load", error))?;
        Ok(row.map(|row| ObjectVersion {
            bucket: bucket.to_owned(),
            key: key.clone(),
            version: row.get("version"),
            version_id: row.get("version_id"),
            size: row.get::<_, Option<i64>>("size_bytes").and_then(|size| u64::try_from(size).ok()),
            sequencer: row.get::<_, Option<&str>>("sequencer").and_then(Sequencer::parse),
            modified: row.get("modified_at"),
            local: false,
        }))
    }

    /// Returns those of `keys` that have a load that has begun and not ended.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn unfinished(&self, bucket: &str, keys: &[&str]) -> Result<HashSet<String>> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let statement =
            "select distinct key from etl.load where bucket = $1 and key = any ($2) and finished_at is null";
        let rows = self.connection("unfinished").await?.query(statement, &[&bucket, &keys]).await;
        let rows = rows.map_err(|error| query_error("look for loads that have not ended", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Returns the definitions under which a load was first claimed: names and texts.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn definitions(&self, dataset_version: &str) -> Result<Vec<(String, String)>> {
        let statement = "select name, definition from etl.dataset where version = $1 order by name";
        let rows = self.connection("definitions").await?.query(statement, &[&dataset_version]).await;
        let rows = rows.map_err(|error| query_error("read the frozen definitions", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// `LeaseLost` if another worker has taken over.
    pub async fn renew_lease(&self, claim: &Claim) -> Result<()> {
        self.note_read(claim, SeenFile::default()).await
    }

    /// Renews the lease, and records how many records the file has and what else is known of it.
    ///
    /// # Errors
    /// `LeaseLost` if another worker has taken over.
    pub async fn note_read(&self, claim: &Claim, file: SeenFile<'_>) -> Result<()> {
        let connection = self.connection("note_read").await?;
        let failed = |error| query_error("renew the lease", error);
        let statement = "update etl.load set read = greatest(read, $4), header = coalesce($5, header), \
                modified_at = coalesce($6, modified_at), source = coalesce($7, source), around = coalesce($8, around), \
                dropped = coalesce($9, dropped), lease_expires_at = clock_timestamp() + make_interval(secs => $3) \
            where id = $1 and lease_token = $2 and state = 'loading'";
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let (file, lease) = (file.of_this_run(claim), claim.terms.lease.as_secs_f64());
        let renewed = connection
            .execute(&statement, &file.parameters(&claim.load_id.0, &claim.token.0, &lease))
            .await
            .map_err(failed)?;
        if renewed == 1 { Ok(()) } else { Err(lease_lost(claim)) }
    }

    /// Gives the lease back after an error, so that the next delivery need not wait until it ends. With `stalled`, this
    /// worker counts as one that stalled, unless it has committed something.
    ///
    /// # Errors
    /// `Connection` or `System`. The lease then ends when its time is over.
    pub async fn give_back_lease(&self, claim: &Claim, stalled: bool) -> Result<()> {
        let statement = "update etl.load set lease_expires_at = clock_timestamp(), \
                stalled = case when $3 then stalled else greatest(stalled - 1, 0) end \
            where id = $1 and lease_token = $2 and state = 'loading'";
        let outcome = self
            .connection("give_back_lease")
            .await?
            .execute(statement, &[&claim.load_id.0, &claim.token.0, &stalled])
            .await;
        outcome.map(|_| ()).map_err(|error| query_error("give the lease back", error))
    }

    /// Returns how many workers in a row have committed nothing, including this one.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn stalled(&self, claim: &Claim) -> Result<i32> {
        let statement = "select stalled from etl.load where id = $1";
        let row = self.connection("stalled").await?.query_one(statement, &[&claim.load_id.0]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("read the ledger", error))
    }

    /// Returns the committed batches.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn committed_batches(&self, load: LoadId) -> Result<HashSet<BatchNumber>> {
        let statement = "select batch from etl.load_batch where load_id = $1";
        let connection = self.connection("committed_batches").await?;
        let failed = |error| query_error("read the checkpoints", error);
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let rows = connection.query(&statement, &[&load.0]).await.map_err(failed)?;
        Ok(rows.iter().map(|row| BatchNumber(row.get(0))).collect())
    }

    /// Closes a load, or leaves it to the next worker, and stores its `rejects`, which come in chunks. The counts of
    /// the batches are summed, and a constraint of the ledger proves the sum of a finished load. The load's rejects are
    /// linked with the earlier ones that they were to mend, and the rejects that its rows have mended are resolved.
    ///
    /// Repeating it does no harm: a load that was already closed under this claim is found again.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection`; `System` if a record is missing from the sum.
    pub async fn close(
        &self,
        claim: &Claim,
        dataset: &Dataset,
        closing: &Closing<'_>,
        rejects: impl Stream<Item = Result<RejectedChunk>>,
    ) -> Result<Counts> {
        let cipher = self.cipher_for(dataset).await?;
        let mut connection = self.connection("close").await?;
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
        await_own_steps(&transaction, claim).await.map_err(failed)?;
        let deleted = match closing.status {
            LoadStatus::Loaded => self.end_mode(&transaction, claim, dataset, closing.read).await?,
            _ => 0,
        };
        if let Some(counts) = end(&transaction, claim, closing, deleted).await.map_err(failed)? {
            transaction.commit().await.map_err(failed)?;
            return Ok(counts);
        }
        // The commit before this attempt may have succeeded although its answer was lost.
        transaction.rollback().await.map_err(failed)?;
        let ended = ended_before(&connection, claim, closing.status).await.map_err(failed)?;
        ended.ok_or_else(|| lease_lost(claim))
    }
}

/// Waits for a step of this load whose answer was lost: it may still be committing, and the sum must be computed after it.
async fn await_own_steps(transaction: &Transaction<'_>, claim: &Claim) -> Result<(), PostgresError> {
    let alone = "select 1 from etl.load where id = $1 and lease_token = $2 and state = 'loading' for no key update";
    let alone = transaction.prepare_cached(alone).await?;
    transaction.query_opt(&alone, &[&claim.load_id.0, &claim.token.0]).await.map(|_| ())
}

/// Writes how the load ends, and links and resolves rejects if it does. Returns `None` if it is no longer loading under this claim.
async fn end(
    transaction: &Transaction<'_>,
    claim: &Claim,
    closing: &Closing<'_>,
    deleted: i64,
) -> Result<Option<Counts>, PostgresError> {
    let Closing { status, reason, error, read, statistics, stalled } = closing;
    let (load, token, state, reason) = (claim.load_id, claim.token, status.name(), reason.map(Reason::name));
    let parameters: [Parameter<'_>; 9] = [
        ("load", &load.0),
        ("token", &token.0),
        ("state", &state),
        ("reason", &reason),
        ("error", error),
        ("read", read),
        ("statistics", statistics),
        ("stalled", stalled),
        ("deleted", &deleted),
    ];
    let (close, parameters) = with_parameters(include_str!("close.sql"), &parameters);
    let close = transaction.prepare_cached(&close).await?;
    let row = transaction.query_opt(&close, &parameters).await?;
    if row.is_some() && *status != LoadStatus::Interrupted {
        link_and_resolve(transaction, claim).await?;
    }
    Ok(row.as_ref().map(counts))
}

/// Returns the counts of a load that was closed under this claim already.
async fn ended_before(connection: &Object, claim: &Claim, status: LoadStatus) -> Result<Option<Counts>, PostgresError> {
    let statement = "select read, inserted, updated, removed, unchanged, stale, parked, rejected, withheld, warnings, released, deleted \
        from etl.load where id = $1 and lease_token = $2 and state = $3";
    let row = connection.query_opt(statement, &[&claim.load_id.0, &claim.token.0, &status.name()]).await?;
    Ok(row.as_ref().map(counts))
}

pub(super) fn counts(row: &Row) -> Counts {
    Counts {
        read: row.get("read"),
        inserted: row.get("inserted"),
        updated: row.get("updated"),
        removed: row.get("removed"),
        unchanged: row.get("unchanged"),
        stale: row.get("stale"),
        parked: row.get("parked"),
        rejected: row.get("rejected"),
        withheld: row.get("withheld"),
        warnings: row.get("warnings"),
        released: row.get("released"),
        deleted: row.get("deleted"),
    }
}

/// The last statement of every transaction that writes rows of a load: without the token there is no commit. It renews
/// the lease, and records that the load makes progress and what is known of the file.
pub(super) async fn commit_step(transaction: &Transaction<'_>, claim: &Claim, file: SeenFile<'_>) -> Result<()> {
    let failed = |error| query_error("renew the lease", error);
    let statement = "update etl.load set lease_expires_at = clock_timestamp() + make_interval(secs => $3), stalled = 0, \
            read = greatest(read, $4), header = coalesce(header, $5), modified_at = coalesce($6, modified_at), \
            source = coalesce($7, source), around = coalesce(around, $8), dropped = coalesce(dropped, $9) \
        where id = $1 and lease_token = $2 and state = 'loading'";
    let statement = transaction.prepare_cached(statement).await.map_err(failed)?;
    let (file, lease) = (file.of_this_run(claim), claim.terms.lease.as_secs_f64());
    let renewed = transaction
        .execute(&statement, &file.parameters(&claim.load_id.0, &claim.token.0, &lease))
        .await
        .map_err(failed)?;
    if renewed == 1 { Ok(()) } else { Err(lease_lost(claim)) }
}
