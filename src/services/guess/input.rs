//! A file to look at.

use std::path::PathBuf;

/// A file to look at.
#[derive(Clone, Debug)]
pub struct Input {
    /// The key of the object, or the path as it was given.
    pub key: String,
    /// Where its bytes are on this machine, unpacked if it was packed with gzip or zstd.
    pub path: PathBuf,
    /// The pattern of the keys of files like it, if it is an object.
    pub folder: Option<String>,
}
