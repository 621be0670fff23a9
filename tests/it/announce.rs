//! What others are told: written with what it tells, sent afterwards, again where that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use insta::assert_snapshot;
use serde_json::Value;

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::world::{World, moto};

/// The schemas by the type of the event.
fn schemas() -> BTreeMap<String, Value> {
    let folder = format!("{}/events/schemas", env!("CARGO_MANIFEST_DIR"));
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let schema: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        (schema["title"].as_str().unwrap().to_owned(), schema)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Every member that the schema names is there, none else, and each is what it should be.
fn assert_fits(detail: &Value, schema: &Value) {
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(detail), names(&schema["properties"]));
    assert_eq!(schema["required"].as_array().unwrap().len(), names(detail).len());
    for (name, property) in schema["properties"].as_object().unwrap() {
        let value = &detail[name];
        let kind = match value {
            Value::String(_) => "string",
            Value::Number(number) if number.is_i64() => "integer",
            Value::Null => "null",
            _ => "another",
        };
        let is_one_of = |values: &Value| values.as_array().is_some_and(|values| values.contains(value));
        let fits = property["const"] == *value && !value.is_null()
            || is_one_of(&property["enum"])
            || property["type"] == kind
            || property["type"].as_array().is_some_and(|kinds| kinds.iter().any(|known| known == kind));
        assert!(fits, "{name}: {value} is not as {property}");
    }
}

/// A bus whose events come into a queue.
struct Subscriber {
    bus: String,
    sqs: aws_sdk_sqs::Client,
    queue: String,
}

impl Subscriber {
    async fn new(world: &World) -> Self {
        let (bus, client) = (world.bucket.clone(), Client::new(&moto().config()));
        client.create_event_bus().name(&bus).send().await.unwrap();
        let (sqs, queue) = world.queue().await;
        let attributes = sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueAttributeName::QueueArn);
        let arn = attributes.send().await.unwrap().attributes.unwrap().remove(&QueueAttributeName::QueueArn).unwrap();
        let pattern = r#"{"source": ["small-etl"]}"#;
        client.put_rule().name("all").event_bus_name(&bus).event_pattern(pattern).send().await.unwrap();
        let target = Target::builder().id("queue").arn(arn).build().unwrap();
        client.put_targets().rule("all").event_bus_name(&bus).targets(target).send().await.unwrap();
        Self { bus, sqs, queue }
    }

    /// The next so many events, by type.
    async fn events(&self, count: usize) -> Vec<(String, Value)> {
        let (mut events, started) = (Vec::new(), Instant::now());
        while events.len() < count {
            assert!(started.elapsed() < Duration::from_secs(30), "only {events:?}");
            let answer =
                self.sqs.receive_message().queue_url(&self.queue).max_number_of_messages(10).send().await.unwrap();
            for message in answer.messages() {
                let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
                events.push((event["detail-type"].as_str().unwrap().to_owned(), event["detail"].clone()));
                let delete = self.sqs.delete_message().queue_url(&self.queue);
                delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
            }
        }
        events.sort_by(|one, next| one.0.cmp(&next.0));
        events
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_once_it_is_true_in_the_shapes_of_the_schemas() {
    let world = World::on_moto(&[]).await;
    let subscriber = Subscriber::new(&world).await;
    let world = world.under_variables(&[("EVENTS__BUS", &subscriber.bus)]);
    let bad = ASSETS.replace("305000.00", "305000.001");
    for (key, content) in
        [("incoming/trades/1.csv", TRADES), ("incoming/assets/1.csv", &bad), ("incoming/assets/2.csv", "no")]
    {
        world.put(key, content).await;
        world.worker(key, None).finish().await.unwrap().unwrap();
    }
    let scratch = Scratch::new("announce");
    let place = format!("s3://{}", world.bucket);
    small_etl(&scratch, &world.variables(), &["reconcile", &place]);
    let events = subscriber.events(6).await;
    let schemas = schemas();
    for (kind, detail) in &events {
        assert_fits(detail, &schemas[kind]);
    }
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["FileFailed", "FileLoaded", "FileLoaded", "ReconciliationFinished", "RowsRejected", "RowsReleased"]
    );
    assert_eq!(schemas.len(), 5);
    assert_eq!(events[0].1["reason"], "missing_column");
    assert_snapshot!(events.last().unwrap().1["released"], @"2");
    let ids = world.query("select string_agg(id::text, ' ' order by type, id), count(*) filter (where sent_at is null) from etl.outbox").await;
    let mut told: Vec<(&str, &str)> =
        events.iter().map(|(kind, detail)| (kind.as_str(), detail["event_id"].as_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(ids, format!("{} | 0", told.iter().map(|(_, id)| *id).collect::<Vec<_>>().join(" ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_is_told_by_the_nightly_run() {
    let world = World::on_moto(&[]).await;
    let subscriber = Subscriber::new(&world).await;
    let world = world.under_variables(&[("EVENTS__BUS", &subscriber.bus)]);
    world.put("incoming/assets/1.csv", ASSETS).await;
    let scratch = Scratch::new("announce");
    let mut away = world.variables();
    away.push(("AWS_ENDPOINT_URL_EVENTBRIDGE".into(), "http://127.0.0.1:9".into()));
    away.push(("AWS_MAX_ATTEMPTS".into(), "1".into()));
    let file = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    let loaded = text(&small_etl(&scratch, &away, &["load", &file, "--json"]));
    assert!(loaded.contains(r#""status":"loaded""#), "{loaded}");
    assert_eq!(world.query("select type, sent_at from etl.outbox").await, "FileLoaded | -");
    let place = format!("s3://{}", world.bucket);
    small_etl(&scratch, &world.variables(), &["reconcile", &place]);
    let kinds: Vec<String> = subscriber.events(2).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["FileLoaded", "ReconciliationFinished"]);
    assert_eq!(world.query("select count(*) from etl.outbox where sent_at is null").await, "0");
}

#[tokio::test]
async fn without_a_bus_nothing_is_written_for_it() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(world.query("select count(*) from etl.outbox").await, "0");
}
