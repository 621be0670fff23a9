//! `small-etl rekey`.

use clap::Args;
use serde_json::json;

use super::terminal::{DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::error::Result;
use crate::pipeline::{self, Rekey};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl rekey cash_flow --dry-run
  small-etl rekey cash_flow

A content key (key = \"content\") is a hash of some columns. Under another list of columns each row has another key, so files are refused until \
the rows have it. Stop what loads files of the dataset, change `content` in the definition, and run this as the owner of the table.")]
pub(super) struct RekeyArguments {
    /// Which dataset
    dataset: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, arguments: RekeyArguments) -> Result<u8> {
    let (datasets, database) = (settings.datasets()?, Database::new(&settings.database()?)?);
    let RekeyArguments { dataset, dry_run, json } = arguments;
    let rekey = if dry_run {
        pipeline::plan_rekey(&database, &datasets, &dataset).await?
    } else {
        pipeline::rekey(&database, &datasets, &settings.claim_terms(), &dataset).await?
    };
    print(&if json {
        let (before, now) = (rekey.as_ref().map(|rekey| &rekey.before), rekey.as_ref().map(|rekey| &rekey.now));
        let (load, rows) = (rekey.as_ref().and_then(|rekey| rekey.load_id), rekey.as_ref().map(|rekey| &rekey.rows));
        as_json(&json!({
            "dataset": dataset, "dry_run": dry_run, "load_id": load, "covered_before": before, "covers_now": now, "rows": rows,
        }))?
    } else {
        for_people(&dataset, rekey.as_ref())
    })?;
    Ok(DONE)
}

fn for_people(dataset: &str, rekey: Option<&Rekey>) -> String {
    let Some(Rekey { before, now, load_id, rows }) = rekey else {
        return format!("dataset {dataset}: the keys of all rows are as its definition says; there is nothing to do\n");
    };
    let (get, end) = match load_id {
        Some(load) => ("got", format!("this was load {load}\n")),
        None => ("would get", "nothing was written; run it without --dry-run\n".to_owned()),
    };
    let rejects = match rows.rejects {
        0 => String::new(),
        open => format!("open rejects that only a mended row resolves from then on, and no later file: {open}\n"),
    };
    format!(
        "dataset {dataset}: the key covered {before}\nnow it covers {now}\nrows that {get} another key: {} of {}\n{rejects}{end}",
        rows.changed, rows.rows
    )
}
