//! Pages of the documentation, followed line by line.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Scratch;
use crate::world::{empty_database, query};

/// The fenced blocks of a page: language, content, and the file that the last line before names, if it names one.
fn blocks(page: &str) -> Vec<(&str, String, Option<&str>)> {
    let (mut found, mut file, mut lines) = (Vec::new(), None, page.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let content: String =
                lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            found.push((language, content, file.take()));
        } else if line.starts_with('`') {
            file = line.split('`').nth(1);
        }
    }
    found
}

/// The path with the programs of this build first.
fn path() -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_small-etl")).parent().unwrap();
    format!("{}:{}", programs.display(), std::env::var("PATH").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_file_of_the_readme_loads_and_its_bad_rows_are_explained_as_shown() {
    let (url, _) = empty_database().await;
    let scratch = Scratch::new("readme");
    let page = include_str!("../../README.md");
    let section = page.split("\n## Your first file\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let (mut commands, mut shown, mut said) = (0, 0, String::new());
    for (language, content, _) in blocks(section) {
        if language == "text" {
            assert!(said.contains(content.trim()), "{content} is not in {said}");
            shown += 1;
            continue;
        }
        for command in content.lines().filter(|line| !line.starts_with("export DATABASE_URL=")) {
            let mut shell = Command::new("bash");
            let shell = shell.args(["-c", command]).current_dir(scratch.path());
            let output = shell.env("PATH", path()).env("DATABASE_URL", &url).output().unwrap();
            // `validate` ends with 1 because it finds bad rows.
            let expected = i32::from(command.contains(" validate "));
            assert_eq!(output.status.code(), Some(expected), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            said += &String::from_utf8(output.stdout).unwrap();
            commands += 1;
        }
    }
    assert_eq!((commands, shown), (5, 1));
    let rows = query(&url, "select count(*) from asset").await;
    let to_mend = fs::read_to_string(scratch.path().join("mend.csv")).unwrap().lines().count();
    assert_eq!((rows.as_str(), to_mend), ("990", 11));
}

/// Follows a page; returns how many files it has written and how many answers it has shown.
async fn follow(page: &str) -> (i32, i32) {
    let (url, _) = empty_database().await;
    let scratch = Scratch::new("tutorial");
    let (mut written, mut shown, mut said) = (0, 0, String::new());
    for (language, content, file) in blocks(page) {
        match (language, file) {
            ("sh", _) => {
                // What is exported holds for all that follows.
                let script = format!("set -e; [ -f exported ] && . ./exported\n{content}\nexport -p > exported\n");
                let output = Command::new("bash")
                    .args(["-c", &script])
                    .current_dir(scratch.path())
                    .env("PATH", path())
                    .env("DATABASE_URL", &url)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{content}: {}", String::from_utf8_lossy(&output.stderr));
                said = String::from_utf8(output.stdout).unwrap();
            }
            ("text", _) => {
                assert_eq!(said, content);
                shown += 1;
            }
            (_, Some(file)) => {
                let place = scratch.path().join(file);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, content).unwrap();
                written += 1;
            }
            (language, None) => panic!("a block of {language} that nobody names:\n{content}"),
        }
    }
    (written, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_a_further_dataset_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/add-a-dataset.md")).await, (9, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_sources_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/sources.md")).await, (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_guessing_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/guess.md")).await, (1, 4));
}
