//! The two Lambda functions. Nothing here but events, answers, and what outlives a call.

pub mod event;
pub mod ingest;
mod metrics;
pub mod migrate;

use lambda_runtime::Diagnostic;

use crate::config::Settings;
use crate::error::{Error, Result};

/// Reads the settings of a function and starts its log.
///
/// # Errors
/// `Configuration`.
pub fn start() -> Result<Settings> {
    metrics::note_start();
    let settings = Settings::read()?;
    crate::context::start_logging(settings.log.format, "info");
    Ok(settings)
}

/// A failed call: Lambda shows the kind as the type of the error.
impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.kind().name().to_owned(), error_message: error.chain() }
    }
}
