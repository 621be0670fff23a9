//! The formats in `tests/formats`, each read as its definition declares and compared cell by cell with what it says.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Rows;
use super::members::Members;
use super::table::{Dropped, Table};
use super::text_rows::{Cut, TextRows};
use super::workbook::Workbook;
use crate::domain::source::binding::{PlainRow, Surroundings};
use crate::domain::source::cell_form::{Value, ZoneOf};
use crate::domain::source::kind::{Kind, TargetColumn};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::parse_sources;
use crate::domain::source::row::Row;

/// A dataset of a format: its columns and its source.
struct Defined {
    file: PathBuf,
    targets: Vec<TargetColumn>,
    source: Source,
}

/// One table as it was read.
struct Told {
    part: String,
    dropped: Dropped,
    rows: Vec<Vec<Result<Option<String>, String>>>,
}

fn formats() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}

fn kind(name: &str) -> Kind {
    match name {
        "text" | "uuid" => Kind::Text,
        "bigint" => Kind::Whole,
        "decimal" => Kind::Decimal,
        "double" => Kind::Double,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timestamp" => Kind::Timestamp,
        "local_timestamp" => Kind::LocalTimestamp,
        "boolean" => Kind::Boolean,
        other => panic!("which kind is {other}?"),
    }
}

fn definitions(folder: &Path) -> Vec<Defined> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.into_iter().map(|file| definition(&file)).collect()
}

fn definition(file: &Path) -> Defined {
    let text = fs::read_to_string(file).unwrap();
    let whole: toml::Table = toml::from_str(&text).unwrap();
    let targets: Vec<TargetColumn> = whole["column"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| TargetColumn {
            name: column["name"].as_str().unwrap().to_owned(),
            kind: kind(column["type"].as_str().unwrap()),
        })
        .collect();
    let sources = &text[text.find("[[source]]").unwrap()..];
    let nulls = ["", "NULL", "null", "None"].map(String::from);
    let mut sources = parse_sources(&file.display().to_string(), sources, &targets, &nulls).unwrap();
    Defined { file: file.to_owned(), targets, source: sources.remove(0) }
}

fn sent_file(folder: &Path) -> PathBuf {
    let ours = |path: &PathBuf| path.extension().is_some_and(|e| e == "toml" || e == "json");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| !ours(path)).unwrap()
}

/// Reads every part of a file that the source claims.
fn read(source: &Source, kinds: &[Kind], key: &str, bytes: &[u8]) -> Vec<Told> {
    let around = |part: &str| Surroundings { key: key.to_owned(), part: part.to_owned(), preamble: Vec::new() };
    let Some(pattern) = &source.member else {
        let part = source.layout.section.clone().unwrap_or_default();
        return vec![read_part(source, kinds, around(&part), bytes)];
    };
    let mut members = Members::open(Cursor::new(bytes)).unwrap();
    let names = members.matching(pattern).unwrap();
    let mut read = |name: &String| {
        let mut text = Vec::new();
        std::io::copy(&mut members.read(name).unwrap().unwrap(), &mut text).unwrap();
        read_part(source, kinds, around(name), &text)
    };
    names.iter().map(&mut read).collect()
}

fn read_part(source: &Source, kinds: &[Kind], around: Surroundings, bytes: &[u8]) -> Told {
    match &source.format {
        Format::Delimited(lines, dialect) => {
            let rows = TextRows::new(bytes, *lines, Cut::Delimited(dialect.clone())).unwrap();
            read_table(rows, source, kinds, around)
        }
        Format::Workbook(wanted) => {
            let mut book = Workbook::open(Cursor::new(bytes)).unwrap();
            let sheet = book.chosen(wanted.sheet.as_ref()).remove(0);
            let rows = book.rows(&sheet, wanted.significant_digits).unwrap();
            read_table(rows, source, kinds, around)
        }
        other => panic!("{other:?}"),
    }
}

fn read_table<R: Rows>(rows: R, source: &Source, kinds: &[Kind], around: Surroundings) -> Told {
    let part = around.part.clone();
    let (mut table, head) = Table::open(rows, source, around).unwrap();
    let mut binding = head.bind(source).unwrap();
    let (mut row, mut plain, mut number) = (Row::default(), PlainRow::default(), 0);
    let mut all = Vec::new();
    while table.read(&mut row).unwrap() {
        number += 1;
        assert_eq!((row.fault, binding.fits(&row)), (None, true), "line {}", row.line);
        binding.translate(&row, number, &mut plain);
        let value = |column| match plain.value(column) {
            Ok(Some(value)) if !is_value(kinds[column], value) => Err(format!("{value:?} is not a value")),
            Ok(value) => Ok(value.map(str::to_owned)),
            Err(fault) => Err(binding.explain(&row, column, fault)),
        };
        all.push((0..kinds.len()).map(value).collect());
    }
    Told { part, dropped: table.dropped(), rows: all }
}

/// Whether the type of the column would take the text.
fn is_value(kind: Kind, text: &str) -> bool {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        Kind::Whole => plain(text.trim_start_matches('-')),
        Kind::Decimal => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            plain(whole.strip_prefix('-').unwrap_or(whole)) && plain(fraction)
        }
        _ => true,
    }
}

/// Values that are equal have the same text.
fn normal(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Whole | Kind::Decimal => {
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
            text.to_owned()
        }
        Kind::Double => text.parse::<f64>().unwrap().to_string(),
        Kind::Time | Kind::Timestamp | Kind::LocalTimestamp => {
            let (clock, zone) = text.strip_suffix('Z').map_or((text, ""), |clock| (clock, "Z"));
            let clock = if clock.contains('.') { clock.trim_end_matches('0').trim_end_matches('.') } else { clock };
            format!("{clock}{zone}")
        }
        _ => text.to_owned(),
    }
}

/// The truths of a file: one, or one for each part.
fn truths(folder: &Path) -> Vec<(String, Json)> {
    let truth: Json = serde_json::from_str(&fs::read_to_string(folder.join("truth.json")).unwrap()).unwrap();
    match truth["parts"].as_array() {
        None => vec![(String::new(), truth)],
        Some(parts) => parts.iter().map(|part| (part["part"].as_str().unwrap().to_owned(), part.clone())).collect(),
    }
}

/// What is expected of each cell of a column: nothing, a value, or anything.
fn expected(truth: &Json, column: &str) -> Option<Vec<Option<String>>> {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let columns = truth["columns"].as_array().unwrap();
    let rows = truth["rows"].as_array().unwrap();
    if let Some(index) = columns.iter().position(|known| known["name"] == column) {
        return Some(rows.iter().map(|row| text(&row[index])).collect());
    }
    let combined = truth["combined"].as_array().into_iter().flatten().find(|known| known["name"] == column);
    if let Some(combined) = combined {
        return Some(combined["values"].as_array().unwrap().iter().map(text).collect());
    }
    let named = ["from_name", "from_preamble"].map(|outside| &truth[outside][column]);
    let told = named.into_iter().find_map(Json::as_str)?;
    Some(vec![Some(told.to_owned()); rows.len()])
}

#[test]
fn every_cell_of_every_format_is_the_truth_or_refused() {
    let mut tables = 0;
    for folder in formats() {
        let file = sent_file(&folder);
        let key = format!("incoming/{}", file.file_name().unwrap().to_str().unwrap());
        let truths = truths(&folder);
        let mut seen = Vec::new();
        for defined in definitions(&folder) {
            let name = defined.file.display();
            let kinds: Vec<Kind> = defined.targets.iter().map(|target| target.kind).collect();
            for told in read(&defined.source, &kinds, &key, &fs::read(&file).unwrap()) {
                let of_part = |(part, _): &&(String, Json)| *part == told.part || truths.len() == 1;
                let (_, truth) = truths.iter().find(of_part).unwrap_or_else(|| panic!("{name}: part {}", told.part));
                seen.push(told.part.clone());
                compare(&defined, &told, truth);
                tables += 1;
            }
        }
        assert_eq!(seen.len(), truths.len(), "{}", folder.display());
    }
    assert_eq!(tables, 34);
}

fn compare(defined: &Defined, told: &Told, truth: &Json) {
    let name = defined.file.display();
    assert_eq!(told.rows.len(), truth["rows"].as_array().unwrap().len(), "{name}: rows");
    let known = |column: &str| defined.targets.iter().any(|target| target.name == column);
    let all = truth["columns"].as_array().unwrap().iter().chain(truth["combined"].as_array().into_iter().flatten());
    for column in all {
        assert!(known(column["name"].as_str().unwrap()), "{name}: {column}");
    }
    for outside in ["from_name", "from_preamble"] {
        for column in truth[outside].as_object().unwrap().keys() {
            assert!(known(column), "{name}: {column}");
        }
    }
    for (index, target) in defined.targets.iter().enumerate() {
        let Some(expected) = expected(truth, &target.name) else {
            assert!(["line", "known_at"].contains(&target.name.as_str()), "{name}: {}", target.name);
            continue;
        };
        for (number, (row, expected)) in told.rows.iter().zip(expected).enumerate() {
            let place = format!("{name}: row {number} column {}", target.name);
            let is_odd = truth["odd"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|odd| odd["row"] == number && odd["column"] == target.name.as_str());
            match &row[index] {
                Ok(value) => {
                    let value = value.as_ref().map(|text| normal(target.kind, text));
                    assert_eq!(value, expected.map(|text| normal(target.kind, &text)), "{place}");
                }
                Err(message) => assert!(is_odd, "{place}: {message}"),
            }
        }
    }
    if defined.source.layout.section.is_none() {
        let dropped = &truth["dropped"];
        let lines =
            [("preamble", told.dropped.preamble), ("footer", told.dropped.footer), ("blank", told.dropped.blank)];
        for (what, count) in lines {
            assert_eq!(dropped[what], count, "{name}: {what}");
        }
    }
}

/// What no program can know from a file is said in its definition.
#[test]
fn whatever_is_ambiguous_is_declared() {
    for folder in formats() {
        let truths = truths(&folder);
        for defined in definitions(&folder) {
            let part = |(part, _): &&(String, Json)| {
                truths.len() == 1
                    || defined.source.layout.section.as_ref() == Some(part)
                    || part.contains(defined.file.file_stem().unwrap().to_str().unwrap())
            };
            let (_, truth) = truths.iter().find(part).unwrap();
            for ambiguous in truth["ambiguous"].as_array().unwrap() {
                let Some((what, column)) = ambiguous.as_str().unwrap().split_once(':') else { continue };
                // That two rows are alike is a matter of the key.
                if what.contains(' ') {
                    continue;
                }
                let combined =
                    truth["combined"].as_array().into_iter().flatten().filter(|known| known["time"] == column);
                let names: Vec<&str> = combined.map(|known| known["name"].as_str().unwrap()).chain([column]).collect();
                let of_column = defined.source.columns.iter().filter(|known| names.contains(&known.name.as_str()));
                let is_declared = of_column.clone().any(|column| match (what, &column.form.value) {
                    ("zone", Value::Time(rule)) => {
                        rule.zone != ZoneOf::None
                            || matches!(rule.wanted, crate::domain::source::cell_form::Wanted::LocalTimestamp)
                    }
                    ("day_month_order", Value::Time(_)) => true,
                    ("century", Value::Time(rule)) => rule.calendar.pivot.is_some(),
                    ("year", Value::Time(_)) => column.year.is_some(),
                    ("percent_scale", Value::Number(number)) => number.percent.is_some(),
                    ("decimal_mark", Value::Number(number)) => number.decimal_mark == ',',
                    _ => false,
                });
                assert!(is_declared, "{}: {ambiguous}", defined.file.display());
            }
        }
    }
}
