//! Every record of the part of a file that a source reads, as a load reads it.

use std::fs::File;

use super::input::Input;
use super::open::part_of;
use crate::data_access::sent::Rows;
use crate::data_access::sent::members::Members;
use crate::data_access::sent::table::{Table, TableError};
use crate::data_access::sent::text_rows::{Cut, TextRows};
use crate::data_access::sent::workbook::Workbook;
use crate::domain::source::binding::{Binding, PlainRow, Surroundings};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;

/// A record.
pub(super) enum Seen<'r> {
    /// One that breaks a rule as a whole.
    Broken,
    /// Any other: its cells, and its values in the plain form.
    Row(&'r Row, &'r Binding, &'r PlainRow),
}

/// Passes every record to `each`.
///
/// # Errors
/// A message if the file is not as the source says.
pub(super) fn records(source: &Source, input: &Input, mut each: impl FnMut(Seen<'_>)) -> Result<(), String> {
    let around = |part: &str| Surroundings { key: input.key.clone(), part: part.to_owned(), preamble: Vec::new() };
    let members: Vec<Option<String>> = match &source.member {
        None => vec![None],
        Some(pattern) => {
            let failed = || format!("{}: the archive cannot be read", input.key);
            let file = File::open(&input.path).map_err(|_| failed())?;
            let archive = Members::open(file).map_err(|_| failed())?;
            archive.matching(pattern).map_err(|_| failed())?.into_iter().map(Some).collect()
        }
    };
    for member in members {
        let part = member.clone().or_else(|| source.layout.section.clone()).unwrap_or_default();
        match &source.format {
            Format::Delimited(lines, dialect) => {
                let bytes = part_of(input, member.as_deref())?;
                let rows = TextRows::new(bytes, *lines, Cut::Delimited(dialect.clone()))
                    .map_err(|error| format!("{}: {error}", input.key))?;
                read_table(rows, source, around(&part), input, &mut each)?;
            }
            Format::Fixed(lines, fields) => {
                let bytes = part_of(input, member.as_deref())?;
                let cut = Cut::Fixed(fields.clone(), source.layout.shorter);
                let rows = TextRows::new(bytes, *lines, cut).map_err(|error| format!("{}: {error}", input.key))?;
                read_table(rows, source, around(&part), input, &mut each)?;
            }
            Format::Workbook(wanted) => {
                let failed = || format!("{}: the workbook cannot be read", input.key);
                let file = File::open(&input.path).map_err(|_| failed())?;
                let mut book = Workbook::open(file).map_err(|_| failed())?;
                for sheet in book.chosen(wanted.sheet.as_ref()) {
                    let rows = book.rows(&sheet, wanted.significant_digits).map_err(|_| failed())?;
                    read_table(rows, source, around(&part), input, &mut each)?;
                }
            }
            Format::JsonLines | Format::Parquet => {}
        }
    }
    Ok(())
}

fn read_table<R: Rows>(
    rows: R,
    source: &Source,
    around: Surroundings,
    input: &Input,
    each: &mut impl FnMut(Seen<'_>),
) -> Result<(), String> {
    let failed = |error: TableError| format!("{}: {}", input.key, misfit(&error));
    let (mut table, head) = Table::open(rows, source, around).map_err(failed)?;
    let mut binding = head.bind(source).map_err(failed)?;
    let (mut row, mut plain, mut number) = (Row::default(), PlainRow::default(), 0);
    loop {
        match table.read(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => return Err(format!("{}: the file cannot be split: {error:?}", input.key)),
        }
        number += 1;
        if row.fault.is_some() || !binding.fits(&row) {
            each(Seen::Broken);
            continue;
        }
        binding.translate(&row, number, &mut plain);
        each(Seen::Row(&row, &binding, &plain));
    }
}

fn misfit(error: &TableError) -> String {
    match error {
        TableError::Misfit(_, misfit) => misfit.to_string(),
        other => format!("the table is not found: {other:?}"),
    }
}
