//! Tidy: writes rejects files that are missing, and deletes rejects that have been kept long enough.

use std::time::Duration;

use serde::Serialize;

use super::Deadline;
use super::rejects_file::Output;
use crate::data_access::postgres::{Database, Pass, PendingRejects};
use crate::data_access::retry::retrying;
use crate::domain::LoadId;
use crate::error::{Error, Result};

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tidied {
    /// Rejects files that were missing and were written in this run.
    pub rejects_files_written: u64,
    /// Loads whose rejects file could not be written; the next run tries again.
    pub rejects_files_missing: Vec<Undone>,
    /// Rejects that were deleted because their retention time is over.
    pub rejects_deleted: i64,
    /// Of those, the ones that nobody had mended.
    pub open_rejects_deleted: i64,
    /// Loads whose rejects could not be deleted; the next run tries again.
    pub rejects_not_deleted: Vec<Undone>,
    /// Parked rows that have waited too long and are rejects now.
    pub parked_expired: i64,
    /// Loads that were pruned from the ledger.
    pub loads_pruned: i64,
    /// Versions of pruned loads that were forgotten, because their objects are gone.
    pub settled_forgotten: u64,
}

impl Tidied {
    /// Whether nothing is left for the next run.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rejects_files_missing.is_empty() && self.rejects_not_deleted.is_empty()
    }
}

/// Something that could not be done for a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The load.
    pub load_id: LoadId,
    /// Why it could not be done.
    pub error: String,
}

impl Undone {
    fn of(load_id: LoadId, error: &Error) -> Self {
        let error = error.chain();
        tracing::warn!(load_id = load_id.0, error, "not tidied up; the next run tries again");
        Self { load_id, error }
    }
}

/// How many loads one statement looks for.
const LOADS_AT_ONCE: i64 = 10_000;

/// Deletes the rejects of loads that ended more than `days` ago: in the ledger, and their files in S3. Returns whether
/// there was time for all of them. Loads that were that old when the last pass began were done then.
///
/// # Errors
/// `Connection` or `System` if the ledger cannot be read. If S3 refuses, that is counted, and the rest goes on.
pub async fn delete_expired(
    database: &Database,
    output: &Output,
    days: u32,
    (pass, deadline): (&Pass, &Deadline),
    done: &mut Tidied,
) -> Result<bool> {
    let mut after = pass.load();
    loop {
        let found = retrying(|| database.expired_rejects(days, pass.since, after, LOADS_AT_ONCE)).await?;
        let Some((last, _)) = found.last() else { return Ok(true) };
        after = last.load_id;
        for (expired, noted) in found {
            if !deadline.has_time_for(Duration::ZERO) {
                return Ok(false);
            }
            delete(database, output, &expired, noted, done).await?;
            retrying(|| database.advance_pass(pass, &expired.load_id)).await?;
        }
    }
}

async fn delete(
    database: &Database,
    output: &Output,
    expired: &PendingRejects,
    noted: Option<(String, String)>,
    done: &mut Tidied,
) -> Result<()> {
    let load_id = expired.load_id.0;
    // The worker that wrote the file may have died before it could record where.
    let file = noted.or_else(|| output.place(expired));
    let deleted = match file {
        Some((bucket, key)) => output.delete_rejects(&bucket, &key).await,
        None => Ok(()),
    };
    if let Err(error) = deleted {
        done.rejects_not_deleted.push(Undone::of(expired.load_id, &error));
    } else {
        let (deleted, open) = retrying(|| database.delete_rejects(expired.load_id)).await?;
        tracing::info!(load_id, deleted, open, "rejects deleted, because their retention time is over");
        done.rejects_deleted += deleted;
        done.open_rejects_deleted += open;
    }
    Ok(())
}

/// Writes the rejects files that are missing. Returns whether there was time for all of them.
///
/// # Errors
/// `Connection` or `System` if the ledger cannot be read. If S3 refuses, that is counted, and the rest goes on.
pub async fn write_missing(
    database: &Database,
    output: &Output,
    (pass, deadline): (&Pass, &Deadline),
    done: &mut Tidied,
) -> Result<bool> {
    let (local, mut after) = (output.has_own_bucket(), pass.load());
    loop {
        let found = retrying(|| database.pending_rejects(local, pass.since, after, LOADS_AT_ONCE)).await?;
        let Some(last) = found.last() else { return Ok(true) };
        after = last.load_id;
        for pending in found {
            if !deadline.has_time_for(Duration::ZERO) {
                return Ok(false);
            }
            let Some((bucket, _)) = output.place(&pending) else { continue };
            match output.write_rejects(database, pending.load_id, &pending.dataset, &bucket).await {
                Ok(_) => done.rejects_files_written += 1,
                Err(error) => done.rejects_files_missing.push(Undone::of(pending.load_id, &error)),
            }
            retrying(|| database.advance_pass(pass, &pending.load_id)).await?;
        }
    }
}
