//! What reading a file has in common, whatever it consists of: how it ends early, what its errors mean, how its bytes are shown.

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use sha2::{Digest, Sha256};

use crate::data_access::csv::{LONGEST_HEADER, SplitError};
use crate::data_access::duckdb::Stage;
use crate::data_access::s3::into_error;
use crate::data_access::sent::members::MemberError;
use crate::data_access::sent::workbook_error::WorkbookError;
use crate::error::{Error, ErrorKind, Reason, Result};

/// Ends when nobody wants the file any more.
pub(super) struct Stoppable<'a, R>(pub(super) R, pub(super) &'a Stage);

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_cancelled() {
            return Err(std::io::Error::other(Error::new(ErrorKind::LeaseLost, "staging was cancelled")));
        }
        self.0.read(buffer)
    }
}

pub(super) struct HashWriter(pub(super) Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where the plain bytes of a file are kept, from which bad records are cut.
pub(super) fn spool(stage: &Stage) -> Result<BufWriter<File>> {
    let spool = File::create(stage.spool()).map_err(|error| Error::system("keep a copy of the file", error))?;
    Ok(BufWriter::with_capacity(1024 * 1024, spool))
}

/// What to say of a file that cannot be read as it is.
/// Characters of a name that are shown, as many as an identifier of Postgres may have.
pub(super) const LONGEST_NAME: usize = 63;

/// A name of a column that the dataset does not declare, no longer than may be shown.
pub(super) fn shown(name: &str) -> String {
    // Postgres keeps no NUL.
    let name = name.replace('\0', "\\x00");
    match name.char_indices().nth(LONGEST_NAME) {
        None => name,
        Some(_) => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
    }
}

pub(super) fn malformed(file: &str, message: &str) -> Error {
    Error::file(Reason::Malformed, format!("{file}: {message}"))
}

/// What to say of a file without a byte.
pub(super) fn empty(file: &str) -> Error {
    Error::file(Reason::Empty, format!("{file}: the file is empty; not even a header is there"))
}

/// What to say of an archive that nobody unpacks.
pub(super) fn unread(file: &str, archive: &str) -> Error {
    malformed(
        file,
        &format!("this is {archive}, which is not unpacked; pack the file with gzip or zstd, or not at all"),
    )
}

/// The text of a cell; bytes that are not UTF-8 and NULs are escaped so that a person can read them.
pub(super) fn printable(cell: &[u8]) -> String {
    let mut text = String::with_capacity(cell.len());
    for chunk in cell.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\0', "\\x00"));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// An I/O error is either the transport's, and then an [`Error`] lies inside, or the archive is broken.
pub(super) fn read_error(file: &str, error: std::io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::system(format!("{file}: read it, or write the copy in the temporary folder"), error);
    }
    let text = error.to_string();
    into_error(error).unwrap_or_else(|| {
        let message = format!("{file}: the archive is broken or cut off ({text}); send it again");
        Error::file(Reason::Malformed, message)
    })
}

pub(super) fn split_error(file: &str, error: SplitError) -> Error {
    let malformed = |message: String| Error::file(Reason::Malformed, message);
    match error {
        SplitError::Read(error) => read_error(file, error),
        SplitError::OpenQuote(line) => malformed(format!(
            "{file} line {line}: a quote is opened here and never closed; close it, or double it if it is content"
        )),
        SplitError::SectionAgain(line) => malformed(format!(
            "{file} line {line}: the section begins here once more, and only the first one would be read; send each table under a name of its own"
        )),
        SplitError::TooLong(line, LONGEST_HEADER) => too_long(file, line),
        SplitError::TooLong(line, _) => malformed(format!(
            "{file} line {line}: the record that begins here is longer than 64 MiB; a quote was probably never closed"
        )),
    }
}

pub(super) fn member_error(file: &str, error: MemberError) -> Error {
    let what = match error {
        MemberError::Read(error) => return read_error(file, error),
        MemberError::Broken => "it is not a zip archive, or a broken one; send it again",
        MemberError::TooMany => "the archive has more than 10,000 members",
        MemberError::TooLarge => "the archive unpacks to far more than it is; send its members by themselves",
        MemberError::Twice => "two members of the archive have the same name; rename one",
        MemberError::Unreadable(_) => "a member has a password, or is packed in a way that is not known; pack it anew",
    };
    malformed(file, what)
}

pub(super) fn workbook_error(file: &str, error: WorkbookError) -> Error {
    read_error(file, error.into_io(file))
}

/// What to say of a first record that does not end.
pub(super) fn too_long(file: &str, line: i64) -> Error {
    let most = LONGEST_HEADER / (1024 * 1024);
    let message = format!(
        "{file} line {line}: what begins here as a header is longer than {most} MiB; is it missing, is a quote never closed, or do \
         lines end with a lone carriage return?"
    );
    Error::file(Reason::Malformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(printable(b"a\xff\xfe\xc3\xa9"), "a\\xff\\xfeé");
        assert_eq!(printable(b"a\0b"), "a\\x00b");
    }
}
