//! Every file in `events/`, unchanged, against the function under the emulator.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::stack::Stack;

/// The answer, without what differs from run to run.
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

/// `make check-sam-invoke` runs it with `SAM_INVOKE=1`: each event in a container of its own then, by `sam local invoke`.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_in_the_folder_is_answered() {
    let binaries = Path::new(env!("CARGO_BIN_EXE_ingest")).parent().unwrap();
    let sam = std::env::var_os("SAM_INVOKE").is_some();
    let stack = if sam { Stack::start_for_containers(binaries).await } else { Stack::start(binaries).await };
    let ingest = stack.function("ingest", "small_etl_ingest");
    let mut paths: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut text = String::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let event = stack.event(path);
        let answer = if sam { stack.sam_invoke(&event) } else { ingest.invoke(&event) };
        let _ = writeln!(text, "{}: {}", path.file_stem().unwrap().to_str().unwrap(), summary(&answer));
    }
    let text = text.replace(&stack.host(), "HOST").replace("00000000000000000", "~");
    assert_snapshot!(text, @r#"
    direct-again: loaded incoming/assets/assets.csv
    direct-validate-only: validated: "valid", 4 read
    direct: duplicate incoming/assets/assets.csv
    eventbridge-object-created: loaded incoming/trades/a+b%20c.csv
    eventbridge-object-deleted: skipped -
    kafka: loaded incoming/trades/kafka/0fc9a2f4/trades/0/~017-~015.jsonl, loaded incoming/trades/kafka/0fc9a2f4/trades/1/~004-~004.jsonl
    reconcile-prefix: reconciled: 4 compared, 1 sent, 0 discrepancies
    reconcile: reconciled: 5 compared, 0 sent, 0 discrepancies
    s3-put-encoded-key: duplicate incoming/trades/交易 1+1.csv
    s3-put-several: duplicate incoming/assets/assets.csv, duplicate incoming/trades/交易 1+1.csv
    s3-put: duplicate incoming/assets/assets.csv
    s3-test-event: skipped -
    schedule-url: loaded incoming/trades/http/HOST/v1/trades.csv
    schedule: duplicate incoming/assets/assets.csv
    sqs-eventbridge-object-created: {"batchItemFailures":[]}
    sqs-s3-put: {"batchItemFailures":[]}
    sqs-several-messages: {"batchItemFailures":[]}
    "#);
}
