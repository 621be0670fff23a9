//! The SQL that creates the table of a dataset.

use super::dataset::Guessed;
use super::field::{Field, FieldType};
use super::key::Key;

/// Writes the migration.
#[must_use]
pub fn migration(guessed: &Guessed) -> String {
    let table = &guessed.place.name;
    let mut lines: Vec<String> = guessed.fields.iter().map(column).collect();
    match &guessed.key {
        Key::Columns(columns, _) => lines.push(format!("    primary key ({})", columns.join(", "))),
        Key::Content(..) => lines.push("    content_key text primary key".into()),
    }
    let create = format!("create table public.{table} (\n{}\n);\n", lines.join(",\n"));
    let about = format!("\ncomment on table public.{table} is {};\n", text(&guessed.place.looked_at));
    let comment = |field: &Field| {
        let header = field.header.as_deref().map(str::trim).filter(|header| !header.is_empty())?;
        Some(format!("comment on column public.{table}.{} is {};\n", field.name, text(header)))
    };
    let comments: String = guessed.fields.iter().filter_map(comment).collect();
    create + &about + &comments
}

/// Adds a column to a table.
#[must_use]
pub fn add_column(table: &str, field: &Field) -> String {
    format!("alter table {table} add column {} {};\n", field.name, type_of(field.kind))
}

/// Gives a column of a table a wider type.
#[must_use]
pub fn alter_type(table: &str, column: &str, kind: FieldType) -> String {
    let kind = type_of(kind);
    format!("alter table {table} alter column {column} type {kind} using {column}::{kind};\n")
}

fn column(field: &Field) -> String {
    let null = if field.required { " not null" } else { "" };
    format!("    {} {}{null}", field.name, type_of(field.kind))
}

fn type_of(kind: FieldType) -> String {
    match kind {
        FieldType::Text => "text".to_owned(),
        FieldType::Bigint => "bigint".to_owned(),
        FieldType::Decimal { precision, scale } => format!("numeric({precision}, {scale})"),
        FieldType::Date => "date".to_owned(),
        FieldType::Time => "time".to_owned(),
        FieldType::Timestamp => "timestamptz".to_owned(),
        FieldType::LocalTimestamp => "timestamp".to_owned(),
        FieldType::Boolean => "boolean".to_owned(),
        FieldType::Uuid => "uuid".to_owned(),
        FieldType::Json => "jsonb".to_owned(),
    }
}

/// A text as a literal of SQL.
fn text(value: &str) -> String {
    let plain: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", plain.replace('\'', "''"))
}
