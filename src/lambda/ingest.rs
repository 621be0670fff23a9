//! `ingest`: takes an event and answers with a report of each of its files.

use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures::{StreamExt, stream};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::metrics::Metrics;
use super::smoke;
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::data_access::sqs::Queue;
use crate::data_access::traces;
use crate::domain::{LoadReport, LoadStatus, Location, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Asked, Event, Message, for_a_larger_machine, parse, request_for};
use crate::pipeline::{self, CheckedFile, Context, LoadHere, Request};
use crate::services::reconciliation::{FoundFile, Receiver};
use crate::services::{Deadline, Parts};

/// How long a returned message is hidden after its first delivery. Each further delivery makes it four times as long:
/// with the five deliveries of the template, an outage may last 25 minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);
/// The most violations in the answer for a file that is only checked.
const SHOWN: usize = 100;
const MOST_BYTES_SHOWN: usize = 512 * 1024;

/// The pause after this many deliveries.
fn backoff(deliveries: u32) -> Duration {
    let factor = 4_u32.saturating_pow(deliveries.saturating_sub(1));
    FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF)
}

/// What the function keeps between two calls.
pub struct Ingest {
    context: Context,
    database: Database,
    queue: Option<Queue>,
    /// Takes the files that are too large for this function.
    large: Option<Queue>,
    margin: Duration,
    metrics: Metrics,
    settings: Settings,
}

/// Runs the function in this process. `parts` are the parts that settings may name.
///
/// # Errors
/// `Configuration`, and the errors of the Lambda runtime.
pub async fn main(parts: &Parts) -> std::result::Result<(), lambda_runtime::Error> {
    let settings = super::start()?;
    let ingest = Ingest::new(&settings, parts)?;
    Box::pin(lambda_runtime::run(service_fn(|event| ingest.call(event)))).await
}

impl Ingest {
    /// Prepares everything. Connections are opened on first use.
    ///
    /// # Errors
    /// `Configuration` if a setting, a dataset or a part is wrong.
    pub fn new(settings: &Settings, parts: &Parts) -> Result<Self> {
        Ok(Self {
            context: crate::start::context(settings, parts)?,
            database: Database::new(&settings.database()?)?,
            queue: settings.queue.url.clone().map(Queue::new),
            large: settings.queue.large_url.clone().map(Queue::new),
            margin: Duration::from_secs(settings.load.deadline_margin_seconds),
            metrics: Metrics::new(&settings.environment),
            settings: settings.clone(),
        })
    }

    /// Answers one event.
    ///
    /// # Errors
    /// If the event has no known shape, or if a file was neither loaded nor failed, so that AWS delivers the event
    /// again.
    pub async fn call(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let deadline = Deadline::before(event.context.deadline(), self.margin);
        let span = traces::invocation(event.context.xray_trace_id.as_deref());
        let answer = Box::pin(self.answer(parse(event.payload)?, &deadline)).instrument(span).await;
        traces::flush();
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

    /// Does what a message asks for. Returns how long to wait before it is delivered again, or `None` if it is
    /// finished.
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
        // While a worker keeps renewing its lease, the message comes back again and again. The growing pause keeps it
        // from using up its deliveries.
        Some(if message.deliveries > 1 { lease.max(backoff(message.deliveries - 1)) } else { lease })
    }

    /// Hides the message for `pause`. Best effort: if it fails, the message comes back after the queue's visibility
    /// timeout.
    async fn hold_back(&self, message: &Message, pause: Duration) {
        let (Some(queue), Some(handle)) = (&self.queue, &message.receipt_handle) else { return };
        if let Err(error) = queue.hide(handle, pause).await {
            tracing::warn!(message = message.id, error = %error.chain(), "the message could not be held back");
        }
    }

    /// Loads every file, even those after one that failed, and then returns the first error.
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
                let hands_over = self.large.is_some();
                let request = Request { dataset, again, parts, deadline, hands_over, ..Request::new(location) };
                match self.load(&request).await {
                    Ok(loads) => reports.extend(loads),
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        first_error.map_or(Ok(reports), Err)
    }

    async fn load(&self, request: &Request) -> Result<Vec<LoadReport>> {
        if smoke::is_asked_for(request) {
            return smoke::load(&self.settings, &self.database, request).await;
        }
        let mut reports = Box::pin(pipeline::run(&self.context, &self.database, request)).await?;
        if reports.iter().any(|report| report.counts.is_some()) {
            let sessions = self.database.sessions().await.ok();
            for report in reports.iter().filter(|report| report.counts.is_some()) {
                self.metrics.loaded(report, sessions);
            }
        }
        let mut left = Rest::of(&reports, request);
        if self.queue.is_some() {
            left.extend(Rest::held(&mut reports, request));
        }
        for rest in left {
            Box::pin(self.hand_over(&rest, request)).await?;
        }
        Ok(reports)
    }

    /// What is found in a file, or in each of its parts.
    async fn validate(&self, request: &Request) -> Result<Value> {
        let name = format!("s3://{}/{}", request.location.bucket(), request.location.key());
        let (mut found, mut is_whole) = (Vec::new(), true);
        let each = async |checked: Result<CheckedFile>| {
            found.push(match checked {
                Ok(file) => {
                    is_whole &= file.part.is_empty();
                    let rejects = within_an_answer(file.first_rejects(SHOWN).await?);
                    file.as_json(&rejects, &within_an_answer(file.first_warnings(SHOWN).await?))
                }
                Err(error) => {
                    is_whole = false;
                    pipeline::unusable(&name, error)?
                }
            });
            Ok(())
        };
        if let Err(error) = Box::pin(pipeline::validate(&self.context, request, each)).await {
            return pipeline::unusable(&name, error);
        }
        Ok(match found.pop() {
            Some(one) if is_whole => one,
            last => json!({ "file": name, "parts": found.into_iter().chain(last).collect::<Vec<_>>() }),
        })
    }

    /// Reports an outage if it is the database that cannot be reached. S3 and the queue fail with the same kind of
    /// error, so the database is asked.
    async fn note_outage(&self) {
        if self.database.sessions().await.is_err_and(|error| error.kind() == ErrorKind::Connection) {
            self.metrics.database_unreachable();
        }
    }

    /// Puts the rest of an object into the queue, so that another invocation or a larger machine goes on with it.
    async fn hand_over(&self, rest: &Rest, request: &Request) -> Result<()> {
        let Rest { location, parts, again, delay, large } = rest;
        let mut message = request_for(location, request.dataset.as_deref(), *again, parts);
        let queue = if *large { &self.large } else { &self.queue };
        if *large {
            message = message.as_ref().map(for_a_larger_machine);
        }
        let (Some(queue), Some(message)) = (queue, message) else {
            return Err(Error::new(
                ErrorKind::OutOfTime,
                "the time is over before the file is; the load continues when the event is delivered again, \
                 or at once if queue.url names the queue in front of ingest",
            ));
        };
        let body = message.to_string();
        retrying(|| queue.send(&body, *delay)).await
    }
}

/// What is left of an object when the time is over.
struct Rest {
    location: Location,
    /// The parts that are left; all unfinished parts if this is empty.
    parts: Vec<String>,
    again: bool,
    delay: Duration,
    /// Whether it is left to a larger machine.
    large: bool,
}

impl Rest {
    /// Returns a request for the parts that other workers hold, if loading again was requested and other parts have
    /// ended: if the same message were delivered again, it would load those yet another time.
    fn held(reports: &mut [LoadReport], request: &Request) -> Option<Self> {
        let is_held = |report: &LoadReport| report.status == LoadStatus::InProgress;
        if !request.again || reports.iter().all(is_held) || !reports.iter().any(is_held) {
            return None;
        }
        let (mut parts, mut delay) = (Vec::new(), Duration::ZERO);
        for report in reports.iter_mut().filter(|report| is_held(report)) {
            parts.extend(report.part.clone());
            delay = delay.max(report.retry_after.take().unwrap_or_default());
        }
        Some(Self { location: request.location.clone(), parts, again: true, delay, large: false })
    }

    /// Returns one message for the parts whose run has begun, and one for those that are to be loaded again and have not
    /// begun. A run that has begun continues without `again`, because parts that have ended must not begin again. If one part is too
    /// large, all that is left goes where it fits.
    fn of(reports: &[LoadReport], request: &Request) -> Vec<Self> {
        let left = reports.iter().filter(|report| report.status == LoadStatus::Interrupted);
        let (waiting, begun): (Vec<_>, Vec<_>) = left.partition(|report| request.again && report.load_id.is_none());
        let large = reports.iter().any(|report| report.handed_over);
        let rest = |reports: &[&LoadReport], again: bool| {
            let named = reports.iter().filter_map(|report| report.part.clone()).filter(|part| !part.is_empty());
            let parts = if request.again { named.collect() } else { request.parts.clone() };
            let delay = reports.iter().filter_map(|report| report.resume_after).max().unwrap_or_default();
            let location = reports.iter().find_map(|report| report.rest.clone())?;
            Some(Self { location, parts, again, delay, large })
        };
        [rest(&begun, false), rest(&waiting, true)].into_iter().flatten().collect()
    }
}

/// Keeps the violations that fit into an answer: Lambda allows six megabytes, and a single cell may be that large.
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

/// How many messages are sent to the queue at the same time.
const SENDERS: usize = 16;

#[async_trait(?Send)]
impl Receiver for Queue {
    /// Sends a message for each file, so that one invocation handles one file.
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

    fn report(part: &str, begun: bool, status: LoadStatus) -> LoadReport {
        let load_id = begun.then_some(crate::domain::LoadId(1));
        let rest = (status == LoadStatus::Interrupted).then(|| Location::s3("b", "1.zip"));
        LoadReport { part: Some(part.into()), load_id, status, rest, ..pipeline::skipped("") }
    }

    #[test]
    fn what_is_left_of_an_object_is_asked_for_in_one_message() {
        use LoadStatus::{Interrupted, Loaded};
        let reports = [report("a", true, Loaded), report("b", true, Interrupted), report("c", false, Interrupted)];
        let asked = |request: &Request| {
            let rest = Rest::of(&reports, request).into_iter().map(|rest| (rest.again, rest.parts.join(" ")));
            rest.collect::<Vec<_>>()
        };
        let request = Request::new(Location::s3("b", "1.zip"));
        assert_eq!(asked(&request), [(false, String::new())], "what is finished answers that it is");
        let again = Request { again: true, ..request };
        assert_eq!(asked(&again), [(false, "b".to_owned()), (true, "c".to_owned())], "nothing is loaded twice again");
    }

    #[test]
    fn all_that_is_left_of_an_object_goes_where_its_largest_part_fits() {
        use LoadStatus::{Interrupted, Loaded};
        let request = Request::new(Location::s3("b", "1.zip"));
        let large = LoadReport { handed_over: true, ..report("b", true, Interrupted) };
        let reports = [report("a", true, Loaded), large, report("c", false, Interrupted)];
        let left =
            |reports: &[LoadReport]| Rest::of(reports, &request).into_iter().map(|rest| rest.large).collect::<Vec<_>>();
        assert_eq!((left(&reports), left(&reports[2..])), (vec![true], vec![false]));
    }

    #[test]
    fn a_part_that_another_worker_holds_is_asked_for_by_itself_where_others_have_ended() {
        use LoadStatus::{InProgress, Loaded};
        let held = || LoadReport { retry_after: Some(Duration::from_secs(9)), ..report("b", true, InProgress) };
        let once = Request::new(Location::s3("b", "1.zip"));
        let again = Request { again: true, ..once.clone() };
        let mut reports = [report("a", true, Loaded), held()];
        assert!(Rest::held(&mut reports, &once).is_none(), "what has ended answers that it has");
        let rest = Rest::held(&mut reports, &again).unwrap();
        assert_eq!((rest.parts, rest.again, rest.delay.as_secs()), (vec!["b".to_owned()], true, 9));
        assert!(reports.iter().all(|report| report.retry_after.is_none()), "the message itself is done with");
        assert!(Rest::held(&mut [held()], &again).is_none(), "nothing has been loaded by it");
    }

    #[test]
    fn the_pause_grows_up_to_a_bound() {
        assert_eq!([1, 2, 3, 4, 1000].map(|deliveries| backoff(deliveries).as_secs()), [30, 120, 480, 900, 900]);
    }
}
