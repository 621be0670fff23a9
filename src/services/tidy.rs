//! Tidy: rejects files that are missing are written, and what may not be kept any longer is deleted.

use std::time::Duration;

use serde::Serialize;

use super::Deadline;
use super::rejects_file::Output;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::domain::LoadId;
use crate::error::{Error, Result};

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tidied {
    /// Rejects files that were missing and are written now.
    pub rejects_files_written: u64,
    /// Loads whose rejects file could not be written; the next run tries again.
    pub rejects_files_missing: Vec<Undone>,
    /// Rejects that were deleted, since their time is over.
    pub rejects_deleted: i64,
    /// Those of them that nobody had mended.
    pub open_rejects_deleted: i64,
    /// Loads whose rejects could not be deleted; the next run tries again.
    pub rejects_not_deleted: Vec<Undone>,
    /// Whether the time was over before everything was done.
    pub out_of_time: bool,
}

impl Tidied {
    /// Whether nothing is left for the next run.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.out_of_time && self.rejects_files_missing.is_empty() && self.rejects_not_deleted.is_empty()
    }
}

/// What could not be done for a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The load.
    pub load_id: LoadId,
    /// Why not.
    pub error: String,
}

impl Undone {
    fn of(load_id: LoadId, error: &Error) -> Self {
        let error = error.chain();
        tracing::warn!(load_id = load_id.0, error, "the next run tries again");
        Self { load_id, error }
    }
}

/// Writes the rejects files that are missing, and deletes the rejects of loads that ended more than `retention_days` ago:
/// in the ledger, and their files in S3. Without a number of days they are kept.
///
/// # Errors
/// `Connection`, `System` where the ledger cannot be read. What S3 refuses is counted, and does not stop the rest.
pub async fn tidy(
    database: &Database,
    output: &Output,
    retention_days: Option<u32>,
    deadline: &Deadline,
) -> Result<Tidied> {
    let mut done = Tidied::default();
    if let Some(days) = retention_days {
        for (expired, noted) in retrying(|| database.expired_rejects(days)).await? {
            if !deadline.has_time_for(Duration::ZERO) {
                return Ok(Tidied { out_of_time: true, ..done });
            }
            let load_id = expired.load_id.0;
            // Whoever wrote the file may not have lived to note it.
            let file = noted.or_else(|| output.place(&expired));
            if let Some((bucket, key)) = file
                && let Err(error) = output.delete_rejects(&bucket, &key).await
            {
                done.rejects_not_deleted.push(Undone::of(expired.load_id, &error));
                continue;
            }
            let (deleted, open) = retrying(|| database.delete_rejects(expired.load_id)).await?;
            tracing::info!(load_id, deleted, open, "rejects are deleted, since their time is over");
            done.rejects_deleted += deleted;
            done.open_rejects_deleted += open;
        }
    }
    for pending in retrying(|| database.pending_rejects(output.has_own_bucket())).await? {
        if !deadline.has_time_for(Duration::ZERO) {
            return Ok(Tidied { out_of_time: true, ..done });
        }
        let Some((bucket, _)) = output.place(&pending) else { continue };
        match output.write_rejects(database, pending.load_id, &pending.dataset, &bucket).await {
            Ok(_) => done.rejects_files_written += 1,
            Err(error) => done.rejects_files_missing.push(Undone::of(pending.load_id, &error)),
        }
    }
    Ok(done)
}
