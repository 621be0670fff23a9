//! What is known of a table while its columns are decided.

use super::answers::{About, Answers};
use super::column::{Found, Sent};
use super::convention::Convention;
use super::field::{ColumnOption, Field, FieldType};
use super::nulls::PLAIN;
use super::place::{Place, about};
use super::question::{Asked, Question};
use super::toml_text;
use crate::domain::source::cell_form::Clean;

/// What is known of a table while its columns are decided.
pub(super) struct Table<'t> {
    pub(super) place: &'t Place,
    pub(super) sent: &'t [Sent<'t>],
    pub(super) found: &'t [Found],
    pub(super) convention: &'t Convention,
    pub(super) clean: Clean,
    pub(super) preamble: &'t [String],
    pub(super) answers: &'t Answers,
    pub(super) has_header: bool,
}

impl Table<'_> {
    /// Asks a question about a column.
    pub(super) fn ask(
        &self,
        at: usize,
        kind: &str,
        why: String,
        (values, answers): (Vec<String>, Vec<String>),
        understood: impl Fn(&str) -> Option<String>,
    ) -> Asked {
        self.ask_about(about(self.place, &self.sent[at]), kind, why, (values, answers), understood)
    }

    /// Asks a question.
    pub(super) fn ask_about(
        &self,
        about: About<'_>,
        kind: &str,
        why: String,
        (values, answers): (Vec<String>, Vec<String>),
        understood: impl Fn(&str) -> Option<String>,
    ) -> Asked {
        let question = Question { id: about.id(kind), why, values, answers };
        self.answers.ask(kind, about, question, understood)
    }

    /// Checks whether a person has answered a question about a column, which counts more than what the file tells.
    pub(super) fn is_answered(&self, at: usize, kind: &str) -> bool {
        self.answers.get(kind, about(self.place, &self.sent[at])).is_some()
    }

    /// The first values of a column, each once.
    pub(super) fn examples(&self, at: usize) -> Vec<String> {
        let mut examples: Vec<String> = Vec::new();
        for value in self.found[at].values.iter().flatten() {
            if examples.len() == 5 {
                break;
            }
            if !examples.contains(value) {
                examples.push(value.clone());
            }
        }
        examples
    }

    /// The options that say where the cell of a column is.
    pub(super) fn origin(&self, at: usize) -> Vec<ColumnOption> {
        let column = &self.sent[at];
        if let Some((from, to)) = self.place.places.get(at) {
            return vec![ColumnOption::new("at", format!("[{from}, {to}]"))];
        }
        let Some(header) = &column.header else {
            return vec![ColumnOption::new("position", column.position.to_string())];
        };
        let name = self.clean.apply(header).trim();
        let mut options = vec![ColumnOption::new("header", toml_text::text(name))];
        if column.nth > 0 {
            options.push(ColumnOption::new("nth", column.nth.to_string()));
        }
        options
    }

    /// `11 of 12 rows`.
    pub(super) fn share(&self, at: usize) -> String {
        let found = &self.found[at];
        format!("{} of {} rows", found.there, found.rows)
    }

    /// What the other rows are.
    pub(super) fn others(&self, at: usize) -> String {
        let found = &self.found[at];
        let missing = if let Some((mark, line)) = found.marks.first() {
            format!("; {} is `{}`", place(*line), toml_text::in_comment(mark))
        } else {
            found.first_empty.map_or(String::new(), |line| format!("; {} is empty", place(line)))
        };
        let odd = found.odd.first();
        let odd =
            odd.map_or(String::new(), |line| format!("; {} has something added and will be rejected", place(*line)));
        missing + &odd
    }

    /// A field of this column, without more than its place.
    pub(super) fn field(&self, at: usize, kind: FieldType, evidence: String) -> Field {
        let (column, found) = (&self.sent[at], &self.found[at]);
        let mut options = self.origin(at);
        if found.apostrophes {
            options.push(ColumnOption::new("apostrophes", "true"));
        }
        options.extend(self.null_option(at));
        Field {
            header: column.header.clone(),
            position: column.position,
            name: column.name.clone(),
            kind,
            form: None,
            evidence: evidence + &self.others(at),
            required: found.there == found.rows && found.rows > 0,
            is_unit: false,
            is_made: false,
            options,
            allowed: None,
            longest: found.values.iter().flatten().map(|value| value.chars().count()).max().unwrap_or(0),
            at,
        }
    }

    /// The marks that stand for a missing value in this column alone.
    fn null_option(&self, at: usize) -> Option<ColumnOption> {
        let own = self.found[at].marks.iter().map(|(mark, _)| mark.as_str());
        let own: Vec<&str> = own.filter(|mark| !super::nulls::is_mark(mark) && !PLAIN.contains(mark)).collect();
        (!own.is_empty()).then(|| self.nulls_with(own))
    }

    /// The option for these marks of this column and those of every column.
    pub(super) fn nulls_with(&self, own: Vec<&str>) -> ColumnOption {
        let shared = self.found.iter().flat_map(|found| &found.marks).map(|(mark, _)| mark.as_str());
        let mut all: Vec<&str> = PLAIN.to_vec();
        for mark in shared.filter(|mark| super::nulls::is_mark(mark)).chain(own) {
            if !all.contains(&mark) {
                all.push(mark);
            }
        }
        ColumnOption::new("null_values", toml_text::list(&all))
    }
}

/// A line for people; of a piece of a large file it is not known.
fn place(line: i64) -> String {
    if line > 0 { format!("line {line}") } else { "a row further down".into() }
}
