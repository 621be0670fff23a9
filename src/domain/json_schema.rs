//! The JSON Schemas of what users write in TOML, made from the types that read it.
//!
//! Editors complete and check by them. What they cannot know, such as whether a rule names a column that exists, is
//! checked when a definition is read.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::schema::Definition;

/// The schema of the definition of a dataset.
#[must_use]
pub fn of_dataset() -> Value {
    schema_of::<Definition>("The definition of a dataset of Small ETL")
}

/// The schema of what a type reads from TOML. It has no references, and nothing is null, because TOML has no null.
#[must_use]
pub fn schema_of<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    remove_null(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".to_owned(), title.into());
    }
    schema
}

/// An option that is absent is left out in TOML. So a schema says what it is when it is there.
fn remove_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(kinds)) = object.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = &kinds[..] {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            take_out_of_alternatives(object);
            object.values_mut().for_each(remove_null);
        }
        Value::Array(all) => all.iter_mut().for_each(remove_null),
        _ => {}
    }
}

fn take_out_of_alternatives(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get_mut("anyOf") else { return };
    alternatives.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
    let [Value::Object(only)] = &alternatives[..] else { return };
    let only = only.clone();
    object.remove("anyOf");
    for (key, value) in only {
        // The property says more than its type.
        object.entry(key).or_insert(value);
    }
}
