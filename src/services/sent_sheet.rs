//! The way back of rejects that are a workbook: how such a file is known.

use std::fs::File;

use super::sent_again::{SentRejects, name_in, source_named};
use super::sent_form::{LOAD, RECORD, RejectsForm, SHEET, SOURCE};
use crate::data_access::sent::workbook::first_rows;
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::{Dataset, LoadId};

/// The beginning of a workbook of rejects.
pub(super) struct RejectsSheet {
    names: Vec<String>,
    /// Its first record, if it has one.
    first: Option<Row>,
}

impl RejectsSheet {
    /// Looks into a file; `None` if it is not a workbook of rejects. What is broken is one of something else.
    pub(super) fn of(file: &File) -> Option<Self> {
        let [header, first] = first_rows(file.try_clone().ok()?, SHEET).ok()??;
        let names: Vec<String> = header?.cells().map(|cell| cell.text.trim().to_owned()).collect();
        names.starts_with(&[LOAD.to_owned(), RECORD.to_owned()]).then_some(Self { names, first })
    }

    fn cell(&self, name: &str) -> Option<&str> {
        let index = self.names.iter().position(|known| known == name)?;
        self.first.as_ref()?.cell(index).map(|cell| cell.text)
    }

    /// The load that rejected the first record, if it says so.
    pub(super) fn rejected_by(&self) -> Option<LoadId> {
        self.cell(LOAD)?.trim().parse().ok().map(LoadId)
    }

    /// How the file is read.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn rejects(&self, dataset: &Dataset) -> Result<SentRejects, String> {
        let is_book = |source: &&Source| matches!(source.format, Format::Workbook(_));
        let source = match (self.cell(SOURCE), dataset.sources.iter().find(is_book)) {
            (None, Some(any)) => any,
            (name, _) => source_named(dataset, name_in(name.unwrap_or_default()))?,
        };
        if !is_book(&source) {
            return Err(format!(
                "these rejects are of source {}, whose files are no workbooks; save them as the text that they were",
                source.name
            ));
        }
        Ok(SentRejects::of(source, RejectsForm::Workbook))
    }
}
