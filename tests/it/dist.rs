//! What is released: packed from finished programs, installed where nothing can be compiled, deployed without Rust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::deploy::{Account, assert_ready, assert_stopped, printed};
use crate::support::{Scratch, installed};
use crate::tutorial::{follow_in, follow_the_readme};
use crate::world::empty_database;

const TARGET: &str =
    if cfg!(target_arch = "x86_64") { "x86_64-unknown-linux-gnu" } else { "aarch64-unknown-linux-gnu" };

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Packs the programs in a folder for these targets into `dist` beside it, and returns that.
fn pack(programs: &Path, targets: &[&str]) -> PathBuf {
    let (out, certificates) = (programs.with_file_name("dist"), programs.with_file_name("rds.pem"));
    fs::write(&certificates, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let output = Command::new(project(".ci/package"))
        .arg("--certificates")
        .arg(certificates)
        .args(["--describe", env!("CARGO_BIN_EXE_small-etl")])
        .arg(&out)
        .args(targets.iter().map(|target| format!("{target}={}", programs.display())))
        .env("PYTHONPATH", installed("release-tools", include_str!("../../.ci/release-requirements.txt")))
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    out
}

/// Programs whose content does not matter, of which `small-etl` is one that runs here.
fn stand_ins(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).unwrap();
    fs::copy("/bin/true", programs.join("small-etl")).unwrap();
    fs::write(programs.join("ingest"), "this is ingest").unwrap();
    fs::write(programs.join("migrate"), "this is migrate").unwrap();
    programs
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", printed(&output));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_wheel_the_readme_and_the_tutorial_work_on_a_machine_that_has_no_compiler() {
    let (scratch, (url, _)) = (Scratch::new("wheel"), empty_database().await);
    let programs = stand_ins(scratch.path());
    run(Command::new("strip").arg("-o").arg(programs.join("small-etl")).arg(env!("CARGO_BIN_EXE_small-etl")));
    let dist = pack(&programs, &[TARGET]);
    let wheel = names(&dist)
        .into_iter()
        .find(|name| Path::new(name).extension().is_some_and(|extension| extension == "whl"))
        .unwrap();

    let (started, root) = (Instant::now(), scratch.path().join("root"));
    let output = run(Command::new(project("tests/dist/install")).arg(dist.join(wheel)).arg(&root));
    assert!(printed(&output).contains(concat!("small-etl ", env!("CARGO_PKG_VERSION"))), "{}", printed(&output));
    let shell = |_: &Path| {
        let mut shell = Command::new(project("tests/dist/enter"));
        shell.arg(&root).arg("/bin/bash");
        shell
    };
    follow_the_readme(&root.join("work"), shell, &url).await;
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    // The tutorial, in a database of its own.
    let ((url, _), page) = (empty_database().await, include_str!("../../docs/guess.md"));
    for file in ["mine", "exported"].map(|name| root.join("work").join(name)) {
        if file.is_dir() { fs::remove_dir_all(file).unwrap() } else { fs::remove_file(file).unwrap() }
    }
    assert_eq!(follow_in(&root.join("work"), shell, &url, page, |said, shown| said == shown), (1, 4));
}

#[test]
fn the_same_programs_packed_twice_are_the_same_bytes() {
    let scratches = ["first", "second"].map(Scratch::new);
    let [first, second] = scratches.each_ref().map(|scratch| {
        let programs = stand_ins(scratch.path());
        // When and with which permissions the programs were written does not matter.
        let mode = if scratch.path() == scratches[0].path() { 0o700 } else { 0o644 };
        fs::set_permissions(programs.join("ingest"), fs::Permissions::from_mode(mode)).unwrap();
        pack(&programs, &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
    });
    let packed = names(&first);
    assert_eq!(packed, names(&second));
    for name in &packed {
        assert!(fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap(), "{name} differs");
    }
    let version = env!("CARGO_PKG_VERSION");
    for name in ["x86_64", "arm64"].iter().flat_map(|processor| {
        ["ingest", "migrate"].map(|function| format!("small-etl-{version}-{function}-{processor}.zip"))
    }) {
        assert!(packed.contains(&name), "{name} is not in {packed:?}");
    }
    let sums = fs::read_to_string(first.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), packed.len() - 1, "{sums}");
    run(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&first));
}

#[test]
fn an_archive_has_the_program_its_licences_manual_pages_and_completions() {
    let scratch = Scratch::new("archive");
    let dist = pack(&stand_ins(scratch.path()), &[TARGET]);
    let top = format!("small-etl-{}-{TARGET}", env!("CARGO_PKG_VERSION"));
    run(Command::new("tar").args(["-xzf", &format!("{top}.tar.gz")]).current_dir(&dist));
    let folder = dist.join(top);
    assert_eq!(
        names(&folder),
        ["CHANGELOG.md", "LICENSE", "README.md", "THIRD-PARTY-LICENSES.txt", "completions", "man", "small-etl"]
    );
    assert_eq!(names(&folder.join("completions")), ["_small-etl", "small-etl.bash", "small-etl.fish"]);
    assert!(names(&folder.join("man/man1")).contains(&"small-etl-load.1".to_owned()));
    run(&mut Command::new(folder.join("small-etl")));
    let licences = fs::read_to_string(folder.join("THIRD-PARTY-LICENSES.txt")).unwrap();
    // A crate with a text, one without, and C++ and C inside of crates.
    for name in ["\nserde 1.", "\nmaud 0.", "\nre2, in DuckDB", "\nopenssl-src 300."] {
        assert!(licences.contains(name), "{name} is not there");
    }
    let bill: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(dist.join(format!("small-etl-{}.cdx.json", env!("CARGO_PKG_VERSION")))).unwrap(),
    )
    .unwrap();
    let components = bill["components"].as_array().unwrap();
    let component = |name| components.iter().find(|component| component["name"] == name);
    assert_eq!(component("duckdb").unwrap()["licenses"][0]["expression"], "MIT");
    assert!(component("insta").is_none(), "what only tests need is not in the programs");
}

#[test]
fn what_other_systems_run_is_packed_as_they_expect_it() {
    let scratch = Scratch::new("systems");
    let programs = stand_ins(scratch.path());
    fs::write(programs.join("small-etl.exe"), "this is a program for Windows").unwrap();
    let dist = pack(&programs, &["x86_64-pc-windows-msvc", "aarch64-apple-darwin"]);
    let (version, packed) = (env!("CARGO_PKG_VERSION"), names(&dist));
    for name in [
        format!("small-etl-{version}-x86_64-pc-windows-msvc.zip"),
        format!("small_etl-{version}-py3-none-win_amd64.whl"),
        format!("small-etl-{version}-aarch64-apple-darwin.tar.gz"),
        format!("small_etl-{version}-py3-none-macosx_11_0_arm64.whl"),
    ] {
        assert!(packed.contains(&name), "{name} is not in {packed:?}");
    }
    for (archive, program) in [
        (
            format!("small-etl-{version}-x86_64-pc-windows-msvc.zip"),
            format!("small-etl-{version}-x86_64-pc-windows-msvc/small-etl.exe"),
        ),
        (
            format!("small_etl-{version}-py3-none-win_amd64.whl"),
            format!("small_etl-{version}.data/scripts/small-etl.exe"),
        ),
    ] {
        let mut archive = zip::ZipArchive::new(fs::File::open(dist.join(archive)).unwrap()).unwrap();
        let content = std::io::read_to_string(archive.by_name(&program).unwrap()).unwrap();
        assert_eq!(content, "this is a program for Windows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_packed_is_deployed_and_nothing_is_built() {
    let (account, scratch) = (Account::with_database().await, Scratch::new("packed"));
    let dist = pack(&stand_ins(scratch.path()), &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]);
    let variables = [("FROM", dist.to_str().unwrap()), ("BUILD_FAILS", "1")];
    let zip = dist.join(format!("small-etl-{}-ingest-x86_64.zip", env!("CARGO_PKG_VERSION")));
    let whole = fs::read(&zip).unwrap();
    fs::write(&zip, &whole[..whole.len() - 1]).unwrap();
    let stopped = account.deploy_under(&["dev", "Architecture=x86_64"], &variables);
    assert_stopped(&stopped, &["is not what SHA256SUMS says; nothing was deployed"]);

    fs::write(&zip, whole).unwrap();
    let done = account.deploy_under(&["dev", "Architecture=x86_64"], &variables);
    assert_ready(&done, "small-etl-dev");
    assert_eq!(account.property("Ingest", "Architectures/0"), "x86_64");
    for (function, program) in [("Ingest", "ingest"), ("Migrate", "migrate")] {
        let (names, content) = account.package(function).await;
        assert_eq!(content, format!("this is {program}"));
        for name in ["rds.pem", "LICENSE", "THIRD-PARTY-LICENSES.txt"] {
            assert!(names.iter().any(|packed| packed == name), "{name} is not in {names:?}");
        }
    }
}
