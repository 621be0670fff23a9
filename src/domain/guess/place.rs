//! Where a table was found, and what its layout is.

use super::answers::About;
use super::column::Sent;
use super::question::Asked;

/// What is known of a file besides its records.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The name of the dataset.
    pub name: String,
    /// The key of the object, or the path of the file.
    pub key: String,
    /// The part of the file that the table is in; empty for a whole object.
    pub part: String,
    /// Patterns of the keys that the source claims.
    pub files: Vec<String>,
    /// What its files consist of, and how they are cut, as options of a source with their evidence.
    pub layout: Vec<Line>,
    /// Whether it is a workbook.
    pub sheet: bool,
    /// Whether its values have names and no places, as those of JSON lines have.
    pub named: bool,
    /// Where the cells are in a line of fixed width, in characters.
    pub places: Vec<(usize, usize)>,
    /// Whether a blank stands between any two of them.
    pub apart: bool,
    /// The columns of a workbook whose numbers it shows as percentages, from 0.
    pub percents: Vec<usize>,
    /// How much of the file was looked at.
    pub looked_at: String,
    /// The question for its encoding, if its bytes do not tell.
    pub encoding: Option<Asked>,
}

/// An option with the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The option and its value.
    pub option: String,
    /// Why.
    pub evidence: String,
}

impl Line {
    /// An option with its evidence.
    pub fn new(option: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { option: option.into(), evidence: evidence.into() }
    }
}

/// What a question about a column is about.
pub(super) fn about<'a>(place: &'a Place, column: &'a Sent<'_>) -> About<'a> {
    About { part: &place.part, header: column.header.as_deref(), position: column.position, nth: column.nth }
}
