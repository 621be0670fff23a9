//! How often a step is repeated, and after what pauses.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use crate::error::{Error, ErrorKind, Result};

/// The pauses between the attempts of a step that needs a connection. There are three, each about four times as long as
/// the one before and slightly random: that gives a restarting server time and does not swamp it.
#[must_use]
pub fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_factor(4.0)
        .with_max_times(3)
        .with_jitter()
}

/// Repeats a step whose connection failed, at most three times. A step that met a conflict is repeated sooner and more
/// often, because the other transaction will soon be finished.
///
/// # Errors
/// The last error of `step`.
pub async fn retrying<T, F: Future<Output = Result<T>>>(step: impl Fn() -> F) -> Result<T> {
    let soon = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_millis(200))
        .with_max_times(20)
        .with_jitter();
    // Conflicts are normal when loads run at the same time. A lost connection makes a person wait, who should know why.
    let met = |error: &Error, pause| tracing::info!(kind = error.kind().name(), error = %error.chain(), ?pause, "trying again");
    let lost = |error: &Error, pause| tracing::warn!(kind = error.kind().name(), error = %error.chain(), ?pause, "trying again");
    let step = &step;
    let without_conflict = || step.retry(soon).when(|error: &Error| error.kind() == ErrorKind::Conflict).notify(met);
    without_conflict.retry(pauses()).when(|error: &Error| error.kind() == ErrorKind::Connection).notify(lost).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn attempts(kind: ErrorKind) -> u32 {
        let attempts = Cell::new(0);
        let outcome = retrying(|| {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Error::new(kind, "step")) }
        });
        assert_eq!(outcome.await.unwrap_err().kind(), kind);
        attempts.get()
    }

    #[tokio::test]
    async fn a_connection_is_tried_again_three_times_and_a_conflict_more_often() {
        assert_eq!(attempts(ErrorKind::Connection).await, 4);
        assert_eq!(attempts(ErrorKind::Conflict).await, 21);
    }

    #[tokio::test]
    async fn nothing_else_is_tried_again() {
        for kind in [ErrorKind::LeaseLost, ErrorKind::Configuration, ErrorKind::System, ErrorKind::OutOfTime] {
            assert_eq!(attempts(kind).await, 1);
        }
    }
}
