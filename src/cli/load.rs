//! `small-etl load`.

use std::io::Write;

use anstream::stderr;
use clap::Args;
use serde_json::json;

use super::report;
use super::signals::stop_on_signal;
use super::terminal::{DONE, FILE_UNUSABLE, NOT_DONE, print, tell};
use crate::config::Settings;
use crate::data_access::postgres::{Database, RejectCursor, RejectFilter};
use crate::data_access::retry::retrying;
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{Arrival, LoadReport, LoadStatus, Location};
use crate::error::{Error, Result};
use crate::event::{Asked, asked_for};
use crate::pipeline::{self, Context, Request};
use crate::services::{Deadline, Parts};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl load assets.csv --dataset asset
  small-etl load s3://my-bucket/incoming/trades/1.csv --json
  small-etl load https://broker.example/trades.csv --dataset trade")]
pub(super) struct LoadArguments {
    /// Files on this machine, objects in S3, or URLs of a server that an extractor http names
    #[arg(required_unless_present = "message", value_name = "FILE|s3://BUCKET/KEY|URL")]
    files: Vec<String>,
    /// The file as a message of the queue names it: this version, and these parts of it
    #[arg(long, value_name = "JSON", conflicts_with_all = ["files", "dataset", "source", "parts", "again"])]
    message: Option<String>,
    /// The dataset, if the path does not tell
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// The source that describes the file, if the path does not tell
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of an object with several parts load this one alone: a member of an archive, a sheet or a section; may be repeated
    #[arg(long = "part", value_name = "NAME")]
    parts: Vec<String>,
    /// Load a file even if this version of it was already loaded or has failed
    #[arg(long)]
    again: bool,
    /// Print the answer of the ingest function instead of a report
    #[arg(long)]
    json: bool,
}

const SHOWN_REJECTS: usize = 10;

pub(super) async fn run(settings: &Settings, parts: &Parts, arguments: LoadArguments) -> Result<u8> {
    let context = crate::start::context(settings, parts)?;
    let database = Database::new(&settings.database()?)?;
    let deadline = stop_on_signal()?;
    let mut reports = Vec::new();
    let mut worst = DONE;
    for file in asked(&arguments) {
        let loading = async { load(&context, &database, file?, &arguments, &deadline).await };
        match loading.await {
            Ok(loaded) => {
                worst = loaded.iter().map(exit_code).fold(worst, u8::max);
                reports.extend(loaded);
            }
            // The other files can still be loaded.
            Err(error) => {
                worst = worst.max(tell(&error));
                if error.is_retryable() {
                    // Nothing can be reported if standard error is closed.
                    let _ = writeln!(stderr(), "  what is committed stays; the same command continues with the rest");
                }
            }
        }
    }
    if arguments.json {
        print(&format!("{}\n", json!({ "loads": reports })))?;
    }
    Ok(worst)
}

/// The files that the arguments or the message name.
fn asked(arguments: &LoadArguments) -> Vec<Result<Asked>> {
    if let Some(message) = &arguments.message {
        return match asked_for(message) {
            Ok(asked) => asked.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
    }
    let (again, parts, dataset) = (arguments.again, &arguments.parts, &arguments.dataset);
    let ask = |file: &String| {
        if let Some(arrival) = Arrival::from_url(file) {
            return Ok(Asked::Land { arrival, dataset: dataset.clone() });
        }
        let location = Location::parse(file).map_err(Error::configuration)?;
        Ok(Asked::Load { location, dataset: dataset.clone(), again, parts: parts.clone() })
    };
    arguments.files.iter().map(ask).collect()
}

async fn load(
    context: &Context,
    database: &Database,
    file: Asked,
    arguments: &LoadArguments,
    deadline: &Deadline,
) -> Result<Vec<LoadReport>> {
    let (dataset, again, parts, locations) = match file {
        Asked::Load { location, dataset, again, parts } => (dataset, again, parts, vec![location]),
        Asked::Land { arrival, dataset } => {
            let landed = pipeline::land(context, &arrival, dataset.as_deref(), deadline).await?;
            (Some(landed.dataset), arguments.again, arguments.parts.clone(), landed.locations)
        }
        Asked::Skip(reason) => return Ok(vec![pipeline::skipped(reason)]),
    };
    let mut reports = Vec::new();
    for location in locations {
        let request = Request {
            dataset: dataset.clone(),
            source: arguments.source.clone(),
            again,
            parts: parts.clone(),
            deadline: deadline.clone(),
            ..Request::new(location)
        };
        reports.extend(load_from(context, database, &request, arguments.json).await?);
    }
    Ok(reports)
}

async fn load_from(context: &Context, database: &Database, request: &Request, json: bool) -> Result<Vec<LoadReport>> {
    let load = pipeline::run(context, database, request);
    let reports = report::with_progress_bar(&request.progress, load).await?;
    if json {
        return Ok(reports);
    }
    for report in &reports {
        show(context, database, request, report).await?;
    }
    Ok(reports)
}

/// Shows how a load ended.
async fn show(context: &Context, database: &Database, request: &Request, report: &LoadReport) -> Result<()> {
    let rejects = match report.load_id {
        Some(load) if report.counts.is_some() => {
            let filter = RejectFilter { load: Some(load), all: true, ..RejectFilter::default() };
            let (first, _) = retrying(|| database.page_of_rejects(&filter, RejectCursor::default())).await?;
            first.into_iter().take(SHOWN_REJECTS).map(|reject| reject.violation).collect()
        }
        _ => Vec::new(),
    };
    print(&report::loaded(report, &rejects))?;
    let local = report.bucket.as_deref() == Some(LOCAL_BUCKET);
    let bucket = report.bucket.as_deref().and_then(|source| context.output.bucket(source, local));
    match (bucket, &report.rejects_key, report.counts) {
        (Some(bucket), Some(key), _) => print(&format!("  rejects file: s3://{bucket}/{key}\n"))?,
        (Some(_), None, Some(counts)) if counts.rejected > 0 && report.status != LoadStatus::Interrupted => {
            print("  its rejects file is not written yet; `small-etl reconcile` writes it, or says why it cannot\n")?;
        }
        _ => {}
    }
    if let (Some(load), Some(counts), LoadStatus::Loaded | LoadStatus::Failed) =
        (report.load_id, report.counts, report.status)
        && counts.rejected > 0
    {
        let name = report.rejects_key.as_deref().and_then(|key| key.rsplit_once('.'));
        let ending = name.map_or("csv", |(_, ending)| ending);
        print(&format!("  to mend them: small-etl rejects {load} --export mend.{ending}\n"))?;
    }
    if report.status == LoadStatus::Skipped && request.dataset.is_none() {
        let names = context.datasets.names().join(", ");
        print(&format!(
            "  name the dataset with --dataset: {names}; definitions of your own are read from SMALL_ETL__DATASETS__PATH\n"
        ))?;
    }
    Ok(())
}

fn exit_code(report: &LoadReport) -> u8 {
    match report.status {
        LoadStatus::Duplicate if report.reason.is_some() => FILE_UNUSABLE,
        LoadStatus::Loaded | LoadStatus::Duplicate => DONE,
        LoadStatus::Failed | LoadStatus::Superseded => FILE_UNUSABLE,
        LoadStatus::InProgress | LoadStatus::Interrupted | LoadStatus::Skipped => NOT_DONE,
    }
}
