//! `small-etl replay`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::status::since;
use super::terminal::{DONE, NOT_DONE, as_json, print};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::domain::{Dataset, LoadId};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::pipeline::{self, Context, ReplayedFile, RuleChange};
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
    let ReplayArguments { dataset, definition, since, json } = arguments;
    let context = crate::start::context(settings, parts)?;
    let today = context.datasets.get(&dataset).map_err(Error::configuration)?;
    let changed = changed(&context, today, &definition)?;
    pipeline::try_definition(&context, &changed).await?;
    let database = Database::new(&settings.database()?)?;
    check_known(&database, today, since).await?;
    let definition = definition.display().to_string();
    let mut answer = Answer { dataset, definition, since, replayed: Vec::new(), unread: Vec::new(), gone: false };
    for file in retrying(|| database.files_since(&today.name, since)).await? {
        match pipeline::replay(&context, &file, (today, &changed)).await {
            Ok(file) => answer.replayed.push(file),
            Err(error) => answer.note(file.load_id, error)?,
        }
    }
    print(&if json { as_json(&answer.as_json())? } else { answer.for_people() })?;
    Ok(if answer.gone { NOT_DONE } else { DONE })
}

/// The dataset as the definition in another file says.
fn changed(context: &Context, today: &Dataset, file: &Path) -> Result<Dataset> {
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::with_source(ErrorKind::Configuration, format!("{path}: cannot be read"), error))?;
    let changed = context.datasets.with_definition(&today.name, &path, &text).map_err(Error::configuration)?;
    let changed = pipeline::with_rules(changed, &context.pipelines)?;
    changed.get(&today.name).cloned().map_err(Error::configuration)
}

/// Checks that the ledger knows all loads since then.
async fn check_known(database: &Database, dataset: &Dataset, since: DateTime<Utc>) -> Result<()> {
    let pruned = retrying(|| database.pruned_before(&dataset.name)).await?;
    let Some(before) = pruned.filter(|&before| before > since) else { return Ok(()) };
    let day = before.format("%Y-%m-%d");
    Err(Error::configuration(format!(
        "--since {}: loads that ended before {day} are pruned from the ledger, so that their files are not known; take --since {day}",
        since.format("%Y-%m-%d")
    )))
}

/// What came of comparing the files.
struct Answer {
    dataset: String,
    definition: String,
    since: DateTime<Utc>,
    replayed: Vec<ReplayedFile>,
    /// The loads whose files could not be compared, and why.
    unread: Vec<(LoadId, String)>,
    /// Whether a version of a file is gone.
    gone: bool,
}

impl Answer {
    /// Notes that a file cannot be compared, if the file is at fault.
    fn note(&mut self, load: LoadId, error: Error) -> Result<()> {
        let ErrorKind::File(reason) = error.kind() else { return Err(error) };
        self.gone |= matches!(reason, Reason::NotFound | Reason::Forbidden | Reason::Superseded);
        self.unread.push((load, error.chain()));
        Ok(())
    }

    fn as_json(&self) -> Value {
        let unread = self.unread.iter().map(|(load, error)| json!({ "load_id": load, "error": error }));
        json!({
            "dataset": self.dataset, "definition": self.definition, "since": self.since,
            "records": self.records(), "would_reject": self.would_reject(), "would_accept": self.would_accept(),
            "rules": sum(&self.replayed), "files": self.replayed, "not_compared": unread.collect::<Vec<_>>(),
        })
    }

    fn for_people(&self) -> String {
        let mut text = format!(
            "{} files with {} records of dataset {}: {} rows would be rejected that are accepted today, {} accepted that are rejected\n",
            self.replayed.len(),
            self.records(),
            self.dataset,
            self.would_reject(),
            self.would_accept(),
        );
        for (rule, RuleChange { would_reject, would_accept, examples }) in sum(&self.replayed) {
            let _ = writeln!(text, "  rule {rule}: would reject {would_reject}, would accept {would_accept}");
            for example in &examples {
                let _ = writeln!(text, "    {example}");
            }
        }
        for (load, error) in &self.unread {
            let _ = writeln!(text, "  load {load} could not be compared: {error}");
        }
        text
    }

    fn records(&self) -> i64 {
        self.replayed.iter().map(|file| file.read).sum()
    }

    fn would_reject(&self) -> u64 {
        self.replayed.iter().map(|file| file.would_reject).sum()
    }

    fn would_accept(&self) -> u64 {
        self.replayed.iter().map(|file| file.would_accept).sum()
    }
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
