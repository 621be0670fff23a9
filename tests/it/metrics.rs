//! What `ingest` prints for `CloudWatch`, against the alarms and the dashboard of the template.

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

/// Every metric in the lines of a log: its name, each of its sets of dimensions, and the values it had.
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
                // What is no value of the line is no dimension either.
                assert!(set.iter().all(|name| line[name].is_string()), "{line}");
                let name = metric["Name"].as_str().unwrap();
                let value = line[name].as_f64().unwrap_or_else(|| panic!("{name} has no value: {line}"));
                found.entry((name.to_owned(), set)).or_default().push(value);
            }
        }
    }
    found
}

/// Everything that raises an alarm, or shows that there is no reason for one.
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

/// The properties of every resource of this type.
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
