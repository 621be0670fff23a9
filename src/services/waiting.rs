//! How many rows of a file would wait for the rows that they refer to.

use futures::{Stream, StreamExt, stream};

use super::LoadWork;
use super::checks::quoted_name;
use super::replace::texts;
use super::slices::RECORDS_AT_ONCE;
use super::tombstones::is_row;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::domain::{BatchNumber, Dataset, Reference};
use crate::error::{Error, Reason, Result};

/// Refuses a file more rows of which would wait than its dataset allows.
///
/// # Errors
/// `File` if there are too many, `Connection`, `System`.
pub(super) async fn check(database: &Database, work: &LoadWork, dataset: &Dataset) -> Result<()> {
    let (Some(most), Some(reference)) = (dataset.load.max_parked, &dataset.reference) else { return Ok(()) };
    let waiting =
        Box::pin(retrying(|| database.would_park(dataset, reference, references(work, dataset, reference)))).await?;
    if waiting <= most {
        return Ok(());
    }
    let (read, other) = (work.extracted.read, &reference.dataset);
    Err(Error::file(
        Reason::TooManyParked,
        format!(
            "{waiting} of {read} records refer to rows of {other} that are not there, more than load.max_parked = {most} allows; nothing was \
             loaded; load the rows of {other} first, and then this file with --again"
        ),
    ))
}

/// What the accepted rows refer to, in chunks. Rows that refer to a row of the same file wait for no other one.
fn references(
    work: &LoadWork,
    dataset: &Dataset,
    reference: &Reference,
) -> impl Stream<Item = Result<Vec<Option<String>>>> + use<> {
    let (work, dataset, reference) = (work.clone(), dataset.clone(), reference.clone());
    let batches = BatchNumber::all(work.extracted.read, RECORDS_AT_ONCE).collect::<Vec<_>>();
    stream::iter(batches).then(move |batch| {
        let (work, dataset, reference) = (work.clone(), dataset.clone(), reference.clone());
        async move {
            let records = batch.records(work.extracted.read, RECORDS_AT_ONCE);
            let columns: Vec<String> = reference.columns.iter().map(|name| quoted_name(name)).collect();
            let mut wanted = format!("_ok and {}", is_row(&dataset));
            if reference.dataset == dataset.name {
                let same = columns
                    .iter()
                    .zip(&dataset.key)
                    .map(|(column, key)| format!("k.{} = s.{column}", quoted_name(key)));
                let same = same.collect::<Vec<_>>().join(" and ");
                wanted = format!("{wanted} and not exists (select 1 from staged k where k._ok and {same})");
            }
            let columns = columns.join(", ");
            let sql = format!("select {columns} from staged s where {wanted} and s._record between ? and ?");
            texts(&work, &dataset, &reference.columns, sql, records).await
        }
    })
}
