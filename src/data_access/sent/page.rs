//! The tables of `docs/sources.md`: every example of an option is read as the page says.

use super::table::Table;
use super::text_rows::{Cut, TextRows};
use crate::domain::source::binding::{PlainRow, Surroundings};
use crate::domain::source::kind::{Kind, TargetColumn};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::parse_sources;
use crate::domain::source::row::Row;
use crate::domain::types::{Options, registration};

const PAGE: &str = include_str!("../../../docs/sources.md");

/// The cells of each row of the table below a heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn kind(name: &str) -> Kind {
    let options = toml::from_str("precision = 38\nscale = 9").unwrap();
    registration(name).unwrap().kind(&Options(options)).unwrap().family()
}

fn source(of_source: &str, columns: &[(&str, Kind, String)]) -> Source {
    let targets: Vec<TargetColumn> =
        columns.iter().map(|(name, kind, _)| TargetColumn { name: (*name).to_owned(), kind: *kind }).collect();
    let columns = columns.iter().map(|(name, _, options)| format!("[[source.column]]\nname = \"{name}\"\n{options}\n"));
    let text = format!("[[source]]\nname = \"page\"\nfiles = [\"**\"]\n{of_source}\n{}", columns.collect::<String>());
    parse_sources("page", &text, &targets, &[String::new()]).unwrap_or_else(|error| panic!("{text}: {error}")).remove(0)
}

/// What each record holds: values, or the rule that it breaks.
fn records(source: &Source, kinds: &[&str], file: &str) -> Vec<String> {
    let (lines, cut) = match &source.format {
        Format::Delimited(lines, dialect) => (*lines, Cut::Delimited(dialect.clone())),
        other => panic!("{other:?}"),
    };
    let rows = TextRows::new(file.as_bytes(), lines, cut).unwrap();
    let around = Surroundings { key: "in/bank_20251222.csv".into(), ..Surroundings::default() };
    let (mut table, head) = Table::open(rows, source, around).unwrap();
    let mut binding = head.bind(source).unwrap();
    let (mut row, mut plain, mut number) = (Row::default(), PlainRow::default(), 0);
    let mut all = Vec::new();
    while table.read(&mut row).unwrap() {
        number += 1;
        if let Some(fault) = row.fault {
            all.push(format!("reject `{}`", fault.rule()));
        } else if !binding.fits(&row) {
            all.push("reject `field_count`".into());
        } else {
            binding.translate(&row, number, &mut plain);
            let value = |(index, kind): (usize, &&str)| match plain.value(index) {
                Ok(Some(value)) if is_value(kind, value) => format!("`{value}`"),
                Ok(Some(_)) => format!("reject `{kind}`"),
                Ok(None) => "nothing".into(),
                Err(fault) => format!("reject `{}`", fault.rule()),
            };
            all.push(kinds.iter().enumerate().map(value).collect::<Vec<_>>().join(" "));
        }
    }
    all
}

fn is_value(kind: &str, text: &str) -> bool {
    let options = toml::from_str("precision = 38\nscale = 9").unwrap();
    registration(kind).unwrap().kind(&Options(options)).unwrap().canonical(text).is_some()
}

fn written(text: &str) -> String {
    text.replace('⏎', "\n").replace('→', "\t")
}

#[test]
fn files_are_cut_as_the_page_says() {
    for row in table("How a file is cut") {
        let [declared, file, expected] = row[..] else { panic!("{row:?}") };
        let mut options = code(declared);
        // The header of a column is an option of the column.
        let header = options.iter().position(|option| option.starts_with('[')).map(|at| options.remove(at));
        let of_a = header.map_or(String::new(), |names| format!("header = {names}"));
        let columns: &[(&str, Kind, String)] = match header {
            Some(_) => &[("a", Kind::Text, of_a), ("b", Kind::Text, String::new())],
            None => &[("a", Kind::Text, String::new()), ("b", Kind::Text, String::new())],
        };
        let source = source(&options.join("\n"), columns);
        let found = records(&source, &["text", "text"], &written(code(file)[0]));
        assert_eq!(found.join(", "), expected, "{declared}");
    }
}

#[test]
fn values_are_written_as_the_page_says() {
    for row in table("How a value is written") {
        let [declared, kind_name, cell, expected] = row[..] else { panic!("{row:?}") };
        let kind_name = code(kind_name)[0];
        let source = source("", &[("x", kind(kind_name), code(declared).join("\n"))]);
        let cell = cell.trim_matches('`').replace('"', "\"\"");
        let found = records(&source, &[kind_name], &format!("x\n\"{cell}\"\n"));
        assert_eq!(found, [expected], "{declared}");
    }
}

#[test]
fn columns_come_from_where_the_page_says() {
    for row in table("Where a column comes from") {
        let [declared, kind_name, file, expected] = row[..] else { panic!("{row:?}") };
        let kind_name = code(kind_name)[0];
        let options = declared.split("` and `").map(|option| option.trim_matches('`')).collect::<Vec<_>>().join("\n");
        let source = source("", &[("x", kind(kind_name), options)]);
        assert_eq!(records(&source, &[kind_name], &written(code(file)[0])), [expected], "{declared}");
    }
}

/// Every option of a source and of a column is on the page.
#[test]
fn the_page_has_every_option() {
    for text in [
        "[[source]]\nname = \"a\"\nfiles = []\nnone = 1\n",
        "[[source]]\nname = \"a\"\nfiles = []\n[[source.column]]\nname = \"x\"\nnone = 1\n",
    ] {
        let error = parse_sources("page", text, &[], &[]).unwrap_err();
        let (_, known) = error.split_once("expected one of ").unwrap();
        for option in code(known).into_iter().filter(|option| *option != "column") {
            assert!(PAGE.contains(&format!("`{option}")) || PAGE.contains(&format!("\n{option} = ")), "{option}");
        }
    }
}
