//! The two Lambda functions: answers, and what they keep between calls, and nothing else.

pub mod ingest;
mod metrics;
pub mod migrate;
mod smoke;

use lambda_runtime::Diagnostic;

use crate::config::Settings;
use crate::error::{Error, Result};

/// Reads the settings of a function and starts its log.
///
/// # Errors
/// `Configuration` if the settings cannot be read or are wrong.
pub fn start() -> Result<Settings> {
    metrics::note_start();
    let settings = Settings::read()?;
    crate::start::logging(settings.log.format, "info")?;
    Ok(settings)
}

/// Lambda shows the kind of the error as its type.
impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.kind().name().to_owned(), error_message: error.chain() }
    }
}
