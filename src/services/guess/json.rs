//! JSON lines as records: a header of all names, and a cell for each member.

use serde_json::Value;

use crate::domain::guess::sample::{Record, SampleCell};
use crate::domain::source::cell_form::CellKind;

/// Reads the lines of a text, if most of them begin as objects and some are.
pub(super) fn records(text: &str) -> Option<Vec<Record>> {
    let lines: Vec<(i64, &str)> = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
    let parsed: Vec<(i64, &str, serde_json::Map<String, Value>)> = lines
        .iter()
        .filter_map(|(number, line)| match serde_json::from_str(line) {
            Ok(Value::Object(object)) => Some((*number, *line, object)),
            _ => None,
        })
        .collect();
    let begun = lines.iter().filter(|(_, line)| line.trim_start().starts_with('{')).count();
    if parsed.is_empty() || begun * 2 < lines.len() {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for name in parsed.iter().flat_map(|(_, _, object)| object.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let header = Record {
        line: 0,
        cells: names.iter().map(|name| SampleCell { text: name.clone(), kind: CellKind::Text }).collect(),
        text: String::new(),
    };
    let record = |(line, text, object): &(i64, &str, serde_json::Map<String, Value>)| Record {
        line: *line,
        cells: names.iter().map(|name| SampleCell { text: cell(object.get(name)), kind: CellKind::Text }).collect(),
        text: (*text).to_owned(),
    };
    Some(std::iter::once(header).chain(parsed.iter().map(record)).collect())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_a_cell() {
        let all = records("{\"a\": 1.50, \"b\": \"x\"}\n\n{\"b\": null, \"c\": [1]}\n").unwrap();
        let texts = |at: usize| all[at].cells.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>();
        assert_eq!((texts(0), texts(1), texts(2)), (vec!["a", "b", "c"], vec!["1.5", "x", ""], vec!["", "", "[1]"]));
        assert!(records("a,b\n1,2\n").is_none());
        assert!(records("{\"a\": 1}\nx,y\n1,2\n3,4\n").is_none());
        // Lines that are broken, or have a number that is too large, make no table of the others.
        assert_eq!(records("{\"a\": 1}\n{\"a\": 2\n{\"a\": 3\n").unwrap().len(), 2);
        assert_eq!(records("{\"a\": 1e400}\n{\"a\": 2}\n{\"a\": 3}\n").unwrap().len(), 3);
    }
}
