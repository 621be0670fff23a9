//! The rules of the house: where vendors may be named, what the domain may use, how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Scratch, free_port};

pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root).unwrap().to_owned(), text));
        }
    }
    assert!(!found.is_empty());
    found
}

/// Leaves out comments, and items that are compiled for tests only.
pub(crate) fn code(text: &str) -> String {
    let mut lines = text.lines();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            for line in lines.by_ref() {
                if line.ends_with(';') && !line.starts_with(&format!("{indent} ")) || line == format!("{indent}}}") {
                    break;
                }
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn a_vendor_is_named_in_data_access_alone() {
    for (path, text) in sources("src") {
        if path.starts_with("src/data_access") {
            continue;
        }
        for vendor in [
            "tokio_postgres",
            "deadpool",
            "aws_sdk",
            "aws_config",
            "aws_smithy",
            "use ::duckdb",
            "use duckdb",
            "refinery",
            "native_tls",
        ] {
            assert!(!text.contains(vendor), "{} names {vendor}", path.display());
        }
    }
    for (path, text) in sources("src/domain") {
        assert!(
            !text.contains("async fn") && !text.contains("std::fs") && !text.contains("tokio"),
            "{} does I/O",
            path.display()
        );
    }
}

/// The types of columns hold their values as Arrow arrays, which are plain data: `docs/decisions/0018`. Nothing else in
/// the domain needs arrays, and nothing in it needs more of Arrow than those.
#[test]
fn the_domain_knows_arrays_in_its_types_alone() {
    for (path, text) in sources("src/domain") {
        let code = code(&text);
        let names: Vec<&str> = code.split("arrow::").skip(1).map(|rest| rest.split("::").next().unwrap()).collect();
        assert!(path.starts_with("src/domain/types") || names.is_empty(), "{} names arrow", path.display());
        let data = ["array", "buffer", "datatypes", "error", "util"];
        assert!(names.iter().all(|name| data.contains(name)), "{}: {names:?}", path.display());
        assert!(!code.contains("parquet::") && !code.contains("duckdb::"), "{}", path.display());
    }
}

#[test]
fn no_file_is_longer_than_600_lines() {
    for folder in ["src", "tests", "benches", "examples"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}

/// Senders check their files on Linux, macOS and Windows.
#[test]
fn what_only_unix_has_is_compiled_only_there() {
    for (path, text) in sources("src") {
        let code = code(&text);
        let lines: Vec<&str> = code.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            if !["os::unix", "rustix", "signal::unix", "libc::", "nix::"].iter().any(|name| line.contains(name)) {
                continue;
            }
            let above = lines[..=number].iter().rev();
            let attribute = above.take_while(|line| !line.is_empty()).find(|line| line.starts_with("#[cfg("));
            assert_eq!(attribute, Some(&"#[cfg(unix)]"), "{} line {}", path.display(), number + 1);
        }
    }
}

#[test]
fn the_binaries_are_thin() {
    for (path, text) in sources("src/bin") {
        assert!(text.lines().count() < 30, "{} is no thin binary", path.display());
    }
}

/// A folder that two servers share is gone when the first of them ends.
#[test]
fn no_folder_and_no_port_of_the_tests_is_given_twice() {
    let folders: Vec<Scratch> = (0..3).map(|_| Scratch::new("house")).collect();
    assert_eq!(folders.iter().map(Scratch::path).collect::<BTreeSet<_>>().len(), 3);
    let ports: BTreeSet<u16> = (0..500).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 500);
    assert!(ports.iter().all(|port| (10_000..30_000).contains(port)), "below those that the system gives: {ports:?}");
}
