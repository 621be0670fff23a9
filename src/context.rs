//! From settings to what outlives one call. A program makes it once.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};

use crate::config::{LogFormat, Settings};
use crate::error::Result;
use crate::pipeline::Context;
use crate::services;

/// Everything of a pipeline but its database.
///
/// # Errors
/// `Configuration` for a wrong definition or an unknown part.
pub fn context(settings: &Settings) -> Result<Context> {
    Ok(Context {
        datasets: Arc::new(settings.datasets()?),
        terms: settings.claim_terms(),
        stage: settings.stage(),
        extractor: services::extractor(&settings.pipeline.extractor)?,
        validator: services::validator(&settings.pipeline.validator)?,
        loader: services::loader(&settings.pipeline.loader)?,
        checked: Mutex::default(),
    })
}

/// Starts logging to standard error; `RUST_LOG` sets what is logged, `quiet` what is when it is unset.
pub fn start_logging(format: LogFormat, quiet: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.compact().init(),
    }
}
