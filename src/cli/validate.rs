//! `small-etl validate`.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::rejects::{begin_rejects, check_fit};
use super::report;
use super::terminal::{DONE, FILE_UNUSABLE, ROWS_REJECTED, as_json, print, say, unwritable};
use crate::config::Settings;
use crate::domain::object::with_part;
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
    /// The dataset, if the path does not tell
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// The source that describes the file, if the path does not tell
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of a file with several parts check this one alone: a member of an archive, a sheet or a section; may be repeated
    #[arg(long = "part", value_name = "NAME")]
    parts: Vec<String>,
    /// Write the rejected records to this file, with what is wrong with each; those of a workbook become one if the name ends in .xlsx
    #[arg(long, value_name = "OUT")]
    rejects: Option<PathBuf>,
    /// Also reject rows for what would only cause a warning
    #[arg(long)]
    warnings_as_errors: bool,
    /// Show at most this many violations, and as many warnings
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
    /// Annotations of the lines, in the form that a workflow of GitHub Actions shows
    Github,
}

pub(super) async fn run(settings: &Settings, parts: &Parts, arguments: ValidateArguments) -> Result<u8> {
    let mut context = crate::start::context(settings, parts)?;
    if arguments.warnings_as_errors {
        context = Context { datasets: context.datasets.with_warnings_as_errors().into(), ..context };
    }
    let format = if arguments.json { Format::Json } else { arguments.format };
    let location = Location::parse(&arguments.file).map_err(Error::configuration)?;
    let request = Request {
        dataset: arguments.dataset.clone(),
        source: arguments.source.clone(),
        parts: arguments.parts.clone(),
        ..Request::new(location)
    };
    let mut shown = Shown { worst: DONE, text: String::new(), json: Vec::new(), is_whole: true };
    let each = async |checked: Result<CheckedFile>| match checked {
        Ok(file) => shown.show(&file, &arguments, format).await,
        Err(error) => {
            shown.is_whole = false;
            shown.show_unusable(error, &arguments, format)
        }
    };
    let checked =
        report::with_progress_bar(&request.progress, Box::pin(pipeline::validate(&context, &request, each))).await;
    match checked {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::File(_)) => shown.show_unusable(error, &arguments, format)?,
        Err(error) => return Err(error),
    }
    let json = match &shown.json[..] {
        [one] if shown.is_whole => as_json(one)?,
        [] => String::new(),
        parts => as_json(&json!({ "file": arguments.file, "parts": parts }))?,
    };
    print(&(shown.text + &json))?;
    Ok(shown.worst)
}

/// What was found in a file or in each of its parts.
struct Shown {
    worst: u8,
    text: String,
    json: Vec<Value>,
    /// Whether it was checked as a whole.
    is_whole: bool,
}

impl Shown {
    async fn show(&mut self, file: &CheckedFile, arguments: &ValidateArguments, format: Format) -> Result<()> {
        if arguments.rejects.is_some() && file.of_parts > 1 {
            let parts = file.of_parts;
            return Err(Error::configuration(format!(
                "the file has {parts} parts; name one with --part to write its rejects"
            )));
        }
        self.is_whole &= file.part.is_empty();
        let rejects = take_rejects(file, arguments).await?;
        let warnings = file.first_warnings(arguments.limit).await?;
        match format {
            Format::Human => self.text.push_str(&for_people(file, &rejects, &warnings)),
            Format::Json => self.json.push(file.as_json(&rejects, &warnings)),
            Format::Github => self.text.push_str(&for_github(file, &arguments.file, &rejects, &warnings)),
        }
        self.worst = self.worst.max(if file.validated.rejected > 0 { ROWS_REJECTED } else { DONE });
        Ok(())
    }

    fn show_unusable(&mut self, error: Error, arguments: &ValidateArguments, format: Format) -> Result<()> {
        let ErrorKind::File(reason) = error.kind() else { return Err(error) };
        match format {
            Format::Human => say(&pipeline::in_full(&error)),
            Format::Json => self.json.push(pipeline::unusable(&arguments.file, error)?),
            Format::Github => {
                let message = pipeline::in_full(&error);
                self.text.push_str(&annotation("error", &arguments.file, None, reason.name(), &message));
            }
        }
        self.worst = FILE_UNUSABLE;
        Ok(())
    }
}

/// Writes the rejects file if one is wanted. Returns the first violations to show.
async fn take_rejects(file: &CheckedFile, arguments: &ValidateArguments) -> Result<Vec<Violation>> {
    if let Some(path) = &arguments.rejects {
        let own = |path: &Path| path.canonicalize().ok();
        if own(path).is_some_and(|out| own(Path::new(&arguments.file)).is_some_and(|file| file == out)) {
            let message =
                format!("{}: the rejects file would overwrite the file itself; choose another name", path.display());
            return Err(Error::configuration(message));
        }
        let created = std::fs::File::create(path).map_err(|error| unwritable(path, error))?;
        let writer = RejectsWriter::of_file(&file.dataset, &file.extracted)?;
        let mut out = begin_rejects(&writer, BufWriter::new(created), path)?;
        let mut chunks = std::pin::pin!(file.violations());
        while let Some(chunk) = chunks.try_next().await? {
            check_fit(out.write(&writer, None, &chunk)?, path)?;
        }
        out.finish()?.flush().map_err(|error| Error::system("write the rejects file", error))?;
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
    let whole = file.name.strip_suffix(&with_part(String::new(), &file.part)).unwrap_or(&file.name);
    let name = &with_part(report::base_name(whole), &file.part);
    let mut text = summary(file) + &report::violations(name, rejects, file.validated.rejected);
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
