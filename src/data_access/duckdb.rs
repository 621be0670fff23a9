//! The staging database of one file: `DuckDB` in memory, spilling to a folder of its own that goes when it goes.
//!
//! The calls block; callers on an async runtime put them on a blocking thread.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::duckdb::{Appender, Config, Connection, InterruptHandle};
use arrow::record_batch::RecordBatch;
use tempfile::TempDir;

use crate::domain::{ObjectVersion, Progress};
use crate::error::{Error, ErrorKind, Reason, Result};

/// How much a staging database may use.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Memory in megabytes, beyond which tables go to the temporary folder.
    pub memory_limit_mb: u32,
    /// Threads for one query.
    pub threads: u32,
    /// The folder for everything temporary; the system's where none is set.
    pub temp_folder: Option<PathBuf>,
}

const FOLDER_PREFIX: &str = "small-etl-stage-";

/// The staging database of one file, and a copy of the file's plain bytes from which raw records are cut.
pub struct Stage {
    connection: Mutex<Connection>,
    folder: TempDir,
    progress: Arc<Progress>,
    cancelled: AtomicBool,
    /// Stops the statement that runs in the newest session.
    running: Mutex<Option<Arc<InterruptHandle>>>,
}

impl Stage {
    /// Opens an empty database that reaches neither the network nor any file outside its own folder.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the temporary folder cannot be written.
    pub fn open(options: &StageOptions, progress: Arc<Progress>) -> Result<Self> {
        let parent = options.temp_folder.clone().unwrap_or_else(std::env::temp_dir);
        remove_stale_folders(&parent);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
            .tempdir_in(&parent)
            .map_err(|error| Error::system(format!("create a temporary folder in {}", parent.display()), error))?;
        let connection = open_locked_down(options, folder.path())
            .map_err(|error| database_error("open the staging database", &error))?;
        Ok(Self {
            connection: Mutex::new(connection),
            folder,
            progress,
            cancelled: AtomicBool::new(false),
            running: Mutex::default(),
        })
    }

    /// Runs statements that return nothing.
    ///
    /// # Errors
    /// [`ErrorKind::System`], without the cells that `DuckDB` puts into its messages.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.session()?
            .execute_batch(sql)
            .map_err(|error| database_error("run a statement in the staging database", &error))
    }

    /// Runs a statement on a stage that holds no rows, and returns what the database says against it.
    ///
    /// # Errors
    /// The database's own message: without rows it can quote nothing but the statement.
    pub fn try_statement(&self, sql: &str) -> Result<(), String> {
        let session = self.session().map_err(|error| error.chain())?;
        session.execute_batch(sql).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    /// Runs a query and returns its whole result.
    ///
    /// # Errors
    /// [`ErrorKind::System`], without the cells that `DuckDB` puts into its messages.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let session = self.session()?;
        let run = || session.prepare(sql)?.stream_arrow([])?.collect::<::duckdb::Result<Vec<_>>>();
        run().map_err(|error| database_error("query the staging database", &error))
    }

    /// Appends record batches to a table, as many as `write` hands to the [`StageWriter`].
    ///
    /// # Errors
    /// What `write` returns, or [`ErrorKind::System`].
    pub fn append<T>(&self, tables: [&str; 3], write: impl FnOnce([StageWriter<'_>; 3]) -> Result<T>) -> Result<T> {
        let sessions = [self.session()?, self.session()?, self.session()?];
        let open = |index: usize| -> Result<StageWriter<'_>> {
            let appender = sessions[index]
                .appender(tables[index])
                .map_err(|error| database_error("append to the staging database", &error))?;
            Ok(StageWriter(appender))
        };
        write([open(0)?, open(1)?, open(2)?])
    }

    /// Where the plain bytes of the file are kept.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("records.csv")
    }

    /// Refuses a file that the temporary folder could not hold even if it were empty. What a packed file unpacks to, and
    /// what others leave free, shows only later.
    ///
    /// # Errors
    /// `File(TooLarge)`, with both figures; [`ErrorKind::System`] when the folder cannot be asked.
    pub fn check_room(&self, object: &ObjectVersion) -> Result<()> {
        let disk = self.disk()?;
        let (room, size) = (disk.f_blocks.saturating_mul(disk.f_frsize), object.size.unwrap_or_default());
        if size <= room {
            return Ok(());
        }
        let (file, megabyte) = (object.display_name(), 1024 * 1024);
        Err(Error::file(
            Reason::TooLarge,
            format!(
                "{file}: the file has {} MB, the disk of the temporary folder {}; give it more, or set stage.temp_folder",
                size / megabyte,
                room / megabyte
            ),
        ))
    }

    /// Notes in [`Stage::progress`] how much of the temporary folder's disk is free.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the folder cannot be asked.
    pub fn note_free_disk(&self) -> Result<()> {
        let disk = self.disk()?;
        self.progress.set_free_disk(disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(())
    }

    fn disk(&self) -> Result<rustix::fs::StatVfs> {
        rustix::fs::statvfs(self.folder.path())
            .map_err(|error| Error::system("look at the temporary folder", std::io::Error::from(error)))
    }

    /// Opens the kept bytes to cut raw records from them.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when nothing was kept.
    pub fn open_spool(&self) -> Result<Spool> {
        let file = File::open(self.spool()).map_err(|error| Error::system("open the copy of the file", error))?;
        Ok(Spool(file))
    }

    /// How far this file is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Asks whoever works on the stage to stop; its result is no longer wanted.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(running) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            running.interrupt();
        }
    }

    /// Whether somebody called [`Stage::cancel`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn session(&self) -> Result<Connection> {
        // A connection is only cloned under the lock, so that a panic elsewhere leaves nothing half done in it.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let session =
            connection.try_clone().map_err(|error| database_error("open a session of the staging database", &error))?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.interrupt_handle());
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::LeaseLost, "the work on the staging database was cancelled"));
        }
        Ok(session)
    }
}

/// Removes what processes left behind that were killed: in a sandbox that is used again it would fill the disk.
fn remove_stale_folders(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)).and_then(|rest| rest.split('-').next());
        let dead = owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists());
        if dead && Path::new("/proc/self").exists() {
            // Whoever else is cleaning up may have been faster.
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
        .threads(i64::from(options.threads))?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    connection.execute_batch("set enable_external_access = false; set lock_configuration = true;")?;
    Ok(connection)
}

/// Appends to one table of the stage.
pub struct StageWriter<'a>(Appender<'a>);

impl StageWriter<'_> {
    /// Appends rows; the columns are those of the table, in its order.
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.0.append_record_batch(rows).map_err(|error| database_error("append to the staging database", &error))
    }

    /// Writes what is still buffered. A writer that is dropped instead may lose its last rows.
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub fn finish(mut self) -> Result<()> {
        self.0.flush().map_err(|error| database_error("append to the staging database", &error))
    }
}

/// The plain bytes of the file.
pub struct Spool(File);

impl Spool {
    /// The bytes of one record.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the copy is shorter than it should be.
    pub fn cut(&mut self, offset: i64, length: i64) -> Result<Vec<u8>> {
        let mut cut = || -> std::io::Result<Vec<u8>> {
            self.0.seek(SeekFrom::Start(offset.unsigned_abs()))?;
            let mut raw = vec![0; usize::try_from(length).unwrap_or(0)];
            self.0.read_exact(&mut raw)?;
            Ok(raw)
        };
        cut().map_err(|error| Error::system("read a record back from the copy of the file", error))
    }
}

/// `DuckDB` puts cells into its messages, so that only what comes before the first of them is kept.
fn database_error(step: &str, error: &::duckdb::Error) -> Error {
    let text = error.to_string();
    let class = text.split(':').next().unwrap_or_default().to_owned();
    tracing::debug!(step, class, "the staging database refused");
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

/// A join handle that panicked or was cancelled.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::with_source(ErrorKind::System, "a blocking step panicked", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage {
        Stage::open(&StageOptions { memory_limit_mb: 64, threads: 1, temp_folder: None }, Arc::default()).unwrap()
    }

    #[test]
    fn the_stage_reaches_no_file_and_its_limits_are_fixed() {
        let stage = stage();
        assert!(stage.query("select * from read_csv('/etc/passwd')").is_err());
        assert!(stage.execute("set memory_limit = '1GB'").is_err());
        assert!(stage.execute("install httpfs").is_err());
    }

    #[test]
    fn the_folder_goes_with_the_stage() {
        let stage = stage();
        let folder = stage.folder.path().to_owned();
        assert!(folder.exists());
        drop(stage);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_whose_process_is_gone_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join(format!("{FOLDER_PREFIX}{}-abc", u32::MAX));
        std::fs::create_dir(&stale).unwrap();
        let options = StageOptions { memory_limit_mb: 64, threads: 1, temp_folder: Some(parent.path().to_owned()) };
        let first = Stage::open(&options, Arc::default()).unwrap();
        let second = Stage::open(&options, Arc::default()).unwrap();
        assert!(!stale.exists() && first.folder.path().exists() && second.folder.path().exists());
    }

    #[test]
    fn a_statement_that_is_no_longer_wanted_ends() {
        let stage = Arc::new(stage());
        let working = Arc::clone(&stage);
        let work = std::thread::spawn(move || working.query("select count(*) from range(1000000) a, range(1000000) b"));
        while stage.running.lock().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        stage.cancel();
        assert!(work.join().unwrap().is_err());
        assert_eq!(stage.query("select 1").unwrap_err().kind(), ErrorKind::LeaseLost);
    }

    #[test]
    fn an_error_carries_no_cell() {
        let error = stage().query("select cast('canary' as integer)").unwrap_err();
        assert!(!error.chain().contains("canary"), "{}", error.chain());
    }
}
