//! Gives the rows of a table new content keys: a load of its own, which is claimed, written in one transaction and closed like that of a file.

use arrow::array::StringArray;
use futures::stream;
use serde_json::json;

use crate::data_access::postgres::{
    Claim, ClaimTerms, Claimed, Closing, ContentChange, Database, FileToClaim, Rekeyed,
};
use crate::data_access::retry::retrying;
use crate::domain::object::REKEY_BUCKET;
use crate::domain::{Dataset, Datasets, LoadId, LoadStatus, ObjectVersion};
use crate::error::{Error, Result};
use crate::services::content::hashes_of;

/// What giving the rows of a dataset new keys has done, or would do.
#[derive(Clone, Debug)]
pub struct Rekey {
    /// What the keys covered before, for people.
    pub before: String,
    /// What they cover now.
    pub now: String,
    /// The load that did it; `None` if that is only planned.
    pub load_id: Option<LoadId>,
    /// The rows. If the answer of the server was lost, only how many there are is known.
    pub rows: Rekeyed,
}

/// Says what giving the rows of a dataset new keys would do. Writes nothing. `None` if there is nothing to do.
///
/// # Errors
/// `Configuration` if it cannot be done, saying why; `Connection` or `System`.
pub async fn plan_rekey(database: &Database, datasets: &Datasets, name: &str) -> Result<Option<Rekey>> {
    let dataset = keyed_by_content(datasets, name)?;
    let Some(change) = retrying(|| database.content_change(dataset)).await? else { return Ok(None) };
    let hashes = |cells: &[StringArray]| hashes_of(dataset, cells);
    let rows = retrying(|| database.plan_rekey(dataset, &change, &hashes)).await?;
    let ContentChange { before, now, .. } = change;
    Ok(Some(Rekey { before, now, load_id: None, rows }))
}

/// Gives the rows of a dataset the keys that its definition says. If a process that did it was killed, this one finishes. `None` if there
/// is nothing to do.
///
/// # Errors
/// `Configuration` if it cannot be done, or if another process is doing it; `LeaseLost`, `Connection` or `System`.
pub async fn rekey(database: &Database, datasets: &Datasets, terms: &ClaimTerms, name: &str) -> Result<Option<Rekey>> {
    let dataset = keyed_by_content(datasets, name)?;
    let parts = (datasets, dataset);
    // A process may have been killed after it had written the keys.
    if retrying(|| database.rekey_left(dataset)).await? == Some(true) {
        work(database, parts, terms, None).await?;
    }
    let planned = plan_rekey(database, datasets, name).await?;
    let change = retrying(|| database.content_change(dataset)).await?;
    let Some((planned, change)) = planned.zip(change) else {
        if retrying(|| database.rekey_left(dataset)).await?.is_some() {
            work(database, parts, terms, None).await?;
        }
        return Ok(None);
    };
    let (load, rows) = work(database, parts, terms, Some(&change)).await?;
    Ok(Some(Rekey { load_id: Some(load), rows, ..planned }))
}

/// Claims the load and brings it to its end.
async fn work(
    database: &Database,
    (datasets, dataset): (&Datasets, &Dataset),
    terms: &ClaimTerms,
    change: Option<&ContentChange>,
) -> Result<(LoadId, Rekeyed)> {
    let mut claimed = claim(database, datasets, terms, dataset).await?;
    if let Claimed::Taken(overtaken) = &claimed
        && retrying(|| database.withdraw_overtaken(overtaken)).await?
    {
        claimed = claim(database, datasets, terms, dataset).await?;
    }
    let claim = match claimed {
        Claimed::Taken(claim) => claim,
        Claimed::Finished { load_id, .. } => return Ok((load_id, Rekeyed::default())),
        Claimed::Held { load_id, remaining, .. } => {
            return Err(Error::configuration(format!(
                "another process is giving the rows of dataset {} new keys as load {load_id}; if it was killed, run this again in {} seconds",
                dataset.name,
                remaining.as_secs() + 1
            )));
        }
    };
    let written = write(database, (datasets, dataset), &claim, change).await;
    if written.is_err() {
        // The next run need not wait until the lease ends.
        let _ = database.give_back_lease(&claim, false).await;
    }
    Ok((claim.load_id, written?))
}

fn keyed_by_content<'d>(datasets: &'d Datasets, name: &str) -> Result<&'d Dataset> {
    let dataset = datasets.get(name).map_err(Error::configuration)?;
    if dataset.content.is_some() {
        return Ok(dataset);
    }
    Err(Error::configuration(format!(
        "dataset {name}: its key is {}, and only the keys that the program makes of the content of rows (key = \"content\") can be made anew",
        dataset.key.join(", ")
    )))
}

async fn claim(database: &Database, datasets: &Datasets, terms: &ClaimTerms, dataset: &Dataset) -> Result<Claimed> {
    let object = ObjectVersion {
        bucket: REKEY_BUCKET.into(),
        key: dataset.name.clone().into(),
        version: "content".into(),
        version_id: None,
        size: None,
        sequencer: None,
        modified: None,
        local: false,
    };
    let terms = terms.of(dataset);
    let token = retrying(|| database.fencing_token()).await?;
    let file = FileToClaim {
        object: &object,
        part: "",
        parts: &[String::new()],
        dataset: &dataset.name,
        source: None,
        datasets,
        terms: &terms,
        again: true,
    };
    retrying(|| database.claim(token, file)).await
}

async fn write(
    database: &Database,
    (datasets, dataset): (&Datasets, &Dataset),
    claim: &Claim,
    change: Option<&ContentChange>,
) -> Result<Rekeyed> {
    let hashes = |cells: &[StringArray]| hashes_of(dataset, cells);
    let written = retrying(async || match (database.records_written(claim.load_id).await?, change) {
        // The commit before this attempt may have succeeded although its answer was lost, or the process that made it was killed.
        (Some(rows), _) => Ok(Rekeyed { rows, changed: rows, ..Rekeyed::default() }),
        (None, Some(change)) => database.rekey(claim, (datasets, dataset), change, &hashes).await,
        (None, None) => Ok(Rekeyed::default()),
    });
    let rows = written.await?;
    let closing = Closing {
        status: LoadStatus::Loaded,
        reason: None,
        error: None,
        read: rows.rows,
        statistics: &json!({}),
        stalled: false,
    };
    retrying(|| database.close(claim, dataset, &closing, stream::empty())).await?;
    Ok(rows)
}
