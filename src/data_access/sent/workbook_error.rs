//! Why a file is not a workbook that can be read.

use std::io;

use crate::error::{Error, Reason};

/// Why a file is not a workbook that can be read; without cells.
#[derive(Debug)]
pub enum WorkbookError {
    /// Reading failed.
    Read(io::Error),
    /// It is neither `xlsx` nor `xls`.
    NoWorkbook,
    /// It is broken, or has a password.
    Broken,
    /// It is larger, unpacked or packed, than it may be.
    TooLarge,
}

impl From<io::Error> for WorkbookError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl WorkbookError {
    /// What to say of the file with that name; an [`Error`] inside, unless reading failed.
    #[must_use]
    pub fn into_io(self, file: &str) -> io::Error {
        let what = match self {
            Self::Read(error) => return error,
            Self::NoWorkbook => "it is neither xlsx nor xls; a text that is named like a workbook has format csv",
            Self::Broken => "the workbook is broken or has a password; save it again",
            Self::TooLarge => "the workbook unpacks to more than it may; send it as text",
        };
        malformed(file, what)
    }
}

fn malformed(file: &str, message: &str) -> io::Error {
    io::Error::other(Error::file(Reason::Malformed, format!("{file}: {message}")))
}
