//! `small-etl guess --from`: a contract that exists is a start.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::guess_arguments::GuessArguments;
use super::questions::{ask, open_questions};
use super::terminal::{DONE, QUESTIONS_OPEN, as_json, print};
use crate::domain::guess::answers::Answers;
use crate::domain::guess::question::{Asked, Question};
use crate::error::Result;
use crate::services::guess::{from_contract, read_contract, write_texts};

pub(super) fn run(
    (path, name): (&Path, &str),
    arguments: &GuessArguments,
    mut answers: Answers,
    asks: bool,
    newest: i64,
) -> Result<u8> {
    let contract = read_contract(path)?;
    let mut skipped: Vec<String> = Vec::new();
    let (told, texts) = loop {
        let (told, texts) = from_contract(path, &contract, name, &answers)?;
        let mut open = told.asked.iter().filter(|asked| asked.is_open()).map(|asked| &asked.question);
        let next = open.find(|question| !skipped.contains(&question.id)).cloned();
        let Some(question) = next.filter(|_| asks) else { break (told, texts) };
        match ask(&question) {
            // An answer that is not one leaves the question open; then it is asked once more.
            Some(answer) => answers.add(&question.id, &answer),
            None => skipped.push(question.id),
        }
    };
    let written = write_texts(&arguments.out, &[texts], newest, arguments.force)?.remove(0);
    let open: Vec<&Question> =
        told.asked.iter().filter(|asked| Asked::is_open(asked)).map(|asked| &asked.question).collect();
    let text = if arguments.json {
        let columns: Vec<_> = told
            .columns
            .iter()
            .map(|(name, kind, header)| json!({ "header": header, "name": name, "type": kind }))
            .collect();
        let dataset = json!({
            "part": "", "name": told.name, "columns": columns, "dataset": written.dataset, "migration": written.migration,
        });
        as_json(&json!({ "files": [path], "datasets": [dataset], "questions": open }))?
    } else {
        let mut text = format!("dataset {} ({})\n", told.name, path.display());
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {}\n  {}", written.dataset.display(), written.migration.display());
        text + &open_questions(&open)
    };
    print(&text)?;
    Ok(if open.is_empty() { DONE } else { QUESTIONS_OPEN })
}
