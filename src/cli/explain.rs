//! `small-etl explain`.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::rejects::{line, to_json};
use super::status::moment;
use super::terminal::{DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::{
    Database, KeptTombstone, PresentRow, RejectCursor, RejectFilter, RowAttempt, StoredReject,
};
use crate::data_access::retry::retrying;
use crate::domain::object::{UNDO_BUCKET, place_of_part};
use crate::error::{Error, Result};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  small-etl explain trade T20251222000001
  small-etl explain position A1 2025-12-22")]
pub(super) struct ExplainArguments {
    /// The dataset
    dataset: String,
    /// The key of the row; a value for each of its columns where there are several
    #[arg(required = true)]
    key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything that is known about one row.
struct Explained {
    /// If loads of the dataset are pruned: those that ended before this.
    pruned_before: Option<DateTime<Utc>>,
    present: Option<PresentRow>,
    tombstone: Option<KeptTombstone>,
    attempts: Vec<RowAttempt>,
    rejects: Vec<StoredReject>,
}

impl Explained {
    /// The attempt from which the row has its present values: the last one that wrote it or, if that was an undo, the one whose row it gave
    /// back.
    fn source(&self) -> Option<&RowAttempt> {
        let (writer, present) = (self.writer()?, self.present.as_ref()?);
        if writer.bucket != UNDO_BUCKET {
            return Some(writer);
        }
        let first = |attempt: &&RowAttempt| Some(attempt.load_id) == present.written_by && attempt.outcome != "stale";
        self.attempts.iter().find(first)
    }

    /// The undo that gave the present values back, if one did.
    fn given_back_by(&self) -> Option<&RowAttempt> {
        self.writer().filter(|writer| writer.bucket == UNDO_BUCKET)
    }

    /// The last attempt that wrote the row, if there is a row.
    fn writer(&self) -> Option<&RowAttempt> {
        self.present.as_ref()?;
        self.attempts.iter().rfind(|attempt| matches!(attempt.outcome.as_str(), "inserted" | "updated" | "deleted"))
    }

    /// If a load that is pruned may have written the row after all that the ledger still knows of it: before when it ended.
    fn perhaps_pruned(&self) -> Option<DateTime<Utc>> {
        let before = self.pruned_before.filter(|_| self.present.is_some() && self.changed_elsewhere())?;
        self.writer().is_none_or(|writer| writer.at < before).then_some(before)
    }

    /// Whether something that keeps no ledger has written the row since. This is a hint for people and nothing more: transaction numbers
    /// return, and are lost when a table is altered or restored. Which load wrote the row, only the lineage says.
    fn changed_elsewhere(&self) -> bool {
        let written = self.writer().and_then(|writer| writer.transaction.as_ref());
        self.present.as_ref().is_some_and(|present| written != Some(&present.transaction))
    }
}

pub(super) async fn run(settings: &Settings, arguments: ExplainArguments) -> Result<u8> {
    let datasets = settings.datasets()?;
    let dataset = datasets.get(&arguments.dataset).map_err(Error::configuration)?;
    let key = dataset.ledger_key(&arguments.key).map_err(Error::configuration)?;
    let database = Database::new(&settings.database()?)?;
    let filter = RejectFilter {
        dataset: Some(dataset.name.clone()),
        key: Some(key.clone()),
        all: true,
        ..RejectFilter::default()
    };
    let explained = Explained {
        pruned_before: retrying(|| database.pruned_before(&dataset.name)).await?,
        present: retrying(|| database.present_row(dataset, &key)).await?,
        tombstone: retrying(|| database.tombstone(dataset, &key)).await?,
        attempts: retrying(|| database.row_attempts(dataset, &key)).await?,
        rejects: retrying(|| database.page_of_rejects(&filter, RejectCursor::default())).await?.0,
    };
    let name = &dataset.name;
    print(&if arguments.json { for_programs(name, &key, &explained)? } else { for_people(name, &key, &explained) })?;
    Ok(DONE)
}

fn for_programs(dataset: &str, key: &str, explained: &Explained) -> Result<String> {
    let rejects: Vec<Value> = explained.rejects.iter().map(to_json).collect();
    as_json(&json!({
        "dataset": dataset, "key": key, "in_table": explained.present.is_some(), "present": explained.source(),
        "given_back_by": explained.given_back_by().map(|undo| undo.load_id),
        "tombstone": explained.tombstone, "pruned_before": explained.pruned_before,
        "changed_elsewhere": explained.changed_elsewhere(), "attempts": explained.attempts, "rejects": rejects,
    }))
}

fn for_people(dataset: &str, key: &str, explained: &Explained) -> String {
    let day = |moment: DateTime<Utc>| moment.format("%Y-%m-%d").to_string();
    let pruned = explained.perhaps_pruned();
    let mut text = match (&explained.present, explained.source()) {
        (Some(_), None) if pruned.is_some() => format!(
            "{dataset} {key}: in the table; a load wrote it before {}, pruned from the ledger, or another program did\n",
            pruned.map(day).unwrap_or_default()
        ),
        (None, _) => format!("{dataset} {key}: {}\n", absent(explained.tombstone.as_ref())),
        (Some(_), None) => format!("{dataset} {key}: in the table, but the ledger does not know which load wrote it\n"),
        (Some(_), Some(writer)) => format!("{dataset} {key}: its present values come from\n  {}\n", attempt(writer)),
    };
    if let (Some(_), Some(undo)) = (explained.source(), explained.given_back_by()) {
        let _ = writeln!(
            text,
            "  load {} has given them back: {}",
            undo.load_id,
            place_of_part(&undo.bucket, &undo.key, &undo.part)
        );
    }
    if let (Some(_), Some(before)) = (explained.writer(), pruned) {
        let _ = writeln!(
            text,
            "  but a later load may have written it before {}, pruned from the ledger, or another program since",
            day(before)
        );
    } else if explained.writer().is_some() && explained.changed_elsewhere() {
        text.push_str(
            "  but another program has written the row since, or the table was altered or restored from a dump\n",
        );
    }
    if !explained.attempts.is_empty() {
        text.push_str("what the files brought, in the order of the commits:\n");
    }
    if let Some(before) = explained.pruned_before {
        let _ = writeln!(text, "  what loads brought that ended before {} is pruned", day(before));
    }
    for tried in &explained.attempts {
        let _ = writeln!(text, "  {}", attempt(tried));
    }
    if !explained.rejects.is_empty() {
        text.push_str("rejects with this key:\n");
    }
    for reject in &explained.rejects {
        let _ = write!(text, "  {}", line(reject).replace('\n', &format!(" (rules {})\n", reject.dataset_version)));
    }
    text
}

/// Why there is no row.
fn absent(tombstone: Option<&KeptTombstone>) -> String {
    match tombstone {
        None => "no such row in the table".to_owned(),
        Some(KeptTombstone { load_id, version: Some(version) }) => {
            format!(
                "no such row in the table; load {load_id} brought a tombstone with version {version}, and older rows are stale"
            )
        }
        Some(KeptTombstone { load_id, version: None }) => {
            format!(
                "no such row in the table; load {load_id} brought a tombstone, and rows of earlier objects are stale"
            )
        }
    }
}

fn attempt(attempt: &RowAttempt) -> String {
    let RowAttempt {
        load_id,
        bucket,
        key,
        version,
        part,
        line,
        outcome,
        at,
        parked_at,
        released_by,
        dataset_version,
        ..
    } = attempt;
    let line = line.map_or(String::new(), |line| format!(" line {line}"));
    let outcome = match (outcome.as_str(), parked_at, released_by) {
        ("expired", Some(since), _) => format!(
            "expired {}, after it had waited since {} for the row that it refers to",
            moment(*at),
            moment(*since)
        ),
        ("parked", ..) => format!("waiting since {} for the row that it refers to", moment(*at)),
        (outcome, Some(since), Some(load)) => {
            format!("{outcome} {}, after it had waited since {}; load {load} released it", moment(*at), moment(*since))
        }
        ("deleted", ..) => format!("deleted {}, because the file does not have it", moment(*at)),
        (outcome, ..) => format!("{outcome} {}", moment(*at)),
    };
    format!(
        "load {load_id} {}{line}: {outcome} (version {version}, rules {dataset_version})",
        place_of_part(bucket, key, part)
    )
}
