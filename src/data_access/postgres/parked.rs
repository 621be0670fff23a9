//! Parked rows wait for the row that they refer to, and are loaded once it has arrived.

use deadpool_postgres::Transaction;
use futures::Stream;

use super::Database;
use super::answer::{Answer, query_error};
use super::checked_table::Storage;
use super::claim::Claim;
use super::key::Key;
use super::ledger::{SeenFile, commit_step};
use super::refusal::Refusal;
use super::release::{Among, any_ready, expire, incomplete, release};
use super::resolve::resolve_expired;
use super::sql_names::table_name;
use super::texts::copy_texts;
use super::tie::{Overwritten, batches_of, still_won};
use crate::domain::{Dataset, LoadId, Reference};
use crate::error::{Error, Result};

/// The result of releasing parked rows.
pub enum Release {
    /// No parked row is left whose reference has arrived.
    Done,
    /// This many rows were released, and there may be more. Zero if another load interfered.
    Rows(i64),
    /// The table refuses one of the rows. A person must correct that; until then the rows that would have been released
    /// with it keep waiting.
    Refused(Error),
}

/// Parked rows of a dataset that wait for references with neighbouring keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPage {
    /// The first reference key.
    pub first: String,
    /// The last one.
    pub last: String,
    /// How many rows wait for the keys from the first to the last, or at least the most that were asked for.
    pub rows: i64,
}

/// Whose parked rows to release.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<'a> {
    /// Those that the first load has parked, or else all that wait for what the second one has brought; on behalf of the second one.
    Load(Option<i64>, i64),
    /// Those of a page, on behalf of the loads that parked them.
    Page(&'a WaitingPage),
}

/// What was released in a transaction.
pub(super) struct Freed {
    pub(super) release: Release,
    /// The load that parked each row, and the warnings of each.
    pub(super) loads: Vec<i64>,
    pub(super) warnings: Vec<i64>,
}

impl Freed {
    fn none(release: Release) -> Self {
        Self { release, loads: Vec::new(), warnings: Vec::new() }
    }
}

impl Database {
    /// Loads the next rows of `dataset` whose reference has arrived, at most one batch, in one transaction.
    ///
    /// With `of`, only the rows that this load parked.
    ///
    /// # Errors
    /// `LeaseLost`; `Connection` or `Conflict` if the batch may be tried again.
    pub async fn release_parked(&self, claim: &Claim, dataset: &Dataset, of: Option<LoadId>) -> Result<Release> {
        let Some(reference) = &dataset.reference else { return Ok(Release::Done) };
        let failed = |error| query_error("release parked rows", error);
        let mut connection = self.connection("release_parked").await?;
        // Usually nothing is waiting, and then the table need not even exist yet.
        let statement = "select 1 from etl.parked where dataset = $1 and reference_dataset = $2 and released_by is null \
            order by reference_key limit 1";
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let waiting = connection.query_opt(&statement, &[&dataset.name, &reference.dataset]).await.map_err(failed)?;
        if waiting.is_none() {
            return Ok(Release::Done);
        }
        let of = of.map(|load| load.0);
        let is_ready = async {
            let among = if of.is_some() { Among::Own } else { Among::Brought };
            let statement = connection.prepare_cached(&any_ready(dataset, reference, among)).await?;
            connection.query_one(&statement, &[&of, &claim.load_id.0]).await
        };
        match is_ready.await {
            Ok(row) if row.get(0) => {}
            Ok(_) => return Ok(Release::Done),
            Err(error) => return refused(dataset, error),
        }
        let transaction = connection.transaction().await.map_err(failed)?;
        let limit = i64::from(claim.terms.batch_size);
        let freed = free(&transaction, dataset, reference, Whose::Load(of, claim.load_id.0), limit).await?.release;
        if matches!(freed, Release::Rows(1..)) {
            commit_step(&transaction, claim, SeenFile::default()).await?;
            if let Err(error) = transaction.commit().await {
                return refused(dataset, error);
            }
        }
        Ok(freed)
    }

    /// Counts the rows of a file that would wait now, by what they refer to: texts of the ledger for the columns of the reference, and `None` for a row
    /// that refers to nothing.
    ///
    /// # Errors
    /// The errors of `references`, `Connection`, `System`.
    pub async fn would_park(
        &self,
        dataset: &Dataset,
        reference: &Reference,
        references: impl Stream<Item = Result<Vec<Option<String>>>>,
    ) -> Result<i64> {
        let failed = |error| query_error("count the rows that would wait", error);
        let mut connection = self.connection("would_park").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        transaction.batch_execute("set local statement_timeout = 0").await.map_err(failed)?;
        copy_texts(&transaction, references).await?;
        let there = Key::referred(dataset, reference);
        let types = reference.key_kinds.iter().map(|kind| kind.table_type());
        let values: Vec<String> = if there.is_single() {
            types.map(|kind| format!("f.key::{kind}")).collect()
        } else {
            types.enumerate().map(|(place, kind)| format!("(etl.key_values(f.key))[{}]::{kind}", place + 1)).collect()
        };
        let statement = format!(
            "select count(*) from pg_temp.file_key f where not exists (select from {} r where {})",
            table_name(&reference.table),
            there.equals("r.", values.into_iter()),
        );
        let row = transaction.query_one(&statement, &[]).await.map_err(failed)?;
        transaction.rollback().await.map_err(failed)?;
        Ok(row.get(0))
    }

    /// Turns up to `limit` parked rows of `dataset` that have waited for more than `days`, and whose reference has not arrived, into rejects with rule
    /// `reference`. Returns how many.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn expire_parked(&self, dataset: &Dataset, days: u32, limit: i64) -> Result<i64> {
        let Some(reference) = &dataset.reference else { return Ok(0) };
        let failed = |error| query_error("let parked rows expire", error);
        let mut connection = self.connection("expire_parked").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let statement = expire(dataset, reference);
        let loads = transaction.query(&statement, &[&None::<i64>, &days, &limit]).await.map_err(failed)?;
        for load in &loads {
            resolve_expired(&transaction, LoadId(load.get(0))).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(loads.iter().map(|load| load.get::<_, i64>(1)).sum())
    }

    /// Returns the next parked rows of `dataset` in the order of their reference keys, after the key `after`: about `most`, and all that wait
    /// for the last of these keys. `None` if no more are waiting.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn waiting_page(&self, dataset: &Dataset, after: Option<&str>, most: i64) -> Result<Option<WaitingPage>> {
        let Some(reference) = &dataset.reference else { return Ok(None) };
        let statement = "select min(reference_key), max(reference_key), count(*) from ( \
                select reference_key from etl.parked where dataset = $1 and reference_dataset = $2 and released_by is null \
                    and ($3::text is null or reference_key > $3) order by reference_key limit $4) p";
        let row = self
            .connection("waiting_page")
            .await?
            .query_one(statement, &[&dataset.name, &reference.dataset, &after, &most])
            .await
            .map_err(|error| query_error("look for parked rows", error))?;
        let ends: (Option<String>, Option<String>) = (row.get(0), row.get(1));
        Ok(ends.0.zip(ends.1).map(|(first, last)| WaitingPage { first, last, rows: row.get(2) }))
    }

    /// Counts the parked rows of a page that keep waiting although their reference has arrived, because they lack a
    /// value that has since become required.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn incomplete_parked(&self, dataset: &Dataset, page: &WaitingPage) -> Result<i64> {
        let Some(reference) = &dataset.reference else { return Ok(0) };
        let none = None::<i64>;
        let row = self
            .connection("incomplete_parked")
            .await?
            .query_one(&incomplete(dataset, reference), &[&none, &none, &none, &page.first, &page.last])
            .await;
        row.map(|row| row.get(0)).map_err(|error| query_error("look for parked rows that are incomplete", error))
    }
}

/// Releases parked rows. If it releases any, the transaction must be committed.
pub(super) async fn free(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    reference: &Reference,
    whose: Whose<'_>,
    limit: i64,
) -> Result<Freed> {
    let failed = |error| query_error("release parked rows", error);
    let released = async {
        let share = format!("select pg_advisory_xact_lock_shared({})", batches_of(&dataset.name));
        transaction.batch_execute(&share).await?;
        let lies = "select exists (select from pg_class where oid = to_regclass($1) and relkind = 'p')";
        let lies = transaction.prepare_cached(lies).await?;
        let is_partitioned: bool = transaction.query_one(&lies, &[&table_name(&dataset.table)]).await?.get(0);
        let storage = if is_partitioned { Storage::Partitioned } else { Storage::Plain };
        let among = match whose {
            Whose::Load(Some(_), _) => Among::Own,
            Whose::Load(None, _) => Among::Brought,
            Whose::Page(_) => Among::Page,
        };
        let statement = transaction.prepare_cached(&release(dataset, reference, storage, among)).await?;
        match whose {
            Whose::Load(of, by) => transaction.query_one(&statement, &[&of, &Some(by), &limit]).await,
            Whose::Page(page) => {
                let none = None::<i64>;
                transaction.query_one(&statement, &[&none, &none, &limit, &page.first, &page.last]).await
            }
        }
    };
    let row = match released.await {
        Ok(row) => row,
        Err(error) => return refused(dataset, error).map(Freed::none),
    };
    let mut overwritten = Overwritten::default();
    overwritten.add(&row);
    let stays = still_won(transaction, dataset, &overwritten, 0).await.map_err(failed)?;
    if !stays {
        return Ok(Freed::none(Release::Rows(0)));
    }
    let numbers = |column| row.get::<_, Option<Vec<i64>>>(column).unwrap_or_default();
    Ok(Freed {
        release: Release::Rows(row.get("released")),
        loads: numbers("freed"),
        warnings: numbers("freed_warnings"),
    })
}

/// Handles an error of releasing rows. The rows were valid under the definition at the time, but the table or their
/// content may have been changed since.
pub(super) fn refused(dataset: &Dataset, error: tokio_postgres::Error) -> Result<Release> {
    let answer = error.as_db_error().map(Answer::of).filter(|answer| Refusal::of(answer).is_some());
    let Some(answer) = answer else { return Err(query_error("release parked rows", error)) };
    let Dataset { name, table, .. } = dataset;
    Ok(Release::Refused(Error::configuration(format!(
        "parked rows of {name} stay parked, because table {table} refuses one of them ({answer}); correct its content in etl.parked, or the table"
    ))))
}
