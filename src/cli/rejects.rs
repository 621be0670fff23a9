//! `small-etl rejects`.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::terminal::{DONE, as_json, print, unwritable};
use crate::config::Settings;
use crate::data_access::postgres::{Database, RejectCursor, RejectFilter, StoredReject};
use crate::data_access::retry::retrying;
use crate::domain::object::place_of_part;
use crate::domain::{LoadId, Violation};
use crate::error::{Error, Result};
use crate::services::rejects_writer::{Fit, RejectsFile, RejectsWriter};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl rejects
  small-etl rejects 7 --rule lot_size
  small-etl rejects 7 --export mend.csv     # mend the lines, then load the file
  small-etl rejects 8 --export mend.xlsx    # the same of a workbook")]
pub(super) struct RejectsArguments {
    /// Only rejects of this load
    load: Option<i64>,
    /// Only rejects of this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Only rows that break this rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only rejects of parts with this name: members of archives, sheets of workbooks or sections of files
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
    /// Also rejects that are mended
    #[arg(long)]
    all: bool,
    /// Write the rows to this file, with what is wrong with each, so that you can mend and load it; rows of a workbook become one if the
    /// name ends in .xlsx
    #[arg(long, value_name = "OUT")]
    export: Option<PathBuf>,
    /// Show at most this many violations
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, arguments: RejectsArguments) -> Result<u8> {
    let database = Database::new(&settings.database()?)?;
    if let Some(name) = &arguments.dataset {
        settings.datasets()?.get(name).map_err(Error::configuration)?;
    }
    let filter = RejectFilter {
        load: arguments.load.map(LoadId),
        rule: arguments.rule.clone(),
        dataset: arguments.dataset.clone(),
        part: arguments.part.clone(),
        all: arguments.all,
        ..RejectFilter::default()
    };
    let mut moved = Vec::new();
    if let Some(load) = filter.load {
        // Reports an error if there is no such load.
        retrying(|| database.written_as(load)).await?;
        moved = retrying(|| database.holding_rejects_of(load)).await?;
    }
    if let Some(path) = &arguments.export {
        let rows = export(&database, &filter, path).await?;
        if rows == 0 {
            let message = format!("there is no bad row to export; nothing was written{}", elsewhere(&moved));
            return Err(Error::configuration(message.trim_end()));
        }
        let answer = json!({ "exported": rows, "file": path, "moved_to": moved });
        let text =
            format!("rows written to {}: {rows}\n{}", path.display(), elsewhere(&moved).trim_start_matches("; "));
        print(&if arguments.json { as_json(&answer)? } else { text })?;
        return Ok(DONE);
    }
    let mut shown = Vec::new();
    let mut cursor = RejectCursor::default();
    while shown.len() < arguments.limit {
        let (page, end) = retrying(|| database.page_of_rejects(&filter, cursor)).await?;
        if page.is_empty() {
            break;
        }
        cursor = end;
        let of_rule = |reject: &StoredReject| filter.rule.as_ref().is_none_or(|rule| *rule == reject.violation.rule);
        shown.extend(page.into_iter().filter(of_rule).take(arguments.limit - shown.len()));
    }
    let all = retrying(|| database.count_rejects(&filter)).await?;
    let records = shown.chunk_by(|one, next| row(one) == row(next)).count();
    let more = all - i64::try_from(records).unwrap_or(i64::MAX);
    if arguments.json {
        let rejects: Vec<Value> = shown.iter().map(to_json).collect();
        print(&as_json(&json!({ "rejects": rejects, "more": more, "moved_to": moved }))?)?;
        return Ok(DONE);
    }
    let mut text = String::new();
    for reject in &shown {
        text.push_str(&line(reject));
    }
    if all == 0 {
        text.push_str(if arguments.all { "no rejects\n" } else { "no bad row waits to be mended\n" });
    } else if more > 0 {
        let _ = writeln!(text, "and {more} more rows; --limit shows more, --export writes all of them to a file");
    }
    text.push_str(elsewhere(&moved).trim_start_matches("; "));
    print(&text)?;
    Ok(DONE)
}

/// Where rejects of a load are that a later load has read and rejected again.
fn elsewhere(moved: &[LoadId]) -> String {
    let [first, ..] = moved else { return String::new() };
    let loads: Vec<String> = moved.iter().map(ToString::to_string).collect();
    format!(
        "; rows that were sent again and are still bad are rejects of load {}: small-etl rejects {first}\n",
        loads.join(", ")
    )
}

fn row(reject: &StoredReject) -> (LoadId, i64) {
    (reject.load_id, reject.violation.record.0)
}

/// Prints one line for people: where the reject is, what is wrong, and what happened to it.
pub(super) fn line(reject: &StoredReject) -> String {
    let StoredReject { load_id, file: (bucket, key), part, open, resolved_by, first, violation, .. } = reject;
    let mut text = format!("load {load_id} {}", violation.describe(&place_of_part(bucket, key, part)));
    if first.0 != *load_id {
        let _ = write!(text, ", first in load {} record {}", first.0, first.1);
    }
    match resolved_by {
        Some(load) => {
            let _ = write!(text, ", mended by load {load}");
        }
        None if !open => text.push_str(", resolved by hand"),
        None => {}
    }
    text.push('\n');
    text
}

/// Returns everything that is known about a reject, except the bytes of its record.
pub(super) fn to_json(reject: &StoredReject) -> Value {
    let StoredReject {
        load_id,
        file: (bucket, key),
        part,
        dataset,
        dataset_version,
        open,
        resolved_by,
        first,
        violation,
    } = reject;
    let own = json!({
        "load_id": load_id, "dataset": dataset, "dataset_version": dataset_version, "bucket": bucket, "file": key, "part": part,
        "state": if *open { "open" } else { "resolved" }, "resolved_by": resolved_by, "first_load_id": first.0,
        "first_record": first.1,
    });
    let fields = [own, json!(violation)].into_iter().filter_map(|part| part.as_object().cloned());
    Value::Object(fields.flatten().collect())
}

/// Writes the rows as a file that can be mended and loaded. Rows of several loads go into one file if their files have
/// the same columns in the same order.
async fn export(database: &Database, filter: &RejectFilter, path: &Path) -> Result<u64> {
    let unwritable = |error| unwritable(path, error);
    // Another program sees either the whole file or what was there before.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut present: Option<(LoadId, RejectsWriter)> = None;
    let mut file: Option<RejectsFile<BufWriter<NamedTempFile>>> = None;
    let (mut rows, mut cursor) = (0, RejectCursor::default());
    loop {
        let (page, end) = retrying(|| database.page_of_rejects(filter, cursor)).await?;
        cursor = end;
        for record in page.chunk_by(|one, next| row(one) == row(next)) {
            let load = record[0].load_id;
            if present.as_ref().is_none_or(|(known, _)| *known != load) {
                let writer = RejectsWriter::of(database, load).await?;
                match &present {
                    Some((_, known)) if known.has_form_of(&writer) => {}
                    Some((other, _)) => {
                        return Err(Error::configuration(format!(
                            "loads {other} and {load} have files of other forms; export one load or one dataset at a \
                             time: small-etl rejects {load} --export …"
                        )));
                    }
                    None => {
                        let out = BufWriter::new(NamedTempFile::new_in(folder).map_err(unwritable)?);
                        file = Some(begin_rejects(&writer, out, path)?);
                    }
                }
                present = Some((load, writer));
            }
            if let (Some((_, writer)), Some(file)) = (&present, &mut file) {
                let violations: Vec<Violation> = record.iter().map(|reject| reject.violation.clone()).collect();
                check_fit(file.write(writer, Some(load), &violations)?, path)?;
                rows += 1;
            }
        }
        if page.is_empty() {
            break;
        }
    }
    let Some(file) = file else { return Ok(0) };
    let written = file.finish()?.into_inner().map_err(|error| unwritable(error.into_error()))?;
    written.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(rows)
}

/// Begins a file of rejects in the form that its name asks for.
pub(super) fn begin_rejects<W: Write>(writer: &RejectsWriter, out: W, path: &Path) -> Result<RejectsFile<W>> {
    RejectsFile::begin(writer, out, writer.form_of(path))?.ok_or_else(|| does_not_fit(path))
}

/// Refuses to write a workbook that lacks rejects.
pub(super) fn check_fit(fit: Fit, path: &Path) -> Result<()> {
    if fit == Fit::Fits { Ok(()) } else { Err(does_not_fit(path)) }
}

fn does_not_fit(path: &Path) -> Error {
    let (shown, other) = (path.display(), path.with_extension("csv"));
    Error::configuration(format!(
        "{shown}: a workbook does not hold these rejects: they came as text, or have too many rows or columns, or a text that no \
         cell holds; write them as text: {}",
        other.display()
    ))
}
