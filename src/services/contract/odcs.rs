//! An Open Data Contract: <https://bitol-io.github.io/open-data-contract-standard/>, version 3.1.

use serde_json::{Map, Value, json};

use super::described::{Described, Logical, constraints, description, is_plain};
use crate::domain::contract::Delivered;

pub(super) fn contract(described: &Described<'_>) -> Value {
    let contract = &described.contract;
    let dataset = contract.dataset;
    let key: Vec<&str> = contract.key().filter_map(|cell| Some(cell.column?.name.as_str())).collect();
    let properties: Vec<Value> =
        contract.cells.iter().enumerate().map(|(at, cell)| property(described, at, cell, &key)).collect();
    let quality: Vec<Value> = contract
        .rules()
        .into_iter()
        .map(|(name, text)| json!({ "name": name, "type": "text", "description": text }))
        .collect();
    let mut custom = vec![json!({ "property": "version", "value": dataset.version.as_deref().unwrap_or("arrival") })];
    custom.push(json!({ "property": "nullValues", "value": dataset.null_values }));
    let mut out = json!({
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": described.title().replace(", as ", "-").replace(" writes it", ""),
        "name": described.title(),
        "version": described.version,
        "status": "active",
        "description": { "usage": contract.file_words().join("\n") },
        "schema": [{
            "name": dataset.name,
            "physicalName": dataset.table,
            "logicalType": "object",
            "physicalType": "table",
            "properties": properties,
            "quality": quality,
            "customProperties": custom,
        }],
    });
    if let (Some(calendar), Some(out)) = (&dataset.expected, out.as_object_mut()) {
        let due =
            json!([{ "property": "frequency", "value": calendar.to_string(), "description": "When a file is due." }]);
        out.insert("slaProperties".into(), due);
    }
    out
}

fn property(described: &Described<'_>, at: usize, cell: &Delivered<'_>, key: &[&str]) -> Value {
    let mut property = Map::new();
    property.insert("name".into(), cell.header.clone().into());
    property.insert("description".into(), description(cell).into());
    property.insert("required".into(), cell.is_required().into());
    let examples: Vec<&String> = described.examples(at).filter(|text| !text.is_empty()).collect();
    if !examples.is_empty() {
        property.insert("examples".into(), json!(examples));
    }
    let Some(column) = cell.column else {
        property.insert("logicalType".into(), "string".into());
        return Value::Object(property);
    };
    property.extend((column.name != cell.header).then(|| ("physicalName".to_owned(), column.name.clone().into())));
    property.insert("physicalType".into(), column.kind.column_type().into());
    if let Some(place) = key.iter().position(|name| *name == column.name) {
        property.insert("primaryKey".into(), true.into());
        property.insert("primaryKeyPosition".into(), (place + 1).into());
        property.extend((key.len() == 1).then(|| ("unique".to_owned(), true.into())));
    }
    property.extend(column.encrypt.then(|| ("classification".to_owned(), "confidential".into())));
    let logical = if is_plain(cell) { Logical::of(&column.kind) } else { Logical::Text };
    let name = match logical {
        Logical::Text | Logical::Json => "string",
        Logical::Whole => "integer",
        Logical::Number => "number",
        Logical::Boolean => "boolean",
        Logical::Date => "date",
        Logical::Time => "time",
        Logical::Moment => "timestamp",
    };
    property.insert("logicalType".into(), name.into());
    let mut options = if is_plain(cell) { constraints(column) } else { Map::new() };
    if let Some(Value::Array(values)) = options.remove("enum") {
        let quality = json!([{
            "name": "allowed", "metric": "invalidValues", "arguments": { "validValues": values }, "mustBe": 0,
            "description": "No value but these.",
        }]);
        property.insert("quality".into(), quality);
    }
    if logical == Logical::Moment {
        options.insert("timezone".into(), column.kind.is_instant().into());
        options.extend(cell.zone().map(|zone| ("defaultTimezone".to_owned(), zone.into())));
    }
    if logical == Logical::Boolean {
        options.clear();
    }
    if !options.is_empty() {
        property.insert("logicalTypeOptions".into(), Value::Object(options));
    }
    Value::Object(property)
}
