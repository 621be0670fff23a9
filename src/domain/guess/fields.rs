//! The columns of a table, each decided by what its cells are.

use super::column::{Cells, Found};
use super::combined;
use super::field::{ColumnOption, Field, FieldType};
use super::field_number;
use super::field_time;
use super::known_table::Table;
use super::question::Asked;
use super::toml_text;

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
