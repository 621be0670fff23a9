//! The rules of the house: which layer may import which, where vendors may be named, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
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

/// Checks what each layer imports. Tests inside a module may import what they like.
#[test]
fn every_layer_imports_only_from_those_below() {
    let above_domain = ["data_access", "services", "pipeline", "context", "config", "lambda", "cli"];
    for (path, text) in sources("src") {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let layer = path.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let forbidden: &[&str] = match layer.as_str() {
            "error" => &["domain", "data_access", "services", "pipeline", "context", "config", "lambda", "cli"],
            "domain" => &above_domain,
            "data_access" => &above_domain[1..],
            "services" => &above_domain[2..],
            "pipeline" => &above_domain[3..],
            "context" => &above_domain[5..],
            "config" => &["pipeline", "lambda", "cli"],
            "lambda" => &["cli"],
            "cli" => &["lambda"],
            "bin" | "lib" | "sample" => &[],
            other => panic!("{}: which layer is {other}?", path.display()),
        };
        assert!(!code.contains("use crate::{"), "{}: one module in each use of this crate", path.display());
        for module in forbidden {
            assert!(!code.contains(&format!("crate::{module}")), "{} imports {module}", path.display());
        }
    }
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
        let code = text.split("#[cfg(test)]").next().unwrap();
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
        let code = text.split("#[cfg(test)]").next().unwrap();
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
