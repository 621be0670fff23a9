//! Values and lines of TOML.

use std::fmt::Write as _;

/// A text as a literal: in single quotes if it has a backslash and no single quote, else in double ones.
#[must_use]
pub fn text(value: &str) -> String {
    let control = value.chars().any(char::is_control);
    if value.contains(['\\', '"']) && !value.contains('\'') && !control {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts.
#[must_use]
pub fn list<T: AsRef<str>>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(|value| text(value.as_ref())).collect::<Vec<_>>().join(", "))
}

/// One text, or a list of several.
#[must_use]
pub fn one_or_list<T: AsRef<str>>(values: &[T]) -> String {
    match values {
        [one] => text(one.as_ref()),
        several => list(several),
    }
}

/// A text for a comment: on one line, and not too long.
#[must_use]
pub fn in_comment(value: &str) -> String {
    let shown: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_from_its_literal() {
        for value in ["a", "a\"b", "a'b\\", "tab\t", "line\nend\r", "\u{1}", "价", "", r"_(\d{8})\.csv$", "'\""] {
            let table: toml::Table = toml::from_str(&format!("a = {}", text(value))).unwrap();
            assert_eq!(table["a"].as_str(), Some(value));
        }
        assert_eq!(one_or_list(&["a", "b"]), "[\"a\", \"b\"]");
    }
}
