//! Files on this machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, ErrorKind, Reason, Result};

/// Reads the first `most` bytes of a file. Returns `None` if the file does not exist, or if no file can have that name.
pub(super) fn read_small(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

/// The error for a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::File(Reason::NotFound),
        io::ErrorKind::PermissionDenied => ErrorKind::File(Reason::Forbidden),
        _ => ErrorKind::System,
    };
    Error::with_source(kind, format!("{}: cannot be read", path.display()), error)
}
