//! Each column of a table becomes a column of a dataset and of its source.

use super::answers::{About, Answers};
use super::column::{Cells, Found, Sent};
use super::combined;
use super::convention::Convention;
use super::dataset::{Place, about};
use super::field_number;
use super::field_time;
use super::nulls::PLAIN;
use super::question::{Asked, Question};
use super::toml_text;
use crate::domain::source::cell_form::Clean;
use crate::domain::source::kind::Kind;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// A whole number.
    Bigint,
    /// A number with decimals.
    Decimal {
        /// All digits.
        precision: usize,
        /// Digits after the point.
        scale: usize,
    },
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// A moment.
    Timestamp,
    /// A date and a time by a clock in no known zone.
    LocalTimestamp,
    /// True or false.
    Boolean,
    /// A UUID.
    Uuid,
    /// JSON.
    Json,
}

impl FieldType {
    /// The family of types that it belongs to.
    #[must_use]
    pub fn family(self) -> Kind {
        match self {
            Self::Text | Self::Uuid | Self::Json => Kind::Text,
            Self::Bigint => Kind::Whole,
            Self::Decimal { .. } => Kind::Decimal,
            Self::Date => Kind::Date,
            Self::Time => Kind::Time,
            Self::Timestamp => Kind::Timestamp,
            Self::LocalTimestamp => Kind::LocalTimestamp,
            Self::Boolean => Kind::Boolean,
        }
    }

    /// Its name in a definition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::LocalTimestamp => "local_timestamp",
            Self::Boolean => "boolean",
            Self::Uuid => "uuid",
            Self::Json => "json",
        }
    }
}

/// An option of a column of a source. One that an open question leaves undecided has the id of that question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOption {
    /// Its name.
    pub name: &'static str,
    /// Its value, in TOML. For an open question it is one that makes the file readable.
    pub value: String,
    /// The id of the question that decides it.
    pub question: Option<String>,
}

impl ColumnOption {
    /// An option that is decided.
    pub(super) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), question: None }
    }

    /// An option that a question decides.
    pub(super) fn asked(name: &'static str, value: impl Into<String>, asked: &Asked) -> Self {
        Self { name, value: value.into(), question: asked.is_open().then(|| asked.question.id.clone()) }
    }
}

/// A column of the dataset and of the source.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its header as it was sent; `None` if it has none, or is not a cell of the table.
    pub header: Option<String>,
    /// Its place in the table, from 1; 0 if it is not a cell of the table.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: FieldType,
    /// How it is written, for people.
    pub form: Option<String>,
    /// Why.
    pub evidence: String,
    /// Whether every row has a value.
    pub required: bool,
    /// Whether it is the unit of the column before it.
    pub is_unit: bool,
    /// Whether it is made of cells that are columns of their own.
    pub is_made: bool,
    /// Its options in the source.
    pub options: Vec<ColumnOption>,
    /// Its values, if there are few of them.
    pub allowed: Option<Vec<String>>,
    /// The most characters that a value was seen to have.
    pub longest: usize,
    /// The place of its column among those of the table.
    pub(super) at: usize,
}

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

/// How many different values a coded column has at most.
const MOST_CODES: usize = 12;

/// The columns that a table fills.
pub(super) fn fields(table: &Table<'_>, asked: &mut Vec<Asked>) -> Vec<Field> {
    let mut fields = Vec::new();
    for at in 0..table.sent.len() {
        // A delimiter before the first cell makes a column without a name and without values.
        let nameless = table.sent[at].header.as_deref().is_some_and(|header| header.trim().is_empty());
        if at == 0 && nameless && matches!(table.found[at].cells, Cells::Empty) && table.sent.len() > 1 {
            continue;
        }
        fields.extend(one(table, at, asked));
    }
    combined::add(table, &mut fields, asked);
    let mut names: Vec<String> = Vec::new();
    for field in &mut fields {
        if names.contains(&field.name) {
            let wanted: Vec<Option<String>> = names.iter().chain([&field.name]).cloned().map(Some).collect();
            field.name = super::names::unique(&wanted).pop().unwrap_or_default();
        }
        names.push(field.name.clone());
    }
    fields
}

fn one(table: &Table<'_>, at: usize, asked: &mut Vec<Asked>) -> Vec<Field> {
    let found = &table.found[at];
    let share = table.share(at);
    match &found.cells {
        Cells::Empty => vec![table.field(
            at,
            FieldType::Text,
            format!("no row of {} has a value, so its type is not known", found.rows),
        )],
        Cells::Words(yes, no) => {
            let mut field = table.field(at, FieldType::Boolean, format!("{share} are {yes} or {no}"));
            if (*yes, *no) != ("true", "false") {
                field.options.push(ColumnOption::new("true_values", toml_text::text(yes)));
                field.options.push(ColumnOption::new("false_values", toml_text::text(no)));
            }
            field.form = Some(format!("{yes}/{no}"));
            vec![field]
        }
        Cells::Uuid => vec![table.field(at, FieldType::Uuid, format!("{share} are UUIDs"))],
        Cells::Json => vec![table.field(at, FieldType::Json, format!("{share} are JSON"))],
        Cells::Zones => vec![table.field(at, FieldType::Text, format!("{share} name a time zone"))],
        Cells::Number(numbers) => field_number::fields(table, at, numbers, asked),
        Cells::Times(readings) => vec![field_time::field(table, at, readings, asked)],
        Cells::Workbook(what) => vec![field_time::workbook(table, at, *what, asked)],
        Cells::Epoch(unit, zeros) => vec![field_time::epoch(table, at, unit, *zeros, asked)],
        Cells::Text(why) => {
            let because = why.map_or(String::new(), |why| format!(": {why}"));
            let mut field = table.field(at, FieldType::Text, format!("{share} are texts{because}"));
            field.allowed = codes(found);
            vec![field]
        }
    }
}

/// The values of a coded column: few, short, and each there more than once on average.
fn codes(found: &Found) -> Option<Vec<String>> {
    let mut values: Vec<&String> = found.values.iter().flatten().collect();
    let there = values.len();
    values.sort_unstable();
    values.dedup();
    let short = values.iter().all(|value| value.chars().count() <= 20);
    let few = values.len() <= MOST_CODES && values.len() * 2 <= there && !values.is_empty();
    (few && short).then(|| values.into_iter().cloned().collect())
}
