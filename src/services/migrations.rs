//! The files of migrations in a folder of the user's, `VN__name.sql`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The migrations in a folder, with their numbers.
///
/// # Errors
/// `Configuration` if the folder cannot be read.
pub fn numbered(folder: &Path) -> Result<Vec<(String, i64)>> {
    let mut all: Vec<(String, i64)> =
        names(folder)?.into_iter().filter_map(|name| number(&name).map(|number| (name, number))).collect();
    all.sort();
    Ok(all)
}

/// Everything that is wrong with the names of the files in a folder, a sentence each.
///
/// # Errors
/// `Configuration` if the folder cannot be read.
pub fn faults(folder: &Path) -> Result<Vec<String>> {
    let mut known: BTreeMap<i64, String> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut names = names(folder)?;
    names.sort();
    for name in names.into_iter().filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "sql"))
    {
        let path = folder.join(&name).display().to_string();
        match number(&name) {
            None => faults.push(format!("{path}: is never applied; name it VN__name.sql, with a number N")),
            Some(number) => match known.get(&number) {
                Some(other) => faults.push(format!("{path}: {other} has the same number; give it another")),
                None => {
                    known.insert(number, name);
                }
            },
        }
    }
    Ok(faults)
}

/// Writes a migration: into the file `out` if that ends with `.sql`, otherwise into the folder `out`, with the first number that neither
/// the folder nor `newest`, the last migration of this program, has taken.
///
/// # Errors
/// `Configuration` if the file is there already or cannot be written.
pub fn write(out: &Path, name: &str, text: &str, newest: i64) -> Result<PathBuf> {
    let unwritable = |path: &Path, error| {
        Error::with_source(ErrorKind::Configuration, format!("{}: cannot be written", path.display()), error)
    };
    let path = if out.extension().is_some_and(|extension| extension == "sql") {
        out.to_owned()
    } else {
        fs::create_dir_all(out).map_err(|error| unwritable(out, error))?;
        let last = numbered(out)?.into_iter().map(|(_, number)| number).max().unwrap_or(0).max(newest);
        out.join(format!("V{}__{name}.sql", last + 1))
    };
    // A migration that may have been applied is never changed.
    let file = fs::File::create_new(&path).map_err(|error| unwritable(&path, error))?;
    std::io::Write::write_all(&mut &file, text.as_bytes()).map_err(|error| unwritable(&path, error))?;
    Ok(path)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable =
        |error| Error::with_source(ErrorKind::Configuration, format!("{}: cannot be read", folder.display()), error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    entries.map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned())).collect()
}

fn number(name: &str) -> Option<i64> {
    name.strip_suffix(".sql")?.strip_prefix('V')?.split_once("__")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_not_be_applied_and_a_number_that_is_taken_are_faults() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["V1__a.sql", "V2__b.sql", "V2__c.sql", "v3__d.sql", "V4_e.sql", "readme.md"] {
            fs::write(folder.path().join(name), "select 1").unwrap();
        }
        let faults = faults(folder.path()).unwrap().join("\n");
        assert_eq!(faults.matches("never applied").count(), 2, "{faults}");
        assert!(faults.contains("V2__c.sql: V2__b.sql has the same number"), "{faults}");
        assert_eq!(numbered(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn a_migration_gets_the_next_number_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (into, file) = (folder.path().join("mine"), folder.path().join("mine/V40__a.sql"));
        assert!(write(&into, "a", "select 1;", 15).unwrap().ends_with("V16__a.sql"));
        assert_eq!(write(&file, "b", "select 2;", 15).unwrap(), file);
        assert!(write(&into, "a", "select 3;", 15).unwrap().ends_with("V41__a.sql"));
        assert!(write(&file, "b", "select 4;", 15).unwrap_err().to_string().contains("V40__a.sql: cannot be written"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "select 2;");
    }
}
