//! The text of a definition, and the position of an error in it.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::spanned::Spanned;
use serde::de::DeserializeOwned;

/// The file and the text of a definition.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefinitionText<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl DefinitionText<'_> {
    /// Parses the text.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        toml::from_str(self.text)
            .map_err(|error| self.error_at(error.span().map_or(0, |span| span.start), error.message()))
    }

    /// Refuses a name that is used twice or that the program itself uses.
    ///
    /// # Errors
    /// The first such name, with file and line.
    pub(super) fn check_names<'a>(
        &self,
        kind: &str,
        is_own: impl Fn(&str) -> bool,
        names: impl Iterator<Item = (usize, &'a String)>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (at, name) in names {
            if is_own(name) {
                return Err(
                    self.error_at(at, format!("{kind} {name:?}: the name is in use by the program; choose another"))
                );
            }
            if !seen.insert(name) {
                return Err(self.error_at(at, format!("{kind} {name:?} is defined twice; rename one")));
            }
        }
        Ok(())
    }

    /// Refuses a definition in which something is still to be said.
    ///
    /// # Errors
    /// The first question that is open, with file and line.
    pub(super) fn check_answered(&self, open: &[Spanned<String>]) -> Result<(), String> {
        let refuse = |question: &Spanned<String>| {
            let id = question.get_ref();
            let message = format!(
                "question {id:?} is open; answer it with `small-etl guess … --answer {id}=VALUE`, or write what is missing at the \
                 line marked OPEN and take it off this list"
            );
            Err::<(), _>(self.error(question, message))
        };
        all(open.iter().map(refuse)).map(|_| ())
    }

    /// Returns a message with file and line.
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl Display) -> String {
        self.error_at(at.span().start, message)
    }

    /// Returns a message with the file and the line of that byte.
    pub(super) fn error_at(&self, byte: usize, message: impl Display) -> String {
        let line = self.text[..byte.min(self.text.len())].matches('\n').count() + 1;
        format!("{} line {line}: {message}", self.file)
    }

    /// Checks a name of a column or dataset. Such names go into SQL unchanged, so only plain lowercase words are allowed.
    ///
    /// # Errors
    /// What is wrong with the name, with file and line.
    pub(super) fn name(&self, name: &Spanned<String>) -> Result<String, String> {
        if is_name(name.get_ref()) {
            return Ok(name.get_ref().clone());
        }
        Err(self.error(
            name,
            format!("{:?} is no name; use lowercase letters, digits and _, at most 40, a letter first", name.get_ref()),
        ))
    }

    /// Checks the name of a table, which may have its schema in front.
    ///
    /// # Errors
    /// What is wrong with the name, with file and line.
    pub(super) fn table_name(&self, name: &Spanned<String>) -> Result<String, String> {
        match name.get_ref().split_once('.') {
            Some((schema, table)) if is_name(schema) && is_name(table) => Ok(name.get_ref().clone()),
            _ => self.name(name),
        }
    }
}

/// Returns all values, or everything that is wrong, a line each.
///
/// # Errors
/// The messages of those that are wrong.
pub(super) fn all<T>(results: impl IntoIterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(message) => faults.push(message),
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults.join("\n")) }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && text.len() <= 40
}
