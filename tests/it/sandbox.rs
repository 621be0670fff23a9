//! What `ingest` needs from a sandbox: a temporary folder, Postgres, S3, the queue and the runtime; no home folder, and
//! nothing else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::contract::ASSETS;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::world::{World, moto};

/// Wraps the function in two programs: one gives it a file system that is read-only except for an empty temporary
/// folder, and no home folder; the other records where it connects to.
fn wrapped(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("ingest");
    let script = format!(
        "#!/bin/sh\nexec bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --bind {folder} {folder} --unsetenv HOME --unsetenv TMPDIR \
         --chdir / strace --quiet=all --follow-forks --trace=connect --output={folder}/connects {ingest}\n",
        folder = folder.display(),
        ingest = env!("CARGO_BIN_EXE_ingest"),
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_runs_without_a_home_on_a_file_system_that_it_cannot_write_and_reaches_only_what_it_needs() {
    let world = World::on_moto(&[]).await;
    let (_, queue) = world.queue().await;
    let world = world.under(&[("QUEUE__URL", &queue)]);
    let scratch = Scratch::new("sandbox");
    let log = scratch.path().join("log");
    let emulator = Emulator::start(&wrapped(scratch.path()), &world.variables(), File::create(&log).unwrap().into());
    world.put("incoming/assets/1.csv", ASSETS.replace("305000.00", "1")).await;
    world.put("incoming/assets/2.csv", ASSETS).await;
    let answer = emulator.invoke(&json!({"bucket": world.bucket, "key": "incoming/assets/1.csv"}));
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer} {}", fs::read_to_string(&log).unwrap());
    let answer = emulator.invoke(&json!({"reconcile": {"bucket": world.bucket}}));
    assert_eq!(answer["reconciled"]["sent"], 1, "{answer}");
    drop(emulator);

    let connects = fs::read_to_string(scratch.path().join("connects")).unwrap();
    let ports: BTreeSet<u16> = connects
        .lines()
        .filter(|line| line.contains("AF_INET"))
        .map(|line| line.split("htons(").nth(1).unwrap().split(')').next().unwrap().parse().unwrap())
        .collect();
    let port = |url: &str| url::Url::parse(url).unwrap().port().unwrap();
    let known = BTreeSet::from([port(&world.url), port(&moto().endpoint)]);
    // The third port is that of the runtime, which the emulator chose.
    assert!(ports.is_superset(&known) && ports.len() == 3, "{ports:?} {known:?}\n{connects}");
    assert!(
        connects.lines().filter(|line| line.contains("AF_INET")).all(|line| line.contains("127.0.0.1")),
        "{connects}"
    );
}
