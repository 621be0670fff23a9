//! What every format of files must provide.

use std::fs::File;
use std::io::{self, Read};

use encoding_rs::Encoding;

use super::Rows;
use crate::domain::Column;
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;

/// A format of files.
pub trait FileFormat: Sync {
    /// Whether a source that declares this has files of this format.
    fn is_of(&self, declared: &Format) -> bool;

    /// Whether a file has to be on this machine, since it is read back and forth.
    fn needs_file(&self) -> bool {
        false
    }

    /// Whether the bytes of a record are bytes of its file. Records of other files are kept as JSON.
    fn is_text(&self) -> bool {
        true
    }

    /// Whether a cell knows what it holds: a number, a date, a null.
    fn has_kinds(&self) -> bool {
        true
    }

    /// Opens a file and passes its rows to `take`.
    ///
    /// # Errors
    /// Those of `take`; an [`Error`](crate::error::Error) inside if the file is not of this format, or cannot be read.
    fn read(&self, file: Input<'_>, asked: &Asked<'_>, take: Take<'_>) -> io::Result<()>;

    /// Cuts the bytes of a record into cells again.
    fn cut(&self, source: &Source, row: &mut Row);
}

/// What takes the rows of a file.
pub type Take<'t> = &'t mut dyn FnMut(&mut dyn Rows, About<'_>) -> io::Result<()>;

/// A file to read.
pub enum Input<'a> {
    /// As it comes.
    Stream(Box<dyn Read + Send + 'a>),
    /// On this machine.
    File(File),
}

impl<'a> Input<'a> {
    /// The bytes, from the first to the last.
    #[must_use]
    pub fn stream(self) -> Box<dyn Read + Send + 'a> {
        match self {
            Self::Stream(stream) => stream,
            Self::File(file) => Box::new(file),
        }
    }

    /// The file.
    ///
    /// # Errors
    /// If it is not on this machine.
    pub(super) fn file(self) -> io::Result<File> {
        match self {
            Self::File(file) => Ok(file),
            Self::Stream(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is not on this machine")),
        }
    }
}

/// What of a file is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What messages call the file.
    pub name: &'a str,
    /// How it is written.
    pub source: &'a Source,
    /// Which sheet of a workbook is meant; empty for the one that the source names.
    pub sheet: &'a str,
    /// The columns of the dataset.
    pub columns: &'a [Column],
}

/// What is known of a file once it is open.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Its encoding.
    pub encoding: &'static Encoding,
    /// The sheet that is read; empty for anything but a workbook.
    pub sheet: &'a str,
}
