//! Traces: off unless the environment asks for them; then each load, its steps and its calls are spans, over OTLP and to the X-Ray daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use chrono::Utc;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES, head};
use crate::functions::INGEST;
use crate::support::Scratch;
use crate::support::web::{WebServer, response};
use crate::world::World;

/// A collector that keeps what it gets.
struct Collector(WebServer);

impl Collector {
    fn start() -> Self {
        Self(WebServer::start(|_, _| response(200, &[], "")))
    }

    /// The variables that send traces to it.
    fn variables(&self, of: &World) -> Vec<(String, String)> {
        let mut variables = of.variables();
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT".into(), self.0.origin.clone()));
        variables
    }

    /// The spans since the last call, and the name of the service that sent them.
    fn spans(&self) -> (Vec<Span>, BTreeSet<String>) {
        let (mut spans, mut services) = (Vec::new(), BTreeSet::new());
        for asked in self.0.asked() {
            assert_eq!(asked.target, "/v1/traces");
            for resource in ExportTraceServiceRequest::decode(&*asked.body).unwrap().resource_spans {
                let attributes = resource.resource.unwrap().attributes;
                let name = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
                services.insert(format!("{:?}", name.value).split('"').nth(1).unwrap_or_default().to_owned());
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (spans, services)
    }
}

/// The path of each span: the names of those above it, and its own.
fn paths(spans: &[Span]) -> BTreeSet<String> {
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    let path = |span: &Span| {
        let mut names = vec![span.name.as_str()];
        let mut above = span.parent_span_id.as_slice();
        while !above.is_empty() {
            let parent = by_id.get(above).unwrap_or_else(|| panic!("the parent of {} was not sent", span.name));
            names.push(&parent.name);
            above = &parent.parent_span_id;
        }
        names.reverse();
        names.join(" > ")
    };
    spans.iter().map(path).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    Some(format!("{:?}", found.value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_its_steps_and_its_calls_reach_a_collector() {
    let (world, scratch, collector) = (World::new().await, Scratch::new("traces"), Collector::start());
    world.put("incoming/assets/1.csv", ASSETS).await;
    let file = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    let loaded = small_etl(&scratch, &collector.variables(&world), &["load", &file]);
    assert!(loaded.status.success(), "{}", text(&loaded));
    let (spans, services) = collector.spans();
    assert_eq!(services, BTreeSet::from(["small-etl".to_owned()]));
    let paths = paths(&spans);
    for expected in [
        "load",
        "load > S3.HeadObject",
        "load > Postgres.claim",
        "load > stage",
        "load > stage > S3.GetObject",
        "load > validate",
        "load > write > Postgres.write_batch_to",
        "load > Postgres.close",
    ] {
        assert!(paths.contains(expected), "{expected} is missing: {paths:#?}");
    }
    let load = spans.iter().find(|span| span.name == "load").unwrap();
    assert!(attribute(load, "key").unwrap().contains("incoming/assets/1.csv"), "{load:?}");
    assert!(attribute(load, "load_id").unwrap().contains('1'), "{load:?}");
    assert_eq!(load.status.as_ref().map_or(0, |status| status.code), StatusCode::Unset as i32);
    let trace = &load.trace_id;
    assert!(spans.iter().filter(|span| span.name.starts_with("Postgres")).any(|span| span.trace_id == *trace));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fails_is_a_failed_span_and_its_cells_stay_here() {
    let (world, scratch, collector) = (World::new().await, Scratch::new("traces"), Collector::start());
    let canary = "canary5531";
    let bad = head(TRADES, 2).replace("正常交易", canary).replace("2025-12-22T10:30:00", canary);
    world.put("incoming/trades/bad.csv", bad).await;
    world.put("incoming/trades/failed.csv", format!("account_id\n{canary}\n")).await;
    for (key, code) in [("bad", StatusCode::Unset), ("failed", StatusCode::Error)] {
        let file = format!("s3://{}/incoming/trades/{key}.csv", world.bucket);
        small_etl(&scratch, &collector.variables(&world), &["load", &file]);
        let (spans, _) = collector.spans();
        let load = spans.iter().find(|span| span.name == "load").unwrap();
        assert_eq!(load.status.as_ref().map_or(0, |status| status.code), code as i32, "{key}");
        let all = format!("{spans:?}");
        assert!(!all.contains(canary), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_variable_nothing_is_sent_and_what_is_wrong_is_said() {
    let (world, scratch, collector) = (World::new().await, Scratch::new("traces"), Collector::start());
    world.put("incoming/assets/1.csv", ASSETS).await;
    let file = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    let mut variables = collector.variables(&world);
    variables.push(("OTEL_TRACES_EXPORTER".into(), "none".into()));
    assert!(small_etl(&scratch, &variables, &["load", &file]).status.success());
    assert!(collector.spans().0.is_empty());

    variables.push(("OTEL_TRACES_EXPORTER".into(), "zipkin".into()));
    let refused = small_etl(&scratch, &variables, &["load", &file]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused).contains("there is no exporter \"zipkin\"; write otlp, xray or none"), "{}", text(&refused));

    // A collector that is gone costs a warning, and no load.
    let mut variables = world.variables();
    variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://127.0.0.1:9".into()));
    world.put("incoming/assets/2.csv", head(ASSETS, 3)).await;
    let loaded = small_etl(&scratch, &variables, &["load", &file.replace("1.csv", "2.csv")]);
    assert!(loaded.status.success());
    assert!(text(&loaded).contains("traces could not be sent"), "{}", text(&loaded));
}

/// What the X-Ray daemon would get: documents without their header.
fn segments(daemon: &UdpSocket) -> Vec<Value> {
    let mut datagram = vec![0; 65_536];
    let mut segments = Vec::new();
    daemon.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Ok(length) = daemon.recv(&mut datagram) {
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        let (header, document) = text.split_once('\n').unwrap();
        assert_eq!(header, r#"{"format": "json", "version": 1}"#);
        segments.push(serde_json::from_str(document).unwrap());
    }
    segments
}

/// The function as Lambda runs it: it asks for calls, and gets them with the header of a trace, which the runtime emulator never sends.
struct Function {
    events: Sender<(Value, String)>,
    answers: Receiver<String>,
    process: Child,
}

impl Function {
    fn start(variables: &[(String, String)]) -> Self {
        let (events, waiting) = channel::<(Value, String)>();
        let (answered, answers) = channel();
        let (waiting, answered) = (Mutex::new(waiting), Mutex::new(answered));
        let runtime = WebServer::start(move |asked, _| {
            if !asked.target.ends_with("/next") {
                answered.lock().unwrap().send(String::from_utf8(asked.body.clone()).unwrap()).unwrap();
                return response(202, &[], "");
            }
            // When the test is over, the function waits in vain, and is ended.
            let Ok((event, trace)) = waiting.lock().unwrap().recv() else { return Vec::new() };
            let headers = [
                ("Lambda-Runtime-Aws-Request-Id", "1"),
                ("Lambda-Runtime-Deadline-Ms", "4102444800000"),
                ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:1:function:ingest"),
                ("Lambda-Runtime-Trace-Id", &trace),
            ];
            response(200, &headers[..headers.len() - usize::from(trace.is_empty())], &event.to_string())
        });
        let process = Command::new(INGEST)
            .envs(variables.iter().cloned())
            .env("AWS_LAMBDA_RUNTIME_API", runtime.origin.trim_start_matches("http://"))
            .env("AWS_LAMBDA_FUNCTION_NAME", "ingest")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2560")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { events, answers, process }
    }

    fn load(&self, of: &World, key: &str, trace: &str) {
        self.events.send((json!({"bucket": of.bucket, "key": key}), trace.to_owned())).unwrap();
        let answer = self.answers.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(answer.contains(r#""status":"loaded""#), "{answer}");
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_function_are_parts_of_the_trace_that_lambda_has_begun() {
    let world = World::new().await;
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut variables = world.variables();
    variables.push(("OTEL_TRACES_EXPORTER".into(), "xray".into()));
    variables.push(("AWS_XRAY_DAEMON_ADDRESS".into(), daemon.local_addr().unwrap().to_string()));
    let function = Function::start(&variables);
    for (name, rows) in [("1.csv", 5), ("2.csv", 3), ("3.csv", 2)] {
        world.put(&format!("incoming/assets/{name}"), head(ASSETS, rows)).await;
    }
    // X-Ray takes traces of the last thirty days.
    let began = format!("{:08x}", Utc::now().timestamp());
    function.load(
        &world,
        "incoming/assets/1.csv",
        &format!("Root=1-{began}-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"),
    );
    let of_call = segments(&daemon);
    let named = |name: &str| {
        let found = of_call.iter().find(|segment| segment["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {of_call:#?}"))
    };
    let (handle, load) = (named("handle"), named("load"));
    assert_eq!(handle["parent_id"], "53995c3f42cd8ad8", "{handle}");
    assert_eq!(load["parent_id"], handle["id"]);
    assert_eq!((&load["annotations"]["dataset"], &load["annotations"]["load_id"]), (&json!("asset"), &json!(1)));
    assert_eq!(named("validate")["parent_id"], load["id"]);
    assert_eq!(named("S3.GetObject")["namespace"], "remote");
    for segment in &of_call {
        assert_eq!(segment["trace_id"], format!("1-{began}-bd862e3fe1be46a994272793"), "{segment}");
        assert_eq!(segment["type"], "subsegment", "{segment}");
    }

    // Lambda decides which calls are traced.
    let unsampled = format!("Root=1-{began}-bd862e3fe1be46a994272794;Parent=53995c3f42cd8ad9;Sampled=0");
    function.load(&world, "incoming/assets/2.csv", &unsampled);
    assert_eq!(segments(&daemon), Vec::<Value>::new());

    // Without the trace of a caller, a call begins one with a segment.
    function.load(&world, "incoming/assets/3.csv", "");
    let of_call = segments(&daemon);
    let roots: Vec<&Value> = of_call.iter().filter(|segment| segment["parent_id"].is_null()).collect();
    assert_eq!(roots.len(), 1, "{of_call:#?}");
    assert_eq!((&roots[0]["name"], &roots[0]["type"]), (&json!("small-etl"), &Value::Null));
}
