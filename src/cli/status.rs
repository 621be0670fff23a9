//! `small-etl status`, and how all commands print times and tables.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::terminal::{DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::{Database, Status};
use crate::data_access::retry::retrying;
use crate::domain::object::place_of_part;
use crate::error::Result;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl status --since 1d
  small-etl status --since 2025-12-01 --json")]
pub(super) struct StatusArguments {
    /// Only loads that began since then: a time before now such as 12h or 30d, or a date (UTC)
    #[arg(long, value_name = "30d|YYYY-MM-DD", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Show at most this many loads
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses a moment in the past: a duration before now, or a date, which means its beginning in UTC.
///
/// # Errors
/// A message that shows both forms.
pub(super) fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let back = humantime::parse_duration(text).ok().and_then(|back| chrono::Duration::from_std(back).ok());
    let moment = back.and_then(|back| Utc::now().checked_sub_signed(back));
    moment.ok_or_else(|| "write a time before now, such as 12h or 30d, or a date such as 2025-12-01".into())
}

pub(super) async fn run(settings: &Settings, arguments: StatusArguments) -> Result<u8> {
    let database = Database::new(&settings.database()?)?;
    let status = retrying(|| database.status(arguments.since, arguments.limit.into())).await?;
    print(&if arguments.json { as_json(&status)? } else { for_people(&status) })?;
    Ok(DONE)
}

fn for_people(status: &Status) -> String {
    let mut text = String::new();
    let at_least = if status.counted { "" } else { "at least " };
    if status.loads.is_empty() {
        text.push_str("no loads\n");
    } else {
        let header = [
            "load", "began", "state", "dataset", "read", "written", "removed", "stale", "parked", "rejected", "open",
            "file",
        ];
        let rows = status.loads.iter().map(|load| {
            let counts = &load.counts;
            [
                load.load_id.to_string(),
                moment(load.started_at),
                load.reason.as_ref().map_or_else(|| load.state.clone(), |reason| format!("{}: {reason}", load.state)),
                load.dataset.clone(),
                counts.read.to_string(),
                (counts.inserted + counts.updated).to_string(),
                counts.removed.to_string(),
                counts.stale.to_string(),
                counts.parked.to_string(),
                counts.rejected.to_string(),
                load.open_rejects.to_string(),
                place_of_part(&load.bucket, &load.key, &load.part),
            ]
        });
        text.push_str(&table(&header, rows, 4..11));
    }
    if status.more > 0 {
        let _ = writeln!(text, "and {at_least}{} older loads", status.more);
    }
    for waiting in &status.waiting {
        if let Some(oldest) = waiting.oldest_reject {
            let _ = writeln!(
                text,
                "{}: rejected rows waiting to be mended: {at_least}{}, the oldest since {}; `small-etl rejects` lists them",
                waiting.dataset,
                waiting.open_rejects,
                moment(oldest)
            );
        }
        if let Some(oldest) = waiting.oldest_parked {
            let _ = writeln!(
                text,
                "{}: rows waiting for the row that they refer to: {at_least}{}, the oldest since {}",
                waiting.dataset,
                waiting.parked,
                moment(oldest)
            );
        }
    }
    text
}

pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Prints a table; the columns in `numbers` are aligned to the right.
pub(super) fn table<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    numbers: std::ops::Range<usize>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_before_now_or_a_date() {
        assert_eq!(since("2025-12-01").unwrap().to_rfc3339(), "2025-12-01T00:00:00+00:00");
        let moment = since("36h").unwrap();
        assert_eq!((Utc::now() - moment).num_hours(), 36);
        assert!(since("yesterday").unwrap_err().contains("30d"));
    }
}
