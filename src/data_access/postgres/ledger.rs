//! `etl.load`: who may load which file version, and how each load ended.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt, stream};
use serde_json::Value;
use tokio_postgres::{Row, Transaction};

use super::batch::copy_rejects;
use super::{Database, query_error};
use crate::domain::{
    BatchNumber, Counts, Datasets, LineNumber, LoadId, LoadStatus, ObjectVersion, RecordNumber, Violation,
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
    /// How long the claim holds without a sign of life.
    pub lease: Duration,
}

/// A load that this worker holds: every write must show the token.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The row of `etl.load`.
    pub load_id: LoadId,
    /// The fencing token; whoever claims later has a higher one.
    pub token: i64,
    /// How many workers have held this load, this one included.
    pub attempt: i32,
    /// The version of the definitions in force, those of the first claim.
    pub dataset_version: String,
    /// The terms in force, those of the first claim.
    pub terms: ClaimTerms,
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
        /// Why it failed, if it did.
        reason: Option<String>,
    },
    /// Another worker holds it.
    Held {
        /// The row of `etl.load`.
        load_id: LoadId,
        /// How many workers have held it.
        attempt: i32,
    },
}

impl Database {
    /// Claims `object` for this worker, or says who has it. With `again` a load that is finished gets a next run.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn claim(
        &self,
        object: &ObjectVersion,
        dataset: &str,
        datasets: &Datasets,
        terms: &ClaimTerms,
        again: bool,
    ) -> Result<Claimed> {
        let mut connection = self.connection().await?;
        let step = "claim the file in the ledger";
        let failed = |error| query_error(step, error);
        let transaction = connection.transaction().await.map_err(failed)?;
        for (name, definition) in datasets.definitions() {
            let statement =
                "insert into etl.dataset (version, name, definition) values ($1, $2, $3) on conflict do nothing";
            transaction.execute(statement, &[&datasets.version(), &name, &definition]).await.map_err(failed)?;
        }
        let inserted = transaction
            .query_opt(
                "insert into etl.load (bucket, key, version, run, sequencer, dataset, dataset_version, size_bytes, \
                     batch_size, max_rejects, max_reject_rate, lease_token, lease_expires_at) \
                 values ($1, $2, $3, \
                     (select coalesce(max(run) + case when $12 and bool_and(finished_at is not null) then 1 else 0 end, 0) \
                         from etl.load where bucket = $1 and key = $2 and version = $3), \
                     $4, $5, $6, $7, $8, $9, $10, \
                     nextval('etl.lease_token'), clock_timestamp() + make_interval(secs => $11)) \
                 on conflict (bucket, key, version, run) do nothing \
                 returning id, lease_token",
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
                ],
            )
            .await
            .map_err(failed)?;
        let claimed = match inserted {
            Some(row) => Claimed::Taken(Claim {
                load_id: LoadId(row.get("id")),
                token: row.get("lease_token"),
                attempt: 1,
                dataset_version: datasets.version().to_owned(),
                terms: terms.clone(),
            }),
            None => claim_again(&transaction, object, terms.lease).await.map_err(failed)?,
        };
        transaction.commit().await.map_err(failed)?;
        Ok(claimed)
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
        let mut connection = self.connection().await?;
        let failed = |error| query_error("renew the lease", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        renew(&transaction, claim).await?;
        transaction.commit().await.map_err(failed)
    }

    /// Gives the lease back, so that the next delivery need not wait for its end.
    ///
    /// # Errors
    /// `Connection` or `System`; the lease then ends by itself.
    pub async fn give_back_lease(&self, claim: &Claim) -> Result<()> {
        let statement = "update etl.load set lease_expires_at = clock_timestamp() where id = $1 and lease_token = $2 and state = 'loading'";
        let outcome = self.connection().await?.execute(statement, &[&claim.load_id.0, &claim.token]).await;
        outcome.map(|_| ()).map_err(|error| query_error("give the lease back", error))
    }

    /// The batches that are committed.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn committed_batches(&self, load: LoadId) -> Result<HashSet<BatchNumber>> {
        let statement = "select batch from etl.load_batch where load_id = $1";
        let rows = self.connection().await?.query(statement, &[&load.0]).await;
        let rows = rows.map_err(|error| query_error("read the checkpoints", error))?;
        Ok(rows.iter().map(|row| BatchNumber(row.get(0))).collect())
    }

    /// Closes a load whose batches are all committed; the ledger's constraint proves the sum.
    ///
    /// # Errors
    /// `LeaseLost`; `System` when a record is missing from the sum.
    pub async fn finish(&self, claim: &Claim, read: i64, statistics: &Value) -> Result<Counts> {
        let closing = Closing { status: LoadStatus::Loaded, reason: None, error: None, read, statistics };
        self.close(claim, &closing, stream::empty()).await
    }

    /// Closes a load that ends without an outcome for each record, and keeps its rejects, which come in chunks.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection` or `System`.
    pub async fn fail(
        &self,
        claim: &Claim,
        reason: Reason,
        error: &str,
        read: i64,
        rejects: impl Stream<Item = Result<Vec<Violation>>>,
    ) -> Result<Counts> {
        let status = if reason == Reason::Superseded { LoadStatus::Superseded } else { LoadStatus::Failed };
        let closing =
            Closing { status, reason: Some(reason.name()), error: Some(error), read, statistics: &Value::Null };
        self.close(claim, &closing, rejects).await
    }

    /// The first violations of a load, in the order of the file.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn rejects(&self, load: LoadId, limit: i64) -> Result<Vec<Violation>> {
        let statement = "select record, line, \"column\", rule, message, value, raw from etl.reject where load_id = $1 order by record, id limit $2";
        let rows = self.connection().await?.query(statement, &[&load.0, &limit]).await;
        let rows = rows.map_err(|error| query_error("read the rejects", error))?;
        Ok(rows
            .iter()
            .map(|row| Violation {
                record: RecordNumber(row.get("record")),
                line: LineNumber(row.get("line")),
                column: row.get("column"),
                rule: row.get("rule"),
                message: row.get("message"),
                value: row.get("value"),
                raw: row.get::<_, &[u8]>("raw").into(),
            })
            .collect())
    }

    async fn close(
        &self,
        claim: &Claim,
        closing: &Closing<'_>,
        rejects: impl Stream<Item = Result<Vec<Violation>>>,
    ) -> Result<Counts> {
        let mut connection = self.connection().await?;
        let failed = |error| query_error("close the load in the ledger", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        renew(&transaction, claim).await?;
        let mut rejects = pin!(rejects);
        while let Some(chunk) = rejects.try_next().await? {
            copy_rejects(&transaction, claim.load_id, &chunk).await?;
        }
        let row = transaction
            .query_one(
                "with batches as ( \
                     select coalesce(sum(inserted), 0)::bigint as inserted, coalesce(sum(updated), 0)::bigint as updated, \
                         coalesce(sum(unchanged), 0)::bigint as unchanged, coalesce(sum(stale), 0)::bigint as stale, \
                         coalesce(sum(parked), 0)::bigint as parked, coalesce(sum(warnings), 0)::bigint as warnings, \
                         coalesce(sum(last_record - first_record + 1), 0)::bigint as outcomes \
                     from etl.load_batch where load_id = $1 \
                 ), rejects as ( \
                     select count(distinct record) as rejected from etl.reject where load_id = $1 \
                 ), freed as ( \
                     select count(*) as released, coalesce(sum(warnings), 0)::bigint as warnings \
                     from etl.parked where released_by = $1 \
                 ) \
                 update etl.load set state = $2, reason = $3, error = $4, read = case when $2 = 'loaded' then $5 else greatest($5, outcomes) end, \
                     inserted = batches.inserted, updated = batches.updated, unchanged = batches.unchanged, \
                     stale = batches.stale, parked = batches.parked, rejected = rejects.rejected, \
                     withheld = case when $2 = 'loaded' then 0 else greatest($5, outcomes) - batches.inserted - batches.updated \
                         - batches.unchanged - batches.stale - batches.parked - rejects.rejected end, \
                     warnings = batches.warnings + freed.warnings, released = freed.released, \
                     statistics = $6, finished_at = clock_timestamp(), lease_expires_at = clock_timestamp() \
                 from batches, rejects, freed where id = $1 \
                 returning read, load.inserted, load.updated, load.unchanged, load.stale, load.parked, load.rejected, \
                     withheld, load.warnings, load.released",
                &[
                    &claim.load_id.0, &closing.status.name(), &closing.reason, &closing.error, &closing.read,
                    closing.statistics,
                ],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(counts(&row))
    }
}

struct Closing<'a> {
    status: LoadStatus,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    read: i64,
    statistics: &'a Value,
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

/// There is a row already: it is finished, or held, or free to be taken over.
async fn claim_again(
    transaction: &Transaction<'_>,
    object: &ObjectVersion,
    lease: Duration,
) -> Result<Claimed, tokio_postgres::Error> {
    let row = transaction
        .query_one(
            "select id, attempt, state, reason, lease_expires_at > clock_timestamp() as held from etl.load \
             where bucket = $1 and key = $2 and version = $3 order by run desc limit 1 for update",
            &[&object.bucket, &object.key.as_str(), &object.version],
        )
        .await?;
    let (load_id, attempt) = (LoadId(row.get("id")), row.get("attempt"));
    match row.get("state") {
        "loaded" => return Ok(Claimed::Finished { load_id, attempt, reason: None }),
        "failed" | "superseded" => return Ok(Claimed::Finished { load_id, attempt, reason: row.get("reason") }),
        "loading" if row.get("held") => return Ok(Claimed::Held { load_id, attempt }),
        _ => {}
    }
    let row = transaction
        .query_one(
            "update etl.load set state = 'loading', attempt = attempt + 1, lease_token = nextval('etl.lease_token'), \
                 lease_expires_at = clock_timestamp() + make_interval(secs => $2) \
             where id = $1 \
             returning lease_token, attempt, dataset_version, batch_size, max_rejects, max_reject_rate",
            &[&load_id.0, &lease.as_secs_f64()],
        )
        .await?;
    Ok(Claimed::Taken(Claim {
        load_id,
        token: row.get("lease_token"),
        attempt: row.get("attempt"),
        dataset_version: row.get("dataset_version"),
        terms: ClaimTerms {
            batch_size: row.get("batch_size"),
            max_rejects: row.get("max_rejects"),
            max_reject_rate: row.get("max_reject_rate"),
            lease,
        },
    }))
}

/// The last statement of every transaction of a load: without the token there is no commit.
pub(super) async fn renew(transaction: &Transaction<'_>, claim: &Claim) -> Result<()> {
    let renewed = transaction
        .execute(
            "update etl.load set lease_expires_at = clock_timestamp() + make_interval(secs => $3) \
             where id = $1 and lease_token = $2 and state = 'loading'",
            &[&claim.load_id.0, &claim.token, &claim.terms.lease.as_secs_f64()],
        )
        .await
        .map_err(|error| query_error("renew the lease", error))?;
    if renewed == 1 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::LeaseLost, format!("load {}: another worker has taken over", claim.load_id)))
}
