//! Reads a contract of another standard, and makes the texts of a dataset of it.

use std::path::Path;

use serde_json::Value;

use super::write::Texts;
use crate::domain::guess::answers::Answers;
use crate::domain::guess::standard::{self, FromContract};
use crate::domain::{Datasets, table_sql};
use crate::error::{Error, ErrorKind, Result};

/// Reads a contract: JSON or YAML.
///
/// # Errors
/// `Configuration` if the file cannot be read, or is no contract.
pub fn read_contract(path: &Path) -> Result<Value> {
    let unreadable =
        |error| Error::with_source(ErrorKind::Configuration, format!("{}: cannot be read", path.display()), error);
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let wrong = |error| Error::configuration(format!("{}: it is neither JSON nor YAML: {error}", path.display()));
    serde_json::from_str(&text).or_else(|_| serde_yaml_ng::from_str(&text).map_err(wrong))
}

/// Makes a dataset of a contract.
///
/// # Errors
/// `Configuration` if the contract cannot be the definition of a dataset.
pub fn from_contract(path: &Path, contract: &Value, name: &str, answers: &Answers) -> Result<(FromContract, Texts)> {
    let wrong = |message| Error::configuration(format!("{}: {message}", path.display()));
    let told = standard::read(contract, name, answers).map_err(wrong)?;
    // The whole definition is read as the program reads it when it starts.
    let provisional = told.provisional();
    let file = format!("{name}.toml");
    let datasets = Datasets::parse([(file.as_str(), provisional.as_str())]).map_err(wrong)?;
    let dataset = datasets.get(name).map_err(wrong)?;
    let migration = table_sql::create(dataset, |name| name).join(";\n") + ";\n";
    let texts = Texts { name: name.to_owned(), dataset: told.definition(), migration };
    Ok((told, texts))
}
