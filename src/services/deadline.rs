//! When a worker must leave the rest of a load to the next one.

use std::future::pending;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

/// The end of the time that a worker has: a moment, or a person who asks it to stop. By default there is none.
#[derive(Clone, Debug, Default)]
pub struct Deadline {
    stop_at: Option<Instant>,
    interrupted: CancellationToken,
}

impl Deadline {
    /// Creates a deadline `margin` before the call `ends`, but never in the first half of the time that is left. A
    /// moment in the past means no deadline: `cargo lambda watch` sends such moments.
    #[must_use]
    pub fn before(ends: SystemTime, margin: Duration) -> Self {
        let stop_at = ends.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero()).and_then(|left| {
            let usable = left.saturating_sub(margin).max(left / 2);
            Instant::now().checked_add(usable)
        });
        Self { stop_at, interrupted: CancellationToken::new() }
    }

    /// Returns a deadline after half of the time that is left, for a step that must not take the time of those after it. It is interrupted
    /// together with this one.
    #[must_use]
    pub fn half(&self) -> Self {
        let now = Instant::now();
        let stop_at = self.stop_at.map(|stop_at| now + stop_at.saturating_duration_since(now) / 2);
        Self { stop_at, interrupted: self.interrupted.clone() }
    }

    /// Asks the worker to stop after the present step. Every clone is stopped too.
    pub fn interrupt(&self) {
        self.interrupted.cancel();
    }

    /// Whether a person asked the worker to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    /// Whether the time runs out by itself, as it does for a function.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.stop_at.is_some()
    }

    /// Whether a step that takes this long ends in time.
    #[must_use]
    pub fn has_time_for(&self, step: Duration) -> bool {
        !self.is_interrupted() && self.stop_at.is_none_or(|stop_at| Instant::now() + step < stop_at)
    }

    /// Waits until the time is over or the worker is asked to stop.
    pub async fn passed(&self) {
        let moment = async {
            match self.stop_at {
                Some(stop_at) => tokio::time::sleep_until(stop_at.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = moment => {}
            () = self.interrupted.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_must_end_before_the_margin() {
        let deadline = Deadline::before(SystemTime::now() + 100 * SECOND, 30 * SECOND);
        assert!(deadline.has_time_for(69 * SECOND) && !deadline.has_time_for(71 * SECOND));
    }

    #[test]
    fn a_margin_longer_than_the_call_leaves_half_of_it() {
        let deadline = Deadline::before(SystemTime::now() + 10 * SECOND, 30 * SECOND);
        assert!(deadline.has_time_for(4 * SECOND) && !deadline.has_time_for(6 * SECOND));
    }

    #[test]
    fn a_moment_in_the_past_means_no_deadline() {
        assert!(Deadline::before(SystemTime::UNIX_EPOCH, SECOND).has_time_for(1_000_000 * SECOND));
        assert!(Deadline::default().has_time_for(1_000_000 * SECOND));
    }

    #[test]
    fn half_of_the_time_is_left_for_what_comes_after() {
        let deadline = Deadline::before(SystemTime::now() + 100 * SECOND, 20 * SECOND);
        let half = deadline.half();
        assert!(half.has_time_for(39 * SECOND) && !half.has_time_for(41 * SECOND));
        deadline.interrupt();
        assert!(!half.has_time_for(Duration::ZERO) && !Deadline::default().half().is_bounded());
    }

    #[tokio::test]
    async fn a_person_may_ask_it_to_stop() {
        let deadline = Deadline::default();
        deadline.clone().interrupt();
        deadline.passed().await;
        assert!(!deadline.has_time_for(Duration::ZERO));
    }
}
