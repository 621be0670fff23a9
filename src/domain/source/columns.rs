//! What the columns of a source share while they are read from its definition.

use super::cell_form::{CellForm, Value};
use super::layout::Header;
use super::schema::SourceDefinition;
use super::values::{Values, Wrong};
use crate::domain::definition_text::DefinitionText;

/// What all columns of a source share.
pub(super) struct Columns<'a> {
    pub(super) text: DefinitionText<'a>,
    pub(super) source: &'a SourceDefinition,
    pub(super) values: Values,
    pub(super) header: Header,
    /// The cells that have no value where the source does not say.
    pub(super) null_values: &'a [String],
}

impl Columns<'_> {
    /// A message with file and line.
    pub(super) fn wrong(&self, (at, message): Wrong) -> String {
        self.text.error(&at, message)
    }

    /// Cells of this value, with what the options say of all cells. A word that is listed with its value is no null.
    pub(super) fn plain(&self, values: &Values, value: Value) -> CellForm {
        let null_values = values.null_values.as_ref().map_or(self.null_values, |values| values.get_ref());
        let is_listed = |word: &String| match &value {
            Value::Map(map) => map.contains_key(word),
            Value::Words(yes, no) => yes.contains(word) || no.contains(word),
            _ => false,
        };
        let null_values = null_values.iter().filter(|word| !is_listed(word)).cloned().collect();
        CellForm { clean: values.clean(), null_values, part: None, value }
    }
}
