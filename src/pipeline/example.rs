//! Rows that a dataset accepts, found by its own rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;

use super::check::{Reading, Totals, check};
use super::context::Context;
use crate::domain::contract::example::{TRIED, cells, rows};
use crate::domain::violation::UNIQUE;
use crate::domain::{Dataset, Location, Progress};
use crate::error::{Error, Result};

/// Returns up to `most` rows that the dataset accepts in its plain form, in the order of its columns. There are none if its rules are so
/// narrow that none is found.
///
/// # Errors
/// `System` if the staging database or the disk fails.
pub async fn example_rows(context: &Context, dataset: &Dataset, most: usize) -> Result<Vec<Vec<String>>> {
    let mut columns: Vec<Vec<String>> = dataset.file_columns().iter().map(cells).collect();
    // First what each column accepts by itself, then combinations of that.
    let width = columns.iter().map(Vec::len).max().unwrap_or(0).min(TRIED);
    let tried: Vec<Vec<String>> = (0..width)
        .map(|nth| {
            columns.iter().map(|cells| cells.get(nth % cells.len().max(1)).cloned().unwrap_or_default()).collect()
        })
        .collect();
    let rules: BTreeSet<&str> = dataset.rules.iter().map(|rule| rule.id.as_str()).collect();
    for (nth, column, rule) in violations(context, dataset, &tried).await? {
        let at = dataset.file_columns().iter().position(|known| Some(&known.name) == column.as_ref());
        if let (Some(at), Some(row), false) = (at, tried.get(nth), rules.contains(rule.as_str()) || rule == UNIQUE) {
            columns[at].retain(|cell| *cell != row[at]);
        }
    }
    let tried = rows(dataset, &columns, TRIED);
    let wrong: BTreeSet<usize> = violations(context, dataset, &tried).await?.into_iter().map(|(nth, ..)| nth).collect();
    Ok(tried.into_iter().enumerate().filter(|(nth, _)| !wrong.contains(nth)).map(|(_, row)| row).take(most).collect())
}

/// What is wrong with rows: the number of the row from 0, the column and the rule.
async fn violations(
    context: &Context,
    dataset: &Dataset,
    rows: &[Vec<String>],
) -> Result<Vec<(usize, Option<String>, String)>> {
    let failed = |error: std::io::Error| Error::system("write the example rows", error);
    let file = tempfile::Builder::new().suffix(".csv").tempfile_in(context.stages.temp_folder()).map_err(failed)?;
    let mut out = csv::Writer::from_writer(file.as_file());
    let names = dataset.file_columns().iter().map(|column| column.name.as_str());
    let written = out.write_record(names).and_then(|()| rows.iter().try_for_each(|row| out.write_record(row)));
    written.map_err(|error| failed(error.into())).and_then(|()| out.flush().map_err(failed))?;
    let location = Location::parse(&file.path().display().to_string()).map_err(Error::configuration)?;
    // The parts of a table that is checked read plain files, whatever parts the settings choose for the dataset.
    let pipeline = &context.nightly.tables;
    let object = pipeline.extractor_at(&location)?.identify(&location).await?;
    let (dataset, progress) = (dataset.in_plain_form(), Arc::new(Progress::default()));
    let checked = check(context, pipeline, &object, &dataset, Reading::default(), &progress, Totals::Ignored).await?;
    let chunks: Vec<_> = checked.violations().try_collect().await?;
    let found = chunks.into_iter().flatten().filter_map(|violation| {
        let nth = usize::try_from(violation.record.0).ok()?.checked_sub(1)?;
        Some((nth, violation.column, violation.rule))
    });
    Ok(found.collect())
}
