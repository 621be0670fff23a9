//! `ingest`: an event in, a report for each of its files out.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};

use super::event::{Asked, Event, Message, parse, request_for};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::data_access::sqs::Queue;
use crate::domain::{LoadReport, LoadStatus, Location};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, Context, Request};
use crate::services::Deadline;
use crate::services::reconcile::reconcile;

/// A message that is returned comes again after so long, and after four times as long each further time: with the five
/// deliveries of the template an outage may last 25 minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);

/// The pause after so many deliveries.
fn backoff(deliveries: u32) -> Duration {
    let factor = 4_u32.saturating_pow(deliveries.saturating_sub(1));
    FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF)
}

/// What the function keeps between two calls.
pub struct Ingest {
    context: Context,
    database: Database,
    queue: Option<Queue>,
    margin: Duration,
    retention_days: Option<u32>,
}

impl Ingest {
    /// Prepares everything; connections are made on first use.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            context: crate::context::context(settings)?,
            database: Database::new(&settings.database()?)?,
            queue: settings.queue.url.clone().map(Queue::new),
            margin: Duration::from_secs(settings.load.deadline_margin_seconds),
            retention_days: settings.rejects.retention_days,
        })
    }

    /// Answers one event.
    ///
    /// # Errors
    /// For an event of no known shape; for a file that was neither loaded nor failed, so that AWS asks for it again.
    pub async fn call(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let deadline = Deadline::before(event.context.deadline(), self.margin);
        match parse(event.payload)? {
            Event::Reconcile => {
                let days = self.retention_days;
                let done = reconcile(&self.database, &self.context.output, days, &deadline).await?;
                Ok(json!({ "reconciled": done }))
            }
            Event::Files(asked) => Ok(json!({ "loads": self.load_all(asked, &deadline).await? })),
            Event::Queue(messages) => {
                let mut answer = SqsBatchResponse::default();
                for message in messages {
                    if let Some(pause) = self.pause_before_return(&message, &deadline).await {
                        self.hold_back(&message, pause).await;
                        answer.add_failure(message.id);
                    }
                }
                serde_json::to_value(answer).map_err(|error| Error::system("write the answer", error))
            }
        }
    }

    /// Does what a message asks for. Returns how long to wait until it comes again, or none when it is done with.
    async fn pause_before_return(&self, message: &Message, deadline: &Deadline) -> Option<Duration> {
        let settled = match &message.asked {
            Ok(asked) => self.load_all(asked.clone(), deadline).await,
            Err(reason) => {
                tracing::error!(message = message.id, reason, "a message cannot be read");
                Err(Error::configuration(reason))
            }
        };
        let Ok(reports) = settled else { return Some(backoff(message.deliveries)) };
        let lease = reports.iter().filter_map(|report| report.retry_after).max()?;
        // A worker that renews its lease again and again should not use the deliveries up.
        Some(if message.deliveries > 1 { lease.max(backoff(message.deliveries - 1)) } else { lease })
    }

    /// Best effort: otherwise the message comes again when the visibility timeout of the queue says.
    async fn hold_back(&self, message: &Message, pause: Duration) {
        let (Some(queue), Some(handle)) = (&self.queue, &message.receipt_handle) else { return };
        if let Err(error) = queue.hide(handle, pause).await {
            tracing::warn!(message = message.id, error = %error.chain(), "the message could not be held back");
        }
    }

    /// Loads every file, also those behind one that fails; the first error is then the answer.
    async fn load_all(&self, asked: Vec<Asked>, deadline: &Deadline) -> Result<Vec<LoadReport>> {
        let mut reports = Vec::new();
        let mut first_error = None;
        for file in asked {
            match file {
                Asked::Skip(reason) => reports.push(pipeline::skipped(reason)),
                Asked::Load { location, dataset } => match self.load(location, dataset, deadline).await {
                    Ok(report) => reports.push(report),
                    Err(error) => first_error = first_error.or(Some(error)),
                },
            }
        }
        first_error.map_or(Ok(reports), Err)
    }

    async fn load(&self, location: Location, dataset: Option<String>, deadline: &Deadline) -> Result<LoadReport> {
        let request = Request { dataset, deadline: deadline.clone(), ..Request::new(location) };
        let report = Box::pin(pipeline::run(&self.context, &self.database, &request)).await?;
        if report.status == LoadStatus::Interrupted {
            Box::pin(self.hand_over(&report, request.dataset.as_deref())).await?;
        }
        Ok(report)
    }

    /// Puts the rest of a load into the queue, so that another invocation goes on with it.
    async fn hand_over(&self, report: &LoadReport, dataset: Option<&str>) -> Result<()> {
        let rest = report.rest.as_ref().and_then(|rest| request_for(rest, dataset));
        let (Some(queue), Some(rest)) = (&self.queue, rest) else {
            return Err(Error::new(
                ErrorKind::OutOfTime,
                "the time is over before the file is; it goes on where it stopped once the event comes again, \
                 or at once where queue.url names the queue in front of ingest",
            ));
        };
        let (body, delay) = (rest.to_string(), report.resume_after.unwrap_or_default());
        retrying(|| queue.send(&body, delay)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_up_to_a_bound() {
        assert_eq!([1, 2, 3, 4, 1000].map(|deliveries| backoff(deliveries).as_secs()), [30, 120, 480, 900, 900]);
    }
}
