//! An extractor for files whose cells are separated by semicolons. It converts their bytes to CSV and leaves the rest
//! to the extractor of files.

use std::io::{self, Read};
use std::sync::Arc;

use small_etl::error::Result;
use small_etl::services::Extractor;
use small_etl::services::extract::FileExtractor;
use small_etl::services::parts::PartSettings;

pub(crate) fn make(settings: &PartSettings<'_>) -> Result<Arc<dyn Extractor>> {
    settings.no_options()?;
    Ok(Arc::new(FileExtractor::converting(settings.store(), |file, _| Ok(Box::new(Commas::new(file))))))
}

/// Reads records with semicolons and returns them with commas.
struct Commas<'a> {
    records: csv::Reader<Box<dyn Read + Send + 'a>>,
    record: csv::ByteRecord,
    out: io::Cursor<Vec<u8>>,
}

impl<'a> Commas<'a> {
    fn new(file: Box<dyn Read + Send + 'a>) -> Self {
        let records = csv::ReaderBuilder::new().delimiter(b';').has_headers(false).flexible(true).from_reader(file);
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
