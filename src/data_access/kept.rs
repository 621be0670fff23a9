//! The plain bytes of a file, from which raw records are cut once it is staged.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Reason, Result};

/// A file on this machine that is not copied, because nothing that is kept depends on it.
#[derive(Clone, Debug)]
pub struct Original {
    path: PathBuf,
    state: State,
}

impl Original {
    /// Remembers what the file is like before it is read.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn of(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), state: State::of(&file.metadata()?) })
    }

    /// Checks that an open file is still the same.
    ///
    /// # Errors
    /// `File(Superseded)` if it was changed or replaced; [`ErrorKind::System`](crate::error::ErrorKind::System).
    pub fn check(&self, file: &File) -> Result<()> {
        let present = file.metadata().map_err(|error| Error::system("examine the file", error))?;
        if State::of(&present) == self.state {
            return Ok(());
        }
        let message = format!("{}: the file was changed while it was read; check it again", self.path.display());
        Err(Error::file(Reason::Superseded, message))
    }
}

/// What changes with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
    /// The device, the file on it, and when anything about it was changed, if the system says so.
    identity: [i128; 4],
}

impl State {
    fn of(about: &Metadata) -> Self {
        Self { length: about.len(), modified: about.modified().ok(), identity: identity(about) }
    }
}

#[cfg(unix)]
fn identity(about: &Metadata) -> [i128; 4] {
    use std::os::unix::fs::MetadataExt as _;
    [about.dev().into(), about.ino().into(), about.ctime().into(), about.ctime_nsec().into()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i128; 4] {
    [0; 4]
}

/// The plain bytes of a staged file: a copy, or the file itself as long as it stays the same.
pub struct Kept {
    file: File,
    original: Option<Original>,
}

impl Kept {
    pub(super) fn copy(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::system("open the copy of the file", error))?;
        Ok(Self { file, original: None })
    }

    pub(super) fn original(original: &Original) -> Result<Self> {
        let file = File::open(&original.path).map_err(|error| Error::system("open the file once more", error))?;
        Ok(Self { file, original: Some(original.clone()) })
    }

    /// Returns the bytes of one record.
    ///
    /// # Errors
    /// `File(Superseded)` if the file was changed; [`ErrorKind::System`](crate::error::ErrorKind::System) if it is shorter than it should be.
    pub fn cut(&mut self, offset: i64, length: i64) -> Result<Vec<u8>> {
        let mut cut = || -> io::Result<Vec<u8>> {
            self.file.seek(SeekFrom::Start(offset.unsigned_abs()))?;
            let mut raw = vec![0; usize::try_from(length).unwrap_or(0)];
            self.file.read_exact(&mut raw)?;
            Ok(raw)
        };
        let raw = cut();
        if let Some(original) = &self.original {
            original.check(&self.file)?;
        }
        raw.map_err(|error| Error::system("read a record back from the file", error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_record_is_cut_from_a_file_only_as_long_as_that_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, "id\n1\n22\n").unwrap();
        let original = Original::of(&path, &File::open(&path).unwrap()).unwrap();
        let mut kept = Kept::original(&original).unwrap();
        assert_eq!((kept.cut(3, 1).unwrap(), kept.cut(5, 2).unwrap()), (b"1".to_vec(), b"22".to_vec()));
        let refused = |mut kept: Kept| kept.cut(3, 1).unwrap_err().kind() == ErrorKind::File(Reason::Superseded);
        // It is written to, replaced by a file of the same length, or cut off.
        fs::write(&path, "id\n1\n23\n").unwrap();
        assert!(refused(kept) && refused(Kept::original(&original).unwrap()));
        let original = Original::of(&path, &File::open(&path).unwrap()).unwrap();
        fs::write(folder.path().join("b.csv"), "id\n9\n23\n").unwrap();
        fs::rename(folder.path().join("b.csv"), &path).unwrap();
        assert!(refused(Kept::original(&original).unwrap()));
        let original = Original::of(&path, &File::open(&path).unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert!(refused(Kept::original(&original).unwrap()));
    }
}
