//! `small-etl describe`: what a sender must deliver.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::terminal::{DONE, print, unwritable};
use crate::config::Settings;
use crate::domain::contract::Contract;
use crate::error::{Error, Result};
use crate::pipeline::example_rows;
use crate::services::Parts;
use crate::services::contract::{Described, Form};

/// How many rows the page shows.
const SHOWN: usize = 3;
/// Among how many they are chosen.
const TRIED: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl describe trade --format html --out trade.html
  small-etl describe trade --source huaxi --format markdown
  small-etl describe trade --format odcs > trade.odcs.yaml

The example rows are ones that the dataset accepts. `guess --from` reads the forms frictionless and odcs.")]
pub(super) struct DescribeArguments {
    /// The dataset
    dataset: String,
    /// The sender whose form is described; without it the plain form
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The form of the description
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A web page of one file
    Html,
    /// Text with tables
    Markdown,
    /// A JSON Schema of a record
    JsonSchema,
    /// A Table Schema of Frictionless Data
    Frictionless,
    /// The Open Data Contract Standard
    Odcs,
}

pub(super) async fn run(settings: &Settings, parts: &Parts, arguments: DescribeArguments) -> Result<u8> {
    let context = crate::start::context(settings, parts)?;
    let dataset = context.datasets.get(&arguments.dataset).map_err(Error::configuration)?;
    let source = arguments.source.as_ref().map(|name| dataset.source(name)).transpose();
    let source = source.map_err(Error::configuration)?;
    if let (None, false, Some(first)) = (source, dataset.has_plain_files(), dataset.sources.first()) {
        let message = format!(
            "dataset {}: no file comes in the plain form; name a source with --source, such as {:?}",
            dataset.name, first.name
        );
        return Err(Error::configuration(message));
    }
    let contract = Contract::of(dataset, source);
    let found = example_rows(&context, dataset, TRIED).await?;
    let mut rows: Vec<Vec<Option<String>>> = found.iter().map(|row| contract.example(row)).collect();
    // Rows whose cells can all be told come first.
    rows.sort_by_key(|row| row.iter().filter(|cell| cell.is_none()).count());
    rows.truncate(SHOWN);
    let text = Described { contract, rows, version: context.datasets.version() }.write(match arguments.format {
        Format::Html => Form::Html,
        Format::Markdown => Form::Markdown,
        Format::JsonSchema => Form::JsonSchema,
        Format::Frictionless => Form::Frictionless,
        Format::Odcs => Form::Odcs,
    })?;
    match &arguments.out {
        Some(path) => std::fs::write(path, text).map_err(|error| unwritable(path, error))?,
        None => print(&text)?,
    }
    Ok(DONE)
}
