//! How a file differs from the definition that should read it, and the definition that reads both.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::amended::Amended;
use super::answers::{About, Answers};
use super::dataset::Guessed;
use super::field::Field;
use super::names;
use super::question::{Asked, Question};
use crate::domain::Dataset;
use crate::domain::source::binding::header_name;
use crate::domain::source::layout::{Format, TextLines};
use crate::domain::source::model::{Named, Origin, Source};

/// A difference between a file and its definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Difference {
    /// The file has a column that nobody reads.
    New {
        /// Its header.
        header: String,
        /// What it would be called.
        column: String,
        /// Its type.
        r#type: String,
    },
    /// The file lacks a column.
    Missing {
        /// The column of the dataset.
        column: String,
        /// Its header, as the source has it.
        header: String,
    },
    /// A column has another header.
    Renamed {
        /// The column of the dataset.
        column: String,
        /// Its header, as the source has it.
        from: String,
        /// Its header in the file.
        to: String,
    },
    /// Cells of a column are not what the definition says.
    Type {
        /// The column of the dataset.
        column: String,
        /// Its type.
        declared: String,
        /// What the cells of the file are.
        found: String,
        /// How many cells are not values of the declared type, as the source reads them.
        cells: u64,
        /// Of how many.
        of: u64,
        /// The line of the first one.
        line: i64,
        /// What is wrong with it, without its value.
        rule: String,
    },
    /// A coded column has values that the definition does not list.
    Values {
        /// The column of the dataset.
        column: String,
        /// The values.
        values: Vec<String>,
    },
    /// The file is written in another way.
    Layout {
        /// The option of the source.
        option: String,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { header, column, r#type } => write!(f, "new column {header:?}: {type} {column}"),
            Self::Missing { column, header } => write!(f, "missing column {header:?}, which is {column}"),
            Self::Renamed { column, from, to } => write!(f, "column {column}: its header is {to:?} and was {from:?}"),
            Self::Type { column, declared, found, cells, of, line, rule } => write!(
                f,
                "column {column}: {cells} of {of} cells are no longer {declared}, the first on line {line} (rule {rule}); the file has {found}"
            ),
            Self::Values { column, values } => {
                write!(
                    f,
                    "column {column}: new values {}",
                    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Layout { option, from, to } => write!(f, "{option}: it is {to:?} and was {from:?}"),
        }
    }
}

/// A column that a header names.
#[derive(Clone, Debug)]
struct Declared {
    column: String,
    header: Named,
    may_lack: bool,
}

/// What of a definition is compared with a file.
pub struct Known<'a> {
    /// The dataset.
    pub dataset: &'a Dataset,
    /// The source that should read the file; `None` if it is in the plain form.
    pub source: Option<&'a Source>,
}

/// What was found, and the definition as it has to be amended.
pub struct Compared {
    /// The differences.
    pub differences: Vec<Difference>,
    /// The questions.
    pub asked: Vec<Asked>,
    /// The text of the definition.
    pub amended: Amended,
    /// The columns of the file that are new.
    pub new: Vec<Field>,
}

/// The columns of a file that are cells, each once.
fn cells(guessed: &Guessed) -> Vec<&Field> {
    guessed.fields.iter().filter(|field| field.position > 0 && !field.is_unit && !field.is_made).collect()
}

fn header_of(field: &Field) -> String {
    header_name(field.header.as_deref().unwrap_or("").trim_start_matches("=\"").trim_end_matches('"')).into_owned()
}

impl Known<'_> {
    fn declared(&self) -> Vec<Declared> {
        let Some(source) = self.source else {
            let of = |column: &crate::domain::Column| Declared {
                column: column.name.clone(),
                header: Named { names: vec![column.name.clone()], nth: None },
                may_lack: false,
            };
            return self.dataset.file_columns().iter().map(of).collect();
        };
        let of = |column: &crate::domain::source::model::SourceColumn| match &column.origin {
            Origin::Header { header, optional } => {
                Some(Declared { column: column.name.clone(), header: header.clone(), may_lack: *optional })
            }
            _ => None,
        };
        source.columns.iter().filter_map(of).collect()
    }

    /// Every header that something in the source reads.
    fn read(&self) -> BTreeSet<String> {
        let mut read: BTreeSet<String> =
            self.declared().into_iter().flat_map(|declared| declared.header.names).collect();
        for column in self.source.iter().flat_map(|source| &source.columns) {
            match &column.origin {
                Origin::Join { headers, .. } => read.extend(headers.iter().flat_map(|header| header.names.clone())),
                Origin::Expression(expression) => read.extend(expression.reads().iter().cloned()),
                _ => {}
            }
            read.extend(column.zone_header.iter().flat_map(|header| header.names.clone()));
        }
        read.extend(self.dataset.ignored.iter().cloned());
        read.into_iter().map(|name| header_name(&name).into_owned()).collect()
    }

    /// Compares the columns and the layout of a file with those of the definition, whose text is `text`.
    ///
    /// # Errors
    /// A message if the text cannot be amended.
    pub fn compare(
        &self,
        text: &str,
        guessed: &Guessed,
        format: &Format,
        is_ascii: bool,
        answers: &Answers,
    ) -> Result<Compared, String> {
        let name = self.source.map(|source| source.name.clone());
        let mut amended = Amended::of(text, name.as_deref(), &guessed.place)?;
        let mut differences = self.layout(format, is_ascii);
        for difference in &differences {
            if let Difference::Layout { option, .. } = difference {
                amended.take_layout(option, guessed)?;
            }
        }
        let own = cells(guessed);
        let headers: Vec<String> = own.iter().map(|field| header_of(field)).collect();
        let has = |header: &Named| header.names.iter().any(|name| headers.contains(&header_name(name).into_owned()));
        // One that a file may lack has perhaps another name, and would be null in silence.
        let missing: Vec<Declared> = self.declared().into_iter().filter(|declared| !has(&declared.header)).collect();
        let read = self.read();
        let mut new: Vec<&Field> = own
            .iter()
            .zip(&headers)
            .filter(|(_, header)| !header.is_empty() && !read.contains(*header))
            .map(|(field, _)| *field)
            .collect();
        let mut asked = Vec::new();
        for declared in &missing {
            let was = declared.header.names[0].clone();
            let column = declared.column.clone();
            if let Some(at) = self.renamed(declared, &new, guessed, answers, &mut asked) {
                let to = header_of(new.remove(at));
                amended.rename(&column, &to, &declared.header.names);
                differences.push(Difference::Renamed { column, from: was, to });
            } else if !declared.may_lack {
                amended.make_optional(&column);
                differences.push(Difference::Missing { column, header: was });
            }
        }
        for field in &new {
            differences.push(Difference::New {
                header: header_of(field),
                column: field.name.clone(),
                r#type: field.kind.name().to_owned(),
            });
        }
        let new: Vec<Field> = new.into_iter().cloned().collect();
        Ok(Compared { differences, asked, amended, new })
    }

    /// The place among the new columns of one that is missing, under another header: one that reads alike, or one that a person
    /// says is it.
    fn renamed(
        &self,
        declared: &Declared,
        new: &[&Field],
        guessed: &Guessed,
        answers: &Answers,
        asked: &mut Vec<Asked>,
    ) -> Option<usize> {
        let plain = |text: &str| names::plain(text).unwrap_or_else(|| text.to_lowercase());
        let known: BTreeSet<String> =
            declared.header.names.iter().map(|name| plain(name)).chain([declared.column.clone()]).collect();
        let alike: Vec<usize> = (0..new.len())
            .filter(|at| known.contains(&plain(&header_of(new[*at]))) || known.contains(&new[*at].name))
            .collect();
        if let [only] = alike.as_slice() {
            return Some(*only);
        }
        let kind = self.dataset.column(&declared.column).map(|column| column.kind.family());
        let fits = |field: &&&Field| kind.is_none_or(|kind| kind == field.kind.family());
        let candidates: Vec<String> = new.iter().filter(fits).map(|field| header_of(field)).collect();
        if candidates.is_empty() {
            return None;
        }
        let about = About { part: &guessed.place.part, header: Some(&declared.header.names[0]), ..About::default() };
        let question = Question {
            id: about.id("renamed"),
            why: format!(
                "column {} is missing, and columns of its type are new: one of them may be it under another name",
                declared.column
            ),
            values: candidates.clone(),
            answers: candidates.iter().cloned().chain(["none".into()]).collect(),
        };
        let question = answers.ask("renamed", about, question, |answer| {
            let answer = answer.trim().to_owned();
            (answer == "none" || candidates.contains(&answer)).then_some(answer)
        });
        let chosen = question.answer.clone();
        asked.push(question);
        let chosen = chosen?;
        new.iter().position(|field| header_of(field) == chosen)
    }

    fn layout(&self, format: &Format, is_ascii: bool) -> Vec<Difference> {
        let plain = Format::Delimited(
            TextLines { encoding: encoding_rs::UTF_8, cr_ends_line: false, comment: None },
            crate::domain::source::layout::Dialect::plain(),
        );
        let known = self.source.map_or(&plain, |source| &source.format);
        let mut differences = Vec::new();
        let mut differ = |option: &str, from: String, to: String| {
            if from != to {
                differences.push(Difference::Layout { option: option.into(), from, to });
            }
        };
        let name = |format: &Format| match format {
            Format::Delimited(..) => "csv",
            Format::Fixed(..) => "fixed",
            Format::Workbook(_) => "xlsx",
            Format::JsonLines => "json_lines",
            Format::Parquet => "parquet",
        };
        differ("format", name(known).into(), name(format).into());
        let lines = |format: &Format| match format {
            Format::Delimited(lines, _) | Format::Fixed(lines, _) => Some(*lines),
            _ => None,
        };
        if let (Some(from), Some(to)) = (lines(known), lines(format))
            && !is_ascii
        {
            let label = |lines: TextLines| lines.encoding.name().to_ascii_lowercase();
            differ("encoding", label(from), label(to));
        }
        if let (Format::Delimited(_, from), Format::Delimited(_, to)) = (known, format) {
            differ("delimiter", from.delimiter.clone(), to.delimiter.clone());
            let sign = |sign: Option<u8>| sign.map_or("none".into(), |sign| char::from(sign).to_string());
            differ("quote", sign(from.quote), sign(to.quote));
            differ("escape", sign(from.escape), sign(to.escape));
        }
        differences
    }
}
