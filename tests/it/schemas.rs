//! The schemas that editors use to complete and check: taplo, which editors run, accepts every definition and every file of settings in the
//! repository by them, and refuses what the program refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Scratch, contract_tools};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of a kind below a folder.
fn toml_files(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found
}

/// What taplo says of files by a schema; empty if it accepts them.
fn faults(schema: &str, files: &[PathBuf]) -> String {
    let schema = format!("file://{}", root().join("schemas").join(schema).display());
    let output = Command::new(contract_tools().join("bin/taplo"))
        .args(["check", "--no-auto-config", "--colors", "never", "--schema", &schema])
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), !said.contains("error: "), "{said}");
    if output.status.success() { String::new() } else { said }
}

#[test]
fn an_editor_accepts_every_definition_in_the_repository() {
    let definitions = [toml_files("datasets"), toml_files("tests/formats")].concat();
    assert!(definitions.len() > 30);
    assert_eq!(faults("dataset.schema.json", &definitions), "");
    assert_eq!(faults("settings.schema.json", &toml_files("config")), "");
}

#[test]
fn an_editor_refuses_what_the_program_refuses() {
    let scratch = Scratch::new("schemas");
    let refuses = |schema: &str, text: &str, expected: &str| {
        let file = scratch.path().join("hostile.toml");
        fs::write(&file, text).unwrap();
        let said = faults(schema, &[file]);
        assert!(said.contains(expected), "{expected}: {said}\n{text}");
    };
    let asset = fs::read_to_string(root().join("datasets/asset.toml")).unwrap();
    for (sound, wrong, expected) in [
        ("table = \"asset\"\n", "", "\"table\" is a required property"),
        ("table = \"asset\"\n", "table = \"asset\"\ntabel = 1\n", "'tabel' was unexpected"),
        ("key = \"account_id\"", "key = 7", "key"),
        ("key = \"account_id\"", "key = [7]", "key"),
        ("type = \"timestamp\"", "type = \"timestmap\"", "timestmap"),
        ("precision = 20\n", "", "\"precision\" is a required property"),
        ("precision = 20\n", "precision = 39\n", "39 is greater than the maximum of 38"),
        ("min_length = 1", "min_lenght = 1", "'min_lenght' was unexpected"),
        ("min_length = 1", "min_length = \"1\"", "is not of type \"integer\""),
        ("allowed = [1,", "allowed = [1.5,", "1.5"),
        ("[[rule]]\n", "[[rule]]\nseverity = \"fatal\"\n", "fatal"),
        (
            "[[rule]]\n",
            "[[source]]\nname = \"a\"\nfiles = [\"a/*\"]\nencodign = \"gb18030\"\n\n[[rule]]\n",
            "'encodign' was unexpected",
        ),
        ("[[rule]]\n", "[[source]]\nname = \"a\"\nfiles = [\"a/*\"]\nfold = \"third\"\n\n[[rule]]\n", "third"),
        ("[[rule]]\n", "[load]\nbatch_size = 0\n\n[[rule]]\n", "0 is less than the minimum of 1"),
        ("[[rule]]\n", "[manifest]\nrequired = \"yes\"\n\n[[rule]]\n", "yes"),
    ] {
        assert!(asset.contains(sound));
        refuses("dataset.schema.json", &asset.replacen(sound, wrong, 1), expected);
    }
    for (wrong, expected) in [
        ("[load]\nbatch_sice = 1\n", "'batch_sice' was unexpected"),
        ("[load]\nconnections = 10\n", "10 is greater than the maximum of 9"),
        ("[log]\nformat = \"yaml\"\n", "yaml"),
        ("[lod]\nbatch_size = 1\n", "'lod' was unexpected"),
        ("[[pipeline.trade.extractor]]\nfiles = []\n", "\"type\" is a required property"),
    ] {
        refuses("settings.schema.json", wrong, expected);
    }
}

/// A bound may be a date as TOML writes it, and the options of own parts are not known here.
#[test]
fn an_editor_accepts_what_the_program_accepts() {
    let scratch = Scratch::new("schemas");
    let accepts = |schema: &str, text: &str| {
        let file = scratch.path().join("sound.toml");
        fs::write(&file, text).unwrap();
        assert_eq!(faults(schema, &[file]), "", "{text}");
    };
    let asset = fs::read_to_string(root().join("datasets/asset.toml")).unwrap();
    for (plain, more) in [
        (
            "type = \"timestamp\"\n",
            "type = \"timestamp\"\nmin = 2025-12-22T14:30:00Z\nbelow = \"2030-01-01T00:00:00\"\n",
        ),
        ("key = \"account_id\"", "key = [\"account_id\"]\nopen_questions = []"),
        ("min_length = 1\n", "min_length = 1\nseverity = { min_length = \"warning\" }\nscale = 2\n"),
    ] {
        assert!(asset.contains(plain));
        accepts("dataset.schema.json", &asset.replacen(plain, more, 1));
    }
    accepts(
        "settings.schema.json",
        "[[pipeline.trade.loader]]\ntype = \"mine\"\nname = \"mine\"\nwhere = { anything = 1 }\n",
    );
}
