//! `ingest`: an event in, a report for each of its files out.

use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures::{StreamExt, stream};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

use super::event::{Asked, Event, Message, parse, request_for};
use super::metrics::Metrics;
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::data_access::sqs::Queue;
use crate::domain::{LoadReport, LoadStatus, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, Context, LoadHere, Request};
use crate::services::reconcile::{FoundFile, Receiver};
use crate::services::{Deadline, Parts};

/// A message that is returned comes again after so long, and after four times as long each further time: with the five
/// deliveries of the template an outage may last 25 minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);
/// So many violations are in the answer to a file that is only checked.
const SHOWN: usize = 100;
const MOST_BYTES_SHOWN: usize = 512 * 1024;

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
    metrics: Metrics,
}

/// Runs the function in this process, with the parts that settings may name.
///
/// # Errors
/// `Configuration`, and those of the runtime.
pub async fn main(parts: &Parts) -> std::result::Result<(), lambda_runtime::Error> {
    let settings = super::start()?;
    let ingest = Ingest::new(&settings, parts)?;
    Box::pin(lambda_runtime::run(service_fn(|event| ingest.call(event)))).await
}

impl Ingest {
    /// Prepares everything; connections are made on first use.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn new(settings: &Settings, parts: &Parts) -> Result<Self> {
        Ok(Self {
            context: crate::context::context(settings, parts)?,
            database: Database::new(&settings.database()?)?,
            queue: settings.queue.url.clone().map(Queue::new),
            margin: Duration::from_secs(settings.load.deadline_margin_seconds),
            metrics: Metrics::new(&settings.environment),
        })
    }

    /// Answers one event.
    ///
    /// # Errors
    /// For an event of no known shape; for a file that was neither loaded nor failed, so that AWS asks for it again.
    pub async fn call(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let deadline = Deadline::before(event.context.deadline(), self.margin);
        let answer = self.answer(parse(event.payload)?, &deadline).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Connection) {
            self.note_outage().await;
        }
        answer
    }

    async fn answer(&self, event: Event, deadline: &Deadline) -> Result<Value> {
        match event {
            Event::Reconcile(scope) => {
                let here = LoadHere::new(&self.context, &self.database, deadline.clone());
                let receiver: &dyn Receiver = self.queue.as_ref().map_or(&here, |queue| queue);
                let run = pipeline::reconcile(&self.context, &self.database, &scope, receiver, deadline);
                let done = Box::pin(run).await?;
                if scope.prefix.is_none() {
                    self.metrics.reconciled(&done);
                }
                Ok(json!({ "reconciled": done }))
            }
            Event::Validate { location, dataset } => {
                let request = Request { dataset, ..Request::new(location) };
                Ok(json!({ "validated": self.validate(&request).await? }))
            }
            Event::Files(asked) => Ok(json!({ "loads": self.load_all(asked, deadline).await? })),
            Event::Queue(messages) => {
                let mut answer = SqsBatchResponse::default();
                for message in messages {
                    if let Some(pause) = self.pause_before_return(&message, deadline).await {
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
        let reports = match settled {
            Ok(reports) => reports,
            Err(error) => {
                if error.kind() == ErrorKind::Connection {
                    self.note_outage().await;
                }
                return Some(backoff(message.deliveries));
            }
        };
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
            let (dataset, again, parts, locations) = match file {
                Asked::Skip(reason) => {
                    reports.push(pipeline::skipped(reason));
                    continue;
                }
                Asked::Load { location, dataset, again, parts } => (dataset, again, parts, vec![location]),
                Asked::Land { arrival, dataset } => {
                    match Box::pin(pipeline::land(&self.context, &arrival, dataset.as_deref(), deadline)).await {
                        Ok(landed) => (Some(landed.dataset), false, Vec::new(), landed.locations),
                        Err(error) => {
                            tracing::error!(kind = error.kind().name(), error = %error.chain(), "landing failed");
                            first_error = first_error.or(Some(error));
                            continue;
                        }
                    }
                }
            };
            for location in locations {
                let (dataset, parts, deadline) = (dataset.clone(), parts.clone(), deadline.clone());
                let request = Request { dataset, again, parts, deadline, ..Request::new(location) };
                match self.load(&request).await {
                    Ok(report) => reports.push(report),
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        first_error.map_or(Ok(reports), Err)
    }

    async fn load(&self, request: &Request) -> Result<LoadReport> {
        let report = Box::pin(pipeline::run(&self.context, &self.database, request)).await?;
        if report.counts.is_some() {
            let sessions = self.database.sessions().await.ok();
            self.metrics.loaded(&report, &request.progress, sessions);
        }
        if report.status == LoadStatus::Interrupted {
            Box::pin(self.hand_over(&report, request)).await?;
        }
        Ok(report)
    }

    async fn validate(&self, request: &Request) -> Result<Value> {
        match Box::pin(pipeline::validate(&self.context, request)).await {
            Ok(file) => {
                let rejects = within_an_answer(file.first_rejects(SHOWN).await?);
                Ok(file.as_json(&rejects, &within_an_answer(file.first_warnings(SHOWN).await?)))
            }
            Err(error) => {
                let (bucket, key) = (request.location.bucket(), request.location.key());
                pipeline::unusable(&format!("s3://{bucket}/{key}"), error)
            }
        }
    }

    /// S3 and the queue fail in the same way as the database: whether it is that, it is asked.
    async fn note_outage(&self) {
        if self.database.sessions().await.is_err_and(|error| error.kind() == ErrorKind::Connection) {
            self.metrics.database_unreachable();
        }
    }

    /// Puts the rest of a load into the queue, so that another invocation goes on with it.
    async fn hand_over(&self, report: &LoadReport, request: &Request) -> Result<()> {
        // Once it has begun, a run goes on; before, it is asked for still.
        let again = request.again && report.load_id.is_none();
        let rest =
            report.rest.as_ref().and_then(|rest| request_for(rest, request.dataset.as_deref(), again, &request.parts));
        let (Some(queue), Some(rest)) = (&self.queue, rest) else {
            return Err(Error::new(
                ErrorKind::OutOfTime,
                "the time is over before the file is; the load continues when the event is delivered again, \
                 or at once if queue.url names the queue in front of ingest",
            ));
        };
        let (body, delay) = (rest.to_string(), report.resume_after.unwrap_or_default());
        retrying(|| queue.send(&body, delay)).await
    }
}

/// Those of these that fit: Lambda takes an answer of six megabytes, and a cell may be as large as that.
fn within_an_answer(mut violations: Vec<Violation>) -> Vec<Violation> {
    let mut room = MOST_BYTES_SHOWN;
    violations.retain(|violation| {
        let bytes = violation.message.len() + violation.value.as_ref().map_or(0, String::len);
        let fits = bytes <= room;
        room -= if fits { bytes } else { 0 };
        fits
    });
    violations
}

/// Messages that are on their way to the queue at once.
const SENDERS: usize = 16;

#[async_trait(?Send)]
impl Receiver for Queue {
    /// A message for each file, so that one invocation handles one file.
    async fn take(&self, files: &[FoundFile]) -> Result<u64> {
        let requests = files.iter().filter_map(|file| request_for(&file.location, None, file.again, &file.parts));
        let sends = requests.map(|request| {
            let body = request.to_string();
            async move { retrying(|| self.send(&body, Duration::ZERO)).await }
        });
        let mut sends = stream::iter(sends.collect::<Vec<_>>()).buffered(SENDERS);
        while let Some(sent) = sends.next().await {
            sent?;
        }
        Ok(0)
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
