//! The formats in `tests/formats`: what is guessed of each is read by the engine, and gives what each says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::parsed::source_of;
use super::values::{Values, read};
use super::{Input, guess};
use crate::domain::guess::answers::Answers;
use crate::domain::guess::dataset::Guessed;
use crate::domain::guess::field::{Field, FieldType};

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

fn input(folder: &Path) -> Input {
    let ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
    let path = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| !ours(path)).unwrap();
    Input { key: format!("incoming/{}", path.file_name().unwrap().to_str().unwrap()), path, folder: None }
}

fn truths(folder: &Path) -> Vec<Json> {
    let truth: Json = serde_json::from_str(&fs::read_to_string(folder.join("truth.json")).unwrap()).unwrap();
    truth["parts"].as_array().cloned().unwrap_or_else(|| vec![truth])
}

/// The ids of the questions that a truth demands, with their answers.
fn demanded(truth: &Json) -> BTreeMap<String, String> {
    let columns = truth["columns"].as_array().unwrap();
    let part = truth["part"].as_str().map_or(String::new(), |part| format!("{part}/"));
    let traits: Vec<&str> = truth["traits"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let mut all = BTreeMap::new();
    for ambiguous in truth["ambiguous"].as_array().unwrap() {
        let ambiguous = ambiguous.as_str().unwrap();
        if ambiguous.contains("the same in every cell") {
            all.insert(format!("{part}repeated_rows"), "keep".into());
            continue;
        }
        let (kind, name) = ambiguous.split_once(':').unwrap();
        let at = columns.iter().position(|column| column["name"] == name).unwrap();
        let header = columns[at]["header"].as_str().filter(|header| !header.trim().is_empty());
        let id = header.map_or_else(|| format!("{kind}:{}", at + 1), |header| format!("{kind}:{header}"));
        let combined = truth["combined"].as_array().into_iter().flatten().find(|combined| combined["time"] == name);
        let zone = combined.map_or(&columns[at]["zone"], |combined| &combined["zone"]);
        let answer = match kind {
            "zone" => zone.as_str().unwrap_or("none").to_owned(),
            "day_month_order" if traits.contains(&"date_mdy") => "month_first".into(),
            "day_month_order" => "day_first".into(),
            "century" => "20".into(),
            "year" => truth["from_preamble"]["statement_month"].as_str().unwrap()[..4].to_owned(),
            "decimal_mark" => ",".into(),
            "percent_scale" => "keep".into(),
            other => panic!("{other}"),
        };
        all.insert(format!("{part}{id}"), answer);
    }
    all
}

fn normal(kind: &str, text: &str) -> String {
    match kind {
        "integer" | "decimal" => {
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
            text.to_owned()
        }
        "double" => text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string()),
        "time" | "timestamp" => {
            let (clock, zone) = text.strip_suffix('Z').map_or((text, ""), |clock| (clock, "Z"));
            let clock = if clock.contains('.') { clock.trim_end_matches('0').trim_end_matches('.') } else { clock };
            format!("{clock}{zone}")
        }
        _ => text.to_owned(),
    }
}

/// What is wrong with a table that was read, against its truth.
fn differences(guessed: &Guessed, truth: &Json, rows: &[Values]) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = truth["rows"].as_array().unwrap();
    if rows.len() != expected.len() {
        wrong.push(format!("{} rows instead of {}", rows.len(), expected.len()));
    }
    let mut used = BTreeSet::new();
    for (index, column) in truth["columns"].as_array().unwrap().iter().enumerate() {
        let header = column["header"].as_str();
        let unit = column["part"] == "unit";
        let fits = |(at, field): &(usize, &Field)| {
            let same = match header {
                None => field.position == index + 1,
                Some(header) => field.header.as_deref() == Some(header),
            };
            same && !field.is_made && field.is_unit == unit && !used.contains(at)
        };
        let Some((at, field)) = guessed.fields.iter().enumerate().find(fits) else {
            wrong.push(format!("no column for {header:?} (unit {unit})"));
            continue;
        };
        used.insert(at);
        let kind = column["type"].as_str().unwrap();
        // A table shows all decimals of a number, which a text does not have.
        if kind == "text" && matches!(field.kind, FieldType::Decimal { scale: 1.., .. }) {
            wrong.push(format!("SILENT {}: a text that is guessed to be a decimal", field.name));
        }
        for (number, (row, expected)) in rows.iter().zip(expected).enumerate() {
            let odd = truth["odd"].as_array().into_iter().flatten().any(|odd| odd["row"] == number);
            let expected = expected[index].as_str().map(|text| normal(kind, text));
            match row {
                Err(_) if odd => {}
                Err(reason) => wrong.push(format!("row {number} is rejected: {reason}")),
                Ok(values) => match &values[at] {
                    Err(_) if odd => {}
                    Err(reason) => wrong.push(format!("row {number} {}: {reason}", field.name)),
                    Ok(value) => {
                        let value = value.as_ref().map(|value| normal(kind, value));
                        if value != expected {
                            wrong
                                .push(format!("SILENT row {number} {}: {value:?} instead of {expected:?}", field.name));
                        }
                    }
                },
            }
        }
    }
    for combined in truth["combined"].as_array().into_iter().flatten() {
        let made =
            guessed.fields.iter().position(|field| field.is_made && field.position == 0 && field.header.is_some());
        let Some(at) = made else {
            wrong.push(format!("no column for {}", combined["name"]));
            continue;
        };
        for (number, (row, expected)) in rows.iter().zip(combined["values"].as_array().unwrap()).enumerate() {
            let value = row.as_ref().ok().and_then(|values| values[at].as_ref().ok().cloned().flatten());
            let (value, expected) = (
                value.map(|value| normal("timestamp", &value)),
                expected.as_str().map(|text| normal("timestamp", text)),
            );
            if value != expected {
                wrong.push(format!(
                    "SILENT row {number} {}: {value:?} instead of {expected:?}",
                    guessed.fields[at].name
                ));
            }
        }
    }
    wrong
}

/// What is wrong with what is guessed of a format.
fn judge(folder: &Path) -> Vec<String> {
    let (input, truths) = (input(folder), truths(folder));
    let demanded: BTreeMap<String, String> = truths.iter().flat_map(demanded).collect();
    let texts: Vec<String> = demanded.iter().map(|(id, answer)| format!("{id}={answer}")).collect();
    let answers = Answers::parse(&texts).unwrap();
    let guessed = match guess(std::slice::from_ref(&input), "guessed", &answers) {
        Ok(guessed) => guessed,
        Err(message) => return vec![message],
    };
    let mut wrong = Vec::new();
    if guessed.len() != truths.len() {
        wrong.push(format!("{} tables instead of {}", guessed.len(), truths.len()));
    }
    let asked: BTreeSet<String> =
        guessed.iter().flat_map(|guessed| &guessed.asked).map(|asked| asked.question.id.clone()).collect();
    for id in demanded.keys().filter(|id| !asked.contains(*id)) {
        wrong.push(format!("not asked: {id}"));
    }
    for id in asked.iter().filter(|id| !demanded.contains_key(*id)) {
        wrong.push(format!("asked for nothing: {id}"));
    }
    for truth in &truths {
        let part = truth["part"].as_str().unwrap_or("");
        let Some(guessed) = guessed.iter().find(|guessed| truths.len() == 1 || guessed.place.part == part) else {
            wrong.push(format!("no table for {part}"));
            continue;
        };
        if let Some(open) = guessed.open().next() {
            wrong.push(format!("open: {}", open.id));
        }
        let source = match source_of(guessed) {
            Ok(source) => source,
            Err(message) => {
                wrong.push(message);
                continue;
            }
        };
        let mut rows: Vec<Values> = Vec::new();
        if let Err(message) = read(guessed, &source, &input, |values| rows.push(values.clone())) {
            wrong.push(message);
        }
        wrong.extend(differences(guessed, truth, &rows));
        let key: Vec<String> =
            truth["key"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect();
        let places: BTreeSet<usize> = key
            .iter()
            .map(|name| {
                truth["columns"].as_array().unwrap().iter().position(|column| column["name"] == name.as_str()).unwrap()
                    + 1
            })
            .collect();
        let own: BTreeSet<usize> = guessed
            .key
            .columns()
            .iter()
            .filter_map(|name| guessed.fields.iter().find(|field| field.name == *name))
            .map(|field| field.position)
            .collect();
        if places != own {
            wrong.push(format!("key {:?} instead of {key:?}", guessed.key.columns()));
        }
    }
    wrong
}

#[test]
fn every_format_is_read_as_it_was_meant() {
    let mut right = 0;
    let mut report: Vec<String> = Vec::new();
    let folders = folders();
    assert!(folders.len() >= 32);
    for folder in &folders {
        let wrong = judge(folder);
        let name = folder.file_name().unwrap().to_str().unwrap();
        right += usize::from(wrong.is_empty());
        for line in wrong.iter().take(12) {
            report.push(format!("{name}: {line}"));
        }
    }
    assert!(right == folders.len(), "{right} of {} are right\n{}", folders.len(), report.join("\n"));
}
