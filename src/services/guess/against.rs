//! How files differ from the definition that should read them, and a definition and a migration that take them.

use std::collections::{BTreeMap, BTreeSet};

use super::guess;
use super::input::Input;
use super::parsed::source_of;
use super::records::{Seen, records};
use crate::domain::column::Constraint;
use crate::domain::guess::against::{Compared, Difference, Known};
use crate::domain::guess::amended::Amended;
use crate::domain::guess::answers::Answers;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::field::{Field, FieldType};
use crate::domain::guess::migration;
use crate::domain::guess::names;
use crate::domain::guess::question::Asked;
use crate::domain::source::fault::Fault;
use crate::domain::source::kind::Kind;
use crate::domain::source::model::Source;
use crate::domain::{Column, Dataset, Datasets};

/// What is different about some files.
#[derive(Clone, Debug)]
pub struct Against {
    /// The dataset.
    pub dataset: String,
    /// The source that should read the files; `None` if they are in the plain form.
    pub source: Option<String>,
    /// The differences.
    pub differences: Vec<Difference>,
    /// The questions.
    pub asked: Vec<Asked>,
    /// The definition that reads them.
    pub definition: String,
    /// The SQL that lets the table take what is new; empty if it takes everything as it is.
    pub migration: String,
    /// Records of the files, and how many of them the definition would reject.
    pub read: u64,
    /// How many records would be rejected.
    pub rejected: u64,
}

/// How many new values of a coded column are shown.
const MOST_VALUES: usize = 20;

/// Compares files of one kind with a dataset.
///
/// # Errors
/// A message that says why they cannot be compared.
pub fn against(datasets: &Datasets, name: &str, inputs: &[Input], answers: &Answers) -> Result<Against, String> {
    let dataset = datasets.get(name)?;
    let text = datasets.definitions().find(|(known, _)| *known == name).map_or("", |(_, text)| text);
    let first = inputs.first().ok_or("there is no file to compare")?;
    let guessed = guess(inputs, name, answers)?;
    let source = source_for(dataset, first, &guessed);
    let mut guessed = part_for(guessed, source, first)?;
    rename_like(&mut guessed, dataset);
    let format = source_of(&guessed)?.format;
    let is_ascii = std::fs::read(&first.path).is_ok_and(|bytes| bytes.is_ascii());
    let known = Known { dataset, source };
    let Compared { mut differences, mut asked, mut amended, new } =
        known.compare(text, &guessed, &format, is_ascii, answers)?;
    let source_name = source.map_or_else(|| guessed.place.name.clone(), |source| source.name.clone());
    let parse = |amended: &Amended| -> Result<Dataset, String> {
        let set = datasets.with_definition(name, &format!("{name}.toml"), &amended.text())?;
        set.get(name).cloned()
    };
    let mut renewed = parse(&amended)?;
    // Where the table is not found as it was, it is where it was found now.
    if first_error(&renewed, &source_name, inputs).is_some() {
        amended.take_place(&guessed)?;
        renewed = parse(&amended)?;
    }
    let mut migrated = Vec::new();
    let found = faults(&renewed, renewed.source(&source_name)?, inputs)?;
    for (column, fault) in &found.columns {
        let kind = dataset.column(column).map(|column| column.kind.name()).unwrap_or_default();
        let Some(field) = field_of(&guessed, renewed.source(&source_name)?, column) else { continue };
        if !fault.values.is_empty() {
            let values = fault.values.iter().cloned().collect();
            differences.push(Difference::Values { column: column.clone(), values });
        }
        let Some((line, rule)) = &fault.first else { continue };
        let describe = |field: &Field| match field.kind {
            FieldType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            kind => kind.name().to_owned(),
        };
        let form = field.form.as_ref().map_or(String::new(), |form| format!(", {form}"));
        differences.push(Difference::Type {
            column: column.clone(),
            declared: kind,
            found: describe(field) + &form,
            cells: fault.count,
            of: found.read,
            line: *line,
            rule: rule.clone(),
        });
        amended.write_as(column, field, &guessed)?;
        if let Some(wider) = dataset.column(column).and_then(|column| wider(column, field.kind)) {
            amended.retype(column, wider);
            migrated.push(migration::alter_type(&dataset.table, column, wider));
        }
        asked.extend(questions_of(&guessed, field));
    }
    for field in &new {
        amended.add_column(field, &guessed)?;
        migrated.push(migration::add_column(&dataset.table, field));
        asked.extend(questions_of(&guessed, field));
    }
    let renewed = parse(&amended)?;
    let after = faults(&renewed, renewed.source(&source_name)?, inputs)?;
    amended.leave_open(asked.iter().filter(|asked| asked.is_open()).map(|asked| asked.question.id.as_str()));
    Ok(Against {
        dataset: name.to_owned(),
        source: source.map(|source| source.name.clone()),
        differences,
        asked,
        definition: amended.text(),
        migration: migrated.concat(),
        read: after.read,
        rejected: after.rejected,
    })
}

/// The source that should read a file: the one that claims it, or else the one that lacks the fewest of its columns.
fn source_for<'d>(dataset: &'d Dataset, input: &Input, guessed: &[Guessed]) -> Option<&'d Source> {
    let claimed = dataset.source_for(&input.key, input.folder.is_none());
    let headers: Vec<String> = guessed
        .iter()
        .flat_map(|guessed| &guessed.fields)
        .filter_map(|field| field.header.as_deref().map(|header| header.trim().to_owned()))
        .collect();
    claimed.or_else(|| dataset.sources.iter().min_by_key(|source| source.lacks(&headers).len()))
}

/// The table of a file that a source reads.
fn part_for(mut all: Vec<Guessed>, source: Option<&Source>, input: &Input) -> Result<Guessed, String> {
    if all.len() == 1 {
        return Ok(all.remove(0));
    }
    let headers = |guessed: &Guessed| -> Vec<String> {
        guessed
            .fields
            .iter()
            .filter_map(|field| field.header.as_deref().map(|header| header.trim().to_owned()))
            .collect()
    };
    let lacks = |guessed: &Guessed| source.map_or(0, |source| source.lacks(&headers(guessed)).len());
    let parts = all.iter().map(|guessed| guessed.place.part.clone()).collect::<Vec<_>>().join(", ");
    let at = (0..all.len()).min_by_key(|at| lacks(&all[*at])).filter(|_| source.is_some());
    at.map(|at| all.remove(at))
        .ok_or_else(|| format!("{}: the file has several tables ({parts}), and no source reads one", input.key))
}

/// New columns get names that the dataset does not have.
fn rename_like(guessed: &mut Guessed, dataset: &Dataset) {
    for field in &mut guessed.fields {
        let header = field.header.as_deref().map(str::trim).unwrap_or_default();
        let is_own = dataset.column(header).is_some() || dataset.column(&field.name).is_none();
        if !is_own && field.position > 0 && names::plain(header).as_deref() != Some(field.name.as_str()) {
            field.name = format!("{}_new", field.name);
        }
    }
}

/// The column of a file from which a column of the dataset is read.
fn field_of<'g>(guessed: &'g Guessed, source: &Source, column: &str) -> Option<&'g Field> {
    use crate::domain::source::model::Origin;
    let Origin::Header { header, .. } = &source.columns.iter().find(|known| known.name == column)?.origin else {
        return None;
    };
    let is = |field: &&Field| {
        field.position > 0
            && !field.is_unit
            && field.header.as_deref().is_some_and(|own| header.names.iter().any(|name| name.trim() == own.trim()))
    };
    guessed.fields.iter().find(is)
}

/// The type that has the values of a column and those that were found; `None` if that is the type of the column. No type loses
/// anything, so that what fits no other becomes text.
fn wider(column: &Column, found: FieldType) -> Option<FieldType> {
    let known = column.kind.family();
    match (known, found) {
        (Kind::Whole, FieldType::Decimal { precision, scale }) => {
            Some(FieldType::Decimal { precision: precision.max(19 + scale).min(38), scale })
        }
        (Kind::Decimal, FieldType::Decimal { precision, scale }) => {
            let name = column.kind.name();
            let numbers: Vec<usize> =
                name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
            let [known_precision, known_scale] = numbers.as_slice() else { return None };
            let (whole, most) = ((precision - scale).max(known_precision - known_scale), scale.max(*known_scale));
            let wider = FieldType::Decimal { precision: (whole + most).min(38), scale: most };
            (most > *known_scale).then_some(wider)
        }
        (Kind::Decimal | Kind::Double, FieldType::Bigint) => None,
        (known, found) if known == found.family() => None,
        _ => Some(FieldType::Text),
    }
}

/// The questions about a column.
fn questions_of(guessed: &Guessed, field: &Field) -> Vec<Asked> {
    let ids: BTreeSet<&String> = field.options.iter().filter_map(|option| option.question.as_ref()).collect();
    guessed.asked.iter().filter(|asked| ids.contains(&asked.question.id)).cloned().collect()
}

/// What is wrong with a cell.
enum CellFault {
    /// It is null, and its column is required.
    Missing,
    /// It is a value that is not listed.
    Unlisted(String),
    /// It breaks this rule.
    Breaks(String),
}

/// What is wrong with the cells of a column.
#[derive(Default)]
struct ColumnFaults {
    count: u64,
    first: Option<(i64, String)>,
    /// Values of a coded column that are not listed.
    values: BTreeSet<String>,
}

#[derive(Default)]
struct Faults {
    read: u64,
    rejected: u64,
    columns: BTreeMap<String, ColumnFaults>,
}

fn first_error(dataset: &Dataset, source: &str, inputs: &[Input]) -> Option<String> {
    let source = dataset.source(source).ok()?;
    inputs.iter().find_map(|input| records(source, input, |_| {}).err())
}

/// Reads files with a source, and finds the cells that are not values of their columns.
fn faults(dataset: &Dataset, source: &Source, inputs: &[Input]) -> Result<Faults, String> {
    let columns = dataset.file_columns();
    let allowed: Vec<Option<BTreeSet<String>>> = columns.iter().map(allowed_values).collect();
    let mut found = Faults::default();
    for input in inputs {
        records(source, input, |record| {
            found.read += 1;
            let Seen::Row(row, binding, plain) = record else {
                found.rejected += 1;
                return;
            };
            let mut is_bad = false;
            for (at, column) in columns.iter().enumerate() {
                let fault = match plain.value(at) {
                    Ok(value) => fault_of(column, allowed[at].as_ref(), value),
                    Err(Fault::Unmapped) => Some(CellFault::Unlisted(binding.sent(row, at))),
                    Err(fault) => Some(CellFault::Breaks(fault.rule().to_owned())),
                };
                if let Some(fault) = fault {
                    found.note(column, row.line, fault);
                    is_bad = true;
                }
            }
            found.rejected += u64::from(is_bad);
        })?;
    }
    Ok(found)
}

/// The values that a column lists, in their canonical form.
fn allowed_values(column: &Column) -> Option<BTreeSet<String>> {
    let listed = column.constraints.iter().find_map(|(constraint, _)| match constraint {
        Constraint::Allowed(values) => Some(values),
        _ => None,
    });
    listed.map(|values| values.iter().filter_map(|value| column.kind.canonical(&value.to_string())).collect())
}

/// What is wrong with a value of a column, which may be null.
fn fault_of(column: &Column, allowed: Option<&BTreeSet<String>>, value: Option<&str>) -> Option<CellFault> {
    let Some(value) = value else { return column.required.then_some(CellFault::Missing) };
    let Some(canonical) = column.kind.canonical(value) else {
        return Some(CellFault::Breaks(column.kind.rule().to_owned()));
    };
    let is_listed = allowed.is_none_or(|allowed| allowed.contains(&canonical));
    (!is_listed).then_some(CellFault::Unlisted(canonical))
}

impl Faults {
    fn note(&mut self, column: &Column, line: i64, fault: CellFault) {
        let column = || column.name.clone();
        match fault {
            CellFault::Missing => {}
            CellFault::Unlisted(value) => {
                let values = &mut self.columns.entry(column()).or_default().values;
                if values.len() < MOST_VALUES {
                    values.insert(value);
                }
            }
            CellFault::Breaks(rule) => {
                let own = self.columns.entry(column()).or_default();
                own.count += 1;
                own.first.get_or_insert((line, rule));
            }
        }
    }
}
