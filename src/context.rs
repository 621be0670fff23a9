//! From settings to what outlives one call. A program makes it once.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};

use crate::config::{LogFormat, Settings};
use crate::data_access::duckdb::Stages;
use crate::data_access::s3::ObjectStore;
use crate::error::Result;
use crate::pipeline::{Context, NightlyTerms};
use crate::services;
use crate::services::rejects_file::Output;

/// Everything of a pipeline but its database.
///
/// # Errors
/// `Configuration` for a wrong definition or an unknown part.
pub fn context(settings: &Settings) -> Result<Context> {
    context_on(settings, Arc::default())
}

/// The same with objects of a store that the caller knows.
///
/// # Errors
/// Those of [`context`].
pub fn context_on(settings: &Settings, store: Arc<ObjectStore>) -> Result<Context> {
    let datasets = settings.datasets()?;
    let extractor = services::extractor(&settings.pipeline.extractor, &store)?;
    let nightly = NightlyTerms {
        store: Arc::clone(&store),
        source_bucket: settings.source.bucket.clone(),
        retention_days: settings.rejects.retention_days,
    };
    let output = Output::new(store, settings.output.bucket.clone(), settings.output.prefix.clone());
    output.check(&datasets)?;
    Ok(Context {
        datasets: Arc::new(datasets),
        terms: settings.claim_terms(),
        stages: Stages::new(settings.stage()),
        extractor,
        output,
        nightly,
        validator: services::validator(&settings.pipeline.validator)?,
        loader: services::loader(&settings.pipeline.loader)?,
        checked: Mutex::default(),
    })
}

/// Starts logging to standard error; `RUST_LOG` sets what is logged, `quiet` what is when it is unset. Other crates are
/// never logged in more detail than `info`.
pub fn start_logging(format: LogFormat, quiet: &str) {
    use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::util::SubscriberInitExt as _;
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    // In detail other crates tell the parameters of statements and the bodies of requests, and so cells.
    let tells_no_cell =
        filter_fn(|event| event.target().starts_with("small_etl") || *event.level() <= tracing::Level::INFO);
    let filter = wanted.and(tells_no_cell);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => {
            tracing_subscriber::registry().with(lines.json().flatten_event(true).with_filter(filter)).init();
        }
        LogFormat::Text => tracing_subscriber::registry().with(lines.compact().with_filter(filter)).init(),
    }
}
