//! YAML that every reader understands in the same way: each text is in quotes. Without them a reader of YAML 1.1 takes 14:30:00 for a number,
//! and 2025-12-22 for a date.

use serde_json::Value;

/// Writes a value with an entry of a map or a list on each line.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                text.push_str(&indent);
                text.push_str(key);
                text.push(':');
                below(value, depth, text);
            }
        }
        Value::Array(entries) => {
            for value in entries {
                text.push_str(&indent);
                text.push('-');
                below(value, depth, text);
            }
        }
        // Texts, numbers and booleans of JSON are those of YAML.
        scalar => {
            text.push_str(&indent);
            text.push_str(&scalar.to_string());
            text.push('\n');
        }
    }
}

/// A value after its key or its dash: on the same line if it is a single one, else below.
fn below(value: &Value, depth: usize, text: &mut String) {
    let is_empty =
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
    if is_empty || !(value.is_array() || value.is_object()) {
        text.push(' ');
        text.push_str(&value.to_string());
        text.push('\n');
        return;
    }
    text.push('\n');
    write(value, depth + 1, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_from_its_yaml() {
        let value = serde_json::json!({
            "a": [1, -0.5, true, null, "14:30:00", "no", "", "a: b # c", "\u{1}\"\\\n价", [], {}],
            "b": { "c": [{ "d": "1", "e": { "f": [["x"]] } }, { "d": 2 }] },
        });
        assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml(&value)).unwrap(), value);
        assert_eq!(yaml(&serde_json::json!({ "a": [{ "b": "x" }], "c": 1 })), "a:\n  -\n    b: \"x\"\nc: 1\n");
    }
}
