//! Gives the rows of a table new content keys, when the keys are to cover another list of columns, in one transaction.
//!
//! The hashes are made by the caller, as they are while files are staged. What the ledger says of a row follows the row.

use std::collections::BTreeSet;

use arrow::array::StringArray;
use deadpool_postgres::Transaction;
use postgres_protocol::escape::escape_literal;
use serde::Serialize;
use tokio_postgres::Error as PostgresError;

use super::claim::Claim;
use super::content_form::{earlier_content, shown};
use super::ledger::{SeenFile, commit_step};
use super::sql_file::filled;
use super::sql_names::{quoted, table_name};
use super::tie::batches_of;
use super::{Database, query_error};
use crate::domain::content::CONTENT_KEY;
use crate::domain::object::REKEY_BUCKET;
use crate::domain::{Column, Dataset, Datasets, LoadId};
use crate::error::{Error, ErrorKind, Result};

/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 10_000;

/// Makes the hashes of rows from the plain cells of the columns that the key covers, in the order of their names. `None` for a row with a
/// value that the definition does not allow.
pub type HashCells<'a> = dyn Fn(&[StringArray]) -> Vec<Option<String>> + Sync + 'a;

/// That the content keys of a table cover another list of columns than the definition says.
#[derive(Clone, Debug)]
pub struct ContentChange {
    /// What they cover, for people.
    pub before: String,
    /// What they are to cover, for people.
    pub now: String,
    /// Whether nothing is covered that was not covered before.
    narrows: bool,
}

/// What giving rows new content keys does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rekeyed {
    /// Rows of the table that have a key.
    pub rows: i64,
    /// How many of them get another key.
    pub changed: i64,
    /// Open rejects that a later file no longer resolves, because their new key cannot be known.
    pub rejects: i64,
}

impl Database {
    /// Returns how the content keys of a table differ from its definition; `None` if they do not, or if there are no rows.
    ///
    /// # Errors
    /// `Configuration` if the program cannot give the rows new keys under this definition; `Connection` or `System`.
    pub async fn content_change(&self, dataset: &Dataset) -> Result<Option<ContentChange>> {
        self.check_ledger().await?;
        self.fitting_table(dataset).await?;
        let connection = self.connection("content_change").await?;
        let Some(earlier) = earlier_content(&*connection, dataset).await? else { return Ok(None) };
        let (name, table, now) = (&dataset.name, &dataset.table, dataset.content_form());
        if let Some(column) = dataset.encrypted().next() {
            return Err(Error::configuration(format!(
                "dataset {name}: the values of column {} are encrypted together with the keys of their rows, and could not be decrypted under \
                 other keys; empty table {table}, and load its files with --again",
                column.name
            )));
        }
        if earlier.is_empty() {
            return Err(Error::configuration(format!(
                "dataset {name}: the rows of table {table} were loaded by another key, and have no content key; empty the table, and load its \
                 files with --again"
            )));
        }
        for (column, kind) in &now {
            let then = earlier.iter().find(|(covered, _)| covered == column);
            if let Some((_, then)) = then.filter(|(_, then)| !becomes(then, kind)) {
                return Err(Error::configuration(format!(
                    "dataset {name}: column {column} was of type {then} when the rows of table {table} were loaded and is {kind} now, and what \
                     their files would say in that type is not known; empty the table, and load its files with --again"
                )));
            }
        }
        let narrows = now.iter().all(|(column, _)| earlier.iter().any(|(covered, _)| covered == column));
        Ok(Some(ContentChange { before: shown(&earlier), now: shown(&now), narrows }))
    }

    /// Says what giving the rows of a table new keys would do. Writes nothing.
    ///
    /// # Errors
    /// `Configuration` if it cannot be done, saying why; `Connection` or `System`.
    pub async fn plan_rekey(
        &self,
        dataset: &Dataset,
        change: &ContentChange,
        hashes: &HashCells<'_>,
    ) -> Result<Rekeyed> {
        self.may_rekey(dataset).await?;
        let mut connection = self.connection("plan_rekey").await?;
        let failed = |error| query_error("plan the new keys", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let planned = plan(&transaction, dataset, change, (None, hashes)).await?;
        transaction.rollback().await.map_err(failed)?;
        Ok(planned)
    }

    /// Gives the rows of a table new keys, under a claim of its own. The table, the history and the ledger change together.
    ///
    /// # Errors
    /// `LeaseLost` if another process took over; `Configuration` as for [`plan_rekey`](Self::plan_rekey); `Connection` or `System`.
    pub async fn rekey(
        &self,
        claim: &Claim,
        (datasets, dataset): (&Datasets, &Dataset),
        change: &ContentChange,
        hashes: &HashCells<'_>,
    ) -> Result<Rekeyed> {
        let mut connection = self.connection("rekey").await?;
        let failed = |error| query_error("write the new keys", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let rekeyed = plan(&transaction, dataset, change, (Some(claim.load_id), hashes)).await?;
        let written = write(&transaction, dataset, change).await.map_err(failed)?;
        if written != rekeyed.changed {
            let message = format!("table {} changed meanwhile", dataset.table);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        note(&transaction, claim, datasets.version(), &rekeyed).await.map_err(failed)?;
        commit_step(&transaction, claim, SeenFile { read: rekeyed.rows, ..SeenFile::default() }).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(rekeyed)
    }

    /// Whether a process that gave the rows of a dataset new keys has left its load without an end, and if so, whether it has written them.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn rekey_left(&self, dataset: &Dataset) -> Result<Option<bool>> {
        let left = "select exists (select from etl.load_batch b where b.load_id = l.id) from etl.load l \
            where l.bucket = $1 and l.key = $2 and l.finished_at is null";
        let row = self.connection("rekey_left").await?.query_opt(left, &[&REKEY_BUCKET, &dataset.name]).await;
        row.map(|row| row.map(|row| row.get(0))).map_err(|error| query_error("look for new keys in the ledger", error))
    }

    /// Takes back a claim under which nothing was written, if loads were claimed after it: what the keys cover is what the last load says, and
    /// that is to be this one. Returns whether it did.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn withdraw_overtaken(&self, claim: &Claim) -> Result<bool> {
        let statement = "delete from etl.load l where l.id = $1 and l.lease_token = $2 \
            and not exists (select from etl.load_batch b where b.load_id = l.id) \
            and exists (select from etl.load o where o.dataset = l.dataset and o.id > l.id)";
        let connection = self.connection("withdraw_overtaken").await?;
        let withdrawn = connection.execute(statement, &[&claim.load_id.0, &claim.token.0]).await;
        withdrawn.map(|rows| rows == 1).map_err(|error| query_error("take a claim back", error))
    }

    async fn may_rekey(&self, dataset: &Dataset) -> Result<()> {
        let statement = "select quote_ident(current_user), \
            has_table_privilege($1, 'select') and has_table_privilege($1, 'update') and has_table_privilege('etl.lineage', 'update') \
                and has_table_privilege('etl.reject', 'update') and has_table_privilege('etl.parked', 'update') \
                and has_table_privilege('etl.content_copy', 'delete') and has_table_privilege('etl.replacement', 'update') \
                and has_table_privilege('etl.load', 'update') and ($2::text is null or has_table_privilege($2, 'update'))";
        let history = dataset.history.as_deref().map(table_name);
        let row =
            self.connection("may_rekey").await?.query_one(statement, &[&table_name(&dataset.table), &history]).await;
        let row = row.map_err(|error| query_error("ask for rights", error))?;
        if row.get(1) {
            return Ok(());
        }
        let (role, table): (&str, _) = (row.get(0), &dataset.table);
        let history = dataset.history.as_ref().map(|history| format!(", {history}")).unwrap_or_default();
        Err(Error::configuration(format!(
            "role {role} may not give rows of dataset {} new keys: that takes the right to update {table}{history} and the tables of schema \
             etl; run it as their owner",
            dataset.name
        )))
    }
}

/// Whether the values that a file wrote in one type are known in another, from what the table has.
fn becomes(then: &str, now: &str) -> bool {
    then == now || then == "text"
}

/// Fills the temporary table `rekey_row`: a row for each row of the table, with its present key and its new one. From then on no other load
/// is claimed until the transaction ends, and nothing else writes to the table.
async fn plan(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    change: &ContentChange,
    (own, hashes): (Option<LoadId>, &HashCells<'_>),
) -> Result<Rekeyed> {
    let failed = |error| query_error("plan the new keys", error);
    let (name, table) = (&dataset.name, table_name(&dataset.table));
    let alone = format!(
        "set local statement_timeout = 0; set local client_min_messages = warning; set local work_mem = '64MB'; \
         select pg_advisory_xact_lock(hashtextextended('etl.load {name}', 0)); \
         select pg_advisory_xact_lock({}); \
         lock table {table} in share row exclusive mode",
        batches_of(name)
    );
    transaction.batch_execute(&alone).await.map_err(failed)?;
    check_idle(transaction, dataset, own).await?;
    read_rows(transaction, dataset, hashes).await?;
    transaction.batch_execute(&of_change(include_str!("rekey_plan.sql"), dataset, change)).await.map_err(failed)?;
    check_known(transaction, dataset, change).await?;
    check_fused(transaction, dataset, change).await?;
    let counts = format!(
        "select count(*) as rows, count(*) filter (where old <> new) as changed, ( \
             select count(*) from etl.open_reject o where o.dataset = $1 and o.key not like 'was %' \
                 and not ({} and exists (select from pg_temp.rekey_row k where k.old = o.key))) as rejects \
         from pg_temp.rekey_row",
        change.narrows
    );
    let row = transaction.query_one(&counts, &[name]).await.map_err(failed)?;
    Ok(Rekeyed { rows: row.get("rows"), changed: row.get("changed"), rejects: row.get("rejects") })
}

fn of_change(file: &str, dataset: &Dataset, change: &ContentChange) -> String {
    filled(file, &[("dataset", &escape_literal(&dataset.name)), ("narrows", &change.narrows.to_string())])
}

/// Refuses while rows are on their way that have a key of the old form.
async fn check_idle(transaction: &Transaction<'_>, dataset: &Dataset, own: Option<LoadId>) -> Result<()> {
    let failed = |error| query_error("look for loads that have not ended", error);
    let name = &dataset.name;
    let loads = "select min(id) filter (where finished_at is null and id is distinct from $2 and bucket <> $3), max(id) > $2 \
        from etl.load where dataset = $1";
    let own = own.map(|load| load.0);
    let row = transaction.query_one(loads, &[name, &own, &REKEY_BUCKET]).await.map_err(failed)?;
    if let Some(load) = row.get::<_, Option<i64>>(0) {
        return Err(Error::configuration(format!(
            "dataset {name}: load {load} has not ended, and its rows get keys as its own definition says; let it end under that definition \
             before the rows get new keys"
        )));
    }
    if row.get::<_, Option<bool>>(1) == Some(true) {
        return Err(Error::configuration(format!(
            "dataset {name}: another load came while this one was about to begin; run this again"
        )));
    }
    let waiting = "select count(*) from etl.parked where dataset = $1 and released_by is null";
    let waiting: i64 = transaction.query_one(waiting, &[name]).await.map_err(failed)?.get(0);
    if waiting > 0 {
        return Err(Error::configuration(format!(
            "dataset {name}: {waiting} rows wait for rows of another dataset (`small-etl status` lists them), and have keys of the old form; \
             load those first"
        )));
    }
    Ok(())
}

/// Reads the values of all rows, some at a time, and keeps their keys with the hashes that they get.
async fn read_rows(transaction: &Transaction<'_>, dataset: &Dataset, hashes: &HashCells<'_>) -> Result<()> {
    let failed = |error| query_error("read the rows of the table", error);
    let covered: Vec<&Column> = dataset.content_form().iter().filter_map(|(name, _)| dataset.column(name)).collect();
    let cells = covered.iter().map(|column| format!(", {}", column.kind.export(&quoted(&column.name))));
    let begin = format!(
        "create temporary table rekey_row (old text primary key, hash text not null, new text) on commit drop; \
         declare rekey_rows no scroll cursor for select {CONTENT_KEY}::text{} from {} where {CONTENT_KEY} is not null",
        cells.collect::<String>(),
        table_name(&dataset.table)
    );
    transaction.batch_execute(&begin).await.map_err(failed)?;
    let fetch = transaction.prepare(&format!("fetch forward {ROWS_AT_ONCE} from rekey_rows")).await.map_err(failed)?;
    let keep = "insert into pg_temp.rekey_row select k.old, k.hash, k.hash || '-1' from unnest($1::text[], $2::text[]) as k (old, hash)";
    let keep = transaction.prepare(keep).await.map_err(failed)?;
    loop {
        let rows = transaction.query(&fetch, &[]).await.map_err(failed)?;
        if rows.is_empty() {
            break;
        }
        let cells: Vec<StringArray> =
            (1..=covered.len()).map(|at| rows.iter().map(|row| row.get::<_, Option<&str>>(at)).collect()).collect();
        let (mut old, mut new): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
        for (row, hash) in rows.iter().zip(hashes(&cells)) {
            let key: &str = row.get(0);
            let hash = hash.ok_or_else(|| {
                Error::configuration(format!(
                    "dataset {}: row {key} of table {} has a value that the definition does not allow, so that its new key is not known; \
                     `small-etl reconcile` says which",
                    dataset.name, dataset.table
                ))
            })?;
            old.push(key);
            new.push(hash);
        }
        transaction.execute(&keep, &[&old, &new]).await.map_err(failed)?;
    }
    transaction.batch_execute("close rekey_rows").await.map_err(failed)
}

/// Refuses rows whose values in a column that the key is to cover are not those of a file: the column was added later, or has another type.
async fn check_known(transaction: &Transaction<'_>, dataset: &Dataset, change: &ContentChange) -> Result<()> {
    if change.narrows {
        return Ok(());
    }
    let failed = |error| query_error("look which files brought the rows", error);
    let by_definition = "select d.definition, count(*) as rows \
        from pg_temp.rekey_row r left join pg_temp.rekey_settled s on s.key = r.old left join etl.load l on l.id = s.load_id \
            left join etl.dataset d on d.version = l.dataset_version and d.name = l.dataset \
        group by 1";
    let (mut rows, mut lacking) = (0_i64, BTreeSet::new());
    for row in transaction.query(by_definition, &[]).await.map_err(failed)? {
        let known = match row.get::<_, Option<&str>>("definition") {
            Some(text) => Datasets::columns_of(&dataset.name, text).map_err(Error::configuration)?,
            None => Vec::new(),
        };
        let is_known = |(name, kind): &(String, &'static str)| {
            known.iter().any(|(column, then)| column == name && becomes(then, kind))
        };
        let unknown: Vec<_> = dataset.content_form().into_iter().filter(|column| !is_known(column)).collect();
        if !unknown.is_empty() {
            rows += row.get::<_, i64>("rows");
            lacking.extend(unknown.into_iter().map(|(name, _)| name));
        }
    }
    if rows == 0 {
        return Ok(());
    }
    let columns = lacking.into_iter().collect::<Vec<_>>().join(", ");
    Err(Error::configuration(format!(
        "dataset {}: the new key covers {columns}, and no file has told that of {rows} rows of table {}, so that they would come once more with \
         the next file that does; leave `content` at {} at first, load the files of these rows with --again, and then change it",
        dataset.name, dataset.table, change.before
    )))
}

/// Refuses rows that would have been one row, had the new list been in force all the time.
async fn check_fused(transaction: &Transaction<'_>, dataset: &Dataset, change: &ContentChange) -> Result<()> {
    let failed = |error| query_error("look for rows that would be one", error);
    let fused = "select coalesce(sum(rows), 0)::bigint, count(*), (array_agg(first order by first))[1:3] from pg_temp.rekey_fused";
    let row = transaction.query_one(fused, &[]).await.map_err(failed)?;
    let rows: i64 = row.get(0);
    if rows == 0 {
        return Ok(());
    }
    let first = row.get::<_, Option<Vec<String>>>(2).unwrap_or_default().join(", ");
    Err(Error::configuration(format!(
        "dataset {}: table {} has {rows} rows more than it would have under the new key, for {} contents (the first keys: {first}): they are equal \
         in {}, and no file had them together. Which of them to keep is not known; leave `content` at {}, or empty the table and load its files \
         with --again",
        dataset.name,
        dataset.table,
        row.get::<_, i64>(1),
        change.now,
        change.before
    )))
}

/// Does what `rekey_row` says. Returns how many rows have a new key.
async fn write(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    change: &ContentChange,
) -> std::result::Result<i64, PostgresError> {
    let table = table_name(&dataset.table);
    // A row whose key becomes that of another one makes room first, and gets its new key last.
    let taken = "select b.* from pg_temp.rekey_row a join pg_temp.rekey_row b on b.old = a.new and a.old <> a.new where b.old <> b.new";
    let steps = [
        format!("update {table} t set {CONTENT_KEY} = '~' || k.old from ({taken}) k where t.{CONTENT_KEY} = k.old"),
        format!(
            "update {table} t set {CONTENT_KEY} = k.new from pg_temp.rekey_row k where k.old <> k.new and t.{CONTENT_KEY} = k.old"
        ),
        format!("update {table} t set {CONTENT_KEY} = k.new from ({taken}) k where t.{CONTENT_KEY} = '~' || k.old"),
    ];
    let mut written = Vec::new();
    for step in &steps {
        written.push(transaction.execute(step, &[]).await?);
    }
    if let Some(history) = &dataset.history {
        let update = format!(
            "update {} h set {CONTENT_KEY} = k.new from pg_temp.rekey_row k where k.old <> k.new and h.{CONTENT_KEY} = k.old",
            table_name(history)
        );
        transaction.execute(&update, &[]).await?;
    }
    transaction.batch_execute(&of_change(include_str!("rekey_ledger.sql"), dataset, change)).await?;
    Ok(written.iter().skip(1).map(|rows| i64::try_from(*rows).unwrap_or(i64::MAX)).sum())
}

/// Records the rows as unchanged under the new definition, because no file brought anything.
async fn note(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset_version: &str,
    rekeyed: &Rekeyed,
) -> std::result::Result<(), PostgresError> {
    // The claim may be that of a process that was killed, and that wanted another list.
    let version = "update etl.load set dataset_version = $2 where id = $1";
    transaction.execute(version, &[&claim.load_id.0, &dataset_version]).await?;
    let batch = "insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, removed, unchanged, stale, parked, \
            rejected, warnings) \
        values ($1, 0, 1, $2, 0, 0, 0, $2, 0, 0, 0, 0)";
    transaction.execute(batch, &[&claim.load_id.0, &rekeyed.rows]).await.map(|_| ())
}
