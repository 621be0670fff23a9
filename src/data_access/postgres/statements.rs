//! What holds for all statements that are generated for datasets.

use std::collections::BTreeSet;

use super::checked_table::Storage;
use super::release::{Among, any_ready, expire, incomplete, release};
use super::tie::{Window, won};
use super::tombstone::TombstoneStatements;
use super::upsert::UpsertStatements;
use super::{undo_ledger, undo_plan};
use crate::domain::{Dataset, Datasets, LoadId};

const PLACE: &str = r#"
name = "place"
table = "place"
key = ["region", "code"]
version = "seen_at"
files = ["places/**"]
column = [
    { name = "region", type = "integer", required = true },
    { name = "code", type = "text", required = true },
    { name = "seen_at", type = "timestamp", required = true },
    { name = "label", type = "text" },
    { name = "gone", type = "boolean" },
]
"#;

/// Datasets that differ in what their definitions say besides their columns.
fn datasets() -> Vec<Dataset> {
    let arrival = PLACE.replace("\"seen_at\"\nfiles", "\"arrival\"\nfiles");
    let history = "history = \"place_history\"\n";
    let tombstone = "[tombstone]\ncolumn = \"gone\"\nvalues = [true]\n";
    let reference = "[reference]\ncolumns = [\"region\", \"code\"]\ndataset = \"place\"\n\
        warn_unless = [{ id = \"same\", column = \"label\", equals = \"label\" }]\n";
    let replace = |more: &str| arrival.replace("version = \"arrival\"\n", &format!("mode = \"replace\"\n{more}"));
    let keyed = PLACE.replace("[\"region\", \"code\"]", "\"code\"");
    let texts = [
        PLACE.to_owned(),
        keyed.clone(),
        arrival.clone(),
        format!("{history}{PLACE}"),
        format!("{history}{PLACE}{tombstone}"),
        format!("{arrival}{tombstone}"),
        format!("{PLACE}{reference}"),
        format!("{history}{keyed}{}", reference.replace("\"region\", ", "")),
        replace(""),
        replace("replace_by = \"region\"\n"),
        format!("{history}{}", replace("replace_by = \"region\"\ndeleted = \"is_gone\"\n")),
    ];
    texts.iter().map(|text| parse(text)).collect()
}

fn parse(text: &str) -> Dataset {
    let datasets = Datasets::parse([("place.toml", text)]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    datasets.get("place").unwrap().clone()
}

/// Every statement, for every dataset and every kind of table.
fn statements() -> Vec<String> {
    let (mut statements, window) = (Vec::new(), Window { since: "$4", but: None });
    for dataset in datasets() {
        for storage in [Storage::Plain, Storage::Partitioned] {
            statements.push(UpsertStatements::new(&dataset, "v1", storage).upsert);
            if let Some(reference) = &dataset.reference {
                for among in [Among::Own, Among::Brought, Among::Page] {
                    statements.push(release(&dataset, reference, storage, among));
                    statements.push(any_ready(&dataset, reference, among));
                }
                statements.extend([expire(&dataset, reference), incomplete(&dataset, reference)]);
            }
        }
        statements.push(format!("with tied as (select), {} select", won(&dataset, &window)));
        if dataset.tombstone.is_some() {
            statements.push(TombstoneStatements::new(&dataset, "v1").remove);
        }
        if dataset.history.is_some() {
            statements.push(undo_plan::statements(&dataset, LoadId(7), &[&dataset]));
            statements.extend(undo_ledger::statements(&dataset, LoadId(7), LoadId(8)));
        }
    }
    statements
}

#[test]
fn no_hole_is_left_in_a_statement() {
    for statement in statements() {
        let plain = statement.replace("::", "").replace("undo://", "");
        assert!(!plain.contains(':'), "{statement}");
    }
}

#[test]
fn the_parts_of_a_statement_have_names_of_their_own() {
    for statement in statements() {
        for statement in statement.split(';') {
            let words: Vec<&str> = statement.split_whitespace().collect();
            let mut seen = BTreeSet::new();
            for place in 1..words.len() {
                if words[place] == "as" && matches!(words[place + 1..], ["materialized" | "(", ..]) {
                    assert!(seen.insert(words[place - 1]), "{} is there twice: {statement}", words[place - 1]);
                }
            }
            assert!(!statement.contains("with ") || !seen.is_empty(), "{statement}");
        }
    }
}

#[test]
fn every_bracket_of_a_statement_is_closed() {
    for statement in statements() {
        let count = |bracket| statement.matches(bracket).count();
        assert_eq!(count('('), count(')'), "{statement}");
    }
}
