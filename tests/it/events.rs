//! Every file in `events/`, unchanged, sent to the function under the emulator.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

use crate::support::stack::Stack;

/// Returns the answer without what differs from run to run.
fn summary(answer: &Value) -> String {
    let of = |load: &Value| format!("{} {}", load["status"].as_str().unwrap(), load["key"].as_str().unwrap_or("-"));
    match answer {
        Value::Object(answer) if answer.contains_key("loads") => {
            answer["loads"].as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(", ")
        }
        Value::Object(answer) if answer.contains_key("validated") => {
            let validated = &answer["validated"];
            format!("validated: {}, {} read", validated["status"], validated["read"])
        }
        Value::Object(answer) if answer.contains_key("reconciled") => {
            let done = &answer["reconciled"];
            format!(
                "reconciled: {} compared, {} sent, {} discrepancies",
                done["compared"], done["sent"], done["discrepancy_count"]
            )
        }
        other => other.to_string(),
    }
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("events")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("events/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// `make check-sam-invoke` runs this test with `SAM_INVOKE=1`. Each event then gets a container of its own, from `sam
/// local invoke`.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_in_the_folder_is_answered() {
    let binaries = Path::new(env!("CARGO_BIN_EXE_ingest")).parent().unwrap();
    let sam = std::env::var_os("SAM_INVOKE").is_some();
    let stack = if sam { Stack::start_for_containers(binaries).await } else { Stack::start(binaries).await };
    let ingest = stack.function("ingest", "small_etl_ingest");
    let mut text = String::new();
    for path in files() {
        let event = stack.event(&path);
        let answer = if sam { stack.sam_invoke(&event) } else { ingest.invoke(&event) };
        let _ = writeln!(text, "{}: {}", path.file_stem().unwrap().to_str().unwrap(), summary(&answer));
    }
    let text = text.replace(&stack.host(), "HOST").replace("00000000000000000", "~");
    assert_snapshot!(text, @r#"
    direct-again: loaded incoming/assets/assets.csv
    direct-url: loaded incoming/trades/http/HOST/v1/trades.csv
    direct-validate-only: validated: "valid", 4 read
    direct: duplicate incoming/assets/assets.csv
    eventbridge-object-created: loaded incoming/trades/a+b%20c.csv
    eventbridge-object-deleted: skipped -
    kafka-self-managed: loaded incoming/trades/kafka/trades/0/~017-~015.jsonl, loaded incoming/trades/kafka/trades/1/~004-~004.jsonl
    kafka: loaded incoming/trades/kafka/0fc9a2f4/trades/0/~017-~015.jsonl, loaded incoming/trades/kafka/0fc9a2f4/trades/1/~004-~004.jsonl
    reconcile-prefix: reconciled: 7 compared, 2 sent, 0 discrepancies
    reconcile: reconciled: 8 compared, 0 sent, 0 discrepancies
    s3-put-encoded-key: loaded incoming/trades/交易 1+1.csv
    s3-put-several: duplicate incoming/assets/assets.csv, duplicate incoming/trades/交易 1+1.csv
    s3-put: loaded incoming/assets/assets.csv
    s3-test-event: skipped -
    schedule-fetch: duplicate incoming/trades/http/HOST/v1/trades.csv
    schedule-url: duplicate incoming/trades/http/HOST/v1/trades.csv
    schedule: duplicate incoming/assets/assets.csv
    sqs-backfill: {"batchItemFailures":[]}
    sqs-eventbridge-object-created: {"batchItemFailures":[]}
    sqs-large-file: {"batchItemFailures":[]}
    sqs-s3-put: {"batchItemFailures":[]}
    sqs-several-messages: {"batchItemFailures":[]}
    "#);
}

#[test]
fn the_readme_says_of_every_event_where_its_shape_comes_from() {
    let readme = include_str!("../../events/README.md");
    let named: Vec<&str> = readme
        .split('`')
        .filter(|text| Path::new(text).extension().is_some_and(|extension| extension == "json") && !text.contains('/'))
        .collect();
    let mut unnamed: Vec<_> =
        files().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    unnamed.retain(|file| !named.contains(&file.as_str()));
    assert!(unnamed.is_empty(), "events/README.md does not name {unnamed:?}");
}

#[test]
fn a_message_of_a_queue_carries_the_event_of_its_name() {
    for (message, body) in [
        (&event("sqs-eventbridge-object-created")["Records"][0], "eventbridge-object-created"),
        (&event("sqs-s3-put")["Records"][0], "s3-put"),
        (&event("sqs-several-messages")["Records"][0], "eventbridge-object-created"),
        (&event("sqs-several-messages")["Records"][1], "s3-put"),
    ] {
        let carried: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        assert_eq!(carried, event(body));
    }
}

/// What a schedule of the template hands over is a file in `events/`, and so is answered.
#[test]
fn the_schedules_hand_over_events_of_the_folder() {
    let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let input = |schedule: &str| match &template["Resources"][schedule]["Properties"]["Target"]["Input"] {
        Yaml::Tagged(tagged) => tagged.value.as_str().unwrap().to_owned(),
        plain => plain.as_str().unwrap().to_owned(),
    };
    let fetch = input("Fetch")
        .replace("${FetchUrl}", "https://broker.example/v1/trades.csv")
        .replace("${FetchDataset}", "trade");
    for (input, file) in [(input("Nightly"), "reconcile"), (fetch, "schedule-fetch")] {
        assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), event(file));
    }
}
