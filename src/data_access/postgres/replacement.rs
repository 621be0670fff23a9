//! `etl.scope` and `etl.replacement`: which file replaces a scope of a table, and what that did.

use deadpool_postgres::Transaction;
use futures::Stream;
use tokio_postgres::types::ToSql;

use super::claim::Claim;
use super::key::Key;
use super::mended::mended;
use super::mode::overtaken;
use super::scope::Scope;
use super::sql_names::table_name;
use super::texts::copy_texts;
use super::tie::batches_of;
use super::{Database, query_error};
use crate::domain::{Dataset, is_more};
use crate::error::{Error, Reason, Result};

impl Database {
    /// Registers that a load replaces these scopes, before it writes a row: from then on loads with a lower rank leave them alone. If
    /// the dataset bounds the share of rows that a file may take away, the `keys` of all its records are needed; `None` stands for a key that
    /// cannot be read, and then nothing will be taken away. Repeating it does no harm.
    ///
    /// # Errors
    /// `File` if the file would take away too much; `Connection`, `System`.
    pub async fn begin_replacement(
        &self,
        claim: &Claim,
        dataset: &Dataset,
        scopes: &[String],
        keys: impl Stream<Item = Result<Vec<Option<String>>>>,
    ) -> Result<()> {
        let failed = |error| query_error("register what the file replaces", error);
        let (mut connection, scope) = (self.connection("begin_replacement").await?, Scope::of(dataset));
        let transaction = connection.transaction().await.map_err(failed)?;
        // Batches of other loads that are under way do not know of this one. Those that begin from now on do.
        let alone =
            format!("set local statement_timeout = 0; select pg_advisory_xact_lock({})", batches_of(&dataset.name));
        transaction.batch_execute(&alone).await.map_err(failed)?;
        let other = "select o.part from etl.load own join etl.load o on o.bucket = own.bucket and o.key = own.key and o.version = own.version \
                and o.dataset = own.dataset and o.part <> own.part and o.part = any (own.parts) and o.arrival is not distinct from own.arrival \
                join etl.replacement r on r.load_id = o.id \
            where own.id = $1 and r.scopes && $2 limit 1";
        if let Some(other) = transaction.query_opt(other, &[&claim.load_id.0, &scopes]).await.map_err(failed)? {
            let message = format!(
                "its part {:?} has rows of the same scope as its part {:?}, and one would take away those of the other; let one part have all rows of a \
                 scope, or give them scopes of their own (replace_by)",
                claim.part,
                other.get::<_, &str>(0)
            );
            return Err(Error::file(Reason::Malformed, message));
        }
        let values = scope.values(scopes);
        let before = format!(
            "insert into etl.replacement (load_id, dataset, scopes, flagged, rows_before) \
             select $1, $2, $3, $4, count(*) from {} t where {} on conflict (load_id) do nothing returning rows_before",
            table_name(&dataset.table),
            scope.holds("t.", 5),
        );
        let flagged = scope.flag().is_some();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&claim.load_id.0, &dataset.name, &scopes, &flagged];
        parameters.extend(values.iter().map(|values| values as &(dyn ToSql + Sync)));
        let begun = transaction.query_opt(&before, &parameters).await.map_err(failed)?;
        if begun.is_none() {
            return Ok(());
        }
        let register = "insert into etl.scope as s (dataset, scope, load_id) select $2, n.scope, $1 from unnest($3::text[]) as n (scope) \
            on conflict (dataset, scope) do update set load_id = excluded.load_id \
            where coalesce((select rank from etl.load where id = s.load_id), s.rank, '') < (select rank from etl.load where id = excluded.load_id)";
        transaction.execute(register, &[&claim.load_id.0, &dataset.name, &scopes]).await.map_err(failed)?;
        if let Some(most) = dataset.replacement.as_ref().and_then(|replacement| replacement.max_delete_rate) {
            let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let overtaken = overtaken(&transaction, claim.load_id, &names).await.map_err(failed)?;
            let own: Vec<String> = scopes.iter().filter(|scope| !overtaken.contains(*scope)).cloned().collect();
            check_share(&transaction, claim, dataset, (&own, most), keys).await?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// Refuses a file that would take away a greater share of the rows of its scopes than `most`.
async fn check_share(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset: &Dataset,
    (scopes, most): (&[String], f64),
    keys: impl Stream<Item = Result<Vec<Option<String>>>>,
) -> Result<()> {
    let failed = |error| query_error("count the rows that the file would take away", error);
    let (scope, key, table) = (Scope::of(dataset), Key::of(dataset), table_name(&dataset.table));
    let unreadable = copy_texts(transaction, keys).await? > 0;
    if unreadable || scopes.is_empty() {
        return Ok(());
    }
    let present = scope.flag().map_or_else(|| "true".to_owned(), |flag| format!("t.{flag} is not true"));
    let statement = format!(
        "with file as materialized ({file}), {mended} \
         select count(*) as present, count(*) filter (where f._there is null and m._there is null) as gone \
         from {table} t left join file f on {is_there} left join mended m on {is_mended} where {holds} and {present}",
        file = key.of_texts("select distinct key as _text, true as _there from pg_temp.file_key", "_there"),
        is_there = key.equal("f.", "t."),
        mended = mended(dataset),
        is_mended = key.equal("m.", "t."),
        holds = scope.holds("t.", 2),
    );
    let values = scope.values(scopes);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&claim.load_id.0];
    parameters.extend(values.iter().map(|values| values as &(dyn ToSql + Sync)));
    let row = transaction.query_one(&statement, &parameters).await.map_err(failed)?;
    let (present, gone): (i64, i64) = (row.get("present"), row.get("gone"));
    if is_more(gone, most, present) {
        return Err(Error::file(
            Reason::TooManyDeletes,
            format!(
                "the file does not have {gone} of the {present} rows of its scope, more than max_delete_rate = {most} allows; nothing was \
                 loaded; if the rows are really gone, change max_delete_rate and load the file with --again"
            ),
        ));
    }
    Ok(())
}
