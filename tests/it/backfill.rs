//! The state machine of the template, run by an emulator, and what `ingest` does with the messages that it sends.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use crate::contract::ASSETS;
use crate::support::emulator::Emulator;
use crate::world::{World, moto};

/// Calls Step Functions. The emulator does not check signatures, but recognizes services by them.
fn step_functions(action: &str, input: &Value) -> Value {
    let signature =
        "AWS4-HMAC-SHA256 Credential=k/20260101/eu-central-1/states/aws4_request, SignedHeaders=host, Signature=x";
    let mut answer = ureq::post(&moto().endpoint)
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", format!("AWSStepFunctions.{action}"))
        .header("Authorization", signature)
        .send(input.to_string())
        .unwrap_or_else(|error| panic!("{action}: {error}"));
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

/// Returns the definition as the template deploys it.
fn definition(bucket: &str, queue: &str) -> String {
    let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let definition = &template["Resources"]["Backfill"]["Properties"]["Definition"];
    let text = serde_json::to_string(&serde_json::to_value(definition).unwrap()).unwrap();
    let text = text.replace("${Bucket}", bucket).replace("${QueueUrl}", queue);
    assert!(!text.contains("${"), "a substitution that the test does not know: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_machine_sends_every_file_under_a_prefix_and_ingest_loads_each_message() {
    ureq::post(format!("{}/moto-api/config", moto().endpoint))
        .send(json!({"stepfunctions": {"execute_state_machine": true}}).to_string())
        .unwrap();
    let world = World::on_moto(&[]).await;
    let (sqs, queue) = world.queue().await;
    for number in 0..5 {
        world
            .put(
                &format!("incoming/assets/2024/a b+{number}.csv"),
                ASSETS.replace("1000000000", &format!("{number}000000000")),
            )
            .await;
    }
    world.put("incoming/assets/2024/", "").await;
    world.put("incoming/assets/2025/other.csv", ASSETS).await;
    let made = step_functions(
        "CreateStateMachine",
        &json!({"name": world.bucket, "roleArn": "arn:aws:iam::123456789012:role/backfill", "definition": definition(&world.bucket, &queue)}),
    );
    let input = json!({"prefix": "incoming/assets/2024/"}).to_string();
    let start = json!({"stateMachineArn": made["stateMachineArn"], "name": "one", "input": input});
    let execution = step_functions("StartExecution", &start)["executionArn"].clone();
    let started = Instant::now();
    let ended = loop {
        let state = step_functions("DescribeExecution", &json!({"executionArn": execution}));
        if state["status"] != "RUNNING" {
            break state;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(ended["status"], "SUCCEEDED", "{ended}");

    let ingest = Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &world.variables(), Stdio::null());
    let mut keys = Vec::new();
    loop {
        let received = sqs.receive_message().queue_url(&queue).max_number_of_messages(10).send().await.unwrap();
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        for message in messages {
            let body = message.body.unwrap();
            let asked: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(asked["bucket"], json!(world.bucket));
            keys.push(asked["key"].as_str().unwrap().to_owned());
            let record = json!({"eventSource": "aws:sqs", "messageId": "1", "body": body, "attributes": {}, "messageAttributes": {}});
            assert_eq!(ingest.invoke(&json!({"Records": [record]})), json!({"batchItemFailures": []}));
            sqs.delete_message()
                .queue_url(&queue)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
        }
    }
    keys.sort();
    assert_eq!(keys, (0..5).map(|number| format!("incoming/assets/2024/a b+{number}.csv")).collect::<Vec<_>>());
    assert_eq!(world.query("select state, count(*), sum(inserted) from etl.load group by 1").await, "loaded | 5 | 20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_event_is_healed_through_the_queue_one_message_for_each_file() {
    let world = World::on_moto(&[]).await;
    let (sqs, queue) = world.queue().await;
    let world = world.under(&[("QUEUE__URL", &queue)]);
    let ingest = Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &world.variables(), Stdio::null());
    for number in 0..3 {
        world
            .put(&format!("incoming/assets/{number}.csv"), ASSETS.replace("1000000000", &format!("{number}000000000")))
            .await;
    }
    // Only one of three events arrives.
    ingest.invoke(&json!({"bucket": world.bucket, "key": "incoming/assets/0.csv"}));
    let nightly = json!({"reconcile": {"bucket": world.bucket}});
    let done = ingest.invoke(&nightly);
    assert_eq!((&done["reconciled"]["compared"], &done["reconciled"]["sent"]), (&json!(3), &json!(2)), "{done}");
    assert_eq!(world.query("select count(*) from asset").await, "4", "the run itself loads nothing");
    for _ in 0..2 {
        let received = sqs.receive_message().queue_url(&queue).send().await.unwrap().messages.unwrap();
        let [message] = received.as_slice() else { panic!("{received:?}") };
        let body = message.body.clone().unwrap();
        let record = json!({"eventSource": "aws:sqs", "messageId": "1", "body": body, "attributes": {}, "messageAttributes": {}});
        assert_eq!(ingest.invoke(&json!({"Records": [record]})), json!({"batchItemFailures": []}));
        sqs.delete_message()
            .queue_url(&queue)
            .receipt_handle(message.receipt_handle.clone().unwrap())
            .send()
            .await
            .unwrap();
    }
    assert_eq!(
        world.query("select count(*), count(distinct version) from etl.load where state = 'loaded'").await,
        "3 | 3"
    );
    let done = ingest.invoke(&nightly);
    assert_eq!(
        (&done["reconciled"]["sent"], &done["reconciled"]["discrepancy_count"]),
        (&json!(0), &json!(0)),
        "{done}"
    );
}
