//! Events for other systems: written with the change that they report, sent afterwards, and sent again if that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use insta::assert_snapshot;
use serde_json::Value;
use small_etl::data_access::postgres::OutboxEvent;
use tokio::runtime::Handle;

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::support::web::WebServer;
use crate::world::{World, moto, query};

/// The schemas, by the type of the event.
pub fn schemas() -> BTreeMap<String, Value> {
    let folder = format!("{}/events/schemas", env!("CARGO_MANIFEST_DIR"));
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let schema: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        (schema["title"].as_str().unwrap().to_owned(), schema)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Checks that the detail has exactly the members of the schema, and that each is of the right kind.
pub fn assert_fits(detail: &Value, schema: &Value) {
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

/// A bus whose events arrive in a queue.
pub struct Subscriber {
    pub bus: String,
    sqs: aws_sdk_sqs::Client,
    queue: String,
}

impl Subscriber {
    pub async fn new(world: &World) -> Self {
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

    /// Returns the next `count` events with their types.
    pub async fn events(&self, count: usize) -> Vec<(String, Value)> {
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
    assert_eq!(schemas.len(), 6);
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

/// Uses a bus that takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_waits_for_the_bus_and_what_a_dead_sender_had_is_sent_by_the_next() {
    let world = World::on_moto(&[]).await;
    let subscriber = Subscriber::new(&world).await;
    let world = world.under_variables(&[("EVENTS__BUS", &subscriber.bus)]);
    world.put("incoming/assets/1.csv", ASSETS).await;
    let slow = WebServer::start(|_, _| {
        std::thread::sleep(Duration::from_mins(5));
        Vec::new()
    });
    let file = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    let mut variables = world.variables();
    variables.push(("AWS_ENDPOINT_URL_EVENTBRIDGE".into(), slow.origin.clone()));
    let mut loading = Command::new(env!("CARGO_BIN_EXE_small-etl"))
        .args(["load", &file, "--json"])
        .envs(variables)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while slow.asked().is_empty() {
        assert!(started.elapsed() < Duration::from_mins(1), "it sends nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let open = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
        and (xact_start is not null or state <> 'idle')";
    let locks = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation \
        where c.relnamespace = 'etl'::regnamespace and l.pid <> pg_backend_pid() and l.database = (select oid from pg_database \
            where datname = current_database())";
    assert_eq!(query(&world.admin_url(), open).await, "0");
    assert_eq!(query(&world.admin_url(), locks).await, "0");
    loading.kill().unwrap();
    loading.wait().unwrap();
    assert_eq!(world.query("select type, sent_at from etl.outbox").await, "FileLoaded | -");
    // The place of the sender is free once its lease has ended.
    let left = "select expires_at - clock_timestamp() between interval '1 second' and interval '1 minute' from etl.outbox_sender";
    assert_eq!(world.query(left).await, "t");
    world.query("update etl.outbox_sender set expires_at = clock_timestamp()").await;
    let scratch = Scratch::new("announce");
    small_etl(&scratch, &world.variables(), &["reconcile", &format!("s3://{}", world.bucket)]);
    let kinds: Vec<String> = subscriber.events(2).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["FileLoaded", "ReconciliationFinished"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_senders_one_sends_everything_once_and_in_order() {
    const EVENTS: usize = 60;
    let world = World::on_moto(&[]).await;
    let subscriber = Subscriber::new(&world).await;
    let world = world.under_variables(&[("EVENTS__BUS", &subscriber.bus)]);
    world
        .query(&format!(
            "insert into etl.outbox (at, type, detail) select now() + n * interval '1 microsecond', 'FileLoaded', jsonb_build_object('n', n) \
             from generate_series(1, {EVENTS}) n"
        ))
        .await;
    let mut workers = Vec::new();
    for number in 1..=4 {
        let key = format!("incoming/assets/{number}.csv");
        world.put(&key, ASSETS).await;
        workers.push(world.worker(&key, None));
    }
    for worker in workers {
        worker.finish().await.unwrap().unwrap();
    }
    let events = subscriber.events(EVENTS + 4).await;
    let ids: BTreeSet<&str> = events.iter().map(|(_, detail)| detail["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), EVENTS + 4, "none twice");
    assert_eq!(world.query("select count(*) from etl.outbox where sent_at is null").await, "0");
    let order = "select bool_and(in_order) from ( \
        select coalesce(sent_at >= lag(sent_at) over (order by at), true) as in_order from etl.outbox where detail ? 'n') o";
    assert_eq!(world.query(order).await, "t");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = subscriber.sqs.receive_message().queue_url(&subscriber.queue).send().await.unwrap();
    assert!(more.messages().is_empty(), "{more:?}");
}

const NEW_EVENT: &str = "insert into etl.outbox (at, type, detail) values (clock_timestamp(), 'FileLoaded', '{}')";
const UNSENT: &str = "select count(*) from etl.outbox where sent_at is null";

#[tokio::test]
async fn what_the_bus_does_not_take_is_sent_again_and_the_rest_is_not() {
    let world = World::new().await;
    for _ in 0..3 {
        world.query(NEW_EVENT).await;
    }
    let sent = Mutex::new(Vec::new());
    let mut answers = vec![vec![true, false, true], vec![true]].into_iter();
    for left in ["1", "0"] {
        let taken = answers.next().unwrap();
        let bus = async |events: &[OutboxEvent]| {
            sent.lock().unwrap().push(events.iter().map(|event| event.id.clone()).collect::<Vec<_>>());
            Ok(taken.clone())
        };
        world.database.send_events(bus).await.unwrap();
        assert_eq!(world.query(UNSENT).await, left);
    }
    let sent = sent.into_inner().unwrap();
    assert_eq!((sent.len(), sent[0].len(), &sent[1]), (2, 3, &vec![sent[0][1].clone()]));
}

/// Another sender comes with a new event at every step of the first one, which has the place.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_turned_away_leaves_its_event_to_the_one_that_has_the_place() {
    let world = World::new().await;
    let (proxy, other, mut acts) = (world.proxy(), world.proxy(), 0);
    let (_context, first) = world.another(&proxy);
    let all = async |events: &[OutboxEvent]| Ok(vec![true; events.len()]);
    for step in 1..10 {
        world.query(NEW_EVENT).await;
        let (url, (_, second), runtime) = (world.url.clone(), world.another(&other), Handle::current());
        let come = move || {
            runtime.block_on(async {
                query(&url, NEW_EVENT).await;
                second.send_events(async |events| Ok(vec![true; events.len()])).await.unwrap();
            });
        };
        proxy.at(Which::Step, step, Fault::Act(Box::new(come)));
        first.send_events(all).await.unwrap();
        acts += 1 - proxy.disarm();
        assert_eq!(world.query(UNSENT).await, "0", "at step {step}");
    }
    assert!(acts > 5, "{acts}");
}
