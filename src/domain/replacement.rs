//! What a file of mode `replace` replaces, as its definition says.

use schemars::JsonSchema;
use serde::Deserialize;

use super::column::Column;
use super::definition_text::DefinitionText;
use super::expression::unknown;
use super::key_definition::{Names, check_columns};
use super::mode::{Filled, Mode};
use super::source::model::{Origin, Source};
use super::spanned::Spanned;

/// What a file replaces, and what becomes of the rows that it does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replacement {
    /// The columns whose values are the scope of a row. A file replaces the scopes that its rows have; without columns it replaces the
    /// whole table.
    pub scope: Vec<String>,
    /// The column that is set to true in such rows. Without one they are deleted.
    pub flag: Option<String>,
    /// A file that would take away a greater share of the rows of its scopes fails.
    pub max_delete_rate: Option<f64>,
    /// Whether a file without any record empties its scope.
    pub empty_deletes: bool,
}

impl Replacement {
    /// The column that the program fills.
    pub(super) fn filled(&self) -> Option<Filled> {
        self.flag.clone().map(Filled::Deleted)
    }
}

/// What an empty file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Empty {
    /// Nothing.
    #[default]
    Keep,
    /// It deletes the rows of its scope.
    Delete,
}

/// What a definition says of it.
pub(super) struct GivenReplacement<'a> {
    pub(super) replace_by: Option<&'a Spanned<Names>>,
    pub(super) deleted: Option<&'a Spanned<String>>,
    pub(super) max_delete_rate: Option<&'a Spanned<f64>>,
    pub(super) empty: Option<&'a Spanned<Empty>>,
}

impl GivenReplacement<'_> {
    /// Refuses options of another mode.
    fn check_mode(&self, source: &DefinitionText<'_>, mode: &dyn Mode) -> Result<(), String> {
        let given = [
            ("replace_by", self.replace_by.map(|option| option.span().start)),
            ("deleted", self.deleted.map(|option| option.span().start)),
            ("max_delete_rate", self.max_delete_rate.map(|option| option.span().start)),
            ("empty", self.empty.map(|option| option.span().start)),
        ];
        let foreign = given.into_iter().find(|(name, at)| at.is_some() && !mode.options().contains(name));
        let Some((name, Some(at))) = foreign else { return Ok(()) };
        Err(source.error_at(at, format!("{name} is an option of mode \"replace\"; write mode = \"replace\"")))
    }

    /// Reads it for a dataset with these columns and ignored ones; `None` in another mode.
    pub(super) fn read(
        &self,
        source: &DefinitionText<'_>,
        mode: &dyn Mode,
        (columns, ignored): (&[Column], &[String]),
    ) -> Result<Option<Replacement>, String> {
        self.check_mode(source, mode)?;
        if mode.options().is_empty() {
            return Ok(None);
        }
        let scope = self.replace_by.map_or(Ok(Vec::new()), |names| read_scope(source, names, columns))?;
        let flag = self.deleted.map(|name| {
            let plain = source.name(name)?;
            if columns.iter().any(|column| column.name == plain) || ignored.contains(&plain) {
                let message = format!("mode \"replace\" fills column {plain:?}, which the dataset may not define");
                return Err(source.error(name, message));
            }
            Ok(plain)
        });
        if let Some(rate) = self.max_delete_rate.filter(|rate| !(0.0..=1.0).contains(rate.get_ref())) {
            return Err(source.error(rate, "max_delete_rate must be 0 to 1"));
        }
        Ok(Some(Replacement {
            scope,
            flag: flag.transpose()?,
            max_delete_rate: self.max_delete_rate.map(|rate| *rate.get_ref()),
            empty_deletes: self.empty.is_some_and(|empty| *empty.get_ref() == Empty::Delete),
        }))
    }

    /// Checks that something tells the scope of a file without records, if such a file deletes rows.
    pub(super) fn check_empty(
        &self,
        source: &DefinitionText<'_>,
        replacement: Option<&Replacement>,
        (sources, has_plain_files): (&[Source], bool),
    ) -> Result<(), String> {
        let Some((empty, replacement)) = self.empty.zip(replacement.filter(|replacement| replacement.empty_deletes))
        else {
            return Ok(());
        };
        let untold = replacement.scope.iter().find(|name| has_plain_files || !sources.iter().all(|by| tells(by, name)));
        let Some(name) = untold else { return Ok(()) };
        let message = format!(
            "empty = \"delete\" needs a scope that a file without records tells; let every source take column {name:?} from the key, the \
             part, the preamble or a constant"
        );
        Err(source.error(empty, message))
    }
}

/// Whether a source reads a column outside of the records.
fn tells(source: &Source, name: &str) -> bool {
    let column = source.columns.iter().find(|column| column.name == name);
    column.is_some_and(|column| matches!(column.origin, Origin::Outside(..) | Origin::Constant(_)))
}

fn read_scope(source: &DefinitionText<'_>, names: &Spanned<Names>, columns: &[Column]) -> Result<Vec<String>, String> {
    check_columns(source, names, columns)?;
    let all = names.get_ref().all();
    for name in all {
        let known = || columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        let column = columns.iter().find(|column| column.name == *name);
        let column = column.ok_or_else(|| source.error(names, unknown("column", name, &known())))?;
        let fault = match column {
            column if !column.required => Some("must be required".to_owned()),
            column if column.encrypt => Some("cannot be encrypted".to_owned()),
            column => column.kind.not_a_key().map(|why| format!("has a type that cannot be a scope: {why}")),
        };
        if let Some(fault) = fault {
            return Err(source.error(names, format!("column {name:?} is in replace_by and {fault}")));
        }
    }
    Ok(all.to_vec())
}
