//! The cells of staged records become values of their types, on a thread of its own.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray, Int64Array};
use arrow::compute::nullif;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};

use super::checks::{Breach, CellChecks};
use super::content::ContentKeys;
use super::staged_places::{Broken, Place, named, rows_of};
use crate::data_access::duckdb::Put;
use crate::domain::content::CONTENT_KEY;
use crate::domain::types::{Cells, ColumnSum, Sum};
use crate::domain::{Column, Dataset};
use crate::error::{Error, Result};

/// The tables of the stage that a reader of cells fills.
pub(super) const STAGED: &str = "staged";
pub(super) const VIOLATION: &str = "violation";

/// What a reader of cells is sent.
pub(super) enum Message {
    /// Cells to read.
    Cells(Box<Filled>),
    /// Rows for a table of the stage.
    Rows(&'static str, RecordBatch),
}

/// Records whose cells are not read yet.
pub(super) struct Filled {
    pub(super) places: [Int64Array; 4],
    /// Whether nothing is wrong with each of them so far.
    pub(super) good: Vec<bool>,
    /// Whether a cell of which its content key is made is not a value.
    pub(super) unread: Vec<bool>,
    /// Of each column.
    pub(super) cells: Vec<Cells>,
}

/// Reads cells as they are sent, and passes their values on.
pub(super) struct CellReader<'a> {
    put: Put<'a>,
    columns: Vec<ColumnReader<'a>>,
    /// The names of those that are read, and not staged.
    unstaged: &'a [String],
    content: Option<&'a ContentKeys<'a>>,
    /// What a row breaks whose given key is not made of its values.
    changed_content: Breach,
    broken: Broken,
}

impl<'a> CellReader<'a> {
    /// A reader of the cells of a dataset.
    pub(super) fn new(
        dataset: &'a Dataset,
        checks: &'a [CellChecks],
        content: Option<&'a ContentKeys<'a>>,
        put: Put<'a>,
    ) -> Self {
        let changed_content = checks.last().and_then(|checks| checks.content).unwrap_or(Breach::UNREADABLE);
        let columns = dataset.file_columns().iter().zip(checks);
        let columns = columns.map(|(column, checks)| ColumnReader::new(column, dataset, checks)).collect();
        Self { put, columns, unstaged: &dataset.unstaged, content, changed_content, broken: Broken::default() }
    }

    /// Reads all that is sent. Returns what was sent of each column.
    pub(super) fn read(mut self, messages: &Receiver<Message>) -> Result<Vec<ColumnSum>> {
        for message in messages {
            match message {
                Message::Cells(filled) => self.read_cells(*filled)?,
                Message::Rows(table, rows) => (self.put)(table, rows)?,
            }
        }
        if !self.broken.is_empty() {
            (self.put)(VIOLATION, self.broken.take()?)?;
        }
        Ok(self.columns.iter().map(ColumnReader::total).collect())
    }

    fn read_cells(&mut self, filled: Filled) -> Result<()> {
        let Filled { places, mut good, mut unread, cells } = filled;
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        for ((index, column), cells) in self.columns.iter_mut().enumerate().zip(cells) {
            let (values, bad) = column.read(cells)?;
            let is_content = self.content.is_some_and(|content| content.covers(index));
            for (row, breach) in bad {
                good[row] = false;
                unread[row] |= is_content && column.checks.leaves_unread(breach);
                self.broken.push(Place::at(&places, row), breach);
            }
            names.push(column.definition.name.as_str());
            columns.push(values);
            if self.broken.is_full() {
                (self.put)(VIOLATION, self.broken.take()?)?;
            }
        }
        match self.content {
            Some(content) if content.is_given => {
                for row in content.mismatches(&columns, &unread) {
                    good[row] = false;
                    self.broken.push(Place::at(&places, row), self.changed_content);
                }
            }
            Some(content) => {
                names.push(CONTENT_KEY);
                columns.push(Arc::new(content.first_copies(&columns, &unread)));
            }
            None => {}
        }
        let columns =
            names.into_iter().zip(columns).filter(|(name, _)| !self.unstaged.iter().any(|other| other == name));
        let warnings: ArrayRef = Arc::new(Int64Array::from_value(0, good.len()));
        let flags = [("_ok", Arc::new(BooleanArray::from(good)) as ArrayRef), ("_warnings", warnings)];
        (self.put)(STAGED, rows_of(named(places).chain(flags).chain(columns))?)
    }
}

struct ColumnReader<'a> {
    definition: &'a Column,
    checks: &'a CellChecks,
    /// Of the version: the latest that a row may have, and the check that a later one breaks.
    latest: Option<(DateTime<Utc>, Breach)>,
    sum: Option<Sum>,
}

impl<'a> ColumnReader<'a> {
    fn new(definition: &'a Column, dataset: &Dataset, checks: &'a CellChecks) -> Self {
        let latest = dataset.latest_version.zip(checks.future);
        Self { definition, checks, latest, sum: definition.kind.digits().map(Sum::of) }
    }

    /// Reads cells; returns their values, and the rows whose cells may not be loaded, with what each breaks.
    fn read(&mut self, cells: Cells) -> Result<(ArrayRef, Vec<(usize, Breach)>)> {
        let (mut values, others) = cells.read(&self.definition.kind, self.sum.as_mut());
        let mut bad: Vec<(usize, Breach)> = others.into_iter().map(|row| (row, self.checks.kind)).collect();
        if let Some((latest, breach)) = self.latest
            && let Some(later) = self.definition.kind.is_later(&values, latest)
        {
            bad.extend(
                later.iter().enumerate().filter(|(_, later)| *later == Some(true)).map(|(row, _)| (row, breach)),
            );
            values =
                nullif(&values, &later).map_err(|error| Error::system("take out versions that are too late", error))?;
        }
        for (lengths, breach) in &self.checks.lengths {
            bad.extend(texts_without(lengths, &values).map(|row| (row, *breach)));
        }
        Ok((values, bad))
    }

    fn total(&self) -> ColumnSum {
        self.sum.as_ref().map(Sum::total).unwrap_or_default()
    }
}

/// The rows whose text has another number of characters than these.
fn texts_without<'a>(lengths: &'a RangeInclusive<u32>, values: &'a ArrayRef) -> impl Iterator<Item = usize> + 'a {
    // Only the definition of a column of texts can limit how long they are.
    let texts = values.as_string_opt::<i32>().into_iter().flat_map(|texts| texts.iter().enumerate());
    texts.filter(|(_, text)| text.is_some_and(|text| !has_length(text, lengths))).map(|(row, _)| row)
}

fn has_length(text: &str, lengths: &RangeInclusive<u32>) -> bool {
    let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    // A character has up to four bytes.
    let surely = lengths.contains(&bytes.div_ceil(4)) && lengths.contains(&bytes);
    surely || lengths.contains(&u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_length_is_one_in_characters(text in "[a-cäü日語🙂]{0,9}", least in 0_u32..9, more in 0_u32..9) {
            let (lengths, count) = (least..=least + more, text.chars().count());
            assert_eq!(has_length(&text, &lengths), lengths.contains(&u32::try_from(count).unwrap()));
        }
    }
}
