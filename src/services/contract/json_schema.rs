//! A JSON Schema of a record, as a line of JSON has it: numbers are numbers, and a cell without a value is null or absent.

use serde_json::{Map, Value, json};

use super::described::{Described, Logical, constraints, description, is_plain};
use crate::domain::contract::Delivered;

pub(super) fn schema(described: &Described<'_>) -> Value {
    let cells = &described.contract.cells;
    let properties: Map<String, Value> =
        cells.iter().enumerate().map(|(at, cell)| (cell.header.clone(), property(described, at, cell))).collect();
    let required: Vec<&str> = cells.iter().filter(|cell| cell.is_required()).map(|cell| cell.header.as_str()).collect();
    let rules: Vec<String> = described.contract.rules().into_iter().map(|(id, text)| format!("{id}: {text}")).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": described.title(),
        "description": described.contract.file_words().join(" "),
        "$comment": rules.join("\n"),
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn property(described: &Described<'_>, at: usize, cell: &Delivered<'_>) -> Value {
    let mut property = Map::new();
    let Some(column) = cell.column.filter(|_| is_plain(cell)) else {
        property.insert("type".into(), "string".into());
        property.insert("description".into(), description(cell).into());
        property.insert("examples".into(), described.examples(at).cloned().collect());
        return Value::Object(property);
    };
    let logical = Logical::of(&column.kind);
    let kind = match logical {
        Logical::Whole => Some("integer"),
        Logical::Number => Some("number"),
        Logical::Boolean => Some("boolean"),
        // Any value may be there.
        Logical::Json => None,
        _ => Some("string"),
    };
    let null = (!column.required).then_some("null");
    if let Some(kind) = kind {
        let kinds: Vec<&str> = [kind].into_iter().chain(null).collect();
        property.insert("type".into(), if let [one] = kinds[..] { one.into() } else { json!(kinds) });
    }
    property.insert("description".into(), description(cell).into());
    let format = match logical {
        Logical::Date => Some("date"),
        _ if column.kind.name() == "uuid" => Some("uuid"),
        _ => None,
    };
    property.extend(format.map(|format| ("format".to_owned(), format.into())));
    for (name, mut value) in constraints(column) {
        // A bound of dates and times is a text here, and bounds are about numbers alone.
        let is_bound = name.contains("inimum") || name.contains("aximum");
        if is_bound && !value.is_number() {
            continue;
        }
        if let (Value::Array(values), Some(_)) = (&mut value, null) {
            values.push(Value::Null);
        }
        property.insert(name, value);
    }
    let examples: Vec<Value> =
        described.examples(at).filter(|text| !text.is_empty()).map(|text| logical.value(text)).collect();
    property.insert("examples".into(), examples.into());
    Value::Object(property)
}
