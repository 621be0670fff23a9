//! The outcomes of records, and the arithmetic that proves that none was lost.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::object::Location;
use super::progress::Progress;

/// The identity of a load: the primary key of `etl.load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LoadId(pub i64);

impl fmt::Display for LoadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of a batch in its load, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchNumber(pub i32);

impl BatchNumber {
    /// Returns the batches of a file of `read` records, with `size` records each.
    pub fn all(read: i64, size: i32) -> impl Iterator<Item = Self> {
        let batches = read.unsigned_abs().div_ceil(size.unsigned_abs().into());
        (0..i32::try_from(batches).unwrap_or(i32::MAX)).map(Self)
    }

    /// Returns the first and the last record of this batch, both included.
    #[must_use]
    pub fn records(self, read: i64, size: i32) -> (i64, i64) {
        let first = i64::from(self.0) * i64::from(size) + 1;
        (first, read.min(first + i64::from(size) - 1))
    }
}

impl fmt::Display for BatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many records had which outcome. `read` is the sum of the eight outcomes; `warnings`, `released` and `deleted` are
/// counted separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records in the file.
    pub read: i64,
    /// Rows that were new.
    pub inserted: i64,
    /// Rows that changed.
    pub updated: i64,
    /// Rows that tombstones deleted.
    pub removed: i64,
    /// Rows that the table already had; left untouched.
    pub unchanged: i64,
    /// Rows for which the table has a newer version.
    pub stale: i64,
    /// Rows that are waiting for their reference.
    pub parked: i64,
    /// Records that broke a rule of severity error.
    pub rejected: i64,
    /// Records that had no other outcome when their load ended early.
    pub withheld: i64,
    /// Violations of severity warning.
    pub warnings: i64,
    /// Rows of earlier loads that this load released.
    pub released: i64,
    /// Rows that this load took out of the table because its file does not have them.
    pub deleted: i64,
}

impl Counts {
    /// Returns each outcome and its count.
    #[must_use]
    pub fn outcomes(&self) -> [(&'static str, i64); 8] {
        [
            ("inserted", self.inserted),
            ("updated", self.updated),
            ("removed", self.removed),
            ("unchanged", self.unchanged),
            ("stale", self.stale),
            ("parked", self.parked),
            ("rejected", self.rejected),
            ("withheld", self.withheld),
        ]
    }

    /// Whether every record read has exactly one outcome.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.read == self.outcomes().iter().map(|(_, count)| count).sum::<i64>()
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            inserted: self.inserted + other.inserted,
            updated: self.updated + other.updated,
            removed: self.removed + other.removed,
            unchanged: self.unchanged + other.unchanged,
            stale: self.stale + other.stale,
            parked: self.parked + other.parked,
            rejected: self.rejected + other.rejected,
            withheld: self.withheld + other.withheld,
            warnings: self.warnings + other.warnings,
            released: self.released + other.released,
            deleted: self.deleted + other.deleted,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// How the request for one file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStatus {
    /// Every record has its outcome.
    Loaded,
    /// The file as a whole could not be loaded; `reason` says why.
    Failed,
    /// The object was replaced before it was read. The newer version has an event of its own.
    Superseded,
    /// This version was already finished; nothing was written.
    Duplicate,
    /// Another worker is loading this version; nothing was written.
    InProgress,
    /// The time of this worker is over. The next one continues with the first batch that is not committed.
    Interrupted,
    /// No dataset claims the key, or the event carries no file.
    Skipped,
}

impl LoadStatus {
    /// The name in the ledger and in the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Duplicate => "duplicate",
            Self::InProgress => "in_progress",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

/// One entry of `loads` in the answer of `ingest`. Unknown values are null.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The id of the row in `etl.load`.
    pub load_id: Option<LoadId>,
    /// The bucket, or `file`.
    pub bucket: Option<String>,
    /// The decoded key, or the absolute path.
    pub key: Option<String>,
    /// The version id, or else the `ETag`, or else the SHA-256 of a local file.
    pub version: Option<String>,
    /// The dataset that claims the key.
    pub dataset: Option<String>,
    /// The source by which it was read, if the dataset declares any.
    pub source: Option<String>,
    /// The part of the object: a member, a sheet or a section. Empty if the load is that of the whole object.
    pub part: Option<String>,
    /// How it ended.
    pub status: LoadStatus,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// What was wrong with the file as a whole, for people.
    pub error: Option<String>,
    /// How many workers have held the load, including this one.
    pub attempt: Option<i32>,
    /// How many records had which outcome.
    #[serde(flatten, serialize_with = "counts_or_nulls")]
    pub counts: Option<Counts>,
    /// The key of the rejects file.
    pub rejects_key: Option<String>,
    /// Milliseconds from the request to the answer.
    pub elapsed_ms: u64,
    /// The statistics of the accepted rows.
    pub statistics: Value,
    /// What to request again for the rest of an interrupted load; not part of the answer.
    #[serde(skip)]
    pub rest: Option<Location>,
    /// When to try again if another worker holds the load; not part of the answer.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// When to request the rest if the load waits for a manifest; not part of the answer.
    #[serde(skip)]
    pub resume_after: Option<Duration>,
    /// Whether the rest is left to a larger machine; the answer says so in `reason`.
    #[serde(skip)]
    pub handed_over: bool,
    /// How many changes of the columns no file of the source had before; not a part of the answer.
    #[serde(skip)]
    pub schema_changes: u64,
    /// How far the load came, as it was counted on the way; not a part of the answer.
    #[serde(skip)]
    pub progress: Arc<Progress>,
}

impl LoadReport {
    /// A report of which no more is known than how it ended.
    #[must_use]
    pub fn new(status: LoadStatus) -> Self {
        Self {
            load_id: None,
            bucket: None,
            key: None,
            version: None,
            dataset: None,
            source: None,
            part: None,
            status,
            reason: None,
            error: None,
            attempt: None,
            counts: None,
            rejects_key: None,
            elapsed_ms: 0,
            statistics: Value::Null,
            rest: None,
            retry_after: None,
            resume_after: None,
            handed_over: false,
            schema_changes: 0,
            progress: Arc::default(),
        }
    }
}

/// Writes unknown counts as nulls, so that the answer always has the same fields.
#[expect(clippy::ref_option, reason = "serde hands out a reference to the field")]
fn counts_or_nulls<S: Serializer>(counts: &Option<Counts>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(counts) = counts else {
        const NAMES: [&str; 12] = [
            "read",
            "inserted",
            "updated",
            "removed",
            "unchanged",
            "stale",
            "parked",
            "rejected",
            "withheld",
            "warnings",
            "released",
            "deleted",
        ];
        return serializer.collect_map(NAMES.map(|name| (name, ())));
    };
    counts.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_record_once() {
        for (read, size) in [(0, 10), (1, 10), (10, 10), (11, 10), (25, 7)] {
            let covered: i64 = BatchNumber::all(read, size)
                .map(|batch| batch.records(read, size))
                .map(|(first, last)| last - first + 1)
                .sum();
            assert_eq!(covered, read, "{read} records in batches of {size}");
        }
    }

    #[test]
    fn a_lost_record_breaks_the_balance() {
        let counts = Counts { read: 3, inserted: 1, rejected: 1, ..Counts::default() };
        assert!(!counts.is_balanced());
        assert!((counts + Counts { withheld: 1, ..Counts::default() }).is_balanced());
    }
}
