//! `small-etl decrypt`.

use std::pin::pin;

use anstream::stdout;
use clap::Args;
use futures::TryStreamExt;

use super::terminal::DONE;
use crate::config::Settings;
use crate::data_access::cipher::Place;
use crate::data_access::postgres::Database;
use crate::error::{Error, Result};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl decrypt client 10000000001
  small-etl decrypt client > clients.csv

Each use is recorded in etl.audit, with login and time; without the right to write there, nothing is decrypted.")]
pub(super) struct DecryptArguments {
    /// The dataset
    dataset: String,
    /// The key of one row, a value for each of its columns; without it all rows
    key: Vec<String>,
}

pub(super) async fn run(settings: &Settings, arguments: DecryptArguments) -> Result<u8> {
    let datasets = settings.datasets()?;
    let dataset = datasets.get(&arguments.dataset).map_err(Error::configuration)?;
    let columns: Vec<&str> = dataset.encrypted().map(|column| column.name.as_str()).collect();
    if columns.is_empty() {
        return Err(Error::configuration(format!("dataset {} has no encrypted column", dataset.name)));
    }
    let database = Database::new(&settings.database()?)?;
    let wanted = match &arguments.key[..] {
        [] => None,
        values => Some(dataset.ledger_key(values).map_err(Error::configuration)?),
    };
    let mut rows = pin!(database.encrypted_values(dataset, wanted.as_deref()).await?);
    let mut out = csv::Writer::from_writer(stdout().lock());
    let unwritten = |error| Error::system("write to standard output", error);
    out.write_record([dataset.key.join(",").as_str()].iter().chain(&columns)).map_err(unwritten)?;
    let mut found = false;
    while let Some((key, values)) = rows.try_next().await? {
        found = true;
        let mut record = vec![key.clone()];
        for (column, value) in columns.iter().zip(values) {
            let place = Place { dataset: &dataset.name, column, key: &key };
            record.push(match value {
                None => String::new(),
                Some(stored) => database.decrypted(place, &stored).await?,
            });
        }
        out.write_record(&record).map_err(unwritten)?;
    }
    out.flush().map_err(|error| Error::system("write to standard output", error))?;
    match wanted {
        Some(key) if !found => Err(Error::configuration(format!("{} {key}: no such row in the table", dataset.name))),
        _ => Ok(DONE),
    }
}
