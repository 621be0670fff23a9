//! Undoes a load: a load of its own, which is claimed, written in one transaction and closed like that of a file.

use futures::stream;
use serde_json::json;

use crate::data_access::postgres::{
    Claim, ClaimTerms, Claimed, Closing, Database, FileToClaim, GivenBack, LoadToUndo, without_history,
};
use crate::data_access::retry::retrying;
use crate::domain::object::{REKEY_BUCKET, UNDO_BUCKET, place_of_part};
use crate::domain::{Dataset, Datasets, LoadId, LoadStatus, ObjectVersion};
use crate::error::{Error, Result};

/// What undoing a load has done, or would do.
#[derive(Clone, Debug)]
pub struct Undo {
    /// The load that is undone.
    pub load_id: LoadId,
    /// Its dataset.
    pub dataset: String,
    /// Its file.
    pub file: String,
    /// The load that undoes it; `None` if that is only planned.
    pub undone_by: Option<LoadId>,
    /// The rows; `None` if it had been undone before, so that there was nothing to do.
    pub rows: Option<GivenBack>,
}

impl Undo {
    fn of(load: &LoadToUndo, undone_by: Option<LoadId>, rows: Option<GivenBack>) -> Self {
        let file = place_of_part(&load.bucket, &load.key, &load.part);
        Self { load_id: load.load_id, dataset: load.dataset.clone(), file, undone_by, rows }
    }
}

/// Says what undoing a load would do. Writes nothing.
///
/// # Errors
/// `Configuration` if it cannot be undone, saying why; `Connection` or `System`.
pub async fn plan_undo(database: &Database, datasets: &Datasets, load: LoadId) -> Result<Undo> {
    let (found, dataset) = ready(database, datasets, load).await?;
    if found.undone_by.is_some() {
        return Ok(Undo::of(&found, found.undone_by, None));
    }
    let referring = datasets.referring_to(&dataset.name);
    let rows = retrying(|| database.plan_undo(dataset, load, &referring)).await?;
    Ok(Undo::of(&found, None, Some(rows)))
}

/// Undoes a load. If a process that undid it was killed, this one finishes. Once it is undone, there is nothing to do.
///
/// # Errors
/// `Configuration` if it cannot be undone, or if another process is undoing it; `LeaseLost`, `Connection` or `System`.
pub async fn undo(database: &Database, datasets: &Datasets, terms: &ClaimTerms, load: LoadId) -> Result<Undo> {
    let planned = plan_undo(database, datasets, load).await?;
    if planned.undone_by.is_some() {
        return Ok(planned);
    }
    let (found, dataset) = ready(database, datasets, load).await?;
    let claim = match claim(database, datasets, terms, &found).await? {
        Claimed::Taken(claim) => claim,
        Claimed::Finished { load_id, .. } => return Ok(Undo::of(&found, Some(load_id), None)),
        Claimed::Held { load_id, remaining, .. } => {
            return Err(Error::configuration(format!(
                "another process is undoing load {load} as load {load_id}; if it was killed, run this again in {} seconds",
                remaining.as_secs() + 1
            )));
        }
    };
    let written = write(database, datasets, dataset, &claim, load).await;
    if written.is_err() {
        // The next run need not wait until the lease ends.
        let _ = database.give_back_lease(&claim, false).await;
    }
    Ok(Undo::of(&found, Some(claim.load_id), Some(written?)))
}

/// Returns the load and its dataset, if it can be undone at all.
async fn ready<'d>(database: &Database, datasets: &'d Datasets, load: LoadId) -> Result<(LoadToUndo, &'d Dataset)> {
    retrying(|| database.check_ledger()).await?;
    let found = retrying(|| database.load_to_undo(load)).await?;
    if found.bucket == UNDO_BUCKET {
        let undone = &found.key;
        return Err(Error::configuration(format!(
            "load {load} has undone load {undone}; to have the rows of load {undone} again, load its file with --again"
        )));
    }
    if found.bucket == REKEY_BUCKET {
        return Err(Error::configuration(format!(
            "load {load} has given the rows of dataset {0} new keys; to have the old ones again, let `content` name the columns from before and \
             run `small-etl rekey {0}`",
            found.dataset
        )));
    }
    if let Some(later) = found.rekeyed_by {
        return Err(Error::configuration(format!(
            "load {load} cannot be undone: load {later} has given the rows of dataset {} other keys since, so that it is not known which row was \
             which",
            found.dataset
        )));
    }
    if let Some(before) = found.pruned_before {
        return Err(Error::configuration(format!(
            "load {load} cannot be undone: it ended before {}, and other loads of dataset {} from then are pruned, so that it is not known which \
             of them wrote its rows since",
            before.format("%Y-%m-%d"),
            found.dataset
        )));
    }
    if !found.ended {
        return Err(Error::configuration(format!("load {load} has not ended; let it end first")));
    }
    let dataset = datasets.get(&found.dataset).map_err(Error::configuration)?;
    if dataset.history.is_none() {
        return Err(without_history(load, &dataset.name));
    }
    retrying(|| database.check_ready(dataset, datasets.version())).await?;
    Ok((found, dataset))
}

async fn claim(database: &Database, datasets: &Datasets, terms: &ClaimTerms, found: &LoadToUndo) -> Result<Claimed> {
    let object = ObjectVersion {
        bucket: UNDO_BUCKET.into(),
        key: found.load_id.to_string().into(),
        version: found.load_id.to_string(),
        version_id: None,
        size: None,
        sequencer: None,
        modified: None,
        local: false,
    };
    let terms = terms.of(datasets.get(&found.dataset).map_err(Error::configuration)?);
    let token = retrying(|| database.fencing_token()).await?;
    let file = FileToClaim {
        object: &object,
        part: "",
        parts: &[String::new()],
        dataset: &found.dataset,
        source: None,
        datasets,
        terms: &terms,
        again: false,
    };
    retrying(|| database.claim(token, file)).await
}

async fn write(
    database: &Database,
    datasets: &Datasets,
    dataset: &Dataset,
    claim: &Claim,
    load: LoadId,
) -> Result<GivenBack> {
    let referring = datasets.referring_to(&dataset.name);
    let written = retrying(async || match database.records_written(claim.load_id).await? {
        // The commit before this attempt may have succeeded although its answer was lost.
        Some(_) => Ok(None),
        None => database.undo(claim, dataset, load, &referring).await.map(Some),
    });
    let written = written.await?;
    let read = retrying(|| database.records_written(claim.load_id)).await?.unwrap_or_default();
    let closing =
        Closing { status: LoadStatus::Loaded, reason: None, error: None, read, statistics: &json!({}), stalled: false };
    let counts = retrying(|| database.close(claim, dataset, &closing, stream::empty())).await?;
    Ok(written.unwrap_or_else(|| GivenBack {
        updated: counts.updated,
        removed: counts.removed,
        inserted: counts.inserted,
        parked: counts.released,
        kept: counts.stale,
        ..GivenBack::default()
    }))
}
