//! Claims: which worker may load which part of which version of an object.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use super::content_form::check_claim;
use super::held::take_from_the_dead;
use super::retention::settled;
use super::sql_file::{Parameter, with_parameters};
use super::{Database, query_error};
use crate::domain::object::BUCKETS_WITHOUT_FILES;
use crate::domain::{Dataset, Datasets, LoadId, LoadLimits, ObjectVersion};
use crate::error::{Error, ErrorKind, Result};

/// The terms that the first claim fixes for the whole life of a load.
#[derive(Clone, Debug)]
pub struct ClaimTerms {
    /// Records in a batch.
    pub batch_size: i32,
    /// More rejects than this fail the file.
    pub max_rejects: Option<i64>,
    /// A greater share of rejects than this fails the file.
    pub max_reject_rate: Option<f64>,
    /// A row whose version lies further in the future than this, counted from the first claim, is rejected; `None` for
    /// a load from before this bound existed.
    pub max_future: Option<Duration>,
    /// How long the claim lasts without being renewed.
    pub lease: Duration,
}

impl ClaimTerms {
    /// The same where a dataset does not say otherwise.
    #[must_use]
    pub fn of(&self, dataset: &Dataset) -> Self {
        let LoadLimits { batch_size, max_rejects, max_reject_rate, .. } = dataset.load;
        Self {
            batch_size: batch_size.unwrap_or(self.batch_size),
            max_rejects: max_rejects.or(self.max_rejects),
            max_reject_rate: max_reject_rate.or(self.max_reject_rate),
            ..self.clone()
        }
    }

    /// Returns the latest version that a row may have, in a file that was first claimed at that time.
    #[must_use]
    pub fn latest_version(&self, claimed_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        claimed_at.checked_add_signed(TimeDelta::from_std(self.max_future?).ok()?)
    }
}

/// What a worker wants to claim, and how it would load it.
#[derive(Clone, Copy, Debug)]
pub struct FileToClaim<'a> {
    /// The version of the object.
    pub object: &'a ObjectVersion,
    /// The part of it, or an empty text for the whole object.
    pub part: &'a str,
    /// All parts of the object that are to be loaded. The nightly run takes it for settled when each of them is.
    pub parts: &'a [String],
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

/// Proves that a worker holds a load. Every write must present it. No two claims have the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingToken(pub(super) i64);

/// A load that this worker holds.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The load: a row of `etl.load`.
    pub load_id: LoadId,
    /// The first of the runs whose rows this one writes once more: usually this load itself.
    pub origin: LoadId,
    /// The part of the object, or an empty text for the whole object.
    pub part: String,
    /// How often this part of this version was loaded before.
    pub run: i32,
    /// The fencing token of this claim.
    pub token: FencingToken,
    /// How many workers have held this load, this one included.
    pub attempt: i32,
    /// When the first of them claimed it, by the server's clock.
    pub started_at: DateTime<Utc>,
    /// How long ago that was.
    pub age: Duration,
    /// How many workers in a row have committed nothing. This one counts until it commits something.
    pub stalled: i32,
    /// The dataset of the first claim.
    pub dataset: String,
    /// The source by which the file is read, that of the first claim, or the one that the file names itself.
    pub source: Option<String>,
    /// The version of the definitions, as in the first claim.
    pub dataset_version: String,
    /// The terms, as in the first claim.
    pub terms: ClaimTerms,
    /// Whether the object has had another content since, and then this one again. If so, and if the load has ended, the
    /// new content needs a load of its own.
    pub returned: bool,
    /// Whether loads that were claimed before may have a higher rank, such as that of a newer version of its object.
    pub late: bool,
    /// Everything with a lower tick was committed before this load was claimed, or before the load that it precedes
    /// was.
    pub(super) since: i64,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// This worker holds the load now.
    Taken(Claim),
    /// The load was already finished.
    Finished {
        /// The load: a row of `etl.load`.
        load_id: LoadId,
        /// How many workers have held it.
        attempt: i32,
        /// The dataset under which it was loaded.
        dataset: String,
        /// The source by which it was read, if it was not in the plain form.
        source: Option<String>,
        /// Why it failed, if it did.
        reason: Option<String>,
        /// The same for people.
        error: Option<String>,
        /// The key of its rejects file.
        rejects_key: Option<String>,
    },
    /// Another worker holds the load.
    Held {
        /// The load: a row of `etl.load`.
        load_id: LoadId,
        /// How many workers have held it.
        attempt: i32,
        /// What is left of its lease.
        remaining: Duration,
    },
}

impl Database {
    /// Returns a new token, for one claim and its repetitions.
    ///
    /// # Errors
    /// `Connection` or `System`; `Configuration` if the settings of the database make it read-only.
    pub async fn fencing_token(&self) -> Result<FencingToken> {
        let connection = self.connection("fencing_token").await?;
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
    /// Repeating it with the same token does no harm: a claim whose answer was lost is found again.
    ///
    /// # Errors
    /// `Configuration` if the content keys of the table cover other columns by now; `Connection` or `System`.
    pub async fn claim(&self, token: FencingToken, file: FileToClaim<'_>) -> Result<Claimed> {
        let FileToClaim { object, dataset, datasets, .. } = file;
        let mut connection = self.connection("claim").await?;
        let failed = |error| query_error("claim the file in the ledger", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        note_definitions(&transaction, datasets).await.map_err(failed)?;
        // If two versions are claimed at once, the one with the higher id sees the other, and the same holds for two
        // loads of a dataset. The commit does not wait for the disk: if the server loses the claim, it also loses
        // everything that was committed under it, because that came later.
        let alone = "select set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0)), \
            pg_advisory_xact_lock(hashtextextended('etl.load ' || $3, 0))";
        let alone = transaction.prepare_cached(alone).await.map_err(failed)?;
        transaction.execute(&alone, &[&object.bucket, &object.key.as_str(), &dataset]).await.map_err(failed)?;
        let claimed = match claim_first(&transaction, token, file).await.map_err(failed)? {
            Some(claim) => {
                if !BUCKETS_WITHOUT_FILES.contains(&object.bucket.as_str()) {
                    let dataset = datasets.get(dataset).map_err(Error::configuration)?;
                    check_claim(&transaction, dataset, datasets.version()).await?;
                }
                Claimed::Taken(claim)
            }
            None => claim_again(&transaction, token, file).await.map_err(failed)?,
        };
        if let Claimed::Taken(claim) = &claimed
            && let Some(held) = held_beside(&transaction, claim, file).await.map_err(failed)?
        {
            transaction.rollback().await.map_err(failed)?;
            return Ok(held);
        }
        transaction.commit().await.map_err(failed)?;
        Ok(claimed)
    }
}

impl Claim {
    /// The claim of a row that `claim.sql` or `take_over.sql` returns.
    fn of(row: &Row, token: FencingToken, FileToClaim { part, terms, .. }: FileToClaim<'_>, returned: bool) -> Self {
        let max_future: Option<i64> = row.get("max_future_seconds");
        Self {
            load_id: LoadId(row.get("id")),
            origin: LoadId(row.get("origin")),
            part: part.to_owned(),
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
                max_future: max_future.map(|most| Duration::from_secs(most.unsigned_abs())),
                lease: terms.lease,
            },
            returned,
            // Whether loads that were claimed before may have a higher rank.
            late: row.get("late") || row.get::<_, i64>("since") < row.get("claimed_tick"),
            since: row.get("since"),
        }
    }
}

/// Stores the definitions, unless they are there already.
async fn note_definitions(transaction: &Transaction<'_>, datasets: &Datasets) -> Result<(), PostgresError> {
    let (names, definitions): (Vec<_>, Vec<_>) = datasets.definitions().unzip();
    let statement = "insert into etl.dataset (version, name, definition) \
        select $1, name, definition from unnest($2::text[], $3::text[]) as d (name, definition) on conflict do nothing";
    let statement = transaction.prepare_cached(statement).await?;
    transaction.execute(&statement, &[&datasets.version(), &names, &definitions]).await.map(|_| ())
}

/// Claims a file that has no load yet, or needs a next run. Returns `None` if its last run is another worker's or needs no next one.
async fn claim_first(
    transaction: &Transaction<'_>,
    token: FencingToken,
    file: FileToClaim<'_>,
) -> Result<Option<Claim>, PostgresError> {
    let FileToClaim { object, part, parts, dataset, source, datasets, terms, again } = file;
    let by_arrival = datasets.get(dataset).is_ok_and(|dataset| dataset.version.is_none());
    let (key, size) = (object.key.as_str(), object.size.and_then(|size| i64::try_from(size).ok()));
    let max_future = terms.max_future.and_then(|time| i64::try_from(time.as_secs()).ok());
    let (version, sequencer, lease_seconds) =
        (&datasets.version(), &object.sequencer_text(), &terms.lease.as_secs_f64());
    let parameters: [Parameter<'_>; 20] = [
        ("bucket", &object.bucket),
        ("key", &key),
        ("version", &object.version),
        ("version_id", &object.version_id),
        ("sequencer", sequencer),
        ("written", &object.modified),
        ("size", &size),
        ("part", &part),
        ("parts", &parts),
        ("dataset", &dataset),
        ("dataset_version", version),
        ("source", &source),
        ("batch_size", &terms.batch_size),
        ("max_rejects", &terms.max_rejects),
        ("max_reject_rate", &terms.max_reject_rate),
        ("max_future_seconds", &max_future),
        ("by_arrival", &by_arrival),
        ("again", &again),
        ("token", &token.0),
        ("lease_seconds", lease_seconds),
    ];
    let (insert, parameters) = with_parameters(include_str!("claim.sql"), &parameters);
    let insert = transaction.prepare_cached(&insert).await?;
    let row = transaction.query_opt(&insert, &parameters).await?;
    Ok(row.map(|row| Claim::of(&row, token, file, false)))
}

/// The load of another part of the object that must end first: with content keys, copies of a row are counted across all parts, and
/// what a worker has counted is not in the ledger before it commits.
async fn held_beside(
    transaction: &Transaction<'_>,
    claim: &Claim,
    FileToClaim { object, part, parts, datasets, .. }: FileToClaim<'_>,
) -> Result<Option<Claimed>, PostgresError> {
    if parts.len() < 2 || datasets.get(&claim.dataset).is_ok_and(|dataset| dataset.content.is_none()) {
        return Ok(None);
    }
    let beside = "select id from etl.load \
        where bucket = $1 and key = $2 and version = $3 and part <> $4 and dataset = $5 and state = 'loading'";
    let key = object.key.as_str();
    let beside = transaction.query(beside, &[&object.bucket, &key, &object.version, &part, &claim.dataset]).await?;
    let beside: Vec<i64> = beside.iter().map(|row| row.get(0)).collect();
    let held = take_from_the_dead(transaction, &beside).await?;
    Ok(held.map(|load| Claimed::Held {
        load_id: LoadId(load.get("id")),
        attempt: load.get("attempt"),
        remaining: Duration::try_from_secs_f64(load.get("remain")).unwrap_or_default(),
    }))
}

/// Decides about a claim if the row already exists: it is finished, or held, or free to be taken over, or this very
/// claim's.
async fn claim_again(
    transaction: &Transaction<'_>,
    token: FencingToken,
    file: FileToClaim<'_>,
) -> Result<Claimed, PostgresError> {
    let FileToClaim { object, part, terms, .. } = file;
    let row = transaction
        .query_opt(
            "select id, attempt, dataset, source, state, reason, error, rejects_key, lease_token = $4 as ours, \
                 coalesce($7, 'null') = 'null' and exists ( \
                     select from etl.known_load o where o.bucket = l.bucket and o.key = l.key and o.version <> l.version \
                         and case when l.bucket = 'file://' then o.id > l.id else etl.is_later($5, $6, o.sequencer, o.modified_at) \
                             and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at) end) as returned, \
                 extract(epoch from lease_expires_at - clock_timestamp())::float8 as remaining \
             from etl.load l where bucket = $1 and key = $2 and version = $3 and part = $8 order by run desc limit 1 for no key update",
            &[
                &object.bucket,
                &object.key.as_str(),
                &object.version,
                &token.0,
                &object.sequencer_text(),
                &object.modified,
                &object.version_id,
                &part,
            ],
        )
        .await?;
    let Some(row) = row else { return pruned(transaction, object, part).await };
    let (load_id, attempt, ours) = (LoadId(row.get("id")), row.get("attempt"), row.get::<_, bool>("ours"));
    let remaining = Duration::try_from_secs_f64(row.get("remaining")).unwrap_or_default();
    let (state, returned): (&str, bool) = (row.get("state"), row.get("returned"));
    if state == "loading" && !ours && !remaining.is_zero() {
        return Ok(Claimed::Held { load_id, attempt, remaining });
    }
    if !returned {
        // The version may have been claimed by name, without the event that orders the versions of its key.
        let order = "update etl.load set sequencer = $2::text, modified_at = coalesce(modified_at, $3) \
            where id = $1 and sequencer is null and $2::text is not null";
        transaction.execute(order, &[&load_id.0, &object.sequencer_text(), &object.modified]).await?;
    }
    if matches!(state, "loaded" | "failed" | "superseded") {
        let (dataset, reason, error) = (row.get("dataset"), row.get("reason"), row.get("error"));
        let (source, rejects_key) = (row.get("source"), row.get("rejects_key"));
        return Ok(Claimed::Finished { load_id, attempt, dataset, source, reason, error, rejects_key });
    }
    let lease_seconds = terms.lease.as_secs_f64();
    let parameters: [Parameter<'_>; 4] =
        [("load", &load_id.0), ("lease_seconds", &lease_seconds), ("token", &token.0), ("ours", &ours)];
    let (take_over, parameters) = with_parameters(include_str!("take_over.sql"), &parameters);
    let take_over = transaction.prepare_cached(&take_over).await?;
    let row = transaction.query_one(&take_over, &parameters).await?;
    Ok(Claimed::Taken(Claim::of(&row, token, file, returned)))
}

/// The answer if the last load of the version is pruned. Loads of one version are pruned together.
async fn pruned(transaction: &Transaction<'_>, object: &ObjectVersion, part: &str) -> Result<Claimed, PostgresError> {
    let row = settled(transaction, object, part).await?;
    Ok(Claimed::Finished {
        load_id: LoadId(row.get("load_id")),
        attempt: row.get("attempt"),
        dataset: row.get("dataset"),
        source: row.get("source"),
        reason: row.get("reason"),
        error: None,
        rejects_key: None,
    })
}

pub(super) fn lease_lost(claim: &Claim) -> Error {
    Error::new(ErrorKind::LeaseLost, format!("load {}: another worker has taken over", claim.load_id))
}
