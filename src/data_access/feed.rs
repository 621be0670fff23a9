//! Rows that the staging database inserts while they are sent: a table function returns what comes out of a channel.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use ::duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use ::duckdb::vtab::{
    BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk, to_duckdb_logical_type_for_field,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

/// How many batches may wait for the database.
const BATCHES_AHEAD: usize = 2;

/// Open feeds by their numbers: SQL can pass nothing else to the function.
static FEEDS: LazyLock<Mutex<HashMap<u64, Arc<Waiting>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

fn feeds() -> MutexGuard<'static, HashMap<u64, Arc<Waiting>>> {
    FEEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows on their way into a statement. They end when all senders are dropped.
pub(super) struct Feed(u64);

impl Feed {
    /// Opens a feed for rows with these columns.
    pub(super) fn open(columns: SchemaRef) -> (SyncSender<RecordBatch>, Self) {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        feeds().insert(number, Arc::new(Waiting { columns, rows: Mutex::new(Rows { batches, rest: None }) }));
        (sender, Self(number))
    }

    /// The parameter of the function that returns the rows, once.
    pub(super) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        feeds().remove(&self.0);
    }
}

/// A feed that a statement may read.
pub(super) struct Waiting {
    columns: SchemaRef,
    rows: Mutex<Rows>,
}

struct Rows {
    batches: Receiver<RecordBatch>,
    /// What is left of the batch that came last.
    rest: Option<RecordBatch>,
}

impl Waiting {
    /// The next rows, at most so many. `None` at the end.
    fn next(&self, most: usize) -> Option<RecordBatch> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = match rows.rest.take() {
            Some(rest) => rest,
            None => rows.batches.recv().ok()?,
        };
        // To return no rows would say that this is the end.
        while batch.num_rows() == 0 {
            batch = rows.batches.recv().ok()?;
        }
        let length = most.min(batch.num_rows());
        let next = batch.slice(0, length);
        rows.rest = Some(batch.slice(length, batch.num_rows() - length)).filter(|rest| rest.num_rows() > 0);
        Some(next)
    }
}

/// The table function.
pub(super) struct FeedFunction;

impl FeedFunction {
    pub(super) const NAME: &str = "feed";
}

impl VTab for FeedFunction {
    type InitData = ();
    type BindData = Arc<Waiting>;

    fn bind(bind: &BindInfo) -> Result<Self::BindData, Box<dyn Error>> {
        let feed = feeds().get(&bind.get_parameter(0).to_uint64()).cloned().ok_or("there is no such feed")?;
        for column in feed.columns.fields() {
            bind.add_result_column(column.name(), to_duckdb_logical_type_for_field(column)?);
        }
        Ok(feed)
    }

    fn init(_: &InitInfo) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn func(function: &TableFunctionInfo<Self>, output: &mut DataChunkHandle) -> Result<(), Box<dyn Error>> {
        let most = output.flat_vector(0).capacity();
        if let Some(rows) = function.get_bind_data().next(most) {
            return record_batch_to_duckdb_data_chunk(&rows, output);
        }
        output.set_len(0);
        Ok(())
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::UBigint)])
    }
}
