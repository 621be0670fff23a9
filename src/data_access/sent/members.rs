//! The members of a zip archive.

use std::io::{self, Read, Seek};

use globset::GlobBuilder;
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

/// How many members an archive may have.
const MOST_MEMBERS: usize = 10_000;
/// A member unpacks to no more than so many times its packed size, and some more that costs nobody anything.
const MOST_TIMES: u64 = 200;
const ALWAYS_ALLOWED: u64 = 16 * 1024 * 1024;

/// Why an archive or a member of it cannot be read.
#[derive(Debug)]
pub enum MemberError {
    /// Reading failed.
    Read(io::Error),
    /// The archive is broken, or is none.
    Broken,
    /// The archive has more than ten thousand members.
    TooMany,
    /// Two members have this name.
    Twice(String),
    /// The member needs a password, or is packed in a way that is not known.
    Unreadable(String),
}

fn error_of(error: ZipError) -> MemberError {
    match error {
        ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => MemberError::Read(error),
        _ => MemberError::Broken,
    }
}

/// A zip archive.
pub struct Members<F> {
    archive: ZipArchive<F>,
}

impl<F: Read + Seek> Members<F> {
    /// Opens an archive.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn open(file: F) -> Result<Self, MemberError> {
        let archive = ZipArchive::new(file).map_err(error_of)?;
        if archive.len() > MOST_MEMBERS {
            return Err(MemberError::TooMany);
        }
        Ok(Self { archive })
    }

    /// The names of the members that a glob matches, in the order of the archive. Folders are none.
    ///
    /// # Errors
    /// `Twice` where the names do not tell which member is meant.
    pub fn matching(&mut self, pattern: &str) -> Result<Vec<String>, MemberError> {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|_| MemberError::Broken)?;
        let glob = glob.compile_matcher();
        let mut names: Vec<String> = Vec::new();
        for index in 0..self.archive.len() {
            let name = self.name(index)?;
            if name.ends_with('/') || !glob.is_match(&name) {
                continue;
            }
            if names.contains(&name) {
                return Err(MemberError::Twice(name));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// The name of a member: in UTF-8 where its bytes are that, whatever the archive says of them.
    fn name(&mut self, index: usize) -> Result<String, MemberError> {
        let member = self.archive.by_index_raw(index).map_err(error_of)?;
        match std::str::from_utf8(member.name_raw()) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Ok(member.name().map_err(error_of)?.into_owned()),
        }
    }

    /// Opens the member of that name. Reading it fails where it unpacks to far more than it is.
    ///
    /// # Errors
    /// `Unreadable`, `Broken`.
    pub fn read(&mut self, name: &str) -> Result<Option<Bounded<ZipFile<'_, F>>>, MemberError> {
        for index in 0..self.archive.len() {
            if self.name(index)? == name {
                let member = self.archive.by_index(index).map_err(|error| match error {
                    ZipError::UnsupportedArchive(_) | ZipError::InvalidPassword => {
                        MemberError::Unreadable(name.to_owned())
                    }
                    error => error_of(error),
                })?;
                let left = member.compressed_size().saturating_mul(MOST_TIMES).saturating_add(ALWAYS_ALLOWED);
                return Ok(Some(Bounded { member, left }));
            }
        }
        Ok(None)
    }
}

/// A member that may not be larger than is likely.
pub struct Bounded<R> {
    member: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.member.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a member unpacks to far more than it is")),
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Members<Cursor<Vec<u8>>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer
                .start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
                .unwrap();
            writer.write_all(bytes).unwrap();
        }
        Members::open(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn members_are_chosen_by_a_glob_and_read_by_their_name() {
        let mut members =
            archive(&[("a/trades.csv", b"t"), ("a/价格.csv", b"p"), ("README.txt", b"r"), ("a/b/c.csv", b"c")]);
        assert_eq!(members.matching("a/*.csv").unwrap(), ["a/trades.csv", "a/价格.csv"]);
        assert_eq!(members.matching("**/*.csv").unwrap().len(), 3);
        assert!(members.matching("*.zip").unwrap().is_empty());
        let mut text = String::new();
        members.read("a/价格.csv").unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "p");
        assert!(members.read("a/none.csv").unwrap().is_none());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![b'0'; 32 * 1024 * 1024];
        let mut members = archive(&[("bomb.csv", &zeros)]);
        let outcome = io::copy(&mut members.read("bomb.csv").unwrap().unwrap(), &mut io::sink());
        assert!(outcome.unwrap_err().to_string().contains("far more than it is"));
    }

    #[test]
    fn what_is_not_an_archive_is_broken() {
        assert!(matches!(Members::open(Cursor::new(b"a,b\n1,2\n".to_vec())), Err(MemberError::Broken)));
    }
}
