//! `small-etl validate`.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::{DONE, FILE_UNUSABLE, ROWS_REJECTED, print, report};
use crate::config::Settings;
use crate::domain::{Location, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, CheckedFile, Request};
use crate::services::rejects;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl validate trades.csv --dataset trade
  small-etl validate trades.csv.gz --dataset trade --rejects bad.csv --json

The exit code is 1 when rows would be rejected, 2 when the file as a whole is unusable.")]
pub(super) struct ValidateArguments {
    /// A file on this machine or an object in S3
    #[arg(value_name = "FILE|s3://BUCKET/KEY")]
    file: String,
    /// The dataset, where the path does not tell
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Write the rejected records to this file, with what is wrong with each
    #[arg(long, value_name = "OUT.csv")]
    rejects: Option<PathBuf>,
    /// Show at most so many rejects
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, arguments: ValidateArguments) -> Result<u8> {
    let context = crate::context::context(settings)?;
    let location = Location::parse(&arguments.file).map_err(Error::configuration)?;
    let request = Request { dataset: arguments.dataset.clone(), ..Request::new(location) };
    let checked = report::with_progress_bar(&request.progress, pipeline::validate(&context, &request)).await;
    let file = match checked {
        Ok(file) => file,
        Err(error) => {
            let ErrorKind::File(reason) = error.kind() else { return Err(error) };
            if !arguments.json {
                return Err(error);
            }
            let report = json!({ "file": arguments.file, "status": "unusable", "reason": reason.name(), "error": error.chain() });
            print(&format!("{report}\n"))?;
            return Ok(FILE_UNUSABLE);
        }
    };
    let shown = take_rejects(&file, &arguments).await?;
    let text = if arguments.json { format!("{}\n", as_json(&file, &shown)) } else { for_people(&file, &shown) };
    print(&text)?;
    Ok(if file.validated.rejected > 0 { ROWS_REJECTED } else { DONE })
}

/// Writes the rejects file, if one is wanted, and keeps the first violations to show them.
async fn take_rejects(file: &CheckedFile, arguments: &ValidateArguments) -> Result<Vec<Violation>> {
    let mut out = match &arguments.rejects {
        None => None,
        Some(path) => {
            let own = |path: &Path| path.canonicalize().ok();
            if own(path).is_some_and(|out| own(Path::new(&arguments.file)).is_some_and(|file| file == out)) {
                let message = format!(
                    "{}: the rejects file would overwrite the file itself; choose another name",
                    path.display()
                );
                return Err(Error::configuration(message));
            }
            let created = std::fs::File::create(path).map_err(|error| {
                Error::with_source(ErrorKind::Configuration, format!("{}: cannot be written", path.display()), error)
            })?;
            let mut out = BufWriter::new(created);
            rejects::write_header(&mut out, &file.extracted)?;
            Some(out)
        }
    };
    let mut shown = Vec::new();
    let mut chunks = std::pin::pin!(file.violations());
    while let Some(chunk) = chunks.try_next().await? {
        if let Some(out) = &mut out {
            rejects::write_records(out, None, &chunk)?;
        }
        shown.extend(chunk.into_iter().take(arguments.limit - shown.len()));
        if out.is_none() && shown.len() == arguments.limit {
            break;
        }
    }
    if let Some(out) = &mut out {
        out.flush().map_err(|error| Error::system("write the rejects file", error))?;
    }
    Ok(shown)
}

fn as_json(file: &CheckedFile, shown: &[Violation]) -> Value {
    let rejects: Vec<Value> = shown
        .iter()
        .map(|violation| {
            json!({
                "record": violation.record.0, "line": violation.line.0, "column": violation.column,
                "rule": violation.rule, "message": violation.message, "value": violation.value,
            })
        })
        .collect();
    json!({
        "file": file.name, "dataset": file.dataset.name,
        "status": if file.validated.rejected > 0 { "rejects" } else { "valid" },
        "read": file.extracted.read, "accepted": file.validated.accepted, "rejected": file.validated.rejected,
        "warnings": file.validated.warnings, "rejects": rejects, "statistics": file.statistics,
    })
}

fn for_people(file: &CheckedFile, shown: &[Violation]) -> String {
    format!(
        "{}: {} records, {} accepted, {} rejected, {} warnings (dataset {})\n{}{}",
        file.name,
        file.extracted.read,
        file.validated.accepted,
        file.validated.rejected,
        file.validated.warnings,
        file.dataset.name,
        report::violations(&file.name, shown, file.validated.rejected),
        report::statistics(&file.statistics),
    )
}
