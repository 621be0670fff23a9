//! The function under a short deadline, and the queue that takes the rest of its loads.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde_json::{Value, json};
use small_etl::domain::LoadStatus;

use crate::contract::ASSETS;
use crate::support::emulator::Emulator;
use crate::world::World;

const KEY: &str = "incoming/assets/1.csv";

fn ingest(world: &World, more: &[(&str, &str)]) -> Emulator {
    let mut variables = world.variables();
    variables.extend(more.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    let log: Stdio = File::options().append(true).create(true).open("/dev/null").unwrap().into();
    Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, log)
}

/// Returns the next message of the queue, if there is one, as the event with which SQS delivers it to a function.
pub async fn next_event(sqs: &Sqs, queue: &str) -> Option<(Message, Value)> {
    let received =
        sqs.receive_message().queue_url(queue).message_system_attribute_names(MessageSystemAttributeName::All);
    let message = received.send().await.unwrap().messages?.into_iter().next()?;
    let count =
        message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    let event = json!({"Records": [{
        "eventSource": "aws:sqs", "messageId": message.message_id, "receiptHandle": message.receipt_handle,
        "body": message.body, "attributes": {"ApproximateReceiveCount": count}, "messageAttributes": {},
    }]});
    Some((message, event))
}

/// Does what AWS does between a queue and a function: delivers a message, and deletes it unless it is returned.
pub async fn deliver(sqs: &Sqs, queue: &str, ingest: &Emulator) -> Option<Value> {
    let (message, event) = next_event(sqs, queue).await?;
    let answer = ingest.invoke(&event);
    if answer == json!({"batchItemFailures": []}) {
        sqs.delete_message().queue_url(queue).receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
    }
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_needs_five_invocations_finishes() {
    let world = World::on_moto(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")]).await;
    let (sqs, queue) = world.queue().await;
    let mut file = String::from("account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n");
    for row in 0..200 {
        writeln!(file, "A{row},2,1,0,0,{},2025-12-22T14:30:00", if row % 50 == 7 { 2 } else { 1 }).unwrap();
    }
    world.put(KEY, file).await;
    world.slow_down(0.7).await;
    let short = [
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "6"),
        ("SMALL_ETL__LOAD__DEADLINE_MARGIN_SECONDS", "3"),
        ("SMALL_ETL__QUEUE__URL", &queue),
    ];
    let body = json!({"bucket": world.bucket, "key": KEY}).to_string();
    sqs.send_message().queue_url(&queue).message_body(body).send().await.unwrap();
    // Each invocation gets a new sandbox, as if AWS had thrown the last one away.
    let mut invocations = 0;
    while let Some(answer) = deliver(&sqs, &queue, &ingest(&world, &short)).await {
        assert_eq!(answer, json!({"batchItemFailures": []}));
        invocations += 1;
        let state = world.query("select state, read from etl.load").await;
        assert!(state == "interrupted | 200" || state == "loaded | 200", "{state}");
    }
    assert!(invocations >= 5, "{invocations} invocations");
    assert_eq!(
        world.query("select state, read, inserted, rejected, attempt from etl.load").await,
        format!("loaded | 200 | 196 | 4 | {invocations}")
    );
    assert_eq!(world.query("select count(*), count(distinct batch) from etl.load_batch").await, "20 | 20");
    assert_eq!(world.query("select count(*) from asset").await, "196");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_queue_the_rest_of_a_load_is_asked_for_by_an_error_and_not_forgotten() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    world.put(KEY, ASSETS).await;
    world.slow_down(0.6).await;
    let short = [("AWS_LAMBDA_FUNCTION_TIMEOUT", "3"), ("SMALL_ETL__LOAD__DEADLINE_MARGIN_SECONDS", "2")];
    let event = json!({"bucket": world.bucket, "key": KEY});
    let mut answer = ingest(&world, &short).invoke(&event);
    assert_eq!(answer["errorType"], "out_of_time", "{answer}");
    assert_eq!(world.query("select state from etl.load").await, "interrupted");
    let mut deliveries = 1;
    while answer["loads"][0]["status"] != "loaded" {
        answer = ingest(&world, &short).invoke(&event);
        deliveries += 1;
        assert!(deliveries < 10, "{answer}");
    }
    assert_eq!(answer["loads"][0]["inserted"], 4, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_returned_comes_again_when_it_makes_sense() {
    let world = World::on_moto(&[]).await;
    let (sqs, queue) = world.queue().await;
    world.put(KEY, ASSETS).await;
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
    let request = json!({"bucket": world.bucket, "key": KEY}).to_string();
    sqs.send_message().queue_url(&queue).message_body(request).send().await.unwrap();
    let queue_variable = [("SMALL_ETL__QUEUE__URL", queue.as_str())];
    let function = ingest(&world, &queue_variable);

    // Another worker holds the load: the message is hidden for the rest of the lease, not only for the second of its
    // queue.
    world.query("update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '5 s'").await;
    let answer = deliver(&sqs, &queue, &function).await.unwrap();
    assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), 1, "{answer}");
    let returned = Instant::now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(next_event(&sqs, &queue).await.is_none());
    let (_, event) = loop {
        if let Some(next) = next_event(&sqs, &queue).await {
            break next;
        }
        assert!(returned.elapsed() < Duration::from_secs(10), "the message did not come again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(function.invoke(&event), json!({"batchItemFailures": []}));
    assert_eq!(world.query("select state, attempt from etl.load").await, "loaded | 2");

    // If Postgres cannot be reached, the message is also hidden for a while.
    let away = format!("postgres://u@127.0.0.1:{}/d", crate::support::free_port());
    let function = ingest(&world, &[queue_variable[0], ("DATABASE_URL", &away)]);
    let answer = function.invoke(&event);
    assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), 1, "{answer}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(next_event(&sqs, &queue).await.is_none());
}
