//! `small-etl reconcile` and `small-etl backfill`.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::json;

use super::report;
use super::signals::stop_on_signal;
use super::terminal::{DONE, NOT_DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::domain::{LoadReport, LoadStatus};
use crate::error::{Error, Result};
use crate::pipeline::{self, LoadHere};
use crate::services::Parts;
use crate::services::reconciliation::{Reconciliation, Scope};
use crate::services::tidy::Undone;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl reconcile
  small-etl reconcile s3://my-bucket/incoming/trades/ --json")]
pub(super) struct ReconcileArguments {
    /// Compare this bucket alone; with a prefix, only the files under it
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    place: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl backfill s3://my-bucket/incoming/
  small-etl backfill s3://my-bucket/incoming/trades/2019/ --jobs 4 --tolerate 100")]
pub(super) struct BackfillArguments {
    /// Load the files here that were not loaded yet
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    place: String,
    /// How many files to load at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Stop when more files than this have failed
    #[arg(long, default_value_t = 10, value_name = "FILES")]
    tolerate: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn reconcile(settings: &Settings, parts: &Parts, arguments: ReconcileArguments) -> Result<u8> {
    let scope = arguments.place.as_deref().map(parse).transpose()?.unwrap_or_default();
    let (done, reports) = run(settings, parts, &scope, (1, None), false).await?;
    print(&if arguments.json { as_json(&done)? } else { ended(&done, &reports) + &for_people(&done) })?;
    Ok(if done.is_clean() && failed(&reports) == 0 { DONE } else { NOT_DONE })
}

/// Reconciles, and loads what is found in this process: `jobs` files at once, until more than the tolerated number have
/// failed.
async fn run(
    settings: &Settings,
    parts: &Parts,
    scope: &Scope,
    (jobs, tolerated): (usize, Option<u64>),
    shown: bool,
) -> Result<(Reconciliation, Vec<LoadReport>)> {
    let context = crate::start::context(settings, parts)?;
    let database = Database::new(&settings.database()?)?;
    let deadline = stop_on_signal()?;
    let reports = Mutex::new(Vec::<LoadReport>::new());
    let watch = |report: &LoadReport| {
        if shown {
            // Nothing can be reported if the terminal is gone.
            let _ = print(&report::one_line(report));
        }
        // A panic elsewhere cannot leave the list half changed.
        reports.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    };
    let mut receiver = LoadHere::new(&context, &database, deadline.clone());
    (receiver.jobs, receiver.tolerated, receiver.watch) = (jobs, tolerated, &watch);
    let done = Box::pin(pipeline::reconcile(&context, &database, scope, &receiver, &deadline)).await?;
    drop(receiver);
    Ok((done, reports.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn count(reports: &[LoadReport], status: LoadStatus) -> usize {
    reports.iter().filter(|report| report.status == status).count()
}

fn failed(reports: &[LoadReport]) -> usize {
    count(reports, LoadStatus::Failed)
}

fn ended(done: &Reconciliation, reports: &[LoadReport]) -> String {
    let (compared, loaded, left) = (done.compared, count(reports, LoadStatus::Loaded), done.not_sent);
    let found = done.sent + done.not_sent;
    let others = reports.len() - loaded - failed(reports);
    format!(
        "{compared} versions found, {found} of them to load: {loaded} loaded, {} failed, {others} ended otherwise, {left} left\n",
        failed(reports)
    )
}

/// Parses `s3://BUCKET` or `s3://BUCKET/PREFIX`.
fn parse(place: &str) -> Result<Scope> {
    let (bucket, prefix) =
        place.strip_prefix("s3://").map_or(("", ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
    if bucket.is_empty() {
        return Err(Error::configuration(format!("{place:?} is not a place in S3; write s3://BUCKET/PREFIX")));
    }
    let prefix = (!prefix.is_empty()).then(|| prefix.to_owned());
    Ok(Scope { bucket: Some(bucket.to_owned()), prefix })
}

fn for_people(done: &Reconciliation) -> String {
    let tidied = &done.tidied;
    let mut text = format!(
        "parked rows released: {}\n\
         rejects files written: {}\n\
         rejects deleted: {}, of which open: {}\n\
         checked {} loads and {} rows of tables; discrepancies: {}\n",
        done.released,
        tidied.rejects_files_written,
        tidied.rejects_deleted,
        tidied.open_rejects_deleted,
        done.loads_checked,
        done.rows_checked,
        done.discrepancy_count,
    );
    for file in &done.missing_files {
        let _ = writeln!(text, "dataset {}: a file was due {} and did not arrive", file.dataset, file.due);
    }
    for found in &done.discrepancies {
        let _ = writeln!(text, "{}: {}", found.check, found.message);
    }
    if !done.unfinished.is_empty() {
        let _ = writeln!(text, "not finished; the next run continues here: {}", done.unfinished.join(", "));
    }
    let undone = [
        ("rejects file not written", &tidied.rejects_files_missing),
        ("rejects not deleted", &tidied.rejects_not_deleted),
    ];
    for (what, undone) in undone {
        for Undone { load_id, error } in undone {
            let _ = writeln!(text, "load {load_id}: {what}: {error}");
        }
    }
    text
}

pub(super) async fn backfill(settings: &Settings, parts: &Parts, arguments: BackfillArguments) -> Result<u8> {
    let Scope { bucket, prefix } = parse(&arguments.place)?;
    let scope = Scope { bucket, prefix: Some(prefix.unwrap_or_default()) };
    let bounds = (arguments.jobs.into(), Some(arguments.tolerate));
    let (done, reports) = run(settings, parts, &scope, bounds, !arguments.json).await?;
    let text = ended(&done, &reports);
    print(&if arguments.json { as_json(&json!({ "backfilled": done, "loads": reports }))? } else { text })?;
    Ok(if done.not_sent == 0 && failed(&reports) == 0 { DONE } else { NOT_DONE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_perhaps_a_prefix() {
        let scope = |bucket: &str, prefix: Option<&str>| Scope {
            bucket: Some(bucket.into()),
            prefix: prefix.map(String::from),
        };
        assert_eq!(parse("s3://b").unwrap(), scope("b", None));
        assert_eq!(parse("s3://b/").unwrap(), scope("b", None));
        assert_eq!(parse("s3://b/in/trades/").unwrap(), scope("b", Some("in/trades/")));
        assert!(parse("b/in").unwrap_err().to_string().contains("write s3://BUCKET/PREFIX"));
    }
}
