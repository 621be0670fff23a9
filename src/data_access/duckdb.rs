//! The staging database of one file: `DuckDB` in memory, which spills to a folder of its own that is removed with it. A
//! database that held little is emptied and kept for the next file: opening one and preparing statements takes longer
//! than checking a small file.
//!
//! The calls block; async callers run them on a blocking thread.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::duckdb::{Config, Connection, InterruptHandle, Params};
use arrow::record_batch::RecordBatch;
use fs4::FsStats;
use tempfile::TempDir;
use tracing::Span;

use super::feed::{Feed, FeedFunction};
use super::kept::{Kept, Original};
use crate::domain::{ObjectVersion, Progress};
use crate::error::{Error, ErrorKind, Reason, Result};

/// How much a staging database may use.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Memory in megabytes. Larger tables go to the temporary folder.
    pub memory_limit_mb: u32,
    /// Threads for one query.
    pub threads: u32,
    /// The folder for all temporary files; by default the system's.
    pub temp_folder: Option<PathBuf>,
}

const FOLDER_PREFIX: &str = "small-etl-stage-";
const SPOOL: &str = "records.csv";

/// Bytes of a block, and of the first segment of a column if nothing else is set.
const BLOCK: u64 = 256 * 1024;
const SMALL_SEGMENT: u64 = 2048;

/// A stage that held more records or bytes than this is closed, so that its memory and disk are freed.
const MOST_RECORDS_TO_KEEP: i64 = 10_000;
const MOST_BYTES_TO_KEEP: u64 = 4 * 1024 * 1024;
/// How many statements a session keeps: those of a few datasets.
const STATEMENTS_TO_KEEP: usize = 128;

/// Opens staging databases.
pub struct Stages {
    options: StageOptions,
    idle: Arc<Mutex<Option<Engine>>>,
}

impl Stages {
    /// Creates stages that may each use as much as the options say.
    #[must_use]
    pub fn new(options: StageOptions) -> Self {
        Self { options, idle: Arc::default() }
    }

    /// The folder for all temporary files.
    #[must_use]
    pub fn temp_folder(&self) -> PathBuf {
        self.options.temp_folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Opens an empty database that can reach neither the network nor any file outside its own folder.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if the temporary folder cannot be written.
    pub fn open(&self, progress: Arc<Progress>) -> Result<Stage> {
        let idle = lock(&self.idle).take();
        let engine = match idle {
            Some(engine) => engine,
            None => Engine::open(&self.options, &self.temp_folder())?,
        };
        Ok(Stage {
            engine: Mutex::new(Some(engine)),
            home: Arc::clone(&self.idle),
            progress,
            cancelled: AtomicBool::new(false),
            running: Mutex::default(),
            inserting: AtomicUsize::new(0),
            original: Mutex::default(),
            exclusive: Mutex::default(),
        })
    }
}

/// The part of a stage that is kept for the next file.
struct Engine {
    root: Connection,
    sessions: Vec<Connection>,
    tables: BTreeMap<String, Table>,
    /// How many records there were in the files since the tables were last dropped.
    records: i64,
    /// How many threads a query may have, and how many it has now.
    most_threads: u32,
    threads: u32,
    /// How large the first segment of a column is.
    segment: u64,
    /// How many columns the file has.
    columns: usize,
    memory: u64,
    folder: TempDir,
    /// Locks the folder while it is in use.
    _in_use: Option<File>,
}

/// An emptied table is kept for the next file: statements that are prepared for it stay so.
struct Table {
    columns: String,
    is_in_use: bool,
}

impl Engine {
    fn open(options: &StageOptions, parent: &Path) -> Result<Self> {
        // Only one process at a time: a folder that is created and not yet locked looks unused.
        let _one_at_a_time = File::open(parent).and_then(|parent| parent.lock().map(|()| parent));
        remove_stale_folders(parent);
        let folder = tempfile::Builder::new()
            .prefix(FOLDER_PREFIX)
            .tempdir_in(parent)
            .map_err(|error| Error::system(format!("create a temporary folder in {}", parent.display()), error))?;
        let in_use = File::open(folder.path()).and_then(|folder| folder.lock_shared().map(|()| folder)).ok();
        let root = open_locked_down(options, folder.path())
            .map_err(|error| database_error("open the staging database", &error))?;
        Ok(Self {
            root,
            sessions: Vec::new(),
            tables: BTreeMap::new(),
            records: 0,
            most_threads: options.threads,
            threads: 1,
            segment: SMALL_SEGMENT,
            columns: 0,
            memory: u64::from(options.memory_limit_mb) * 1024 * 1024,
            folder,
            _in_use: in_use,
        })
    }

    fn session(&mut self) -> ::duckdb::Result<Connection> {
        if let Some(session) = self.sessions.pop() {
            return Ok(session);
        }
        let session = self.root.try_clone()?;
        session.set_prepared_statement_cache_capacity(STATEMENTS_TO_KEEP);
        Ok(session)
    }

    /// The statements that remove what a file with so many records has left.
    fn emptying(&mut self, records: i64) -> Vec<String> {
        self.records += records;
        // The place of deleted rows is not used again.
        if self.records > MOST_RECORDS_TO_KEEP {
            self.records = 0;
            let names = std::mem::take(&mut self.tables).into_keys();
            return names.map(|name| format!("drop table if exists {name}")).collect();
        }
        let emptied = |(name, table): (&String, &mut Table)| {
            std::mem::take(&mut table.is_in_use).then(|| format!("delete from {name}"))
        };
        self.tables.iter_mut().filter_map(emptied).collect()
    }

    /// Segments that are smaller than a block stay in memory in `DuckDB` 2.0.0, about 34 KB of each column for every 122,880 rows, however much room
    /// the disk has. Where each segment is a block, the stage takes a fifth more of the disk, and a column that is written to has two blocks in
    /// memory, one of which is for its nulls. So that begins with the rows that would fill a quarter of the memory, and not where columns fill it.
    fn make_room(&mut self, records: i64) -> Result<()> {
        let columns = u64::try_from(self.columns).unwrap_or(u64::MAX);
        let kept = u64::try_from(records).unwrap_or_default().saturating_mul(columns) / 122_880 * 34_000;
        let is_wide = columns.saturating_mul(2 * BLOCK) > self.memory / 3;
        let segment = if kept > self.memory / 4 && !is_wide { BLOCK } else { SMALL_SEGMENT };
        if segment != self.segment {
            let set = self.root.execute_batch(&format!("set initial_column_segment_size = {segment}"));
            set.map_err(|error| database_error("set the size of segments", &error))?;
            self.segment = segment;
        }
        Ok(())
    }

    fn use_threads(&mut self, threads: u32) -> Result<()> {
        if threads != self.threads {
            let set = self.root.execute_batch(&format!("set threads = {threads}"));
            set.map_err(|error| database_error("set the number of threads", &error))?;
            self.threads = threads;
        }
        Ok(())
    }
}

/// The staging database of one file, and a copy of the file's plain bytes from which raw records are cut.
pub struct Stage {
    /// Present until the stage is dropped.
    engine: Mutex<Option<Engine>>,
    home: Arc<Mutex<Option<Engine>>>,
    progress: Arc<Progress>,
    cancelled: AtomicBool,
    /// Stops the statement that runs in the newest session.
    running: Mutex<Option<Arc<InterruptHandle>>>,
    /// How many calls of [`Stage::insert`] have not ended.
    inserting: AtomicUsize,
    original: Mutex<Option<Original>>,
    exclusive: Mutex<()>,
}

impl Stage {
    /// Creates an empty table, or replaces one; its columns follow its name in SQL.
    ///
    /// # Errors
    /// Those of [`Stage::execute`].
    pub fn create_table(&self, name: &str, columns: &str) -> Result<()> {
        if let Some(engine) = &mut *lock(&self.engine) {
            let table = Table { columns: columns.to_owned(), is_in_use: true };
            let before = engine.tables.insert(name.to_owned(), table);
            if before.is_some_and(|table| table.columns == columns && !table.is_in_use) {
                return Ok(());
            }
        }
        self.execute(&format!("create or replace table {name} {columns}")).map(|_| ())
    }

    /// Locks the tables that are filled again and again. They are free once the guard is dropped.
    pub fn exclusively(&self) -> MutexGuard<'_, ()> {
        lock(&self.exclusive)
    }

    /// Prepares for the rows of a file with so many columns.
    pub fn expect_columns(&self, columns: usize) {
        if let Some(engine) = &mut *lock(&self.engine) {
            engine.columns = columns;
        }
    }

    fn make_room(&self) -> Result<()> {
        lock(&self.engine).as_mut().map_or(Ok(()), |engine| engine.make_room(self.progress.staged()))
    }

    /// Runs a statement that returns no rows. Returns how many rows it changed.
    ///
    /// # Errors
    /// [`ErrorKind::System`], without the cells that `DuckDB` puts into its messages.
    pub fn execute(&self, sql: &str) -> Result<usize> {
        self.in_session("run a statement in the staging database", |session| {
            Ok(session.prepare_cached(sql).and_then(|mut statement| statement.execute([])))
        })
    }

    /// Runs a statement on a stage without rows. Returns the database's message if it fails.
    ///
    /// # Errors
    /// The database's own message. Without rows, it can quote nothing but the statement.
    pub fn try_statement(&self, sql: &str) -> Result<(), String> {
        let session = self.session().map_err(|error| error.chain())?;
        session.execute_batch(sql).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    /// Runs a query and returns its whole result.
    ///
    /// # Errors
    /// [`ErrorKind::System`], without the cells that `DuckDB` puts into its messages.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query_with(sql, [])
    }

    /// Runs a query whose two parameters are a first and a last record, and returns its whole result.
    ///
    /// # Errors
    /// Those of [`Stage::query`].
    pub fn query_between(&self, sql: &str, (first, last): (i64, i64)) -> Result<Vec<RecordBatch>> {
        self.query_with(sql, [first, last])
    }

    fn query_with(&self, sql: &str, parameters: impl Params) -> Result<Vec<RecordBatch>> {
        self.in_session("query the staging database", |session| {
            let run = || session.prepare_cached(sql)?.stream_arrow(parameters)?.collect();
            Ok(run())
        })
    }

    /// Inserts the record batches that `send` passes on, each into the table that it names. Their columns are those of the table, in its order. The
    /// database inserts while `send` goes on, and all rows are there when this returns.
    ///
    /// # Errors
    /// The errors of `send`; `LeaseLost` if the stage is cancelled; [`ErrorKind::System`].
    pub fn insert<T>(&self, send: impl FnOnce(Put<'_>) -> Result<T>) -> Result<T> {
        // With another thread of its own, the database would often insert on that, while the thread that asked it to turns in circles.
        if self.inserting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.use_threads(|_| 1)?;
        }
        let inserted = self.insert_beside(send);
        if self.inserting.fetch_sub(1, Ordering::Relaxed) == 1 && self.progress.staged() > MOST_RECORDS_TO_KEEP {
            self.use_threads(|most| most)?;
        }
        inserted
    }

    fn use_threads(&self, of: impl FnOnce(u32) -> u32) -> Result<()> {
        lock(&self.engine).as_mut().map_or(Ok(()), |engine| engine.use_threads(of(engine.most_threads)))
    }

    fn insert_beside<T>(&self, send: impl FnOnce(Put<'_>) -> Result<T>) -> Result<T> {
        std::thread::scope(|scope| {
            let mut inserts = BTreeMap::new();
            let outcome = send(Box::new(|table, rows| {
                self.check_wanted()?;
                self.make_room()?;
                let (sender, _) = inserts.entry(table).or_insert_with(|| {
                    let (sender, feed) = Feed::open(rows.schema());
                    (sender, scope.spawn(move || self.insert_fed(table, &feed)))
                });
                sender.send(rows).map_err(|_| Error::new(ErrorKind::System, "the staging database takes no more rows"))
            }));
            let inserted = inserts.into_values().try_for_each(|(sender, insert)| {
                drop(sender);
                insert.join().map_err(|_| Error::new(ErrorKind::System, "inserting into the stage panicked"))?
            });
            self.check_wanted()?;
            // Without the database, the sender ends too, and then knows only that.
            inserted.and(outcome)
        })
    }

    fn insert_fed(&self, table: &str, feed: &Feed) -> Result<()> {
        self.in_session("insert into the staging database", |session| {
            let sql = format!("insert into {table} from {}(?)", FeedFunction::NAME);
            Ok(session.prepare_cached(&sql).and_then(|mut insert| insert.execute([feed.number()])).map(drop))
        })
    }

    fn folder(&self) -> PathBuf {
        lock(&self.engine).as_ref().map(|engine| engine.folder.path().to_owned()).unwrap_or_default()
    }

    /// Where the plain bytes of the file are kept.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.folder().join(SPOOL)
    }

    /// Creates an unnamed file in the folder of the stage. It disappears when it is closed.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if the temporary folder cannot be written.
    pub fn unnamed_file(&self) -> Result<File> {
        tempfile::tempfile_in(self.folder()).map_err(|error| Error::system("create a temporary file", error))
    }

    /// Refuses a file that would not fit into the temporary folder even if that were empty. How much a packed file
    /// unpacks to, and how much space others leave, shows only later.
    ///
    /// # Errors
    /// `File(TooLarge)` with both figures; [`ErrorKind::System`] if the folder cannot be examined.
    pub fn check_room(&self, object: &ObjectVersion) -> Result<()> {
        let disk = self.disk()?;
        let (room, size) = (disk.total_space(), object.size.unwrap_or_default());
        if size <= room {
            return Ok(());
        }
        let (file, megabyte) = (object.display_name(), 1024 * 1024);
        Err(Error::file(
            Reason::TooLarge,
            format!(
                "{file}: the file has {} MB, but the disk of the temporary folder has {}; make it larger, or set stage.temp_folder; \
                 on AWS, LargeFiles=fargate leaves such files to a larger machine",
                size / megabyte,
                room / megabyte
            ),
        ))
    }

    /// Records in [`Stage::progress`] how much of the temporary folder's disk is free.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if the folder cannot be examined.
    pub fn note_free_disk(&self) -> Result<()> {
        let disk = self.disk()?;
        self.progress.set_free_disk(disk.available_space());
        Ok(())
    }

    fn disk(&self) -> Result<FsStats> {
        fs4::statvfs(self.folder()).map_err(|error| Error::system("examine the temporary folder", error))
    }

    /// Has raw records cut from the file itself, which is not copied.
    pub fn keep_original(&self, original: Original) {
        *lock(&self.original) = Some(original);
    }

    /// Opens the kept bytes to cut raw records from them.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if nothing was kept.
    pub fn kept(&self) -> Result<Kept> {
        lock(&self.original).as_ref().map_or_else(|| Kept::copy(&self.spool()), Kept::original)
    }

    /// How far the work on this file is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Stops all work on the stage, because its result is no longer wanted.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(running) = &*lock(&self.running) {
            running.interrupt();
        }
    }

    /// Whether [`Stage::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Runs one step in a session. A session in which a step failed is not used again.
    fn in_session<T>(&self, step: &str, run: impl FnOnce(&Connection) -> Result<::duckdb::Result<T>>) -> Result<T> {
        let session = self.session()?;
        let outcome = run(&session)?.map_err(|error| database_error(step, &error))?;
        if let Some(engine) = &mut *lock(&self.engine) {
            engine.sessions.push(session);
        }
        Ok(outcome)
    }

    fn session(&self) -> Result<Connection> {
        let session = lock(&self.engine).as_mut().map(Engine::session);
        let session = session.ok_or_else(|| Error::new(ErrorKind::System, "the staging database is closed"))?;
        let session = session.map_err(|error| database_error("open a session of the staging database", &error))?;
        *lock(&self.running) = Some(session.interrupt_handle());
        self.check_wanted()?;
        Ok(session)
    }

    fn check_wanted(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::LeaseLost, "the work on the staging database was cancelled"));
        }
        Ok(())
    }

    fn holds_little(&self) -> bool {
        let bytes = self.spool().metadata().map_or(0, |spool| spool.len());
        self.progress.staged() <= MOST_RECORDS_TO_KEEP && bytes <= MOST_BYTES_TO_KEEP
    }

    /// Removes everything that the file left.
    fn clear(&self) -> Result<()> {
        let staged = self.progress.staged();
        let statements = lock(&self.engine).as_mut().map(|engine| engine.emptying(staged));
        for statement in statements.unwrap_or_default() {
            self.execute(&statement)?;
        }
        match std::fs::remove_file(self.spool()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::system("remove the copy of the file", error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_cancelled() && self.holds_little() && self.clear().is_ok() {
            let engine = lock(&self.engine).take();
            *lock(&self.home) = engine;
        }
    }
}

/// Locks a mutex even after a panic: the values here are never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the folders of processes that were killed. In a sandbox that is used again they would fill the disk.
fn remove_stale_folders(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER_PREFIX));
        // The lock of a process ends with it.
        if is_ours && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            // If this fails, the next process tries again.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn open_locked_down(options: &StageOptions, folder: &Path) -> ::duckdb::Result<Connection> {
    let path = folder.to_string_lossy();
    let config = Config::default()
        .with("home_directory", &path)?
        .with("temp_directory", &path)?
        .with("extension_directory", &path)?
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?
        .max_memory(&format!("{}MB", options.memory_limit_mb))?
        .threads(1)?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    // A checkpoint would compress what is staged, which takes longer than to stage it.
    connection.execute_batch(
        "set checkpoint_threshold = '1TB'; set enable_external_access = false; \
         set allowed_configs = ['threads', 'initial_column_segment_size']; set lock_configuration = true;",
    )?;
    connection.register_table_function::<FeedFunction>(FeedFunction::NAME)?;
    Ok(connection)
}

/// Takes a record batch for a table of the stage.
pub type Put<'a> = Box<dyn FnMut(&'static str, RecordBatch) -> Result<()> + Send + 'a>;

/// Whether a query failed for a value that it cannot compute or convert.
#[must_use]
pub fn is_of_a_value(error: &Error) -> bool {
    let class = error.source().and_then(|source| source.downcast_ref::<ClassOnly>());
    class.is_some_and(|class| matches!(&*class.0, "Out of Range Error" | "Conversion Error" | "Invalid Input Error"))
}

/// Whether a query failed because a value that it computed does not fit into its type.
#[must_use]
pub fn is_out_of_range(error: &Error) -> bool {
    let class = error.source().and_then(|source| source.downcast_ref::<ClassOnly>());
    class.is_some_and(|class| matches!(&*class.0, "Out of Range Error" | "Conversion Error"))
}

/// Whether the disk of the temporary folder, or the memory, was too small.
#[must_use]
pub fn is_out_of_room(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        let on_disk = error.downcast_ref::<io::Error>().is_some_and(|error| full.contains(&error.kind()));
        // Beside its memory, the staging database has nothing but temporary files.
        let in_stage = error
            .downcast_ref::<ClassOnly>()
            .is_some_and(|class| matches!(&*class.0, "Out of Memory Error" | "IO Error"));
        if on_disk || in_stage {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Keeps only the class of an error, because `DuckDB` puts cells into its messages.
fn database_error(step: &str, error: &::duckdb::Error) -> Error {
    let text = error.to_string();
    let class = text.split(':').next().unwrap_or_default().to_owned();
    Error::system(step, ClassOnly(class))
}

#[derive(Debug)]
struct ClassOnly(String);

impl std::fmt::Display for ClassOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "duckdb: {}", self.0)
    }
}

impl std::error::Error for ClassOnly {}

/// Runs `work` on a blocking thread of the runtime.
///
/// # Errors
/// The errors of `work`; [`ErrorKind::System`] if it panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::with_source(ErrorKind::System, "a blocking step panicked", error)),
    }
}

#[cfg(test)]
mod tests;
