//! Pages of the documentation, followed line by line.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::contract::{ASSETS, TRADES, head};
use crate::support::Scratch;
use crate::world::{World, empty_database, query};

/// Returns the fenced blocks of a page: the language, the content, and the file that the line before names, if it names
/// one.
fn blocks(page: &str) -> Vec<(&str, String, Option<&str>)> {
    let (mut found, mut file, mut lines) = (Vec::new(), None, page.lines());
    while let Some(line) = lines.next() {
        // A block in a list is indented.
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let block = lines.by_ref().map(|line| line.strip_prefix(indent).unwrap_or(line));
            let content: String = block.take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            found.push((language, content, file.take()));
        } else if line.starts_with('`') {
            file = line.split('`').nth(1);
        }
    }
    found
}

/// Returns a shell with the programs of this build in its path.
fn shell(folder: &Path) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_small-etl")).parent().unwrap();
    let mut shell = Command::new("bash");
    shell.current_dir(folder).env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    shell
}

/// Follows a page in a folder and a database. Returns how many files it has written and how many answers it has shown. `shell` starts a
/// shell in the folder, and `agrees` compares what the commands have printed with what the page shows of it.
pub fn follow_in(
    folder: &Path,
    shell: impl Fn(&Path) -> Command,
    url: &str,
    page: &str,
    agrees: fn(&str, &str) -> bool,
) -> (i32, i32) {
    let (mut written, mut shown, mut said) = (0, 0, String::new());
    for (language, content, file) in blocks(page) {
        match (language, file) {
            ("sh", _) => {
                // An exported variable is set for everything that follows; the database is that of the test.
                let own = |line: &&str| !line.starts_with("export DATABASE_URL=");
                let content: String = content.lines().filter(own).flat_map(|line| [line, "\n"]).collect();
                let script = format!("set -e; [ -f exported ] && . ./exported\n{content}\nexport -p > exported\n");
                let output = shell(folder).args(["-c", &script]).env("DATABASE_URL", url).output().unwrap();
                assert!(output.status.success(), "{content}: {}", String::from_utf8_lossy(&output.stderr));
                said = String::from_utf8(output.stdout).unwrap();
            }
            ("text", _) => {
                assert!(agrees(&said, &content), "the page shows\n{content}\nand this is printed:\n{said}");
                shown += 1;
            }
            (_, Some(file)) => {
                let place = folder.join(file);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, content).unwrap();
                written += 1;
            }
            (language, None) => panic!("a block of {language} that nobody names:\n{content}"),
        }
    }
    (written, shown)
}

/// Follows a page that shows all that its commands print.
async fn follow(page: &str) -> (i32, i32) {
    let (url, _) = empty_database().await;
    follow_in(Scratch::new("tutorial").path(), shell, &url, page, |said, shown| said == shown)
}

/// Follows what the README says of a first file.
pub async fn follow_the_readme(folder: &Path, shell: impl Fn(&Path) -> Command, url: &str) {
    let page = include_str!("../../README.md");
    let section = page.split("\n## Your first file\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let followed = follow_in(folder, shell, url, section, |said, shown| said.contains(shown.trim_end()));
    assert_eq!(followed, (2, 1));
    assert_eq!(query(url, "select string_agg(trade_id, ' ' order by trade_id) from deal").await, "T1 T2 T3 T4");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_file_of_the_readme_loads_is_mended_and_explained() {
    let ((url, _), scratch) = (empty_database().await, Scratch::new("readme"));
    follow_the_readme(scratch.path(), shell, &url).await;
    // What the prose says after the blocks.
    let mend = "```sh\nsed -i 's/2OO/200/g' mend.csv\nsmall-etl load mend.csv --dataset deal\nsmall-etl explain deal T4\n```\n";
    let explained = "```text\ntuesday.csv line 3\n```\n";
    follow_in(scratch.path(), shell, &url, &format!("{mend}{explained}"), |said, shown| {
        said.contains(shown.trim_end())
    });
    assert_eq!(query(&url, "select count(*), sum(quantity) from deal").await, "5 | 2100.00");
    assert_eq!(query(&url, "select state, resolved_by from etl.reject").await, "resolved | 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_a_further_dataset_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/add-a-dataset.md")).await, (9, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_sources_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/sources.md")).await, (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_history_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/history.md")).await, (5, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_guessing_holds_line_by_line() {
    assert_eq!(follow(include_str!("../../docs/guess.md")).await, (1, 4));
}

/// The sections of a page whose headings are `wanted`, and what is before the first heading.
fn sections(page: &str, wanted: impl Fn(&str) -> bool) -> String {
    let all = page.split("\n## ").enumerate();
    let kept = all.filter(|(at, section)| *at == 0 || wanted(section.lines().next().unwrap()));
    kept.map(|(_, section)| section).collect::<Vec<_>>().join("\n## ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_backfill_holds_line_by_line() {
    let (world, scratch) = (World::new().await, Scratch::new("backfill"));
    let header = head(TRADES, 1);
    let odd_lot = "5,10000000001,2,T5,600036,2025-12-22T13:45:00,42.80,150,6420.00,A,,0,48,2025-12-22T13:45:00,2025-12-22T14:20:00\n";
    world.put("incoming/assets/accounts.csv", head(ASSETS, 3)).await;
    world.put("incoming/trades/2024.csv", head(TRADES, 3)).await;
    world
        .put(
            "incoming/trades/2025.csv",
            format!("{header}{}{odd_lot}", odd_lot.replace("150,6420", "200,8560").replace("T5", "T4")),
        )
        .await;
    let in_the_bucket = |folder: &Path| {
        let mut shell = shell(folder);
        shell.envs(world.variables()).env("BUCKET", &world.bucket);
        shell
    };
    // The state machine needs AWS; `backfill::` follows it in an emulator.
    let page = sections(include_str!("../../docs/backfill.md"), |heading| heading != "On AWS");
    let followed = follow_in(scratch.path(), in_the_bucket, &world.url, &page, |said, shown| said == shown);
    assert_eq!(followed, (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_upgrading_holds_line_by_line() {
    let ((url, _), scratch) = (empty_database().await, Scratch::new("upgrade"));
    let beside_the_sources = |folder: &Path| {
        let mut shell = shell(folder);
        shell.env("NEWER_CHECKOUT", env!("CARGO_MANIFEST_DIR"));
        shell
    };
    let page = include_str!("../../docs/upgrade.md");
    let version = "select max(version) from refinery_schema_history";
    let there = sections(page, |heading| heading == "On a computer").split_once("\n## ").unwrap().1.to_owned();
    follow_in(scratch.path(), beside_the_sources, &url, &there, |said, shown| said == shown);
    let newest: i32 = query(&url, version).await.parse().unwrap();
    let back = sections(page, |heading| heading == "Go back").split_once("\n## ").unwrap().1.to_owned();
    follow_in(scratch.path(), beside_the_sources, &url, &back, |said, shown| said == shown);
    assert_eq!(query(&url, version).await, (newest - 1).to_string());
}
