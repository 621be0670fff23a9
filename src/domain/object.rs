//! Where a file is, and which version of it is meant.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use super::sequencer::Sequencer;

/// The longest key that S3 allows, in bytes.
pub const LONGEST_KEY: usize = 1024;

/// The key of an object inside its bucket, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Decodes a key that S3 encoded as in a form, where a `+` is a space.
    ///
    /// # Errors
    /// If the decoded key is not UTF-8.
    pub fn from_form(text: &str) -> Result<Self, Utf8Error> {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(|key| Self(key.into_owned()))
    }

    /// The path of a file on this machine, with `/` between its folders on every system.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        let path = path.to_string_lossy();
        Self(if cfg!(windows) { with_slashes(&path) } else { path.into_owned() })
    }

    /// Whether this is something that programs leave beside their data: a hidden file, a checksum of Hadoop, a marker
    /// of Spark (`_SUCCESS`, `_committed_1`, `_metadata`, `assets_$folder$`), or a file that is not finished.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        let (folders, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        name.starts_with('.')
            || name.starts_with('_') && !name.contains('.')
            || name.rsplit_once('.').is_some_and(|(_, extension)| extension == "crc")
            || name.ends_with("_$folder$")
            || folders.split('/').any(|folder| folder == "_temporary")
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Why no object with this key can be loaded; `None` if it can.
    #[must_use]
    pub fn flaw(&self) -> Option<&'static str> {
        if self.0.len() > LONGEST_KEY {
            return Some("the key is longer than 1,024 bytes, which S3 does not allow");
        }
        self.0.contains('\0').then_some("the key has a NUL, which the ledger cannot hold; rename the object")
    }
}

/// A path of Windows as keys are written. An absolute one begins with a mark that it is not to be interpreted any more.
fn with_slashes(path: &str) -> String {
    let path = path.strip_prefix(r"\\?\UNC").map_or_else(|| path.to_owned(), |share| format!(r"\{share}"));
    path.strip_prefix(r"\\?\").unwrap_or(&path).replace('\\', "/")
}

impl<T: Into<String>> From<T> for ObjectKey {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A requested file, before more is known about it than the event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An object in S3. What the event does not say is looked up.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The decoded key.
        key: ObjectKey,
        /// The version id, if the bucket has versions.
        version_id: Option<String>,
        /// The `ETag` without its quotes, if the event names it.
        etag: Option<String>,
        /// The size in bytes, if the event names it.
        size: Option<u64>,
        /// Which of the versions of its key it is, if that is known.
        sequencer: Option<Sequencer>,
        /// When the object was written, if a listing says so.
        modified: Option<DateTime<Utc>>,
    },
    /// A file on this machine.
    File(PathBuf),
}

impl Location {
    /// Returns the location of the newest version of an object, when only its name is known.
    pub fn s3(bucket: impl Into<String>, key: impl Into<ObjectKey>) -> Self {
        let (bucket, key) = (bucket.into(), key.into());
        Self::S3 { bucket, key, version_id: None, etag: None, size: None, sequencer: None, modified: None }
    }

    /// Reads `s3://BUCKET/KEY`, or else a path.
    ///
    /// # Errors
    /// A message if the text begins with `s3://` and lacks a bucket or a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::s3(bucket, key)),
            _ => Err(format!("{text:?} is not an object; write s3://BUCKET/KEY")),
        }
    }

    /// Returns the location of exactly this version.
    #[must_use]
    pub fn of(object: &ObjectVersion) -> Self {
        if object.local {
            return Self::File(PathBuf::from(object.key.as_str()));
        }
        Self::S3 {
            bucket: object.bucket.clone(),
            key: object.key.clone(),
            version_id: object.version_id.clone(),
            etag: object.has_etag().then(|| object.version.clone()),
            size: object.size,
            sequencer: object.sequencer.clone(),
            modified: object.modified,
        }
    }

    /// Returns the bucket, or [`LOCAL_BUCKET`] for a file on this machine.
    #[must_use]
    pub fn bucket(&self) -> &str {
        match self {
            Self::S3 { bucket, .. } => bucket,
            Self::File(_) => LOCAL_BUCKET,
        }
    }

    /// Returns the key, or the path of a file on this machine.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::S3 { key, .. } => key.clone(),
            Self::File(path) => ObjectKey::of_path(path),
        }
    }
}

/// What the ledger has instead of a bucket for files on this machine. No bucket can have this name. Followed by the
/// path, it is a URL.
pub const LOCAL_BUCKET: &str = "file://";

/// The bucket of loads that undo another, whose number is their key. No bucket of S3 can have this name.
pub const UNDO_BUCKET: &str = "undo://";

/// The bucket of loads that gave the rows of a table new content keys. Their key is the dataset.
pub const REKEY_BUCKET: &str = "rekey://";

/// The buckets of loads that read no file.
pub const BUCKETS_WITHOUT_FILES: [&str; 2] = [UNDO_BUCKET, REKEY_BUCKET];

/// One immutable content: what the ledger claims and the extractor must read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The bucket, or [`LOCAL_BUCKET`].
    pub bucket: String,
    /// The decoded key, or the absolute path.
    pub key: ObjectKey,
    /// The version id, or else the `ETag`, or else the SHA-256 of a local file; empty if none is known.
    pub version: String,
    /// The version id alone, which is used to read the object.
    pub version_id: Option<String>,
    /// The size in bytes, if it is known.
    pub size: Option<u64>,
    /// Which of the versions of its key it is, if that is known.
    pub sequencer: Option<Sequencer>,
    /// When the object was written, if that is known before it is read.
    pub modified: Option<DateTime<Utc>>,
    /// Whether this is a file on this machine.
    pub local: bool,
}

impl ObjectVersion {
    /// Its sequencer as the ledger holds it.
    #[must_use]
    pub fn sequencer_text(&self) -> Option<String> {
        self.sequencer.as_ref().map(Sequencer::to_string)
    }

    /// Whether `version` is an `ETag`. S3 calls a version "null" if it was written while the bucket kept no versions.
    #[must_use]
    pub fn has_etag(&self) -> bool {
        !self.local && !self.version.is_empty() && self.version_id.as_ref().is_none_or(|id| id == "null")
    }

    /// Returns where the object is, whatever is there now: the object, or what S3 calls this version of it.
    #[must_use]
    pub fn where_it_lies(&self) -> Location {
        let mut location = Location::of(self);
        if let Location::S3 { etag, size, sequencer, modified, .. } = &mut location {
            (*etag, *size, *sequencer, *modified) = (None, None, None, None);
        }
        location
    }

    /// Returns a name for people: the path, or `s3://BUCKET/KEY`.
    #[must_use]
    pub fn display_name(&self) -> String {
        place(&self.bucket, self.key.as_str())
    }
}

/// Returns a name for people for a bucket and key of the ledger: the path of a file on this machine, or
/// `s3://BUCKET/KEY`.
#[must_use]
pub fn place(bucket: &str, key: &str) -> String {
    match bucket {
        LOCAL_BUCKET => key.to_owned(),
        UNDO_BUCKET => format!("undo of load {key}"),
        REKEY_BUCKET => format!("rekey of dataset {key}"),
        _ => format!("s3://{bucket}/{key}"),
    }
}

/// The same for a part of it; an empty part is the whole.
#[must_use]
pub fn place_of_part(bucket: &str, key: &str, part: &str) -> String {
    with_part(place(bucket, key), part)
}

/// The name of a file for people, and the part of it that is meant; an empty part is the whole.
#[must_use]
pub fn with_part(file: String, part: &str) -> String {
    if part.is_empty() { file } else { format!("{file} [{part}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_has_slashes_on_every_system() {
        for (path, key) in [
            (r"\\?\C:\in\huaxi\a.csv", "C:/in/huaxi/a.csv"),
            (r"\\?\UNC\server\share\a.csv", "//server/share/a.csv"),
            (r"in\a.csv", "in/a.csv"),
        ] {
            assert_eq!(with_slashes(path), key);
        }
        let path = Path::new("/in/a.csv");
        assert_eq!(ObjectKey::of_path(path).as_str(), "/in/a.csv");
    }

    #[test]
    fn files_that_programs_leave_beside_their_data_are_recognized() {
        for key in [
            "in/_SUCCESS",
            "_SUCCESS",
            "in/.1.csv.crc",
            "in/1.csv.crc",
            "in/.DS_Store",
            "in/_committed_17",
            "in/_temporary/0/1.csv",
            "in/a_$folder$",
        ] {
            assert!(ObjectKey::from(key).is_marker(), "{key}");
        }
        for key in ["in/1.csv", "in/_1.csv", ".in/1.csv", "_in/1", "in/1", "in/SUCCESS", "in/crc"] {
            assert!(!ObjectKey::from(key).is_marker(), "{key}");
        }
    }

    #[test]
    fn an_s3_address_has_a_bucket_and_a_key() {
        assert_eq!(Location::parse("s3://b/a/c.csv"), Ok(Location::s3("b", "a/c.csv")));
        assert_eq!(Location::parse("trades.csv"), Ok(Location::File("trades.csv".into())));
        assert!(Location::parse("s3://b").is_err());
        assert!(Location::parse("s3:///key").is_err());
    }

    #[test]
    fn a_key_that_s3_or_the_ledger_cannot_hold_is_explained() {
        assert_eq!(ObjectKey::from("é".repeat(512)).flaw(), None);
        assert!(ObjectKey::from("é".repeat(512) + "x").flaw().unwrap().contains("1,024 bytes"));
        assert!(ObjectKey::from("in/a\0.csv").flaw().unwrap().contains("NUL"));
    }
}
