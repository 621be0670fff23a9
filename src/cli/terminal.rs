//! What the commands have in common: their exit codes, and how they talk to a person.

use std::io::Write as _;
use std::path::Path;

use anstream::{stderr, stdout};
use anstyle::{AnsiColor, Style};

use crate::error::{Error, ErrorKind, Result};

/// Everything succeeded.
pub(super) const DONE: u8 = 0;

/// `validate` found rows that would be rejected.
pub(super) const ROWS_REJECTED: u8 = 1;

/// The file as a whole is unusable.
pub(super) const FILE_UNUSABLE: u8 = 2;

/// Settings, connection or machine failed, or another worker has the file.
pub(super) const NOT_DONE: u8 = 3;

/// `guess` has questions that nobody has answered.
pub(super) const QUESTIONS_OPEN: u8 = 4;

const ERROR: Style = AnsiColor::Red.on_default().bold();

pub(super) fn say(error: &str) {
    // Nobody can read it if standard error is closed.
    let _ = writeln!(stderr(), "{ERROR}error{ERROR:#}: {error}");
}

pub(super) fn warn(warning: &str) {
    // Nobody can read it if standard error is closed.
    let _ = writeln!(stderr(), "warning: {warning}");
}

/// Prints what went wrong and returns the exit code for it.
pub(super) fn tell(error: &Error) -> u8 {
    say(&error.chain());
    if matches!(error.kind(), ErrorKind::File(_)) { FILE_UNUSABLE } else { NOT_DONE }
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::Configuration, format!("{}: cannot be written", path.display()), error)
}

/// One JSON value on a line of its own.
pub(super) fn as_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|error| Error::system("write JSON", error))
}

/// Writes to standard output, with colours only on a terminal.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader closed the pipe.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Error::system("write to standard output", error)),
    }
}
