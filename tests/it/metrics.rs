//! What `ingest` prints for `CloudWatch`, compared with the alarms and the dashboard of the template.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;
use small_etl::sample::{self, SampleOptions};

use crate::contract::ASSETS;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::world::World;

/// Every metric in the lines of a log: its name, each of its sets of dimensions, and its values.
type Metrics = BTreeMap<(String, BTreeSet<String>), Vec<f64>>;

fn metrics_in(log: &Path) -> Metrics {
    let mut found = Metrics::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
            assert_eq!(directive["Namespace"], "SmallEtl");
            for (set, metric) in directive["Dimensions"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|set| directive["Metrics"].as_array().unwrap().iter().map(move |metric| (set, metric)))
            {
                let set: BTreeSet<String> =
                    set.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
                // A dimension must be a value of the line.
                assert!(set.iter().all(|name| line[name].is_string()), "{line}");
                let name = metric["Name"].as_str().unwrap();
                let value = line[name].as_f64().unwrap_or_else(|| panic!("{name} has no value: {line}"));
                found.entry((name.to_owned(), set)).or_default().push(value);
            }
        }
    }
    found
}

/// Does everything that raises an alarm or shows that there is no reason for one.
async fn all_that_may_happen() -> Metrics {
    let world = World::new().await;
    let mut assets = Vec::new();
    let options = SampleOptions { rows: 10_000, accounts: 10_000, seed: 1, broken_every: 50 };
    sample::assets(&mut assets, options).unwrap();
    world.put("incoming/assets/large.csv", assets).await;
    world.put("incoming/assets/small.csv", ASSETS).await;
    world.put("incoming/assets/failed.csv", "account_id\n").await;
    let scratch = Scratch::new("metrics");
    let log = scratch.path().join("log");
    let start = |variables: &[(String, String)]| {
        let log = File::options().create(true).append(true).open(&log).unwrap();
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), variables, log.into())
    };
    let ingest = start(&world.variables());
    for name in ["large", "small", "failed"] {
        ingest.invoke(&json!({"bucket": world.bucket, "key": format!("incoming/assets/{name}.csv")}));
    }
    let answer = ingest.invoke(&json!({"reconcile": {"bucket": world.bucket}}));
    assert_eq!(answer["reconciled"]["compared"], 3, "{answer}");
    drop(ingest);
    let mut variables = world.variables();
    variables.push(("DATABASE_URL".into(), format!("postgres://u@127.0.0.1:{}/d", crate::support::free_port())));
    let ingest = start(&variables);
    ingest.invoke(&json!({"bucket": world.bucket, "key": "incoming/assets/small.csv"}));
    drop(ingest);
    metrics_in(&log)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns the properties of every resource of this type.
fn resources(template: &Yaml, kind: &str) -> Vec<(String, Yaml)> {
    let all = template["Resources"].as_mapping().unwrap();
    let wanted = all.iter().filter(|(_, resource)| resource["Type"].as_str() == Some(kind));
    wanted.map(|(name, resource)| (name.as_str().unwrap().to_owned(), resource["Properties"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alarm_watches_a_metric_that_ingest_prints() {
    let printed = all_that_may_happen().await;
    let values = |name: &str| printed.get(&(name.to_owned(), set(&["Environment"]))).cloned().unwrap_or_default();
    assert_eq!(values("Read"), [10_000.0, 4.0, 0.0]);
    assert_eq!(values("FailedLoads"), [0.0, 0.0, 1.0]);
    assert_eq!(values("LargeFileRejectRate"), [2.0], "smaller files raise no alarm");
    assert_eq!(values("RejectRate").len(), 3);
    assert_eq!(values("InitTime").len(), 1, "only the first call tells it");
    assert!(values("PeakMemory").iter().all(|megabytes| (20.0..2048.0).contains(megabytes)), "{printed:?}");
    assert!(values("Connections").iter().all(|sessions| *sessions >= 1.0));
    assert_eq!((values("Reconciliations"), values("DatabaseUnreachable")), (vec![1.0], vec![1.0]));
    assert_eq!(printed.get(&("Inserted".into(), set(&["Dataset", "Environment"]))), Some(&values("Inserted")));

    let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let mut watched = 0;
    for (name, alarm) in resources(&template, "AWS::CloudWatch::Alarm") {
        if alarm["Namespace"].as_str() != Some("SmallEtl") {
            continue;
        }
        let metric = alarm["MetricName"].as_str().unwrap().to_owned();
        let dimensions = alarm["Dimensions"].as_sequence().unwrap().iter();
        let dimensions = dimensions.map(|dimension| dimension["Name"].as_str().unwrap().to_owned()).collect();
        assert!(printed.contains_key(&(metric.clone(), dimensions)), "alarm {name}: nothing prints {metric}");
        watched += 1;
    }
    assert!(watched >= 12, "only {watched} alarms watch what ingest prints");
    let (_, dashboard) = resources(&template, "AWS::CloudWatch::Dashboard").remove(0);
    let text = serde_yaml_ng::to_string(&dashboard).unwrap();
    for (name, _) in printed.keys() {
        assert!(text.contains(name.trim_start_matches("LargeFile")), "the dashboard does not show {name}");
    }
}

/// What `AWS` reports of a stack that nothing has happened to, as soon as it is made; the others report nothing.
const AT_FIRST: [(&str, f64); 12] = [
    ("ApproximateNumberOfMessagesVisible", 0.0),
    ("ApproximateAgeOfOldestMessage", 0.0),
    ("Errors", 0.0),
    ("Throttles", 0.0),
    ("ExecutionsFailed", 0.0),
    ("OffsetLag", 0.0),
    ("FreeStorageSpace", 18e9),
    // Of the 1 GB of a db.t4g.micro.
    ("FreeableMemory", 150e6),
    ("CPUSurplusCreditsCharged", 0.0),
    // A laden file and a quiet night.
    ("FailedLoads", 0.0),
    ("Discrepancies", 0.0),
    ("MissingFiles", 0.0),
];

#[test]
fn no_alarm_is_raised_in_a_stack_that_nothing_has_happened_to() {
    let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let (_, dashboard) = resources(&template, "AWS::CloudWatch::Dashboard").remove(0);
    let dashboard = serde_yaml_ng::to_string(&dashboard).unwrap();
    let mut with_a_value = 0;
    for (name, alarm) in resources(&template, "AWS::CloudWatch::Alarm") {
        assert!(dashboard.contains(&format!("${{{name}.Arn}}")), "the dashboard does not show {name}");
        assert_ne!(alarm["TreatMissingData"].as_str(), Some("breaching"), "{name} is raised where there is no data");
        let metric = alarm["MetricName"].as_str().unwrap();
        let Some((_, value)) = AT_FIRST.iter().find(|(known, _)| *known == metric) else {
            assert_eq!(alarm["Namespace"].as_str(), Some("SmallEtl"), "{name}: what is {metric} at first?");
            continue;
        };
        let threshold = match &alarm["Threshold"] {
            Yaml::Tagged(parameter) => template["Parameters"][parameter.value.as_str().unwrap()]["Default"].as_f64(),
            number => number.as_f64(),
        };
        let threshold = threshold.unwrap();
        let raised = match alarm["ComparisonOperator"].as_str().unwrap() {
            "GreaterThanThreshold" => *value > threshold,
            "GreaterThanOrEqualToThreshold" => *value >= threshold,
            "LessThanThreshold" => *value < threshold,
            other => panic!("{name}: {other}"),
        };
        assert!(!raised, "{name} is raised by {metric} = {value}");
        with_a_value += 1;
    }
    assert!(with_a_value >= 10, "only {with_a_value} alarms watch what is there at first");
}

/// The fields that a query of Logs Insights names, but for those that it makes itself.
fn fields(query: &str) -> BTreeSet<String> {
    let lines = query.lines().filter(|line| !line.starts_with('#'));
    // Not what is compared with: a text in quotes, or a pattern.
    let code = lines.filter_map(|line| line.split(" like ").next()).flat_map(|line| line.split('"').step_by(2));
    let words = code.flat_map(|part| part.split(|sign: char| !(sign.is_alphanumeric() || "@._".contains(sign))));
    let known = ["", "fields", "filter", "like", "sort", "limit", "asc", "desc", "as", "rows_per_second"];
    let is_field = |word: &&str| !known.contains(word) && word.starts_with(|sign: char| sign.is_ascii_lowercase());
    words.filter(is_field).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_saved_queries_ask_for_what_ingest_writes() {
    let world = World::new().await;
    world.put("incoming/assets/good.csv", ASSETS).await;
    world.put("incoming/assets/failed.csv", "account_id\n").await;
    let (scratch, mut variables) = (Scratch::new("queries"), world.variables());
    variables.push(("SMALL_ETL__LOG__FORMAT".into(), "json".into()));
    let log = scratch.path().join("log");
    let start = |variables: &[(String, String)]| {
        let log = File::options().create(true).append(true).open(&log).unwrap();
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), variables, log.into())
    };
    let ingest = start(&variables);
    for name in ["good", "failed"] {
        ingest.invoke(&json!({"bucket": world.bucket, "key": format!("incoming/assets/{name}.csv")}));
    }
    drop(ingest);
    variables.push(("DATABASE_URL".into(), format!("postgres://u@127.0.0.1:{}/d", crate::support::free_port())));
    start(&variables).invoke(&json!({"bucket": world.bucket, "key": "incoming/assets/good.csv"}));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["message"] == "file ended"), "{text}");

    let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let queries = resources(&template, "AWS::Logs::QueryDefinition");
    assert_eq!(queries.len(), 2);
    for (name, query) in queries {
        let fields = fields(query["QueryString"].as_str().unwrap());
        assert!(fields.contains("span.key") && fields.contains("elapsed_ms"), "{name}: {fields:?}");
        for field in fields {
            let path = format!("/{}", field.replace('.', "/"));
            assert!(lines.iter().any(|line| line.pointer(&path).is_some()), "{name}: no line of ingest has {field}");
        }
    }
}
