//! Writes definitions and migrations into a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::{definition, migration};
use crate::error::{Error, ErrorKind, Result};

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
    for guessed in all {
        let name = &guessed.place.name;
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
        for (path, text) in [(&dataset, definition::definition(guessed)), (&migration, migration::migration(guessed))] {
            let other = fs::read_to_string(path).is_ok_and(|known| known != text);
            if other && !force && !unfinished {
                let message = format!(
                    "{}: this file is there and says something else; give another --name or --out, or overwrite it with --force",
                    path.display()
                );
                return Err(Error::configuration(message));
            }
            planned.push((path.clone(), text));
        }
        written.push(Written { dataset, migration });
    }
    for (path, text) in planned {
        fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
    }
    Ok(written)
}

/// The migrations in a folder, with their numbers.
fn numbered(folder: &Path) -> Result<Vec<(String, i64)>> {
    let unreadable =
        |error| Error::with_source(ErrorKind::Configuration, format!("{}: cannot be read", folder.display()), error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let number =
            name.strip_prefix('V').and_then(|rest| rest.split_once("__")).and_then(|(number, _)| number.parse().ok());
        all.extend(number.map(|number| (name, number)));
    }
    all.sort();
    Ok(all)
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::Configuration, format!("{}: cannot be written", path.display()), error)
}
