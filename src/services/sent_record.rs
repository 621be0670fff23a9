//! A bad record of a declared source, read once more to say what is wrong with it.

use super::sent::SentFile;
use super::sent_expressions::Expressions;
use super::sent_form::cut;
use crate::data_access::duckdb::Stage;
use crate::domain::source::binding::{Binding, PlainRow, Surroundings};
use crate::domain::source::fault::Fault;
use crate::domain::source::row::Row;
use crate::domain::{Column, Dataset, row_key};
use crate::error::Error;

/// Reads bad records, one after the other.
pub(super) struct SentRecord<'a> {
    sent: &'a SentFile,
    dataset: &'a Dataset,
    binding: Binding,
    around: Option<Surroundings>,
    expressions: Expressions,
    row: Row,
    plain: PlainRow,
    fits: bool,
    /// Whether its expressions are computed.
    computed: bool,
}

impl<'a> SentRecord<'a> {
    pub(super) fn new(sent: &'a SentFile, dataset: &'a Dataset) -> Self {
        let (binding, around) = (sent.binding.clone(), None);
        let expressions = Expressions::of(&sent.source);
        let (row, plain) = (Row::default(), PlainRow::default());
        Self { sent, dataset, binding, around, expressions, row, plain, fits: false, computed: false }
    }

    /// Reads the record of these bytes, which stands there in its file.
    pub(super) fn read(&mut self, raw: &[u8], number: i64, line: i64) {
        self.row = cut(&self.sent.source, raw, line);
        let mut place = (number, line);
        let mut bound = true;
        if let Some(again) = &self.sent.again {
            let around = again.around(&self.row);
            if self.around.as_ref() != Some(&around) {
                match again.bind(&self.sent.source, &around) {
                    Ok(binding) => self.binding = binding,
                    Err(_) => bound = false,
                }
                self.around = bound.then_some(around);
            }
            place = again.place(&self.row, number).unwrap_or(place);
            again.restore(&mut self.row);
        }
        self.fits = bound && self.row.fault.is_none() && self.binding.fits(&self.row);
        self.row.line = place.1;
        self.binding.translate(&self.row, place.0, &mut self.plain);
        self.computed = false;
    }

    /// Computes the expressions of the record, if this column is one.
    pub(super) fn compute(&mut self, column: &str, stage: &Stage) -> Result<(), Error> {
        let is_expression = self.index(column).is_some_and(|index| self.expressions.has(index));
        if is_expression && !self.computed {
            self.computed = true;
            let inputs = [self.expressions.inputs(&self.binding, &self.row)];
            self.expressions.fill(stage, &inputs, std::slice::from_mut(&mut self.plain))?;
        }
        Ok(())
    }

    /// Its key as the ledger knows it, if it has one.
    pub(super) fn key(&self) -> Option<String> {
        let value = |column: &&Column| {
            let cell = self.plain(&column.name)?;
            column.kind.canonical(&cell).filter(|_| column.is_short_key(&cell))
        };
        let columns = self.dataset.key_columns();
        let values: Vec<String> = columns.iter().map(value).collect::<Option<_>>()?;
        Some(row_key::joined(values.iter().map(String::as_str)))
    }

    fn index(&self, column: &str) -> Option<usize> {
        self.dataset.file_columns().iter().position(|known| known.name == column).filter(|_| self.fits)
    }

    fn value(&self, index: usize) -> Result<Option<&str>, Fault> {
        self.plain.value(index)
    }

    /// The cell of a column as it was sent, or the value that it has from elsewhere; `None` if it is null.
    pub(super) fn cell(&self, column: &str) -> Option<String> {
        let index = self.index(column)?;
        let sent = self.binding.sent(&self.row, index);
        match self.value(index) {
            Ok(None) => None,
            Ok(Some(value)) if sent.is_empty() => Some(value.to_owned()),
            _ => Some(sent),
        }
    }

    /// The value of a column in the plain form.
    pub(super) fn plain(&self, column: &str) -> Option<String> {
        self.value(self.index(column)?).ok()?.map(str::to_owned)
    }

    /// The rule that a cell breaks, and why.
    pub(super) fn fault(&self, column: &str) -> Option<(&'static str, String)> {
        let index = self.index(column)?;
        let fault = self.value(index).err()?;
        Some((fault.rule(), self.binding.explain(&self.row, index, fault)))
    }
}
