//! A Table Schema: <https://datapackage.org/standard/table-schema/>.

use serde_json::{Map, Value, json};

use super::described::{Described, Logical, constraints, description, is_plain};
use crate::domain::contract::Delivered;
use crate::domain::source::cell_form::{Clean, Value as Written};
use crate::domain::source::number::NumberForm;

pub(super) fn schema(described: &Described<'_>) -> Value {
    let contract = &described.contract;
    let fields: Vec<Value> = contract.cells.iter().map(|cell| field(described, cell)).collect();
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://datapackage.org/profiles/2.0/tableschema.json".into());
    schema.insert("title".into(), described.title().into());
    let rules = contract.rules().into_iter().map(|(id, text)| format!("{id}: {text}"));
    schema.insert(
        "description".into(),
        contract.file_words().into_iter().chain(rules).collect::<Vec<_>>().join("\n").into(),
    );
    schema.insert("fields".into(), fields.into());
    let key: Vec<&str> = contract.key().map(|cell| cell.header.as_str()).collect();
    if contract.dataset.content.is_none() && !key.is_empty() {
        schema.insert("primaryKey".into(), json!(key));
    }
    schema.insert("missingValues".into(), json!(contract.dataset.null_values));
    // The standard has no word for it, and lets others be added.
    schema.insert("version".into(), contract.dataset.version.as_deref().unwrap_or("arrival").into());
    Value::Object(schema)
}

fn field(described: &Described<'_>, cell: &Delivered<'_>) -> Value {
    let mut field = Map::new();
    field.insert("name".into(), cell.header.clone().into());
    let Some(column) = cell.column else {
        field.insert("type".into(), "string".into());
        field.insert("description".into(), description(cell).into());
        return Value::Object(field);
    };
    let (kind, more) = kind(cell);
    field.insert("type".into(), kind.into());
    field.extend(more);
    field.insert("description".into(), description(cell).into());
    // A text that stands for another value has the rules of that value, which are in the description.
    let mut rules = if kind == "string" && !is_plain(cell) { Map::new() } else { constraints(column) };
    if !is_plain(cell) {
        // The standard reads a bound in the form of the field.
        rules = rules.into_iter().filter_map(|(name, value)| Some((name, as_sent(cell, &value)?))).collect();
    }
    if column.required {
        rules.insert("required".into(), true.into());
    }
    let is_key = described.contract.dataset.key == [column.name.clone()];
    if is_key && cell.joined.is_none() {
        rules.insert("unique".into(), true.into());
    }
    if !rules.is_empty() {
        field.insert("constraints".into(), Value::Object(rules));
    }
    if let Written::Map(map) = cell.form.map_or(&Written::Plain, |form| &form.form.value) {
        let mut values: Vec<&String> = map.keys().collect();
        values.sort_unstable();
        field.insert("categories".into(), json!(values));
    }
    field.extend(cell.zone().map(|zone| ("timezone".to_owned(), zone.into())));
    field.insert("physicalType".into(), column.kind.column_type().into());
    field.extend((column.name != cell.header).then(|| ("physicalName".to_owned(), column.name.clone().into())));
    Value::Object(field)
}

/// A bound, or allowed values, in the form of the sender; `None` if it cannot be told. Numbers are what they are.
fn as_sent(cell: &Delivered<'_>, value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => cell.sent(text).map(Value::String),
        Value::Array(values) => values.iter().map(|value| as_sent(cell, value)).collect(),
        other => Some(other.clone()),
    }
}

/// The type of a field, and how its values are written, as far as the standard can say it. Anything else is a text.
fn kind(cell: &Delivered<'_>) -> (&'static str, Map<String, Value>) {
    let mut more = Map::new();
    let Some(column) = cell.column.filter(|_| cell.joined.is_none()) else { return ("string", more) };
    let clean = cell
        .form
        .is_none_or(|form| form.form.clean == Clean::default() || form.form.clean.trim && !form.form.clean.excel_text);
    let logical = Logical::of(&column.kind);
    let plain = match logical {
        Logical::Whole => "integer",
        Logical::Number => "number",
        Logical::Boolean => "boolean",
        Logical::Date => "date",
        Logical::Time => "time",
        Logical::Moment => "datetime",
        Logical::Json => "any",
        Logical::Text => "string",
    };
    if logical == Logical::Boolean {
        more.insert("trueValues".into(), json!(["true"]));
        more.insert("falseValues".into(), json!(["false"]));
    }
    match cell.form.map(|form| &form.form) {
        _ if !clean => ("string", Map::new()),
        None => (plain, more),
        Some(form) if form.part.is_some() => ("string", Map::new()),
        Some(form) => match &form.value {
            Written::Plain | Written::Json => (plain, more),
            Written::Number(number) if is_simple(number) => {
                more.extend(
                    (number.decimal_mark != '.')
                        .then(|| ("decimalChar".to_owned(), number.decimal_mark.to_string().into())),
                );
                let thousands = number.thousands.first().map(|mark| ("groupChar".to_owned(), mark.to_string().into()));
                more.extend(thousands);
                (if more.is_empty() { plain } else { "number" }, more)
            }
            Written::Time(rule) => match &rule.forms[..] {
                [form] if is_common(form.text()) => {
                    more.insert("format".into(), form.text().into());
                    (plain, more)
                }
                _ => ("string", Map::new()),
            },
            Written::Words(yes, no) => {
                more.insert("trueValues".into(), json!(yes));
                more.insert("falseValues".into(), json!(no));
                (plain, more)
            }
            _ => ("string", Map::new()),
        },
    }
}

fn is_simple(number: &NumberForm) -> bool {
    let NumberForm { currency, units, unit_pattern, negative, percent, thousands, plus, exponent, bare_point, .. } =
        number;
    currency.is_empty()
        && units.is_empty()
        && unit_pattern.is_none()
        && negative.is_empty()
        && percent.is_none()
        && thousands.len() < 2
        && !(*plus || *exponent || *bare_point)
}

/// Whether a form has the specifiers alone that mean the same in Python.
fn is_common(form: &str) -> bool {
    form.match_indices('%')
        .all(|(at, _)| form[at + 1..].starts_with(['Y', 'm', 'd', 'H', 'M', 'S', 'y', 'b', 'B', 'I', 'p']))
}
