//! `small-etl guess`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, QUESTIONS_OPEN, as_json, print, warn};
use crate::config::Settings;
use crate::data_access::duckdb::blocking;
use crate::data_access::postgres::newest_migration;
use crate::data_access::s3::ObjectStore;
use crate::domain::Location;
use crate::domain::guess::answers::Answers;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::field::Field;
use crate::domain::guess::key::Key;
use crate::domain::guess::names;
use crate::domain::guess::question::Question;
use crate::error::{Error, Reason, Result};
use crate::services::guess::{self, Against, Checked, Input, Written};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl guess export.csv --name trade
  small-etl guess export.csv --name trade --answer 'zone:Trade time=Europe/Paris'
  small-etl guess export.csv --against trade --out changed
  small-etl guess s3://my-bucket/incoming/acme/2025-12-22.zip --name acme --out etl --json
  small-etl guess --from trade.odcs.yaml --name trade

What no program can know is a question. On a terminal it is asked; elsewhere the files are written with the open line marked,
the exit code is 4, and --json lists the questions.")]
pub(super) struct GuessArguments {
    /// Files on this machine or objects in S3, all of the same kind
    #[arg(value_name = "FILE|s3://BUCKET/KEY", required_unless_present = "from")]
    files: Vec<String>,
    /// Instead of files, read a contract: a Table Schema of Frictionless Data, or an Open Data Contract
    #[arg(long, value_name = "CONTRACT", conflicts_with = "files")]
    from: Option<PathBuf>,
    /// What the dataset and its table are called
    #[arg(long, value_name = "NAME", required_unless_present = "against", conflicts_with = "against")]
    pub(super) name: Option<String>,
    /// Say how the files differ from this dataset, and write what would read them
    #[arg(long, value_name = "DATASET", conflicts_with = "from")]
    against: Option<String>,
    /// Write the definitions and the migrations below this folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
    /// Answer a question, or rename a column with name:HEADER=NAME
    #[arg(long = "answer", value_name = "ID=VALUE")]
    answers: Vec<String>,
    /// Overwrite files that say something else
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What became of a dataset.
struct Outcome {
    guessed: Guessed,
    written: Written,
    checked: std::result::Result<Checked, String>,
}

pub(super) async fn run(settings: &Settings, arguments: GuessArguments) -> Result<u8> {
    let name = arguments.name.clone().or_else(|| arguments.against.clone()).unwrap_or_default();
    if arguments.against.is_none() && !names::is_legal(&name) {
        let message = format!(
            "{name:?} is not a name; use lowercase letters, digits and _, at most 40, a letter first, and no word of SQL"
        );
        return Err(Error::configuration(message));
    }
    let locations = arguments
        .files
        .iter()
        .map(|file| Location::parse(file).map_err(Error::configuration))
        .collect::<Result<Vec<_>>>()?;
    let answers = Answers::parse(&arguments.answers).map_err(Error::configuration)?;
    let asks = asks(&arguments);
    if let Some(contract) = &arguments.from {
        return super::guess_from::run(contract, &name, &arguments, answers, asks);
    }
    let fetched = guess::fetch(&locations, &ObjectStore::default()).await?;
    let inputs = fetched.inputs.clone();
    if arguments.against.is_some() {
        return against(settings, arguments, inputs, answers, &name).await;
    }
    let given: Vec<String> =
        arguments.answers.iter().filter_map(|answer| Some(answer.rsplit_once('=')?.0.to_owned())).collect();
    let (guessed, unused, inputs) = blocking(move || {
        let (guessed, unused) = look(&inputs, &name, answers, asks)?;
        Ok((guessed, unused, inputs))
    })
    .await?;
    for id in &unused {
        let known: Vec<String> =
            guessed.iter().flat_map(|guessed| &guessed.asked).map(|asked| asked.question.id.clone()).collect();
        let known = if known.is_empty() {
            "there are no questions".to_owned()
        } else {
            format!("the questions are {}", known.join(", "))
        };
        warn(&format!("--answer {id}: there is no such question, and nothing was done with it; {known}"));
    }
    for question in guessed.iter().flat_map(Guessed::open).filter(|question| given.contains(&question.id)) {
        warn(&format!("--answer {}: that is not an answer; it is one of {}", question.id, question.answers.join(", ")));
    }
    let written = guess::write(&arguments.out, &guessed, newest_migration(), arguments.force)?;
    // Nobody waits for the whole file to see what was found.
    if !arguments.json {
        print(&for_people(&guessed, &written))?;
    }
    let outcomes = blocking(move || {
        let check = |(guessed, written): (Guessed, Written)| {
            let checked = guess::check(&guessed, &inputs);
            Outcome { guessed, written, checked }
        };
        Ok(guessed.into_iter().zip(written).map(check).collect::<Vec<Outcome>>())
    })
    .await?;
    let open: Vec<&Question> = outcomes.iter().flat_map(|outcome| outcome.guessed.open()).collect();
    print(&if arguments.json {
        as_json(&for_programs(&arguments.files, &outcomes, &open))?
    } else {
        checked_for_people(&outcomes)
    })?;
    Ok(if open.is_empty() { DONE } else { QUESTIONS_OPEN })
}

/// Says how files differ from a dataset, and writes the definition and the migration that take them.
async fn against(
    settings: &Settings,
    arguments: GuessArguments,
    inputs: Vec<Input>,
    mut answers: Answers,
    name: &str,
) -> Result<u8> {
    let datasets = settings.datasets()?;
    let (asks, name) = (asks(&arguments), name.to_owned());
    let compare = move || {
        let mut skipped: BTreeSet<String> = BTreeSet::new();
        loop {
            let unusable = |message| Error::file(Reason::Malformed, message);
            let found = guess::against(&datasets, &name, &inputs, &answers).map_err(unusable)?;
            let open = found.asked.iter().filter(|asked| asked.is_open()).map(|asked| &asked.question);
            let next = open.clone().find(|question| !skipped.contains(&question.id)).cloned();
            let Some(question) = next.filter(|_| asks) else { return Ok(found) };
            match ask(&question) {
                Some(answer) => answers.add(&question.id, &answer),
                None => drop(skipped.insert(question.id)),
            }
        }
    };
    let found: Against = blocking(compare).await?;
    let written = if found.differences.is_empty() {
        None
    } else {
        Some(guess::write_against(&arguments.out, &found, newest_migration(), arguments.force)?)
    };
    let open: Vec<&Question> =
        found.asked.iter().filter(|asked| asked.is_open()).map(|asked| &asked.question).collect();
    print(&if arguments.json {
        let (definition, migration) = written.clone().map_or((None, None), |(path, migration)| (Some(path), migration));
        let differences: Vec<Value> = found
            .differences
            .iter()
            .map(|difference| {
                let mut told = json!(difference);
                told["message"] = difference.to_string().into();
                told
            })
            .collect();
        as_json(&json!({
            "files": arguments.files,
            "against": {
                "dataset": found.dataset, "source": found.source, "differences": differences,
                "definition": definition, "migration": migration,
                "validated": { "read": found.read, "rejected": found.rejected },
            },
            "questions": open,
        }))?
    } else {
        against_for_people(&found, written.as_ref(), &open)
    })?;
    Ok(if open.is_empty() { DONE } else { QUESTIONS_OPEN })
}

fn against_for_people(found: &Against, written: Option<&(PathBuf, Option<PathBuf>)>, open: &[&Question]) -> String {
    let source = found.source.as_ref().map_or_else(|| "the plain form".to_owned(), |source| format!("source {source}"));
    let mut text = String::new();
    // Writing to a string does not fail.
    let Some((definition, migration)) = written else {
        let _ = writeln!(text, "dataset {} ({source}): nothing has changed", found.dataset);
        return text;
    };
    let _ = writeln!(text, "dataset {} ({source}):", found.dataset);
    for difference in &found.differences {
        let _ = writeln!(text, "  {difference}");
    }
    let _ = writeln!(text, "  {}", definition.display());
    if let Some(migration) = migration {
        let _ = writeln!(text, "  {}", migration.display());
    }
    let loads = found.read - found.rejected;
    let _ = writeln!(text, "  {} rows read: {loads} would load, {} would be rejected", found.read, found.rejected);
    text + &open_questions(open)
}

/// Whether somebody is there to be asked.
fn asks(arguments: &GuessArguments) -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !arguments.json
}

/// What was guessed, and the answers that nobody asked for.
type Looked = (Vec<Guessed>, Vec<String>);

/// Looks at the files, and asks on the terminal what they do not tell.
fn look(inputs: &[Input], name: &str, mut answers: Answers, asks: bool) -> Result<Looked> {
    let unusable = |message| Error::file(Reason::Malformed, message);
    let mut skipped: BTreeSet<String> = BTreeSet::new();
    let guessed = loop {
        let guessed = guess::guess(inputs, name, &answers).map_err(unusable)?;
        let next = guessed.iter().flat_map(Guessed::open).find(|question| !skipped.contains(&question.id)).cloned();
        let Some(question) = next.filter(|_| asks) else { break guessed };
        match ask(&question) {
            Some(answer) => {
                answers.add(&question.id, &answer);
                let again = guess::guess(inputs, name, &answers).map_err(unusable)?;
                if again.iter().flat_map(Guessed::open).any(|open| open.id == question.id) {
                    super::say(&format!("{answer:?} is not an answer to {}", question.id));
                }
            }
            None => {
                skipped.insert(question.id);
            }
        }
    };
    let asked = guessed.iter().flat_map(|guessed| &guessed.asked).map(|asked| asked.question.id.clone()).collect();
    let unused = answers.unused(&asked).into_iter().map(str::to_owned).collect();
    Ok((guessed, unused))
}

/// Asks a person; `None` if nothing was answered.
pub(super) fn ask(question: &Question) -> Option<String> {
    use std::io::Write as _;
    let text = format!("{}\n  (empty leaves it open) > ", shown(question, ""));
    // Nobody is left to ask when standard error is closed.
    let mut out = anstream::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(line.trim().to_owned()).filter(|answer| !answer.is_empty())
}

fn for_programs(files: &[String], outcomes: &[Outcome], open: &[&Question]) -> Value {
    let column = |field: &Field| {
        json!({
            "header": field.header, "name": field.name, "type": field.kind.name(), "form": field.form,
            "evidence": field.evidence, "required": field.required,
            "part": field.is_unit.then_some("unit"), "made": field.is_made,
        })
    };
    let dataset = |outcome: &Outcome| {
        let Outcome { guessed, written, checked } = outcome;
        let key = match &guessed.key {
            Key::Content(_) => json!("content"),
            Key::Columns(columns, _) => json!(columns),
        };
        let validated = match checked {
            Ok(checked) => json!({ "read": checked.read, "rejected": checked.rejected, "reasons": checked.reasons }),
            Err(message) => json!({ "read": 0, "rejected": 0, "error": message }),
        };
        json!({
            "part": guessed.place.part, "name": guessed.place.name,
            "columns": guessed.fields.iter().map(column).collect::<Vec<_>>(),
            "key": key, "version": guessed.version.as_deref().unwrap_or("arrival"),
            "looked_at": guessed.place.looked_at,
            "dataset": written.dataset, "migration": written.migration, "validated": validated,
        })
    };
    json!({ "files": files, "datasets": outcomes.iter().map(dataset).collect::<Vec<_>>(), "questions": open })
}

fn for_people(all: &[Guessed], written: &[Written]) -> String {
    let mut text = String::new();
    for (guessed, written) in all.iter().zip(written) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "dataset {} ({})", guessed.place.name, guessed.place.looked_at);
        let _ = writeln!(text, "  {}", written.dataset.display());
        let _ = writeln!(text, "  {}", written.migration.display());
        let width = guessed.fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
        for field in &guessed.fields {
            let _ = writeln!(text, "  {:width$}  {:15}  {}", field.name, field.kind.name(), field.evidence);
        }
        let key = match &guessed.key {
            Key::Content(_) => "the content of the row".to_owned(),
            Key::Columns(columns, _) => columns.join(", "),
        };
        let _ = writeln!(text, "  key: {key}: {}", guessed.key.evidence());
    }
    let open: Vec<&Question> = all.iter().flat_map(Guessed::open).collect();
    text.push_str(&open_questions(&open));
    text
}

/// What a load of the files would do.
fn checked_for_people(outcomes: &[Outcome]) -> String {
    // Writing to a string does not fail.
    let mut text = String::new();
    let is_open = outcomes.iter().any(|outcome| outcome.guessed.open().next().is_some());
    let _ = if is_open { writeln!(text, "\nWith any answers:") } else { Ok(()) };
    for Outcome { guessed, checked, .. } in outcomes {
        let _ = if outcomes.len() > 1 { writeln!(text, "dataset {}", guessed.place.name) } else { Ok(()) };
        match checked {
            Ok(checked) => {
                let loads = checked.read - checked.rejected;
                let _ = writeln!(
                    text,
                    "  {} rows read: {loads} would load, {} would be rejected",
                    checked.read, checked.rejected
                );
                for reason in &checked.reasons {
                    let _ = writeln!(text, "    {reason}");
                }
            }
            Err(message) => {
                let _ = writeln!(text, "  the definition does not fit: {message}");
            }
        }
    }
    text
}

/// The questions that nobody has answered, for people.
pub(super) fn open_questions(open: &[&Question]) -> String {
    let mut text = String::new();
    if !open.is_empty() {
        text.push_str("\nOpen questions; answer them with --answer ID=VALUE:\n");
    }
    for question in open {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", shown(question, "  "));
    }
    text
}

/// A question with the values that raise it and its answers.
fn shown(question: &Question, indent: &str) -> String {
    let Question { id, why, values, answers } = question;
    let example =
        if values.is_empty() { String::new() } else { format!("\n{indent}  for example {}", values.join(", ")) };
    format!("{indent}{id}\n{indent}  {why}{example}\n{indent}  answers: {}", answers.join(", "))
}
