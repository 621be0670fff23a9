//! Builds, from the settings, what outlives one call. A program does this once.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};

use crate::config::{EventsSettings, LogFormat, Settings};
use crate::data_access::duckdb::Stages;
use crate::data_access::event_bus::EventBus;
use crate::data_access::s3::ObjectStore;
use crate::data_access::traces;
use crate::domain::Datasets;
use crate::domain::expression::unknown;
use crate::error::{Error, Result};
use crate::pipeline::{Context, NightlyTerms, with_rules};
use crate::services::Parts;
use crate::services::parts::{PipelineChoice, Surroundings};
use crate::services::rejects_file::Output;

const ROWS_OF_A_TABLE_AT_ONCE: usize = 500_000;
/// A larger table is checked in many nights.
const ROWS_OF_A_TABLE_A_NIGHT: i64 = 1_000_000;

/// Builds everything that a pipeline needs except its database.
///
/// # Errors
/// `Configuration` for a wrong definition or an unknown part.
pub fn context(settings: &Settings, parts: &Parts) -> Result<Context> {
    context_on(settings, parts, Arc::default())
}

/// Does the same with an object store of the caller's.
///
/// # Errors
/// The same as those of [`context`].
pub fn context_on(settings: &Settings, parts: &Parts, store: Arc<ObjectStore>) -> Result<Context> {
    build(settings, parts, store, settings.datasets()?)
}

/// Builds what files of these datasets need, with no parts, no key and no bus of the user's.
///
/// # Errors
/// The same as those of [`context`].
pub fn context_of(settings: &Settings, datasets: Datasets) -> Result<Context> {
    let (pipeline, events) = (BTreeMap::new(), EventsSettings::default());
    let settings = Settings { pipeline, events, ..settings.clone() };
    build(&settings, &Parts::default(), Arc::default(), datasets)
}

fn build(settings: &Settings, parts: &Parts, store: Arc<ObjectStore>, datasets: Datasets) -> Result<Context> {
    for (first, other, key) in datasets.overlaps() {
        let (first, other) = (&first.name, &other.name);
        tracing::warn!(
            first,
            other,
            key,
            "two datasets claim the same keys, which all go to the first; narrow the files of one"
        );
    }
    if let Some(name) = settings.pipeline.keys().find(|name| datasets.get(name).is_err()) {
        return Err(Error::configuration(format!("pipeline: {}", unknown("dataset", name, &datasets.names()))));
    }
    let stages = Stages::new(settings.stage());
    let around = Surroundings {
        store: Arc::clone(&store),
        source_bucket: settings.source.bucket.clone(),
        temp_folder: stages.temp_folder(),
    };
    let mut pipelines = BTreeMap::new();
    for name in datasets.names() {
        let choice = settings.pipeline.get(name).cloned().unwrap_or_default();
        let pipeline = parts.pipeline(name, &choice, &around)?;
        let dataset = datasets.get(name).map_err(Error::configuration)?;
        if let (Some(source), false) = (dataset.sources.first(), choice.extractor.is_empty()) {
            let message = format!(
                "pipeline.{name}.extractor: dataset {name} declares sources such as {:?}, which say how its files are read; take the one or the other out",
                source.name
            );
            return Err(Error::configuration(message));
        }
        pipeline.check(dataset)?;
        pipelines.insert(name.to_owned(), pipeline);
    }
    for (_, loader) in pipelines.values().flat_map(|pipeline| &pipeline.loaders) {
        loader.check(&datasets)?;
    }
    let nightly = NightlyTerms {
        store: Arc::clone(&store),
        tables: Parts::default().pipeline("table", &PipelineChoice::default(), &around)?,
        source_bucket: settings.source.bucket.clone(),
        rows_at_once: ROWS_OF_A_TABLE_AT_ONCE,
        rows_a_night: ROWS_OF_A_TABLE_A_NIGHT,
        full_days: settings.reconcile.full_days,
        retention_days: settings.rejects.retention_days,
        ledger_days: settings.ledger.retention_days,
        parked_days: settings.parked.expire_days,
    };
    let output = Output::new(store, settings.output.bucket.clone(), settings.output.prefix.clone());
    let output = output.beside(&datasets);
    output.check(&datasets)?;
    Ok(Context {
        datasets: Arc::new(with_rules(datasets, &pipelines)?),
        pipelines,
        terms: settings.claim_terms(),
        stages,
        output,
        bus: settings.events.bus.clone().map(EventBus::new),
        nightly,
        checked: Mutex::default(),
    })
}

/// Starts logging to standard error. `RUST_LOG` sets what is logged, and `quiet` does if it is unset. Nothing is ever
/// logged in more detail than `info`. Starts traces, too, if the environment asks for them.
///
/// # Errors
/// `Configuration` if the environment asks for traces that this program does not have.
pub fn logging(format: LogFormat, quiet: &str) -> Result<()> {
    use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::util::SubscriberInitExt as _;
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    // In more detail, other crates log the parameters of statements and the bodies of requests, and those hold cells.
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let wanted = wanted.and(filter_fn(|what| what.target() != traces::TARGET));
    let spans = traces::tracer()?.map(|tracer| {
        let ours = filter_fn(|what| what.is_span() && what.target().starts_with(env!("CARGO_CRATE_NAME")));
        let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false).with_level(false);
        layer.with_target(false).with_tracked_inactivity(false).with_tracer(tracer).with_filter(ours)
    });
    match format {
        LogFormat::Json => registry.with(spans).with(lines.json().flatten_event(true).with_filter(wanted)).init(),
        LogFormat::Text => registry.with(spans).with(lines.compact().with_filter(wanted)).init(),
    }
    Ok(())
}
