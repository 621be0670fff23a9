//! The JSON Schema of a file of settings.

use serde_json::Value;

use super::{CONFIG_FILES, Settings};
use crate::domain::json_schema::schema_of;

impl Settings {
    /// The schema of a file of settings. Each says only what it changes.
    #[must_use]
    pub fn schema() -> Value {
        let mut schema = schema_of::<Self>("Settings of Small ETL");
        let defaults = CONFIG_FILES.get_file("default.toml").and_then(|file| file.contents_utf8());
        let defaults: toml::Table = defaults.and_then(|text| toml::from_str(text).ok()).unwrap_or_default();
        let Value::Object(root) = &mut schema else { return schema };
        root.remove("required");
        root.insert("additionalProperties".to_owned(), Value::Bool(false));
        let Some(Value::Object(sections)) = root.get_mut("properties") else { return schema };
        for (section, schema) in sections.iter_mut().filter(|(section, _)| *section != "pipeline") {
            let Value::Object(schema) = schema else { continue };
            schema.remove("required");
            schema.remove("default");
            schema.insert("additionalProperties".to_owned(), Value::Bool(false));
            let Some(Value::Object(keys)) = schema.get_mut("properties") else { continue };
            for (key, schema) in keys {
                let value = defaults
                    .get(section)
                    .and_then(|keys| keys.get(key))
                    .and_then(|value| serde_json::to_value(value).ok());
                if let (Value::Object(schema), Some(value)) = (schema, value) {
                    schema.insert("default".to_owned(), value);
                }
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::super::KEYS;
    use super::*;

    /// What an editor accepts and refuses is what the program does.
    #[test]
    fn the_schema_has_every_key_and_the_bounds_that_are_checked() {
        let schema = Settings::schema();
        let mut keys = Vec::new();
        for (section, of) in schema["properties"].as_object().unwrap().iter().filter(|(name, _)| *name != "pipeline") {
            for (key, of) in of["properties"].as_object().unwrap() {
                let variable = format!("SMALL_ETL__{}__{}", section.to_uppercase(), key.to_uppercase());
                for (bound, step) in [("minimum", -1), ("maximum", 1)] {
                    let Some(bound) = of[bound].as_f64().filter(|bound| *bound < 1e12) else { continue };
                    let accepts =
                        |value: f64| Settings::from_variables([(variable.clone(), value.to_string())]).is_ok();
                    assert!(accepts(bound) && !accepts(bound + f64::from(step)), "{variable} {bound}");
                }
                keys.push(format!("{section}.{key}"));
            }
        }
        keys.sort();
        assert_eq!(keys, KEYS);
    }
}
