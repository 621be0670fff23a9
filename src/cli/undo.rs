//! `small-etl undo`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::terminal::{DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::{Database, GivenBack};
use crate::domain::LoadId;
use crate::error::Result;
use crate::pipeline::{self, Undo};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl undo 7 --dry-run
  small-etl undo 7

The dataset of the load must keep a history (docs/history.md). Rows that a later load has touched stay as they are and are listed. To undo \
several loads, begin with the last.")]
pub(super) struct UndoArguments {
    /// Which load
    load: i64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The most rows that are listed for people.
const MOST_SHOWN: usize = 20;

pub(super) async fn run(settings: &Settings, arguments: UndoArguments) -> Result<u8> {
    let (datasets, database) = (settings.datasets()?, Database::new(&settings.database()?)?);
    let load = LoadId(arguments.load);
    let undo = if arguments.dry_run {
        pipeline::plan_undo(&database, &datasets, load).await?
    } else {
        pipeline::undo(&database, &datasets, &settings.claim_terms(), load).await?
    };
    print(&if arguments.json {
        as_json(&json!({
            "load_id": undo.load_id, "dataset": undo.dataset, "file": undo.file, "dry_run": arguments.dry_run,
            "undone_by": undo.undone_by, "rows": undo.rows,
        }))?
    } else {
        for_people(&undo)
    })?;
    Ok(DONE)
}

fn for_people(undo: &Undo) -> String {
    let Undo { load_id, dataset, file, undone_by, rows } = undo;
    let mut text = format!("load {load_id}, dataset {dataset}, {file}\n");
    match (rows, undone_by) {
        (None, Some(by)) => {
            let _ = writeln!(text, "load {by} has undone it before; there is nothing to do");
        }
        (Some(rows), by) => {
            text.push_str(&listed(rows, by.is_none()));
            let _ = match by {
                Some(by) => writeln!(text, "this was load {by}"),
                None => writeln!(text, "nothing was written; run it without --dry-run"),
            };
        }
        (None, None) => {}
    }
    text
}

fn listed(rows: &GivenBack, planned: bool) -> String {
    let GivenBack { updated, removed, inserted, parked, waiting, lost, kept, kept_rows, unknown } = rows;
    let (get, are, stay, wait) =
        if planned { ("would get", "would be", "would stay", "would wait") } else { ("got", "were", "stayed", "wait") };
    let mut text = String::new();
    for (count, what) in [
        (updated, format!("rows that {get} back their earlier values")),
        (removed, format!("rows that {are} deleted, because they were not there before")),
        (inserted, format!("rows that {are} given back, because the load had deleted them")),
        (parked, format!("rows that wait for another row and {are} discarded")),
        (waiting, format!("rows of other loads that {wait} for another row again")),
        (
            unknown,
            format!("rows from before the history began, or deleted by another program, that {stay} as they are"),
        ),
        (kept, format!("rows that {stay} as they are")),
    ] {
        if *count > 0 {
            let _ = writeln!(text, "{what}: {count}");
        }
    }
    for row in kept_rows.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "  {}: {}", row.key, row.reason);
    }
    if kept_rows.len() > MOST_SHOWN {
        text.push_str("  and more, which --json lists\n");
    }
    if !lost.is_empty() {
        let loads = lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "loads with rows that were older than those of this load, and are not loaded now: {loads}; to have them, load their files with --again"
        );
    }
    if text.is_empty() {
        text.push_str("the load wrote nothing, so there is nothing to give back\n");
    }
    text
}
