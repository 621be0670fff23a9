//! Which scopes of its table a file replaces, and which keys its records have.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::LoadWork;
use super::bad_records::violations;
use super::checks::quoted_name;
use super::slices::{Found, RECORDS_AT_ONCE, Slices};
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::domain::source::binding::PlainRow;
use crate::domain::source::row::Row;
use crate::domain::{BatchNumber, Dataset, row_key};
use crate::error::{Error, Reason, Result};

/// Registers what a file replaces, if its dataset is replaced by files. A file with rejects that were mended replaces nothing: it is a part of
/// the file in which they were bad.
///
/// # Errors
/// `File` if it would take away too many rows, `Connection`, `System`.
pub(super) async fn begin(database: &Database, work: &LoadWork, dataset: &Dataset) -> Result<()> {
    if dataset.replacement.is_none() || work.extracted.mends {
        return Ok(());
    }
    let scopes = scopes(work, dataset).await?;
    if scopes.is_empty() {
        return Ok(());
    }
    Box::pin(retrying(|| database.begin_replacement(&work.claim, dataset, &scopes, keys(work, dataset)))).await
}

/// The scopes of the accepted rows, or that of a file without records, if such a file deletes rows.
async fn scopes(work: &LoadWork, dataset: &Dataset) -> Result<Vec<String>> {
    let Some(replacement) = &dataset.replacement else { return Ok(Vec::new()) };
    if work.extracted.read == 0 {
        let told = replacement.empty_deletes.then(|| told(work, dataset, &replacement.scope)).transpose()?;
        return Ok(told.into_iter().collect());
    }
    if replacement.scope.is_empty() {
        return Ok(if work.validated.accepted > 0 { vec![String::new()] } else { Vec::new() });
    }
    let columns: Vec<String> = replacement.scope.iter().map(|name| quoted_name(name)).collect();
    let sql = format!("select distinct {} from staged where _ok and _record between ? and ?", columns.join(", "));
    texts(work, dataset, &replacement.scope, sql, (1, work.extracted.read)).await.map(|scopes| {
        let scopes: BTreeSet<String> = scopes.into_iter().flatten().collect();
        scopes.into_iter().collect()
    })
}

/// The scope that the source tells of a file without records.
fn told(work: &LoadWork, dataset: &Dataset, names: &[String]) -> Result<String> {
    let untold = || {
        Error::file(
            Reason::Malformed,
            "nothing tells the scope of this file, which has no records; nothing was deleted",
        )
    };
    if names.is_empty() {
        return Ok(String::new());
    }
    let sent = work.extracted.sent.as_ref().ok_or_else(untold)?;
    let (mut binding, mut plain) = (sent.binding.clone(), PlainRow::default());
    binding.translate(&Row::default(), 0, &mut plain);
    let value = |name: &String| {
        let place = dataset.columns.iter().position(|column| column.name == *name)?;
        dataset.columns[place].kind.canonical(plain.value(place).ok()??)
    };
    let values: Option<Vec<String>> = names.iter().map(value).collect();
    let values = values.ok_or_else(untold)?;
    Ok(row_key::joined(values.iter().map(String::as_str)))
}

/// The keys of all records of a file, in chunks; `None` for a key that cannot be read.
fn keys(work: &LoadWork, dataset: &Dataset) -> impl Stream<Item = Result<Vec<Option<String>>>> + use<> {
    let (work, dataset) = (work.clone(), dataset.clone());
    let bad = stream::once(bad_keys(work.clone(), dataset.clone()));
    let batches = BatchNumber::all(work.extracted.read, RECORDS_AT_ONCE).collect::<Vec<_>>();
    let good = stream::iter(batches).then(move |batch| {
        let (work, dataset) = (work.clone(), dataset.clone());
        async move {
            let records = batch.records(work.extracted.read, RECORDS_AT_ONCE);
            let columns: Vec<String> = dataset.key.iter().map(|name| quoted_name(name)).collect();
            let columns = columns.join(", ");
            let sql = format!("select {columns} from staged where _ok and _record between ? and ?");
            texts(&work, &dataset, &dataset.key, sql, records).await
        }
    });
    bad.chain(good)
}

/// The keys of the rejected records.
async fn bad_keys(work: LoadWork, dataset: Dataset) -> Result<Vec<Option<String>>> {
    if work.validated.rejected == 0 {
        return Ok(Vec::new());
    }
    let slices = Slices::of_violations(&work.stage, Found::Error, (1, i64::MAX)).await?;
    let found = violations(&dataset, &work.stage, &work.extracted, Found::Error, slices.ranges);
    found.map_ok(|chunk| chunk.into_iter().map(|violation| violation.key).collect::<Vec<_>>()).try_concat().await
}

/// Runs a query of the stage whose parameters are the first and the last record. Returns the values that it selects as the texts that the
/// ledger has of them.
pub(super) async fn texts(
    work: &LoadWork,
    dataset: &Dataset,
    names: &[String],
    sql: String,
    records: (i64, i64),
) -> Result<Vec<Option<String>>> {
    let kinds: Vec<_> =
        names.iter().filter_map(|name| dataset.column(name)).map(|column| column.kind.clone()).collect();
    let stage: Arc<Stage> = Arc::clone(&work.stage);
    blocking(move || {
        let mut found = Vec::new();
        for rows in stage.query_between(&sql, records)? {
            let columns: Vec<StringArray> =
                kinds.iter().zip(rows.columns()).map(|(kind, values)| kind.print_stored(values)).collect();
            let value = |row: usize| {
                let values = columns.iter().map(|column| (!column.is_null(row)).then(|| column.value(row)));
                Some(row_key::joined(values.collect::<Option<Vec<_>>>()?.into_iter()))
            };
            found.extend((0..rows.num_rows()).map(value));
        }
        Ok(found)
    })
    .await
}
