//! Where staged records stand, and what they break before any rule is asked.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, Int64Builder};
use arrow::record_batch::RecordBatch;

use super::checks::Breach;
use crate::data_access::csv::Record;
use crate::domain::source::row::Row;
use crate::error::{Error, Result};

pub(super) const ROWS_IN_A_CHUNK: usize = 8 * 1024;

/// Where a record stands: its number, its line, and its bytes in the file.
#[derive(Clone, Copy)]
pub(super) struct Place([i64; 4]);

impl Place {
    /// Of a record in the plain form.
    pub(super) fn of(number: i64, record: &Record<'_>) -> Self {
        let length = i64::try_from(record.raw.len()).unwrap_or(i64::MAX);
        let offset = i64::try_from(record.offset).unwrap_or(i64::MAX);
        Self([number, record.line, offset, length])
    }

    /// Of a record of a declared source.
    pub(super) fn of_row(number: i64, row: &Row) -> Self {
        let length = i64::try_from(row.raw.len()).unwrap_or(i64::MAX);
        Self([number, row.line, i64::try_from(row.offset).unwrap_or(i64::MAX), length])
    }

    /// How many bytes the record has.
    pub(super) fn length(self) -> usize {
        usize::try_from(self.0[3]).unwrap_or(usize::MAX)
    }

    /// Of the record in this row.
    pub(super) fn at(places: &[Int64Array; 4], row: usize) -> Self {
        Self(places.each_ref().map(|place| place.value(row)))
    }
}

/// Where some records stand.
#[derive(Default)]
pub(super) struct Places([Int64Builder; 4]);

impl Places {
    pub(super) fn push(&mut self, Place(numbers): Place) {
        self.0.iter_mut().zip(numbers).for_each(|(column, number)| column.append_value(number));
    }

    pub(super) fn take(&mut self) -> [Int64Array; 4] {
        self.0.each_mut().map(Int64Builder::finish)
    }
}

/// The columns of these places.
pub(super) fn named<'a>(places: [Int64Array; 4]) -> impl Iterator<Item = (&'a str, ArrayRef)> {
    let names = ["_record", "_line", "_offset", "_length"];
    names.into_iter().zip(places).map(|(name, place)| (name, Arc::new(place) as ArrayRef))
}

/// Rows of these columns.
pub(super) fn rows_of<'a>(columns: impl Iterator<Item = (&'a str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::system("build rows for the staging database", error))
}

/// What records break that is known before any rule is asked, and where they stand.
#[derive(Default)]
pub(super) struct Broken {
    places: Places,
    numbers: Vec<i32>,
    details: Vec<Option<i64>>,
}

impl Broken {
    pub(super) fn push(&mut self, place: Place, breach: Breach) {
        self.places.push(place);
        self.numbers.push(breach.number());
        self.details.push(breach.detail());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.numbers.len() >= ROWS_IN_A_CHUNK
    }

    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let rest: [(&str, ArrayRef); 2] = [
            ("_check", Arc::new(Int32Array::from(std::mem::take(&mut self.numbers)))),
            ("_detail", Arc::new(Int64Array::from(std::mem::take(&mut self.details)))),
        ];
        rows_of(named(self.places.take()).chain(rest))
    }
}
