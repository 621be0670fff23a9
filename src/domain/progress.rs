//! How far a file is. Plain counters: the pipeline writes them, a progress bar reads them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Counters of one file.
#[derive(Debug, Default)]
pub struct Progress {
    waiting: AtomicBool,
    staged: AtomicI64,
    total: AtomicI64,
    committed: AtomicI64,
}

impl Progress {
    /// Whether the file waits for its manifest.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Notes whether the file waits for its manifest.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Records read from the file so far.
    pub fn staged(&self) -> i64 {
        self.staged.load(Ordering::Relaxed)
    }

    /// Notes how many records have been read from the file so far.
    pub fn set_staged(&self, records: i64) {
        self.staged.store(records, Ordering::Relaxed);
    }

    /// Records that have to be committed; 0 until the file is validated.
    pub fn total(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Notes how many records have to be committed.
    pub fn set_total(&self, records: i64) {
        self.total.store(records, Ordering::Relaxed);
    }

    /// Records whose batch is committed.
    pub fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Notes that a batch of so many records is committed.
    pub fn add_committed(&self, records: i64) {
        self.committed.fetch_add(records, Ordering::Relaxed);
    }
}
