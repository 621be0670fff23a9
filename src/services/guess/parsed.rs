//! What was guessed, read from its text as the program reads it when it starts.

use crate::domain::Datasets;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::definition;
use crate::domain::source::model::Source;

/// The datasets of what was guessed. Where a question is open, any answer stands for the one to come.
///
/// # Errors
/// A message if a definition cannot be read.
pub fn datasets_of(guessed: &[Guessed]) -> Result<Datasets, String> {
    let texts: Vec<(String, String)> =
        guessed.iter().map(|guessed| (guessed.place.name.clone(), definition::provisional(guessed))).collect();
    Datasets::parse(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}

/// The source of what was guessed.
pub(super) fn source_of(guessed: &Guessed) -> Result<Source, String> {
    let datasets = datasets_of(std::slice::from_ref(guessed))?;
    datasets.get(&guessed.place.name)?.sources.first().cloned().ok_or_else(|| "there is no source".to_owned())
}
