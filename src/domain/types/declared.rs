//! What a definition says of a type, for the schema that editors read.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{IGNORED, TYPES};

/// The names of the types.
pub(in crate::domain) struct TypeName;

impl JsonSchema for TypeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TypeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let registered = TYPES.iter().map(|registered| (registered.name, registered.about));
        let ignored = (IGNORED, "A column that a file may have and that is never loaded.");
        let one = |(name, about)| json!({ "type": "string", "const": name, "description": about });
        let all: Vec<Value> = registered.chain([ignored]).map(one).collect();
        json_schema!({ "oneOf": all })
    }
}

/// The options of all types.
pub(in crate::domain) struct TypeOptions;

impl JsonSchema for TypeOptions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TypeOptions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let options = TYPES.iter().flat_map(|registered| registered.options);
        let properties: Map<String, Value> = options
            .map(|option| {
                let (least, most) = option.bounds;
                let schema =
                    json!({ "type": "integer", "minimum": least, "maximum": most, "description": option.about });
                (option.name.to_owned(), schema)
            })
            .collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}

/// Says in the schema of a column that it has the options of its type, and no others.
pub(in crate::domain) fn require_options(column: &mut Schema) {
    let with_options = TYPES.iter().filter(|registered| !registered.options.is_empty());
    let needs = |registered: &&super::Registration| {
        let names: Vec<&str> = registered.options.iter().map(|option| option.name).collect();
        json!({
            "if": { "properties": { "type": { "const": registered.name } }, "required": ["type"] },
            "then": { "required": names },
        })
    };
    let all: Vec<Value> = with_options.map(needs).collect();
    column.insert("allOf".to_owned(), Value::Array(all));
    column.insert("additionalProperties".to_owned(), Value::Bool(false));
}
