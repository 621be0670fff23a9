//! The members of a zip archive.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use globset::GlobBuilder;
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

/// How many members an archive may have.
const MOST_MEMBERS: usize = 10_000;
/// A member unpacks to no more than so many times its packed size, and some more that costs nobody anything.
const MOST_TIMES: u64 = 200;
const ALWAYS_ALLOWED: u64 = 16 * 1024 * 1024;
/// All members together unpack to no more than so many times their packed size, and a gigabyte.
const ALWAYS_ALLOWED_TOGETHER: u64 = 1024 * 1024 * 1024;

/// Why an archive or a member of it cannot be read.
#[derive(Debug)]
pub enum MemberError {
    /// Reading failed.
    Read(io::Error),
    /// The archive is broken, or is none.
    Broken,
    /// The archive has more than ten thousand members.
    TooMany,
    /// Its members together unpack to far more than they are, or lie one upon the other.
    TooLarge,
    /// Two members have the same name.
    Twice,
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
    /// The names of all members, in the order of the archive.
    names: Vec<String>,
}

impl<F: Read + Seek> Members<F> {
    /// Opens an archive.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn open(mut file: F) -> Result<Self, MemberError> {
        let length = file.seek(SeekFrom::End(0)).map_err(MemberError::Read)?;
        let mut archive = ZipArchive::new(file).map_err(error_of)?;
        if archive.len() > MOST_MEMBERS {
            return Err(MemberError::TooMany);
        }
        // Of two members with one name only the last one would be seen.
        if archive.has_duplicate_names() {
            return Err(MemberError::Twice);
        }
        let (mut names, mut packed, mut unpacked) = (Vec::with_capacity(archive.len()), 0_u64, 0_u64);
        for index in 0..archive.len() {
            let member = archive.by_index_raw(index).map_err(error_of)?;
            packed = packed.saturating_add(member.compressed_size());
            unpacked = unpacked.saturating_add(member.size());
            names.push(name_of(&member)?);
        }
        let most = length.saturating_mul(MOST_TIMES).saturating_add(ALWAYS_ALLOWED_TOGETHER);
        if packed > length || unpacked > most {
            return Err(MemberError::TooLarge);
        }
        Ok(Self { archive, names })
    }

    /// The names of the members that a glob matches, in the order of the archive. Folders are none.
    ///
    /// # Errors
    /// `Twice` where the names do not tell which member is meant.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, MemberError> {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|_| MemberError::Broken)?;
        let glob = glob.compile_matcher();
        let is_wanted = |name: &&String| !name.ends_with('/') && glob.is_match(name.as_str());
        let names: Vec<String> = self.names.iter().filter(is_wanted).cloned().collect();
        let mut known = HashSet::new();
        if names.iter().all(|name| known.insert(name.as_str())) { Ok(names) } else { Err(MemberError::Twice) }
    }

    /// Opens the member of that name. Reading it fails where it unpacks to far more than it is, or than the archive says.
    ///
    /// # Errors
    /// `Unreadable`, `Broken`.
    pub fn read(&mut self, name: &str) -> Result<Option<Bounded<ZipFile<'_, F>>>, MemberError> {
        let Some(index) = self.names.iter().position(|known| known == name) else { return Ok(None) };
        let member = self.archive.by_index(index).map_err(|error| match error {
            ZipError::UnsupportedArchive(_) | ZipError::InvalidPassword => MemberError::Unreadable(name.to_owned()),
            error => error_of(error),
        })?;
        let most = member.compressed_size().saturating_mul(MOST_TIMES).saturating_add(ALWAYS_ALLOWED);
        let left = most.min(member.size());
        Ok(Some(Bounded { member, left }))
    }
}

/// The name of a member: in UTF-8 where its bytes are that, whatever the archive says of them.
fn name_of<R: Read>(member: &ZipFile<'_, R>) -> Result<String, MemberError> {
    match std::str::from_utf8(member.name_raw()) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Ok(member.name().map_err(error_of)?.into_owned()),
    }
}

/// A member whose unpacked size is limited.
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
    fn two_members_with_one_name_are_refused() {
        let mut members = archive(&[("a.csv", b"1"), ("b.csv", b"2")]).archive.into_inner().into_inner();
        while let Some(at) = members.windows(5).position(|bytes| bytes == b"b.csv") {
            members[at] = b'a';
        }
        assert!(matches!(Members::open(Cursor::new(members)), Err(MemberError::Twice)));
    }

    #[test]
    fn members_that_lie_one_upon_the_other_are_refused() {
        let content: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = archive(&[("a.csv", &content), ("b.csv", b"x")]).archive.into_inner().into_inner();
        let directory = whole.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        let second =
            directory + 4 + whole[directory + 4..].windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        // The second entry of the directory says that its member is the first, under another name.
        let mut forged = whole.clone();
        forged.copy_within(directory + 16..directory + 28, second + 16);
        forged.copy_within(directory + 42..directory + 46, second + 42);
        assert!(matches!(Members::open(Cursor::new(forged)), Err(MemberError::TooLarge)));
    }

    #[test]
    fn a_member_that_says_a_size_far_beyond_the_archive_is_refused() {
        let mut members = archive(&[("a.csv", b"1")]).archive.into_inner().into_inner();
        let directory = members.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        members[directory + 24..directory + 28].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
        assert!(matches!(Members::open(Cursor::new(members)), Err(MemberError::TooLarge)));
    }

    #[test]
    fn what_is_not_an_archive_is_broken() {
        assert!(matches!(Members::open(Cursor::new(b"a,b\n1,2\n".to_vec())), Err(MemberError::Broken)));
    }
}
