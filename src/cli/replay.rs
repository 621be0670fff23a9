//! `small-etl replay`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::status::since;
use super::terminal::{DONE, NOT_DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::pipeline::{self, ReplayedFile, RuleChange};
use crate::services::Parts;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  small-etl replay --dataset trade --definition new.toml --since 30d

Nothing is written. The exit code is 3 when a version of a file is gone.")]
pub(super) struct ReplayArguments {
    /// The dataset whose files are checked again
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// The definition to try instead of the current one
    #[arg(long, value_name = "NEW.toml")]
    definition: PathBuf,
    /// Only files whose loads began since then: a time before now such as 12h or 30d, or a date (UTC)
    #[arg(long, value_name = "30d|YYYY-MM-DD", value_parser = since)]
    since: DateTime<Utc>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The most examples shown of one rule.
const EXAMPLES: usize = 3;

pub(super) async fn run(settings: &Settings, parts: &Parts, arguments: ReplayArguments) -> Result<u8> {
    let context = crate::start::context(settings, parts)?;
    let today = context.datasets.get(&arguments.dataset).map_err(Error::configuration)?;
    let path = arguments.definition.display().to_string();
    let text = std::fs::read_to_string(&arguments.definition)
        .map_err(|error| Error::with_source(ErrorKind::Configuration, format!("{path}: cannot be read"), error))?;
    let changed = context.datasets.with_definition(&today.name, &path, &text).map_err(Error::configuration)?;
    let changed = pipeline::with_rules(changed, &context.pipelines)?;
    let changed = changed.get(&today.name).map_err(Error::configuration)?;
    pipeline::try_definition(&context, changed).await?;
    let database = Database::new(&settings.database()?)?;
    if let Some(before) =
        retrying(|| database.pruned_before(&today.name)).await?.filter(|&before| before > arguments.since)
    {
        let day = before.format("%Y-%m-%d");
        return Err(Error::configuration(format!(
            "--since {}: loads that ended before {day} are pruned from the ledger, so that their files are not known; take --since {day}",
            arguments.since.format("%Y-%m-%d")
        )));
    }
    let files = retrying(|| database.files_since(&today.name, arguments.since)).await?;
    let (mut replayed, mut unread, mut gone) = (Vec::new(), Vec::new(), false);
    for file in files {
        match pipeline::replay(&context, &file, (today, changed)).await {
            Ok(file) => replayed.push(file),
            Err(error) => {
                let ErrorKind::File(reason) = error.kind() else { return Err(error) };
                gone |= matches!(reason, Reason::NotFound | Reason::Forbidden | Reason::Superseded);
                unread.push((file.load_id, error.chain()));
            }
        }
    }
    let rules = sum(&replayed);
    if arguments.json {
        let unread: Vec<Value> =
            unread.iter().map(|(load, error)| json!({ "load_id": load, "error": error })).collect();
        let answer = json!({
            "dataset": today.name, "definition": path, "since": arguments.since,
            "records": records(&replayed), "would_reject": total(&replayed, |file| file.would_reject),
            "would_accept": total(&replayed, |file| file.would_accept),
            "rules": rules, "files": replayed, "not_compared": unread,
        });
        print(&as_json(&answer)?)?;
    } else {
        let mut text = format!(
            "{} files with {} records of dataset {}: {} rows would be rejected that are accepted today, {} accepted that are rejected\n",
            replayed.len(),
            records(&replayed),
            today.name,
            total(&replayed, |file| file.would_reject),
            total(&replayed, |file| file.would_accept),
        );
        for (rule, change) in &rules {
            let _ = writeln!(
                text,
                "  rule {rule}: would reject {}, would accept {}",
                change.would_reject, change.would_accept
            );
            for example in &change.examples {
                let _ = writeln!(text, "    {example}");
            }
        }
        for (load, error) in &unread {
            let _ = writeln!(text, "  load {load} could not be compared: {error}");
        }
        print(&text)?;
    }
    Ok(if gone { NOT_DONE } else { DONE })
}

fn records(files: &[ReplayedFile]) -> i64 {
    files.iter().map(|file| file.read).sum()
}

fn total(files: &[ReplayedFile], count: impl Fn(&ReplayedFile) -> u64) -> u64 {
    files.iter().map(count).sum()
}

/// The changes by rule over all files.
fn sum(files: &[ReplayedFile]) -> BTreeMap<String, RuleChange> {
    let mut rules: BTreeMap<String, RuleChange> = BTreeMap::new();
    for (rule, change) in files.iter().flat_map(|file| &file.rules) {
        let sum = rules.entry(rule.clone()).or_default();
        sum.would_reject += change.would_reject;
        sum.would_accept += change.would_accept;
        let room = EXAMPLES.saturating_sub(sum.examples.len());
        sum.examples.extend(change.examples.iter().take(room).cloned());
    }
    rules
}
