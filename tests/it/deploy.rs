//! What `make deploy` does in which order, and when it stops. AWS itself is away: `sam` is a stand-in that notes how it is
//! called; the account and the bucket are those of moto.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use insta::assert_snapshot;

use crate::support::Scratch;
use crate::support::moto::installation;
use crate::world::moto;

/// Notes its first words. `ANSWER` is what migrate answers, `FAILS` the call that fails.
const SAM: &str = r#"#!/bin/bash
words="$1 $2"; case "$1" in build | deploy) words=$1; esac
for word in "$@"; do case "$word" in AcceptEvents=* | Architecture=* | FetchSchedule=* | KmsKeyArn=* | --resolve-image-repos) words="$words $word"; esac; done
echo "$words" >> "$CALLS"
case "$words" in "$FAILS"*) [ -z "$FAILS" ] || exit 1; esac
case "$1" in
    build) case "$*" in *image.yaml*) grep -c 'PackageType: Image' "$SMALL_ETL_CACHE/deploy/dev/image.yaml" >> "$CALLS" ;; esac
        while [ $# -gt 0 ]; do [ "$1" = --build-dir ] && folder=$2; shift; done
        mkdir -p "$folder/Ingest"; echo "      CodeUri: Ingest" > "$folder/template.yaml" ;;
    remote) echo "$ANSWER" ;;
    list) echo '[{"OutputKey": "BucketName", "OutputValue": "my-files"}]' ;;
esac
"#;

struct Deployment {
    output: Output,
    calls: String,
    packed: bool,
}

fn deploy(arguments: &[&str], fails: &str, answer: &str) -> Deployment {
    deploy_as("zip", arguments, fails, answer)
}

fn deploy_as(package: &str, arguments: &[&str], fails: &str, answer: &str) -> Deployment {
    let scratch = Scratch::new("deploy");
    let folder = scratch.path();
    for (name, text) in [("sam", SAM), ("cargo-lambda", "#!/bin/sh\n"), ("zig", "#!/bin/sh\n")] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(folder.join("rds.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/deploy"))
        .args(arguments)
        .envs(moto().variables())
        .env("PYTHONPATH", installation())
        .env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()))
        .env("SMALL_ETL_CACHE", folder)
        .env("CALLS", folder.join("calls"))
        .env("PACKAGE", package)
        .env("INCLUDE", if package == "zip" { "datasets" } else { "" })
        .env("FAILS", fails)
        .env("ANSWER", answer)
        .output()
        .unwrap();
    let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    let package = folder.join("deploy/dev/build/Ingest");
    let packed = package.join("rds.pem").exists() && package.join("datasets/trade.toml").exists();
    Deployment { output, calls, packed }
}

const MIGRATED: &str = r#"{"StatusCode": 200, "Payload": "{\"applied\": []}"}"#;

#[test]
fn ingest_takes_events_only_after_the_schema_is_current() {
    let done = deploy(&["dev"], "", MIGRATED);
    assert!(done.output.status.success(), "{:?}", done.output);
    assert_snapshot!(done.calls, @"
    build Architecture=arm64
    deploy Architecture=arm64 AcceptEvents=false
    list stack-outputs
    remote invoke
    deploy Architecture=arm64 AcceptEvents=true
    list stack-outputs
    ");
    assert!(done.packed, "the certificates of RDS and what is to be included");
}

#[test]
fn a_parameter_may_have_spaces_or_be_empty() {
    let done = deploy(&["dev", "FetchSchedule=rate(1 hour)", "KmsKeyArn="], "", MIGRATED);
    let quoted = r#"deploy Architecture=arm64 FetchSchedule="rate(1 hour)" KmsKeyArn="" AcceptEvents=true"#;
    assert!(done.calls.contains(quoted), "{}", done.calls);
}

#[test]
fn images_may_be_deployed_in_place_of_zips() {
    let (own, other) = match std::env::consts::ARCH {
        "x86_64" => ("Architecture=x86_64", "Architecture=arm64"),
        _ => ("Architecture=arm64", "Architecture=x86_64"),
    };
    let done = deploy_as("image", &["dev", own], "", MIGRATED);
    assert!(done.output.status.success(), "{:?}", done.output);
    assert_snapshot!(done.calls.replace(own, "ARCHITECTURE"), @"
    build ARCHITECTURE
    2
    deploy --resolve-image-repos ARCHITECTURE AcceptEvents=false
    list stack-outputs
    remote invoke
    deploy --resolve-image-repos ARCHITECTURE AcceptEvents=true
    list stack-outputs
    ");
    let stopped = deploy_as("image", &["dev", other], "", MIGRATED);
    assert!(!stopped.output.status.success() && stopped.calls.is_empty(), "{}", stopped.calls);
}

#[test]
fn a_deployment_stops_where_migrate_fails_and_says_that_files_wait() {
    for answer in [
        r#"{"StatusCode": 200, "FunctionError": "Unhandled", "Payload": "{\"errorType\": \"connection\"}"}"#,
        "no JSON at all",
        "",
    ] {
        let stopped = deploy(&["dev"], "", answer);
        assert!(!stopped.output.status.success(), "{answer}");
        assert!(!stopped.calls.contains("AcceptEvents=true"), "{}", stopped.calls);
        let error = String::from_utf8_lossy(&stopped.output.stderr).into_owned();
        assert!(error.contains("migrate failed; files wait in the queue"), "{error}");
    }
}

#[test]
fn nothing_is_deployed_where_the_build_fails_or_the_environment_is_none() {
    let stopped = deploy(&["dev"], "build", MIGRATED);
    assert!(!stopped.output.status.success() && !stopped.calls.contains("deploy"), "{}", stopped.calls);
    let stopped = deploy(&["production"], "", MIGRATED);
    assert!(!stopped.output.status.success() && stopped.calls.is_empty(), "{}", stopped.calls);
}

/// A server that keeps the notifications of a bucket as S3 does: a PUT replaces the whole document, a GET returns it. (moto
/// takes the part for `EventBridge`, and does not return it.)
fn notifications(first: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let (listener, kept) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(Mutex::new(vec![first.to_owned()])));
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let documents = Arc::clone(&kept);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let (mut line, mut length, mut put) = (String::new(), 0, false);
            while socket.read_line(&mut line).unwrap() > 2 {
                put |= line.starts_with("PUT ");
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).unwrap();
            let mut documents = documents.lock().unwrap();
            if put {
                documents.push(String::from_utf8(body).unwrap());
            }
            let answer = if put { "" } else { documents.last().unwrap().as_str() };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            socket.get_mut().write_all((head + answer).as_bytes()).unwrap();
        }
    });
    (endpoint, kept)
}

#[test]
fn a_bucket_that_exists_keeps_its_notifications() {
    let (endpoint, kept) = notifications(
        "<NotificationConfiguration><QueueConfiguration><Id>theirs</Id><Queue>arn:aws:sqs:eu-central-1:1:q</Queue>\
         <Event>s3:ObjectRemoved:*</Event></QueueConfiguration></NotificationConfiguration>",
    );
    for said in ["its 1 other notifications are as they were", "tells EventBridge already; nothing changed"] {
        let output = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/enable-eventbridge"))
            .arg("my-files")
            .envs(moto().variables())
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("PYTHONPATH", installation())
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(said), "{output:?}");
    }
    let documents = kept.lock().unwrap();
    let [_, written] = documents.as_slice() else { panic!("written more than once: {documents:?}") };
    for part in ["<Id>theirs</Id>", "<Event>s3:ObjectRemoved:*</Event>", "EventBridgeConfiguration"] {
        assert!(written.contains(part), "{written}");
    }
}
