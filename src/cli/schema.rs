//! `small-etl schema`: what editors complete and check by.

use clap::ValueEnum;
use serde_json::Value;

use super::terminal::{DONE, print};
use crate::config::Settings;
use crate::domain::json_schema;
use crate::error::{Error, Result};

/// What a schema is of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SchemaOf {
    /// The definition of a dataset: datasets/*.toml
    Dataset,
    /// Settings: config/*.toml
    Settings,
}

pub(super) fn run(of: SchemaOf) -> Result<u8> {
    let text = serde_json::to_string_pretty(&schema(of)).map_err(|error| Error::system("write JSON", error))?;
    print(&(text + "\n"))?;
    Ok(DONE)
}

fn schema(of: SchemaOf) -> Value {
    match of {
        SchemaOf::Dataset => json_schema::of_dataset(),
        SchemaOf::Settings => Settings::schema(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_the_repository_are_those_of_this_program() {
        for (of, known) in [
            (SchemaOf::Dataset, include_str!("../../schemas/dataset.schema.json")),
            (SchemaOf::Settings, include_str!("../../schemas/settings.schema.json")),
        ] {
            let known: Value = serde_json::from_str(known).unwrap_or_default();
            assert!(known == schema(of), "{of:?}: the schema has changed; run `make schemas`");
        }
    }

    /// A property is described where it is declared: by the comment above its field.
    #[test]
    fn every_option_has_its_sentence() {
        fn look(schema: &Value, path: &str, lacking: &mut Vec<String>, seen: &mut usize) {
            match schema {
                Value::Object(object) => {
                    for (name, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                        let described = property["description"].as_str().is_some_and(|text| text.contains(' '));
                        // A condition names properties that are described elsewhere.
                        if !described && property.get("const").is_none() {
                            lacking.push(format!("{path}.{name}"));
                        }
                        *seen += 1;
                    }
                    object.iter().for_each(|(key, inner)| look(inner, &format!("{path}.{key}"), lacking, seen));
                }
                Value::Array(all) => all.iter().for_each(|inner| look(inner, path, lacking, seen)),
                _ => {}
            }
        }
        let (mut lacking, mut seen) = (Vec::new(), 0);
        for of in [SchemaOf::Dataset, SchemaOf::Settings] {
            look(&schema(of), &format!("{of:?}"), &mut lacking, &mut seen);
        }
        assert!(lacking.is_empty(), "write a comment above the fields of {lacking:?}");
        assert!(seen > 120, "{seen}");
    }
}
