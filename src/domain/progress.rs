//! How far the work on a file is. Plain counters: the pipeline writes them, and a progress bar reads them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The counters of one file.
#[derive(Debug, Default)]
pub struct Progress {
    waiting: AtomicBool,
    staged: AtomicI64,
    total: AtomicI64,
    committed: AtomicI64,
    resumed: AtomicI64,
    slowest_batch: AtomicU64,
    free_disk: AtomicU64,
}

impl Progress {
    /// Begins with the next file, or the next part of a file.
    pub fn begin(&self) {
        self.copy_from(&Self::default());
    }

    /// The counters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let copy = Self::default();
        copy.copy_from(self);
        copy
    }

    fn copy_from(&self, other: &Self) {
        self.set_waiting(other.is_waiting());
        self.set_staged(other.staged());
        self.set_total(other.total());
        self.committed.store(other.committed(), Ordering::Relaxed);
        self.resumed.store(other.resumed.load(Ordering::Relaxed), Ordering::Relaxed);
        self.slowest_batch.store(other.slowest_batch.load(Ordering::Relaxed), Ordering::Relaxed);
        self.set_free_disk(other.free_disk.load(Ordering::Relaxed));
    }

    /// Whether the file is waiting for its manifest.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Records whether the file is waiting for its manifest.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// How many records have been read from the file so far.
    pub fn staged(&self) -> i64 {
        self.staged.load(Ordering::Relaxed)
    }

    /// Records how many records have been read from the file so far.
    pub fn set_staged(&self, records: i64) {
        self.staged.store(records, Ordering::Relaxed);
    }

    /// How many records have to be committed; 0 until the file is validated.
    pub fn total(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Records how many records have to be committed.
    pub fn set_total(&self, records: i64) {
        self.total.store(records, Ordering::Relaxed);
    }

    /// How many records are in committed batches.
    pub fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Records that a batch of this many records was committed.
    pub fn add_committed(&self, records: i64) {
        self.committed.fetch_add(records, Ordering::Relaxed);
    }

    /// How many records are in batches that this worker committed.
    pub fn written(&self) -> i64 {
        self.committed() - self.resumed.load(Ordering::Relaxed)
    }

    /// Records that everything committed so far was committed by earlier workers.
    pub fn note_resumed(&self) {
        self.resumed.store(self.committed(), Ordering::Relaxed);
    }

    /// How long the slowest batch has taken so far.
    pub fn slowest_batch(&self) -> Duration {
        Duration::from_millis(self.slowest_batch.load(Ordering::Relaxed))
    }

    /// Records how long a batch took.
    pub fn note_batch(&self, elapsed: Duration) {
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.slowest_batch.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// How many bytes were free in the temporary folder after the file was staged; `None` before that.
    pub fn free_disk(&self) -> Option<u64> {
        Some(self.free_disk.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Records how many bytes are free in the temporary folder.
    pub fn set_free_disk(&self, bytes: u64) {
        self.free_disk.store(bytes, Ordering::Relaxed);
    }
}
