//! The documents: what they name exists, and what they say in two languages is the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use small_etl::domain::column::Constraint;
use small_etl::domain::violation;

const GUARANTEES: &str = include_str!("../../docs/guarantees.md");
const README: &str = include_str!("../../README.md");
const README_ZH: &str = include_str!("../../README.zh-CN.md");

/// Every Markdown file for people: at the root, below `docs/`, and in `events/`. Path below the root, and text.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/decisions", "docs/reference", "events", "deploy/terraform"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 30, "only {} documents", found.len());
    found
}

/// The pieces of code in a line of text: what stands between two backticks.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The lines of a page outside of its fenced blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What `name` looks like if it is that of a test: `module::a_sentence_in_snake_case`.
fn as_test(name: &str) -> Option<(&str, &str)> {
    let (module, test) = name.split_once("::")?;
    let plain =
        |text: &str| text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    (plain(module) && plain(test) && test.matches('_').count() >= 2).then_some((module, test))
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    for (document, text) in documents() {
        for (module, test) in prose(&text).flat_map(code).filter_map(as_test) {
            let file = format!("{}/tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"));
            let code = fs::read_to_string(&file).unwrap_or_default();
            assert!(code.contains(&format!("fn {test}()")), "{}: no test {module}::{test}", document.display());
            named += 1;
        }
    }
    assert!(named > 150, "only {named} tests are named");
}

#[test]
fn every_guarantee_names_a_test() {
    let mut promises = 0;
    for row in GUARANTEES
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise") && !line.starts_with("| ---"))
    {
        let proof = row.rsplit(" | ").next().unwrap();
        assert!(code(proof).any(|name| as_test(name).is_some()), "no test proves: {row}");
        promises += 1;
    }
    assert!(promises > 50, "only {promises} promises");
}

/// The relative links of a page: their targets, without those that lead to other servers.
fn links(page: &str) -> Vec<&str> {
    prose(page)
        .flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The name that a heading has in a link: letters, digits and hyphens, as hosts of Markdown make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut followed = 0;
    for (document, text) in documents() {
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let here = root.join(&document);
            let target = if path.is_empty() { here } else { here.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !heading.is_empty() {
                let page = fs::read_to_string(&target).unwrap();
                let found = prose(&page).filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
                assert!(found, "{}: {link}: no such heading", document.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 80, "only {followed} links");
}

#[test]
fn the_index_names_every_page() {
    let index = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/README.md")).unwrap();
    let linked = links(&index);
    for (document, _) in documents() {
        let Ok(page) = document.strip_prefix("docs") else { continue };
        assert!(
            page == Path::new("README.md") || linked.contains(&page.to_str().unwrap()),
            "{} is not in the index",
            page.display()
        );
    }
}

#[test]
fn the_readme_is_short() {
    for (name, text) in [("README.md", README), ("README.zh-CN.md", README_ZH)] {
        assert!(text.lines().count() < 200, "{name} has {} lines", text.lines().count());
    }
}

/// The commands of a page: the lines of its blocks of shell without their comments.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .map(|line| line.split(" #").next().unwrap().trim_end())
        .filter(|line| !line.is_empty())
        .collect()
}

/// What a command says of itself, in lines as long as where no terminal shows them.
pub fn help(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    command.args(arguments).arg("--help").stdin(Stdio::null()).env_remove("COLUMNS");
    let output = command.output().unwrap();
    assert!(output.status.success(), "small-etl {arguments:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_and_option_in_a_block_of_shell_exists() {
    let mut seen = BTreeSet::new();
    for (document, text) in documents() {
        for line in commands(&text) {
            let Some((_, command)) = line.split_once("small-etl ").filter(|(before, _)| before.trim().is_empty())
            else {
                continue;
            };
            let words: Vec<&str> = command.split('|').next().unwrap().split_whitespace().collect();
            let help = help(&words[..1]);
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                assert!(help.contains(option), "{}: {line}: no option {option}", document.display());
            }
            seen.insert(words[0].to_owned());
        }
    }
    assert!(seen.len() >= 8, "only {seen:?}");
}

/// The names of the commands, in the order in which the program lists them.
pub fn commands_of_help() -> Vec<String> {
    let help = help(&[]);
    let listed = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    // A description that is wrapped goes on with more than two blanks before it.
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !["", "help"].contains(name)).map(String::from).collect()
}

#[test]
fn the_page_on_the_command_line_lists_every_command() {
    let page = include_str!("../../docs/command-line.md");
    for name in commands_of_help() {
        assert!(page.contains(&format!("`{name} ")) || page.contains(&format!("`{name}`")), "{name} is missing");
    }
}

#[test]
fn the_page_on_the_command_line_has_the_exit_codes_of_the_help() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let help = help(&[]);
    let of_help = help.split("Exit codes:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let page = include_str!("../../docs/command-line.md");
    let of_page = page.split("| --- | --- |").last().unwrap().replace(['|', '`'], "");
    assert_eq!(words(&of_page), words(of_help));
}

#[test]
fn every_target_of_make_that_a_document_names_exists() {
    let makefile = include_str!("../../Makefile");
    let mut named = 0;
    for (document, text) in documents() {
        let shell = commands(&text);
        for command in prose(&text).flat_map(code).chain(shell) {
            let target = command.split(" make ").nth(1).or_else(|| command.strip_prefix("make "));
            let Some(target) = target.and_then(|rest| rest.split_whitespace().next()) else { continue };
            let exists = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            assert!(exists, "{}: make {target}", document.display());
            named += 1;
        }
    }
    assert!(named > 30, "only {named} targets");
}

#[test]
fn the_readme_has_the_same_commands_and_links_in_both_languages() {
    assert!(commands(README).len() >= 8);
    assert_eq!(commands(README), commands(README_ZH));
    let shared = |page| {
        let mut targets = links(page);
        targets.retain(|target| !target.starts_with("README"));
        targets.sort_unstable();
        targets.dedup();
        targets.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shared(README), shared(README_ZH));
    let headings = |page: &str| page.lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(headings(README), headings(README_ZH));
}

#[test]
fn the_picture_in_the_readme_shows_the_commands_of_its_first_file() {
    let picture = include_str!("../../docs/pictures/terminal.svg").replace("&#160;", " ").replace("&quot;", "\"");
    let section = README.split("\n## Your first file\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let shown = commands(section).into_iter().filter(|line| line.starts_with("small-etl") && !line.contains("migrate"));
    let shown: Vec<&str> = shown.collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    for command in shown {
        assert!(picture.contains(command), "the picture is not of `{command}`: run `make pictures`");
    }
}

/// The names in backquotes in the first cells of the tables in a section of a page.
fn listed(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(String::from).collect()
}

#[test]
fn every_reason_rule_and_metric_is_listed_and_no_other() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md")).unwrap();
    let source = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let within =
        |text: &str, from: &str, until: &str| text.split_once(from).unwrap().1.split_once(until).unwrap().0.to_owned();
    let names = within(&source("src/error.rs"), "impl Reason {", "\n}");
    let reasons: BTreeSet<String> = names.split('"').skip(1).step_by(2).map(String::from).collect();
    assert!(reasons.len() > 15);
    assert_eq!(listed(&page, "Why a file failed"), reasons);

    let mut rules: BTreeSet<String> = [violation::OF_EVERY_FILE, violation::OF_EVERY_SOURCE, Constraint::RULES]
        .concat()
        .into_iter()
        .map(String::from)
        .collect();
    // Examples of types, and what becomes of rows that have waited too long.
    rules.extend(["decimal", "date", "reference"].map(String::from));
    assert_eq!(listed(&page, "Why a row was rejected"), rules);

    let metrics = source("src/lambda/metrics.rs");
    let structures = metrics.split("#[metrics(rename_all").skip(1).map(|text| within(text, "struct ", "\n}"));
    let fields = structures.flat_map(|text| {
        let fields = text.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name.to_owned());
        fields
            .filter(|name| !["timestamp", "environment", "dataset", "load_id"].contains(&name.as_str()))
            .collect::<Vec<_>>()
    });
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let metrics: BTreeSet<String> = fields.map(|name| name.split('_').map(capital).collect()).collect();
    assert!(metrics.len() > 25);
    assert_eq!(listed(&page, "Metrics"), metrics);
}
