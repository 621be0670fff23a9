//! Rejects on their way out: in chunks of bounded size, and as a file that a person can mend.

use std::io::Write;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};

use super::Extracted;
use super::validate::violations;
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::{BatchNumber, Dataset, LoadId, Violation};
use crate::error::{Error, Result};

/// All violations of a validated file in the order of the file, those of `chunk` records at a time.
pub fn all(
    dataset: &Dataset,
    stage: &Arc<Stage>,
    extracted: &Extracted,
    chunk: i32,
) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
    let read = extracted.read;
    let (dataset, stage, extracted) = (Arc::new(dataset.clone()), Arc::clone(stage), Arc::new(extracted.clone()));
    stream::iter(BatchNumber::all(read, chunk)).then(move |batch| {
        let (dataset, stage, extracted) = (Arc::clone(&dataset), Arc::clone(&stage), Arc::clone(&extracted));
        let (first, last) = batch.records(read, chunk);
        blocking(move || violations(&dataset, &stage, &extracted, first, last))
    })
}

/// Writes the header of a rejects file: four columns of ours, then the file's own.
///
/// # Errors
/// `System` when `out` cannot be written.
pub fn write_header(out: &mut dyn Write, extracted: &Extracted) -> Result<()> {
    let mut write = || -> std::io::Result<()> {
        out.write_all(b"_load_id,_record,_line,_errors,")?;
        out.write_all(&extracted.header)?;
        out.write_all(b"\n")
    };
    write().map_err(unwritable)
}

/// Writes the records of `violations`, one line each: what is wrong with it, then its own bytes.
///
/// # Errors
/// `System` when `out` cannot be written.
pub fn write_records(out: &mut dyn Write, load: Option<LoadId>, violations: &[Violation]) -> Result<()> {
    for record in violations.chunk_by(|one, next| one.record == next.record) {
        let errors: Vec<String> = record
            .iter()
            .map(|violation| {
                let column = violation.column.as_ref().map_or(String::new(), |column| format!("{column}: "));
                format!("{column}{} (rule {})", violation.message, violation.rule)
            })
            .collect();
        let mut cells = ::csv::WriterBuilder::new().terminator(::csv::Terminator::Any(b',')).from_writer(Vec::new());
        let load = load.map_or(String::new(), |load| load.to_string());
        let fields = [load, record[0].record.to_string(), record[0].line.to_string(), errors.join("; ")];
        let line = cells.write_record(fields).map_err(std::io::Error::other).and_then(|()| {
            let cells = cells.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
            out.write_all(&cells)?;
            out.write_all(&record[0].raw)?;
            out.write_all(b"\n")
        });
        line.map_err(unwritable)?;
    }
    Ok(())
}

fn unwritable(error: std::io::Error) -> Error {
    Error::system("write the rejects file", error)
}
