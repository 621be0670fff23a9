//! `small-etl validate`.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::TryStreamExt;

use super::{DONE, FILE_UNUSABLE, ROWS_REJECTED, as_json, print, report, unwritable};
use crate::config::Settings;
use crate::domain::{Location, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, CheckedFile, Context, Request};
use crate::services::Parts;
use crate::services::rejects_writer::RejectsWriter;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl validate trades.csv --dataset trade
  small-etl validate trades.csv.gz --dataset trade --rejects bad.csv --json
  small-etl validate export.xls --dataset trade --source huaxi
  small-etl validate trades.csv --dataset trade --format github --warnings-as-errors

The exit code is 1 when rows would be rejected, 2 when the file as a whole is unusable.")]
pub(super) struct ValidateArguments {
    /// A file on this machine or an object in S3
    #[arg(value_name = "FILE|s3://BUCKET/KEY")]
    file: String,
    /// The dataset, where the path does not tell
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// The source that describes the file, where the path does not tell
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Write the rejected records to this file, with what is wrong with each
    #[arg(long, value_name = "OUT.csv")]
    rejects: Option<PathBuf>,
    /// Reject rows also for what would only warn
    #[arg(long)]
    warnings_as_errors: bool,
    /// Show at most so many violations, and as many warnings
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object
    Json,
    /// Annotations of the lines, as a workflow of GitHub Actions shows them
    Github,
}

pub(super) async fn run(settings: &Settings, parts: &Parts, arguments: ValidateArguments) -> Result<u8> {
    let mut context = crate::context::context(settings, parts)?;
    if arguments.warnings_as_errors {
        context = Context { datasets: context.datasets.with_warnings_as_errors().into(), ..context };
    }
    let format = if arguments.json { Format::Json } else { arguments.format };
    let location = Location::parse(&arguments.file).map_err(Error::configuration)?;
    let request =
        Request { dataset: arguments.dataset.clone(), source: arguments.source.clone(), ..Request::new(location) };
    let checked = report::with_progress_bar(&request.progress, pipeline::validate(&context, &request)).await;
    let file = match checked {
        Ok(file) => file,
        Err(error) => {
            let ErrorKind::File(reason) = error.kind() else { return Err(error) };
            let error = match format {
                Format::Human => {
                    super::say(&pipeline::in_full(&error));
                    return Ok(FILE_UNUSABLE);
                }
                Format::Json => as_json(&pipeline::unusable(&arguments.file, error)?)?,
                Format::Github => annotation("error", &arguments.file, None, reason.name(), &pipeline::in_full(&error)),
            };
            print(&error)?;
            return Ok(FILE_UNUSABLE);
        }
    };
    let rejects = take_rejects(&file, &arguments).await?;
    let warnings = file.first_warnings(arguments.limit).await?;
    print(&match format {
        Format::Human => for_people(&file, &rejects, &warnings),
        Format::Json => as_json(&file.as_json(&rejects, &warnings))?,
        Format::Github => for_github(&file, &arguments.file, &rejects, &warnings),
    })?;
    Ok(if file.validated.rejected > 0 { ROWS_REJECTED } else { DONE })
}

/// Writes the rejects file, if one is wanted, and returns the first violations to show them.
async fn take_rejects(file: &CheckedFile, arguments: &ValidateArguments) -> Result<Vec<Violation>> {
    if let Some(path) = &arguments.rejects {
        let own = |path: &Path| path.canonicalize().ok();
        if own(path).is_some_and(|out| own(Path::new(&arguments.file)).is_some_and(|file| file == out)) {
            let message =
                format!("{}: the rejects file would overwrite the file itself; choose another name", path.display());
            return Err(Error::configuration(message));
        }
        let created = std::fs::File::create(path).map_err(|error| unwritable(path, error))?;
        let mut out = BufWriter::new(created);
        let writer = RejectsWriter::of_file(&file.dataset, &file.extracted)?;
        writer.begin(&mut out)?;
        let mut chunks = std::pin::pin!(file.violations());
        while let Some(chunk) = chunks.try_next().await? {
            writer.write(&mut out, None, &chunk)?;
        }
        out.flush().map_err(|error| Error::system("write the rejects file", error))?;
    }
    file.first_rejects(arguments.limit).await
}

fn summary(file: &CheckedFile) -> String {
    let (checked, read, dataset) = (&file.validated, file.extracted.read, &file.dataset.name);
    let source = file.extracted.sent.as_ref().map_or(String::new(), |sent| format!(", source {}", sent.source.name));
    format!(
        "{}: {read} records, {} accepted, {} rejected, {} warnings (dataset {dataset}{source})\n",
        file.name, checked.accepted, checked.rejected, checked.warnings,
    )
}

fn for_people(file: &CheckedFile, rejects: &[Violation], warnings: &[Violation]) -> String {
    let name = file.name.rsplit('/').next().unwrap_or(&file.name);
    let mut text = summary(file) + &report::violations(&file.name, rejects, file.validated.rejected);
    for warning in warnings {
        let _ = writeln!(text, "  warning: {}", warning.describe(name));
    }
    text + &report::statistics(&file.statistics)
}

fn for_github(file: &CheckedFile, path: &str, rejects: &[Violation], warnings: &[Violation]) -> String {
    let mut text = String::new();
    for (level, violations) in [("error", rejects), ("warning", warnings)] {
        for violation in violations {
            let column = violation.column.as_ref().map_or(String::new(), |name| format!("column {name}: "));
            let message = format!("{column}{}", violation.message);
            text.push_str(&annotation(level, path, Some(violation.line.0), &violation.rule, &message));
        }
    }
    text + &summary(file)
}

/// A workflow command of GitHub Actions:
/// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.
fn annotation(level: &str, file: &str, line: Option<i64>, rule: &str, message: &str) -> String {
    let message = message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| {
        text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A").replace(':', "%3A").replace(',', "%2C")
    };
    let line = line.map_or(String::new(), |line| format!(",line={line}"));
    format!("::{level} file={}{line},title={}::{message}\n", property(file), property(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_cannot_be_broken_out_of() {
        let text = annotation("error", "a:b,c.csv", Some(5), "decimal", "100% \"x\n::error::y\"");
        assert_eq!(text, "::error file=a%3Ab%2Cc.csv,line=5,title=decimal::100%25 \"x%0A::error::y\"\n");
    }
}
