//! `small-etl guess`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::guess_arguments::GuessArguments;
use super::questions::{ask, open_questions};
use super::report;
use super::terminal::{DONE, FILE_UNUSABLE, QUESTIONS_OPEN, as_json, print, say, warn};
use crate::config::Settings;
use crate::data_access::duckdb::blocking;
use crate::data_access::postgres::newest_migration;
use crate::data_access::s3::ObjectStore;
use crate::domain::Location;
use crate::domain::guess::answers::{About, Answers};
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::field::Field;
use crate::domain::guess::key::Key;
use crate::domain::guess::names;
use crate::domain::guess::question::Question;
use crate::domain::object::with_part;
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::pipeline::{self, CheckedFile, Context, Request};
use crate::services::guess::{self, Against, Input, Written};
use crate::services::migrations::numbered;
use crate::start;

/// What a load of the files would do.
#[derive(Default)]
struct Checked {
    read: i64,
    rejected: i64,
    /// Why, for the first rejects, each with its file and line.
    reasons: Vec<String>,
}

/// How many reasons are kept.
const MOST_REASONS: usize = 10;

/// What became of a dataset.
struct Outcome {
    guessed: Guessed,
    written: Written,
    checked: std::result::Result<Checked, String>,
}

impl Outcome {
    /// Whether the rows of the file are no rows of the definition.
    fn is_misread(&self) -> bool {
        self.checked.as_ref().is_ok_and(|checked| checked.rejected * 2 > checked.read)
    }
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
        return super::guess_from::run((contract, &name), &arguments, answers, asks, newest(settings));
    }
    let fetched = guess::fetch(&locations, &ObjectStore::default()).await?;
    let inputs = fetched.inputs.clone();
    if arguments.against.is_some() {
        return against(settings, arguments, inputs, answers, &name).await;
    }
    let given: Vec<String> =
        arguments.answers.iter().filter_map(|answer| Some(answer.rsplit_once('=')?.0.trim().to_owned())).collect();
    let (guessed, unused) = blocking(move || look(&inputs, &name, answers, asks)).await?;
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
        warn(&format!(
            "--answer {}: that is not an answer; write one such as {}",
            question.id,
            question.answers.join(", ")
        ));
    }
    let written = guess::write(&arguments.out, &guessed, newest(settings), arguments.force)?;
    // Nobody waits for the whole file to see what was found.
    if !arguments.json {
        print(&for_people(&guessed, &written))?;
    }
    let mut outcomes = Vec::new();
    let context = context_of(settings, &guessed);
    for (guessed, written) in guessed.into_iter().zip(written) {
        let checked = match &context {
            Ok(context) => check(context, &guessed.place.name, &locations).await,
            Err(error) => Err(Error::configuration(error.to_string())),
        };
        let checked = match checked {
            Err(error) if matches!(error.kind(), ErrorKind::File(_) | ErrorKind::Configuration) => {
                Err(pipeline::in_full(&error))
            }
            checked => Ok(checked?),
        };
        outcomes.push(Outcome { guessed, written, checked });
    }
    let open = open_in(outcomes.iter().map(|outcome| &outcome.guessed));
    print(&if arguments.json {
        as_json(&for_programs(&arguments.files, &outcomes, &open))?
    } else {
        checked_for_people(&outcomes)
    })?;
    Ok(match () {
        () if !open.is_empty() => QUESTIONS_OPEN,
        () if outcomes.iter().any(|outcome| outcome.checked.is_err()) => FILE_UNUSABLE,
        () if outcomes.iter().any(Outcome::is_misread) => {
            warn(
                "more than half of the rows would be rejected: the definition is not that of the file; correct it first",
            );
            FILE_UNUSABLE
        }
        () => {
            if !arguments.json {
                let claims = |location: &Location| {
                    context
                        .as_ref()
                        .is_ok_and(|context| context.datasets.reading(location.key().as_str()).next().is_some())
                };
                // A name that begins with a number is not known by its beginning.
                let dataset = outcomes.first().filter(|_| outcomes.len() == 1 && !locations.iter().all(claims));
                let dataset = dataset.map(|outcome| outcome.guessed.place.name.as_str());
                print(&next_steps(&arguments.out, &arguments.files, dataset))?;
            }
            DONE
        }
    })
}

/// Prepares what `validate` needs to check files with what was guessed.
fn context_of(settings: &Settings, guessed: &[Guessed]) -> Result<Context> {
    let datasets = guess::datasets_of(guessed).map_err(Error::configuration)?;
    start::context_of(settings, datasets)
}

/// Checks whole files against a dataset, as `validate` does.
async fn check(context: &Context, dataset: &str, locations: &[Location]) -> Result<Checked> {
    let mut found = Checked::default();
    for location in locations {
        let request = Request { dataset: Some(dataset.to_owned()), ..Request::new(location.clone()) };
        let each = async |checked: Result<CheckedFile>| {
            let file = checked?;
            found.read += file.extracted.read;
            found.rejected += file.validated.rejected;
            let name = with_part(report::base_name(request.location.key().as_str()), &file.part);
            let more = file.first_rejects(MOST_REASONS - found.reasons.len()).await?;
            found.reasons.extend(more.iter().map(|reject| reject.describe(&name)));
            Ok(())
        };
        let checking = Box::pin(pipeline::validate(context, &request, each));
        report::with_progress_bar(&request.progress, checking).await?;
    }
    Ok(found)
}

/// The highest number that a migration of this program has, or one in the folder that the settings name.
fn newest(settings: &Settings) -> i64 {
    let own = settings.migrations.path.as_deref().map(|folder| numbered(folder).unwrap_or_default());
    own.into_iter().flatten().map(|(_, number)| number).fold(newest_migration(), i64::max)
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
        Some(guess::write_against(&arguments.out, &found, newest(settings), arguments.force)?)
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
                    say(&format!("{answer:?} is not an answer to {}", question.id));
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
            Key::Content(..) => json!("content"),
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
            Key::Content(..) => "the content of the row".to_owned(),
            Key::Columns(columns, _) => columns.join(", "),
        };
        let id = About { part: &guessed.place.part, ..About::default() }.id("key");
        let evidence = guessed.key.evidence();
        let _ = writeln!(text, "  key: {key}: {evidence}; --answer {id}=COLUMN,… or {id}=content chooses another");
    }
    let open = open_in(all.iter());
    text.push_str(&open_questions(&open));
    text
}

/// The open questions, each once: one may be about several tables of a file.
fn open_in<'g>(all: impl Iterator<Item = &'g Guessed>) -> Vec<&'g Question> {
    let mut open: Vec<&Question> = Vec::new();
    for question in all.flat_map(Guessed::open) {
        if open.iter().all(|known| known.id != question.id) {
            open.push(question);
        }
    }
    open
}

/// The commands that load the files with what was written.
fn next_steps(out: &Path, files: &[String], dataset: Option<&str>) -> String {
    let is_plain = |sign: char| sign.is_alphanumeric() || "/._:-+,=@".contains(sign);
    let word = |text: &str| {
        if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let folder = |name: &str| word(&out.join(name).display().to_string());
    let dataset = dataset.map_or(String::new(), |name| format!(" --dataset {name}"));
    format!(
        "\nTo load them into the database that DATABASE_URL names:\n  \
         export SMALL_ETL__DATASETS__PATH={} SMALL_ETL__MIGRATIONS__PATH={}\n  \
         small-etl migrate\n  small-etl load{dataset} {}\n",
        folder("datasets"),
        folder("migrations"),
        files.iter().map(|file| word(file)).collect::<Vec<_>>().join(" ")
    )
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
