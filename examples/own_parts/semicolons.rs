//! An extractor for files whose cells are separated by semicolons. It converts their bytes to CSV and leaves the rest
//! to the extractor of files.

use std::io::{self, Read};
use std::sync::Arc;

use serde::Deserialize;
use small_etl::{Extractor, FileExtractor, PartSettings, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Semicolons {
    /// Lines that begin with it are left out.
    comment: Option<char>,
}

pub(crate) fn make(settings: &PartSettings<'_>) -> Result<Arc<dyn Extractor>> {
    let Semicolons { comment } = settings.options()?;
    let comment =
        comment.map(u8::try_from).transpose().map_err(|_| settings.refuse("comment must be one ASCII character"))?;
    Ok(Arc::new(FileExtractor::converting(settings.store(), move |file, _key, _dataset| {
        Ok(Box::new(Commas::new(file, comment)))
    })))
}

/// Reads records with semicolons and returns them with commas.
struct Commas<'a> {
    records: csv::Reader<Box<dyn Read + Send + 'a>>,
    record: csv::ByteRecord,
    out: io::Cursor<Vec<u8>>,
}

impl<'a> Commas<'a> {
    fn new(file: Box<dyn Read + Send + 'a>, comment: Option<u8>) -> Self {
        let mut reader = csv::ReaderBuilder::new();
        let records = reader.delimiter(b';').has_headers(false).flexible(true).comment(comment).from_reader(file);
        Self { records, record: csv::ByteRecord::new(), out: io::Cursor::default() }
    }
}

impl Read for Commas<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.out.read(buffer)?;
        if length > 0 || !self.records.read_byte_record(&mut self.record)? {
            return Ok(length);
        }
        let mut line = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        line.write_byte_record(&self.record)?;
        self.out = io::Cursor::new(line.into_inner().map_err(|error| io::Error::other(error.to_string()))?);
        self.out.read(buffer)
    }
}
