//! Tables for people, and the progress bar.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::domain::object::with_part;
use crate::domain::{Counts, LoadReport, LoadStatus, Progress, Violation};
use crate::error::{Error, Result};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DULL: Style = AnsiColor::BrightBlack.on_default();

/// The report of one load: how it ended, counts, first rejects, statistics, speed.
#[must_use]
pub(super) fn loaded(report: &LoadReport, rejects: &[Violation]) -> String {
    let good = matches!(report.status, LoadStatus::Loaded | LoadStatus::Duplicate) && report.reason.is_none();
    let style = if good { GOOD } else { BAD };
    let file = file_of(report);
    let mut text = format!("{style}{}{style:#} {file}", report.status.name());
    if let Some(load) = report.load_id {
        let dataset = report.dataset.as_deref().unwrap_or("none");
        let source = report.source.as_ref().map_or(String::new(), |source| format!(", source {source}"));
        let _ = write!(text, " {DULL}(load {load}, dataset {dataset}{source}){DULL:#}");
    }
    if let Some(reason) = &report.reason {
        let _ = write!(text, ": {reason}");
    }
    text.push('\n');
    if let Some(error) = &report.error {
        let _ = writeln!(text, "  {error}");
    }
    if report.status == LoadStatus::Duplicate {
        text.push_str("  this version was already finished; nothing was written. --again loads it once more\n");
    }
    if let Some(lease) = report.retry_after {
        let seconds = lease.as_secs_f64().ceil();
        let _ = writeln!(
            text,
            "  another worker has it. If that one was killed, the same command continues with the rest in {seconds} seconds"
        );
    }
    if report.status == LoadStatus::Interrupted {
        text.push_str("  what is committed stays; the same command continues with the rest\n");
    }
    if let Some(counts) = &report.counts {
        text.push_str(&counts_table(counts));
        let _ = write!(text, "{DULL}{} ms", report.elapsed_ms);
        // The speed of a load that continued another would be wrong: it has not written all of the rows.
        if report.status == LoadStatus::Loaded && report.attempt == Some(1) {
            #[expect(clippy::cast_precision_loss, reason = "a speed for people needs no more than 53 bits")]
            let speed = counts.read as f64 * 1000.0 / report.elapsed_ms.max(1) as f64;
            let _ = write!(text, ", {speed:.0} rows/s");
        }
        let _ = writeln!(text, "{DULL:#}");
    }
    let name =
        with_part(base_name(report.key.as_deref().unwrap_or_default()), report.part.as_deref().unwrap_or_default());
    text.push_str(&violations(&name, rejects, report.counts.map_or(0, |counts| counts.rejected)));
    text.push_str(&statistics(&report.statistics));
    text
}

/// One line about how a file ended.
#[must_use]
pub(super) fn one_line(report: &LoadReport) -> String {
    let Counts { read, rejected, .. } = report.counts.unwrap_or_default();
    let good = report.status == LoadStatus::Loaded;
    let (style, reason) = (if good { GOOD } else { BAD }, report.reason.as_deref().unwrap_or_default());
    let (status, file) = (report.status.name(), file_of(report));
    format!("{style}{status}{style:#} {file}: {read} read, {rejected} rejected {reason}").trim_end().to_owned() + "\n"
}

fn counts_table(counts: &Counts) -> String {
    let columns: Vec<(&str, i64)> = std::iter::once(("read", counts.read))
        .chain(counts.outcomes())
        .chain([("warnings", counts.warnings), ("released", counts.released), ("deleted", counts.deleted)])
        .collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| *name)).add_row(columns.iter().map(|(_, count)| count.to_string()));
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

/// The key of a file, and the part of it that was loaded.
fn file_of(report: &LoadReport) -> String {
    with_part(report.key.clone().unwrap_or_default(), report.part.as_deref().unwrap_or_default())
}

/// The last element of a path.
#[must_use]
pub(super) fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// One line for each violation, and how many rejected records there are beyond those shown. `name` is that of the file.
#[must_use]
pub(super) fn violations(name: &str, shown: &[Violation], rejected: i64) -> String {
    let mut text = String::new();
    for violation in shown {
        let _ = writeln!(text, "  {}", violation.describe(name));
    }
    let records = shown.chunk_by(|one, next| one.record == next.record).count();
    let more = rejected - i64::try_from(records).unwrap_or(i64::MAX);
    if !shown.is_empty() && more > 0 {
        let _ = writeln!(text, "  {DULL}and {more} more rejected records{DULL:#}");
    }
    text
}

/// The statistics, one on each line.
#[must_use]
pub(super) fn statistics(statistics: &Value) -> String {
    let mut text = String::new();
    for (name, value) in statistics.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Object(groups) => {
                let groups: Vec<String> =
                    groups.iter().map(|(group, value)| format!("{group} {}", plain(value))).collect();
                groups.join(", ")
            }
            Value::Array(items) if items.is_empty() => continue,
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
            other => plain(other),
        };
        let _ = writeln!(text, "  {DULL}{name}:{DULL:#} {shown}");
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Shows the progress of `work` on a terminal.
///
/// # Errors
/// The same as those of `work`.
pub(super) async fn with_progress_bar<T>(progress: &Arc<Progress>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let template = ProgressStyle::with_template("{spinner} {msg:>10} {wide_bar} {human_pos}/{human_len} rows")
        .map_err(|error| Error::system("prepare the progress bar", error))?;
    let bar = ProgressBar::no_length().with_style(template);
    let watch = async {
        loop {
            let (message, position, total) = match progress.total() {
                _ if progress.is_waiting() => ("waiting for its manifest", 0, 0),
                0 => ("checking", progress.staged(), progress.staged()),
                total => ("loading", progress.committed(), total),
            };
            bar.set_message(message);
            bar.set_length(total.unsigned_abs());
            bar.set_position(position.unsigned_abs());
            bar.tick();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = watch => unreachable!("the watch loops forever"),
    };
    bar.finish_and_clear();
    outcome
}
