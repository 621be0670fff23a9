//! What tests see of a file: what was guessed, and its rows as the engine reads them.

use super::parsed::source_of;
use super::values::{Values, read};
use super::{Input, guess};
use crate::domain::guess::answers::Answers;
use crate::domain::guess::dataset::Guessed;

/// What was guessed of a file, and its rows as the engine reads them.
pub(super) struct Told {
    pub(super) guessed: Vec<Guessed>,
    pub(super) rows: Vec<Vec<Values>>,
}

/// Guesses a file, and reads it.
pub(super) fn look(name: &str, bytes: &[u8], answers: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let input = Input { key: format!("incoming/{name}"), path, folder: None };
    let answers = Answers::parse(&answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>()).unwrap();
    let guessed = guess(std::slice::from_ref(&input), "guessed", &answers).unwrap();
    let rows = guessed.iter().map(|guessed| {
        let source = source_of(guessed).unwrap();
        let mut rows = Vec::new();
        read(guessed, &source, &input, |values| rows.push(values.clone())).unwrap();
        rows
    });
    let rows = rows.collect();
    Told { guessed, rows }
}

/// Why nothing is made of a file; `None` if something is.
pub(super) fn refusal(name: &str, bytes: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let input = Input { key: format!("incoming/{name}"), path, folder: None };
    guess(&[input], "guessed", &Answers::default()).err()
}

impl Told {
    /// The rows of another file, read with what was guessed of this one.
    pub(super) fn read_again(&self, name: &str, bytes: &[u8]) -> Vec<Values> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let input = Input { key: format!("incoming/{name}"), path, folder: None };
        let source = source_of(&self.guessed[0]).unwrap();
        let mut rows = Vec::new();
        read(&self.guessed[0], &source, &input, |values| rows.push(values.clone())).unwrap();
        rows
    }

    /// The ids of the open questions.
    pub(super) fn questions(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.guessed.iter().flat_map(Guessed::open).map(|question| question.id.clone()).collect();
        all.sort();
        all
    }

    /// The columns as `name type`.
    pub(super) fn columns(&self, table: usize) -> Vec<String> {
        self.guessed[table].fields.iter().map(|field| format!("{} {}", field.name, field.kind.name())).collect()
    }

    /// A row, its values with bars between them.
    pub(super) fn row(&self, table: usize, row: usize) -> String {
        let values = self.rows[table][row].as_ref().unwrap_or_else(|reason| panic!("{reason}"));
        let shown = |value: &Result<Option<String>, String>| match value {
            Ok(value) => value.clone().unwrap_or_default(),
            Err(reason) => format!("!{reason}"),
        };
        values.iter().map(shown).collect::<Vec<_>>().join("|")
    }
}
