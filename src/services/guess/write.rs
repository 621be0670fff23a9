//! Writes definitions and migrations into a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::Against;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::{definition, migration};
use crate::error::{Error, ErrorKind, Result};
use crate::services::migrations::numbered;

/// The files of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its definition.
    pub dataset: PathBuf,
    /// The migration that creates its table.
    pub migration: PathBuf,
}

/// Writes the files of each dataset below `folder`. A migration gets the first number that neither the folder nor `newest`, the
/// last one of this program, has taken; one that is there already keeps its number.
///
/// # Errors
/// `Configuration` if a file is there that says something else, unless it is one with open questions, or `force` is set.
pub fn write(folder: &Path, all: &[Guessed], newest: i64, force: bool) -> Result<Vec<Written>> {
    let texts = |guessed: &Guessed| Texts {
        name: guessed.place.name.clone(),
        dataset: definition::definition(guessed),
        migration: migration::migration(guessed),
    };
    write_texts(folder, &all.iter().map(texts).collect::<Vec<_>>(), newest, force)
}

/// The texts of the files of a dataset.
#[derive(Clone, Debug)]
pub struct Texts {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub dataset: String,
    /// The migration that creates its table.
    pub migration: String,
}

/// Writes the files of each dataset, as [`write`] does.
///
/// # Errors
/// The same as those of [`write`].
pub fn write_texts(folder: &Path, all: &[Texts], newest: i64, force: bool) -> Result<Vec<Written>> {
    let (datasets, migrations) = (folder.join("datasets"), folder.join("migrations"));
    for folder in [&datasets, &migrations] {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
    }
    let mut planned: Vec<(PathBuf, String)> = Vec::new();
    let mut written = Vec::new();
    let mut next = newest;
    for (_, number) in numbered(&migrations)? {
        next = next.max(number);
    }
    for texts in all {
        let name = &texts.name;
        let dataset = datasets.join(format!("{name}.toml"));
        let ending = format!("__{name}.sql");
        let known = numbered(&migrations)?
            .into_iter()
            .find(|(file, _)| file.split_once("__").is_some_and(|(_, rest)| format!("__{rest}") == ending));
        let migration = if let Some((file, _)) = known {
            migrations.join(file)
        } else {
            next += 1;
            migrations.join(format!("V{next}{ending}"))
        };
        // What a run with open questions has left is not finished: a run with answers goes on from there.
        let unfinished = fs::read_to_string(&dataset).is_ok_and(|text| text.contains("\nopen_questions = ["));
        for (path, text) in [(&dataset, &texts.dataset), (&migration, &texts.migration)] {
            let other = fs::read_to_string(path).is_ok_and(|known| known != *text);
            if other && !force && !unfinished {
                let message = format!(
                    "{}: this file is there and says something else; give another --name or --out, or overwrite it with --force",
                    path.display()
                );
                return Err(Error::configuration(message));
            }
            planned.push((path.clone(), text.clone()));
        }
        written.push(Written { dataset, migration });
    }
    for (path, text) in planned {
        fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
    }
    Ok(written)
}

/// Writes the definition that reads what has changed, and the migration that its table needs, below `folder`.
///
/// # Errors
/// `Configuration` if a file is there that says something else, unless `force` is set.
pub fn write_against(folder: &Path, against: &Against, newest: i64, force: bool) -> Result<(PathBuf, Option<PathBuf>)> {
    let (datasets, migrations) = (folder.join("datasets"), folder.join("migrations"));
    for folder in [&datasets, &migrations] {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
    }
    let dataset = datasets.join(format!("{}.toml", against.dataset));
    if !force && fs::read_to_string(&dataset).is_ok_and(|known| known != against.definition) {
        let message = format!(
            "{}: this file is there and says something else; give another --out, or overwrite it with --force",
            dataset.display()
        );
        return Err(Error::configuration(message));
    }
    fs::write(&dataset, &against.definition).map_err(|error| unwritable(&dataset, error))?;
    if against.migration.is_empty() {
        return Ok((dataset, None));
    }
    let known = numbered(&migrations)?;
    let same = known
        .iter()
        .find(|(file, _)| fs::read_to_string(migrations.join(file)).is_ok_and(|text| text == against.migration));
    let next = known.iter().map(|(_, number)| *number).max().unwrap_or(0).max(newest) + 1;
    let name = same.map_or_else(|| format!("V{next}__{}_columns.sql", against.dataset), |(file, _)| file.clone());
    let migration = migrations.join(name);
    fs::write(&migration, &against.migration).map_err(|error| unwritable(&migration, error))?;
    Ok((dataset, Some(migration)))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::Configuration, format!("{}: cannot be written", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::super::{Input, guess};
    use super::*;
    use crate::domain::guess::answers::Answers;

    fn guessed(folder: &Path, text: &str, answers: &[&str]) -> Vec<Guessed> {
        let path = folder.join("export.csv");
        fs::write(&path, text).unwrap();
        let input = Input { key: "export.csv".into(), path, folder: None };
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>();
        guess(&[input], "trade", &Answers::parse(&answers).unwrap()).unwrap()
    }

    #[test]
    fn what_says_something_else_is_overwritten_by_force_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = guessed(folder.path(), "id,price\n7,1.5\n8,2.5\n", &[]);
        let written = write(folder.path(), &first, 15, false).unwrap();
        assert!(written[0].migration.ends_with("migrations/V16__trade.sql"), "{written:?}");
        assert_eq!(write(folder.path(), &first, 15, false).unwrap(), written);
        let other = guessed(folder.path(), "id,price,note\n7,1.5,a\n8,2.5,b\n", &[]);
        let message = write(folder.path(), &other, 15, false).unwrap_err().to_string();
        assert!(message.contains("trade.toml") && message.contains("--force"), "{message}");
        assert_eq!(write(folder.path(), &other, 15, true).unwrap(), written);
    }

    #[test]
    fn a_definition_with_open_questions_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let text = "id,at\n7,2025-01-02 10:20:30\n8,2025-01-03 10:20:30\n";
        let open = write(folder.path(), &guessed(folder.path(), text, &[]), 15, false).unwrap();
        let left = fs::read_to_string(&open[0].dataset).unwrap();
        assert!(left.contains("open_questions = [\"zone:at\"]") && left.contains("# OPEN zone:at"), "{left}");
        let done = write(folder.path(), &guessed(folder.path(), text, &["zone:at=none"]), 15, false).unwrap();
        assert_eq!(open, done);
        let text = fs::read_to_string(&done[0].dataset).unwrap();
        assert!(!text.contains("OPEN") && text.contains("type = \"local_timestamp\""), "{text}");
        assert!(fs::read_to_string(&done[0].migration).unwrap().contains("    at timestamp not null"));
    }

    #[test]
    fn a_number_that_the_folder_has_taken_is_not_given_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("migrations")).unwrap();
        fs::write(folder.path().join("migrations/V40__other.sql"), "select 1;").unwrap();
        let written = write(folder.path(), &guessed(folder.path(), "id,price\n7,1.5\n", &[]), 15, false).unwrap();
        assert!(written[0].migration.ends_with("V41__trade.sql"), "{written:?}");
    }
}
