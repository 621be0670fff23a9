//! One error type for the whole system: a kind, what was being done, and the source.
//!
//! Bad rows are data and travel in results; an [`Error`] means that a file or the system failed.

use std::error::Error as StdError;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, which decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// S3 or Postgres is unreachable, throttles, or asks to try again. The step is repeated.
    Connection,
    /// Another transaction was in the way: a deadlock, a serialization failure. The step is repeated at once.
    Conflict,
    /// The time of this call is over before the file is, and there is no queue to hand the rest to.
    OutOfTime,
    /// The file as a whole cannot be loaded. The load ends `failed` with this reason, and nothing retries it.
    File(Reason),
    /// Another worker now holds the lease. This one must stop without writing.
    LeaseLost,
    /// Settings, a dataset definition, arguments or an event are wrong. A person must correct them.
    Configuration,
    /// The schema, disk, memory or this program failed.
    System,
}

impl ErrorKind {
    /// Whether the same step may succeed if it is repeated.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Connection | Self::Conflict)
    }

    /// The name that programs see, for example as the error type of Lambda.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Conflict => "conflict",
            Self::OutOfTime => "out_of_time",
            Self::File(_) => "file",
            Self::LeaseLost => "lease_lost",
            Self::Configuration => "configuration",
            Self::System => "system",
        }
    }
}

/// Why a whole file failed: `etl.load.reason` and `reason` in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The object is empty.
    Empty,
    /// The header lacks a column of the dataset.
    MissingColumn,
    /// The header names a column twice.
    DuplicateColumn,
    /// The header has a column that its source, which is strict, does not read.
    UnexpectedColumn,
    /// The bytes are not valid CSV: an open quote, a broken archive, a header that is not UTF-8.
    Malformed,
    /// The object does not exist.
    NotFound,
    /// Reading the object is not allowed.
    Forbidden,
    /// More rows are bad than the thresholds allow.
    TooManyRejects,
    /// More rows would wait for the rows that they refer to than the dataset allows.
    TooManyParked,
    /// The file would take away more rows than its dataset allows.
    TooManyDeletes,
    /// The definition leaves out other records of an appended file than when its rows were loaded.
    RecordsRenumbered,
    /// The object was replaced before it was read.
    Superseded,
    /// The file does not fit on the disk of the temporary folder.
    TooLarge,
    /// Three workers in a row ended without committing anything.
    NoProgress,
    /// The file differs from what its manifest says.
    ManifestMismatch,
    /// The manifest cannot be understood.
    ManifestMalformed,
    /// The dataset requires a manifest, and none came in time.
    ManifestMissing,
    /// A row breaks a constraint of the table: a check, a unique index, a foreign key, or not null.
    ConstraintViolated,
    /// The table or the database cannot hold a value.
    ValueRefused,
    /// A trigger of the table refuses or drops a row.
    TriggerRefused,
}

impl Reason {
    /// The name in the ledger and in the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::MissingColumn => "missing_column",
            Self::DuplicateColumn => "duplicate_column",
            Self::UnexpectedColumn => "unexpected_column",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::TooManyRejects => "too_many_rejects",
            Self::TooManyParked => "too_many_parked",
            Self::TooManyDeletes => "too_many_deletes",
            Self::RecordsRenumbered => "records_renumbered",
            Self::Superseded => "superseded",
            Self::TooLarge => "too_large",
            Self::NoProgress => "no_progress",
            Self::ManifestMismatch => "manifest_mismatch",
            Self::ManifestMalformed => "manifest_malformed",
            Self::ManifestMissing => "manifest_missing",
            Self::ConstraintViolated => "constraint_violated",
            Self::ValueRefused => "value_refused",
            Self::TriggerRefused => "trigger_refused",
        }
    }
}

/// An error with its kind, the step that failed, and its cause.
///
/// `Display` shows the step alone; the cause is in [`StdError::source`]. [`Error::chain`] joins them. So does `Debug`,
/// which a program shows when it ends with an error.
pub struct Error {
    kind: ErrorKind,
    step: String,
    cells: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error without a cause. `step` says what was wrong, where, and what to do.
    pub fn new(kind: ErrorKind, step: impl Into<String>) -> Self {
        Self { kind, step: step.into(), cells: None, source: None }
    }

    /// Creates an error that `source` caused while `step` was being done.
    pub fn with_source(
        kind: ErrorKind,
        step: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, step: step.into(), cells: None, source: Some(source.into()) }
    }

    /// Creates an error that makes the whole file unusable.
    pub fn file(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::File(reason), message)
    }

    /// Creates an error about something that a person configured.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Creates an error of this program or its machine.
    pub fn system(step: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_source(ErrorKind::System, step, source)
    }

    /// Adds text for the eyes of the person who validates the file alone: its cells, or names that may be cells.
    #[must_use]
    pub fn with_cells(self, cells: impl Into<String>) -> Self {
        Self { cells: Some(cells.into()), ..self }
    }

    /// What [`Error::with_cells`] added. No other text of the error contains it.
    #[must_use]
    pub fn cells(&self) -> Option<&str> {
        self.cells.as_deref()
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the step may be repeated.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }

    /// The step and all its causes, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.step.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.chain())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connection_errors_and_conflicts_are_retried() {
        let kinds = [
            ErrorKind::File(Reason::Empty),
            ErrorKind::LeaseLost,
            ErrorKind::OutOfTime,
            ErrorKind::Configuration,
            ErrorKind::System,
        ];
        assert!(ErrorKind::Connection.is_retryable() && ErrorKind::Conflict.is_retryable());
        assert!(kinds.into_iter().all(|kind| !kind.is_retryable()));
    }

    #[test]
    fn cells_are_in_no_text_of_an_error() {
        let error = Error::file(Reason::MissingColumn, "column 4").with_cells("canary");
        assert_eq!(error.cells(), Some("canary"));
        let outer = Error::with_source(error.kind(), "under a definition", error);
        assert!(!format!("{outer} {outer:?} {}", outer.chain()).contains("canary") && outer.cells().is_none());
    }

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = Error::system("write the temporary file", std::io::Error::other("disk full"));
        let outer = Error::system("stage the file", inner);
        assert_eq!(outer.chain(), "stage the file: write the temporary file: disk full");
        assert_eq!(outer.to_string(), "stage the file");
    }
}
