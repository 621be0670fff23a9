//! A date and a time in two columns are one moment.

use super::column::Cells;
use super::field::{ColumnOption, Field, FieldType};
use super::field_time::{ZoneIs, zone_of};
use super::known_table::Table;
use super::moments::What;
use super::names;
use super::question::Asked;
use super::toml_text;

/// Adds a moment after each time of day that belongs to a date, unless a column has the moment already.
pub(super) fn add(table: &Table<'_>, fields: &mut Vec<Field>, asked: &mut Vec<Asked>) {
    let has_moments = fields.iter().any(|field| matches!(field.kind, FieldType::Timestamp));
    if has_moments || !table.has_header || table.place.named {
        return;
    }
    let times: Vec<usize> = (0..fields.len()).filter(|place| fields[*place].kind == FieldType::Time).collect();
    for time in times.into_iter().rev() {
        let Some(date) = date_for(fields, time) else { continue };
        let (one, other) = (&fields[date], &fields[time]);
        if [one, other].iter().any(|field| table.sent[field.at].nth > 0) {
            continue;
        }
        let zone = zone_of(table, other.at);
        let (option, is_moment) = zone.option();
        let header = |field: &Field| table.clean.apply(field.header.as_deref().unwrap_or("")).trim().to_owned();
        let headers = [header(one), header(other)];
        let forms = joined(&forms_of(table, one), &forms_of(table, other));
        let question =
            one.options.iter().find(|option| option.name == "form").and_then(|option| option.question.clone());
        let mut options = vec![ColumnOption::new("join", toml_text::list(&headers))];
        let partial = table.found[one.at]
            .values
            .iter()
            .zip(&table.found[other.at].values)
            .any(|(one, other)| one.is_none() != other.is_none());
        if partial {
            options.push(ColumnOption::new("partial", "\"null\""));
        }
        options.push(ColumnOption { name: "form", value: toml_text::one_or_list(&forms), question });
        let inherited = one.options.iter().filter(|option| ["pivot", "months", "year"].contains(&option.name)).cloned();
        options.extend(inherited.collect::<Vec<_>>());
        options.extend(option);
        let moment = Field {
            header: Some(headers.join(" ")),
            position: 0,
            name: name_of(&one.name, &other.name),
            kind: if is_moment { FieldType::Timestamp } else { FieldType::LocalTimestamp },
            form: Some(forms.join(" or ")),
            evidence: format!("{} and {} are one moment, {}", one.name, other.name, zone.evidence()),
            required: one.required && other.required,
            is_unit: false,
            is_made: true,
            options,
            allowed: None,
            longest: 0,
            at: other.at,
        };
        if let ZoneIs::Asked(question) = zone {
            asked.push(question);
        }
        fields.insert(time + 1, moment);
    }
}

/// The date that a time belongs to: the one that is named like it, or else the one before it.
fn date_for(fields: &[Field], time: usize) -> Option<usize> {
    let dates =
        || (0..fields.len()).filter(|place| fields[*place].kind == FieldType::Date && fields[*place].position > 0);
    let stem = stem(&fields[time].name);
    let named = dates().find(|date| self::stem(&fields[*date].name) == stem && !stem.is_empty());
    named.or_else(|| dates().rfind(|date| *date < time)).or_else(|| dates().next())
}

/// A name without its last word.
fn stem(name: &str) -> String {
    let all: Vec<&str> = names::words(name).collect();
    all.split_last().map_or(String::new(), |(_, first)| first.join("_"))
}

fn name_of(date: &str, time: &str) -> String {
    let (date, time) = (stem(date), stem(time));
    let name = if date.is_empty() || date == "clock" { time } else { date };
    if name.is_empty() || name == "clock" || name == "column" { "moment_at".into() } else { format!("{name}_at") }
}

/// How the cell of a column is written where it is joined with another.
fn forms_of(table: &Table<'_>, field: &Field) -> Vec<String> {
    match &table.found[field.at].cells {
        // True dates and times of a workbook are written plainly.
        Cells::Workbook(What::Date) => vec!["%Y-%m-%d".into()],
        Cells::Workbook(_) => vec!["%H:%M:%S%.f".into()],
        _ => field.form.as_deref().unwrap_or("").split(" or ").map(str::to_owned).collect(),
    }
}

fn joined(dates: &[String], times: &[String]) -> Vec<String> {
    dates.iter().flat_map(|date| times.iter().map(move |time| format!("{date} {time}"))).collect()
}
