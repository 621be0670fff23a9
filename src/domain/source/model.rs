//! A source: how one sender writes the table of a dataset.

use regex::Regex;

use super::cell_form::{CellForm, Clean, Value};
use super::layout::{Format, Layout};
use crate::domain::column::Column;
use crate::domain::expression::Expression;
use crate::domain::files::Files;

/// How one sender writes a table.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name of the source, unique within its dataset.
    pub name: String,
    /// The members of a zip archive that it reads.
    pub member: Option<String>,
    /// The format of its files.
    pub format: Format,
    /// Where the table is in them.
    pub layout: Layout,
    /// What stands around the cells of its header.
    pub clean: Clean,
    /// One for each column of the dataset, in the dataset's order.
    pub columns: Vec<SourceColumn>,
    /// Whether a file that lacks an optional column or has another one fails.
    pub strict: bool,
    /// The totals that its footer tells, by the column of the dataset that they add up.
    pub totals: Vec<String>,
    pub(in crate::domain) files: Files,
}

impl Source {
    /// Checks whether an object key is that of one of its files.
    #[must_use]
    pub fn claims(&self, key: &str) -> bool {
        self.files.claim(key)
    }

    /// Whether it reads a part of an object: a member, a sheet or a section.
    #[must_use]
    pub fn reads_parts(&self) -> bool {
        let sheet = matches!(&self.format, Format::Workbook(workbook) if workbook.sheet.is_some());
        self.member.is_some() || sheet || self.layout.section.is_some()
    }

    /// The name of the part that it reads in a member or a sheet. A section of one has both names.
    #[must_use]
    pub fn part_in(&self, container: &str) -> String {
        self.layout.section.as_ref().map_or_else(|| container.to_owned(), |section| format!("{container}/{section}"))
    }

    /// The member or the sheet of a part.
    #[must_use]
    pub fn container_of<'p>(&self, part: &'p str) -> &'p str {
        let section = self.layout.section.as_deref();
        section.and_then(|section| part.strip_suffix(section)?.strip_suffix('/')).unwrap_or(part)
    }

    /// Whether a column is told before the table.
    #[must_use]
    pub fn reads_preamble(&self, column: &str) -> bool {
        let found = self.columns.iter().find(|known| known.name == column);
        found.is_some_and(|column| matches!(column.origin, Origin::Outside(Outside::Preamble, _)))
    }

    /// Refuses an encrypted column that would stand in plain text in the ledger.
    pub(in crate::domain) fn check_secrets(&self, columns: &[Column]) -> Result<(), String> {
        let Some(column) = columns.iter().find(|column| column.encrypt && self.reads_preamble(&column.name)) else {
            return Ok(());
        };
        Err(format!(
            "column {:?} is encrypted, and source {:?} reads it from the preamble, which the ledger keeps in plain text",
            column.name, self.name
        ))
    }

    /// What the keys of its files begin with: each pattern up to its first wildcard.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.files.prefixes()
    }
}

/// Where the values of a column come from.
#[derive(Clone, Debug)]
pub struct SourceColumn {
    /// The column of the dataset.
    pub name: String,
    /// Where its value is.
    pub origin: Origin,
    /// How it is written.
    pub form: CellForm,
    /// The header of the cell that names the zone of its times.
    pub zone_header: Option<Named>,
    /// What tells the year of its dates.
    pub year: Option<YearFrom>,
}

impl SourceColumn {
    /// Whether its value is the unit of a number.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        matches!(self.form.value, Value::Unit(_))
    }
}

/// A member of the objects of a file that a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The names that it has had, any of them.
    pub names: Vec<String>,
    /// Whether its value is kept as JSON.
    pub is_json: bool,
    /// Whether all objects of a file may lack it.
    pub is_optional: bool,
}

impl Member {
    /// What it is called in a header.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// A column of a file, by what its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The names that it has had, any of them.
    pub names: Vec<String>,
    /// Which of several columns with that name, from 1. Otherwise there must be one alone.
    pub nth: Option<usize>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// From the cell below a header.
    Header {
        /// The header.
        header: Named,
        /// Whether a file may lack it; the value is then null.
        optional: bool,
    },
    /// From the cell at this place of the record, from 0.
    Position(usize),
    /// From several cells, with a blank between them.
    Join {
        /// Their headers.
        headers: Vec<Named>,
        /// Whether the value is null where one of them is empty. Otherwise all of them must be.
        partial: bool,
    },
    /// From what is not in the record.
    Outside(Outside, Option<Regex>),
    /// The same for every record.
    Constant(String),
    /// The number of the record in its file, from 1.
    Record,
    /// The line on which the record begins.
    Line,
    /// An expression over the cells of the record.
    Expression(Expression),
}

impl Origin {
    /// Whether the value is a text that the sender wrote.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        matches!(self, Self::Header { .. } | Self::Position(_) | Self::Join { .. } | Self::Outside(..))
    }
}

/// What tells a value besides the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The object's key.
    Key,
    /// The first line before the header that the pattern matches.
    Preamble,
    /// The name of the member, the sheet or the section.
    Part,
}

/// Where to find the year if the dates of a column lack it.
#[derive(Clone, Debug)]
pub struct YearFrom {
    /// What tells it.
    pub origin: Outside,
    /// Its first group is the year, its second, if it has one, the month of the statement.
    pub pattern: Regex,
}
