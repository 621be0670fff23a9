//! Parked rows: waiting for their reference, and loaded once it has come.

use super::batch::{Tie, decide};
use super::encode::postgres_type;
use super::ledger::{Claim, renew};
use super::{Database, query_error};
use crate::domain::{Dataset, LoadId, Reference};
use crate::error::{Error, ErrorKind, Result};

impl Database {
    /// Loads the next rows of `dataset` whose reference has come, a batch at the most, in one transaction.
    ///
    /// With `of` only the rows that this load parked. Returns how many were released; none means that none is left.
    ///
    /// # Errors
    /// `LeaseLost`; `Connection` when the batch may be tried again.
    pub async fn release_parked(&self, claim: &Claim, dataset: &Dataset, of: Option<LoadId>) -> Result<u64> {
        let Some(reference) = &dataset.reference else { return Ok(0) };
        let failed = |error| query_error("release parked rows", error);
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        let statement = transaction.prepare_cached(&release(dataset, reference)).await.map_err(failed)?;
        let limit = i64::from(claim.terms.batch_size);
        let row = transaction
            .query_one(&statement, &[&claim.load_id.0, &of.map(|load| load.0), &limit])
            .await
            .map_err(failed)?;
        let (released, unsettled): (i64, i64) = (row.get("released"), row.get("unsettled"));
        if unsettled > 0 {
            return Err(Error::new(
                ErrorKind::Connection,
                "release parked rows: a row was written by another load meanwhile",
            ));
        }
        renew(&transaction, claim).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(released.unsigned_abs())
    }
}

/// Of several parked rows with one key the newest is loaded; the others are stale. On a tie with the table, it wins.
fn release(dataset: &Dataset, reference: &Reference) -> String {
    let typed: Vec<String> =
        dataset.columns.iter().map(|column| format!("{} {}", column.name, postgres_type(column.kind).name())).collect();
    let decision = decide(dataset, "ready", "s.record", Tie::Table);
    let decision = decision.trim_start_matches("with ");
    format!(
        "with waiting as materialized ( \
             select p.load_id, p.record, p.key, p.row_version, p.content \
             from etl.parked p join public.{table} r on r.{key} = p.reference_key \
             where p.dataset = '{name}' and p.reference_dataset = '{target}' and p.released_by is null \
                 and ($2::bigint is null or p.load_id = $2) \
             order by p.key limit $3 for update of p skip locked \
         ), ranked as ( \
             select *, row_number() over (partition by key order by row_version desc, load_id desc, record desc) as rank \
             from waiting \
         ), ready as ( \
             select w.record, x.* from ranked w cross join lateral jsonb_to_record(w.content) as x ({typed}) where w.rank = 1 \
         ), {decision}, settled as ( \
             select w.load_id, w.record, \
                 case when w.rank > 1 then 'stale' \
                      when c.plan in ('unchanged', 'stale') then c.plan \
                      when written.inserted then 'inserted' \
                      when not written.inserted then 'updated' end as outcome, \
                 case when w.rank = 1 then c.disagreements else 0 end as warnings \
             from ranked w join candidate c on c.{own_key} = w.key left join written on written.key = w.key \
         ), released as ( \
             update etl.parked p set released_by = $1, released_at = clock_timestamp(), outcome = s.outcome, warnings = s.warnings \
             from settled s where p.load_id = s.load_id and p.record = s.record and s.outcome is not null \
             returning 1 \
         ) \
         select (select count(*) from released) as released, count(*) filter (where outcome is null) as unsettled from settled",
        table = reference.table,
        key = reference.key,
        name = dataset.name,
        target = reference.dataset,
        typed = typed.join(", "),
        own_key = dataset.key,
    )
}
