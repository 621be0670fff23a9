//! One file from its place to the ledger: identify, claim, extract, validate, load, finish.

mod check;
mod context;
mod land;
mod reconcile;
mod replay;
mod request;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use serde_json::Value;
use tracing::Instrument;

pub use self::check::{CheckedFile, in_full, try_definition, unusable, validate};
use self::check::{Reading, Totals, manifest_missing, stage_and_validate};
pub use self::context::{Context, with_rules};
pub use self::land::{Landed, land};
pub use self::reconcile::{LoadHere, NightlyTerms, reconcile};
pub use self::replay::{ReplayedFile, RuleChange, replay};
pub use self::request::Request;
use self::request::{choose_dataset, choose_source, identify, no_file};
use crate::data_access::duckdb::Stage;
use crate::data_access::postgres::{Claim, ClaimTerms, Claimed, Closing, Database, FileToClaim};
use crate::data_access::retry::retrying;
use crate::domain::manifest::{file_of_manifest, manifest_key};
use crate::domain::{Counts, Dataset, Datasets, LoadReport, LoadStatus, Location, ObjectVersion, RejectedChunk};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::{Extracted, LoadWork, Loading, Manifests, Pipeline, Validated, rejects};

/// So many workers in a row may end without committing anything; then the load has failed, or it would go on for ever.
const MOST_STALLED: i32 = 3;
/// How long an interrupted worker waits for its staging to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a worker that has time looks for a manifest, and how long one that has none leaves that to the next.
const MANIFEST_POLL: Duration = Duration::from_secs(1);
const MANIFEST_PAUSE: Duration = Duration::from_mins(1);

/// Loads one file, or says why not. The file's own faults are in the report.
///
/// # Errors
/// `Connection` and `Conflict` after all retries, `LeaseLost`, `Configuration`, `System`: the file is then neither loaded
/// nor failed, and may be asked for again.
pub async fn run(context: &Context, database: &Database, request: &Request) -> Result<LoadReport> {
    let (bucket, key) = (request.location.bucket().to_owned(), request.location.key());
    let span = tracing::info_span!(
        "load",
        bucket,
        key = key.as_str(),
        dataset = tracing::field::Empty,
        load_id = tracing::field::Empty
    );
    let started = Instant::now();
    let outcome = Box::pin(run_in_span(context, database, request)).instrument(span.clone()).await;
    if outcome.as_ref().is_ok_and(|report| report.counts.is_some()) {
        Box::pin(context.announce(database, &request.deadline)).await;
    }
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| match outcome {
        Ok(mut report) => {
            report.elapsed_ms = elapsed_ms;
            let counts = report.counts.unwrap_or_default();
            tracing::info!(
                status = report.status.name(),
                reason = report.reason,
                elapsed_ms,
                read = counts.read,
                inserted = counts.inserted,
                updated = counts.updated,
                unchanged = counts.unchanged,
                stale = counts.stale,
                parked = counts.parked,
                rejected = counts.rejected,
                withheld = counts.withheld,
                warnings = counts.warnings,
                "file ended"
            );
            Ok(report)
        }
        Err(error) => {
            tracing::error!(kind = error.kind().name(), error = %error.chain(), elapsed_ms, "file not loaded");
            Err(error)
        }
    })
}

async fn run_in_span(context: &Context, database: &Database, request: &Request) -> Result<LoadReport> {
    let skip = |reason| {
        let (bucket, key) = (request.location.bucket().to_owned(), request.location.key().to_string());
        Ok(LoadReport { bucket: Some(bucket), key: Some(key), ..skipped(reason) })
    };
    if let Some(file) = file_that_waits(database, &request.location).await? {
        let Some(file) = file else { return skip("a manifest, and no load waits for it; name the file itself") };
        let request = Request { location: Location::of(&file), ..request.clone() };
        return Box::pin(run_in_span(context, database, &request)).await;
    }
    if let Some(reason) = why_skipped(database, request).await? {
        return skip(reason);
    }
    let Some(dataset) = choose_dataset(&context.datasets, request)? else {
        return skip("no dataset claims this key");
    };
    tracing::Span::current().record("dataset", &dataset.name);
    if !request.deadline.has_time_for(Duration::ZERO) {
        return Ok(not_begun(request, dataset));
    }
    let pipeline = context.pipeline(&dataset.name)?;
    let extractor = pipeline.extractor_at(&request.location)?;
    let (object, missing) = identify(&**extractor, dataset, &request.location).await?;
    for (_, loader) in &pipeline.loaders {
        loader.check_file(&object)?;
    }
    context.check_definition(dataset).await?;
    retrying(|| database.check_ready(dataset, context.datasets.version())).await?;
    let token = retrying(|| database.fencing_token()).await?;
    let terms = context.terms.of(dataset);
    let source = choose_source(dataset, request.source.as_deref(), &object)?.map(|source| source.name.as_str());
    let file = whole((&context.datasets, &terms), &object, dataset, source, request.again);
    let claimed = retrying(|| database.claim(token, file)).await?;
    let report = |status, load_id, attempt| LoadReport {
        load_id: Some(load_id),
        bucket: Some(object.bucket.clone()),
        key: Some(object.key.to_string()),
        version: Some(object.version.clone()),
        dataset: Some(dataset.name.clone()),
        source: source.map(str::to_owned),
        part: Some(String::new()),
        attempt: Some(attempt),
        ..empty_report(status)
    };
    let claim = match claimed {
        Claimed::Finished { load_id, attempt, dataset, source, reason, error, rejects_key } => {
            let dataset = Some(dataset);
            return Ok(LoadReport {
                dataset,
                source,
                reason,
                error,
                rejects_key,
                ..report(LoadStatus::Duplicate, load_id, attempt)
            });
        }
        Claimed::Held { load_id, attempt, remaining } => {
            return Ok(LoadReport { retry_after: Some(remaining), ..report(LoadStatus::InProgress, load_id, attempt) });
        }
        Claimed::Taken(claim) => claim,
    };
    tracing::Span::current().record("load_id", claim.load_id.0);
    tracing::info!(attempt = claim.attempt, "claimed");
    let work = FileWork { context, database, claim: &claim, object: &object, request };
    let outcome = match missing {
        Some(error) => work.fail(error, 0, stream::empty).await,
        None if claim.stalled > MOST_STALLED => {
            work.fail(work.no_progress("nothing is known of how they ended"), 0, stream::empty).await
        }
        None => work.load().await,
    };
    let outcome = match outcome {
        Err(error) => work.leave(error).await,
        ended => ended,
    };
    let ending = outcome?;
    let rest = (ending.status == LoadStatus::Interrupted).then(|| Location::of(&object));
    let rejects_key = if rest.is_none() && ending.counts.rejected > 0 { work.write_rejects().await } else { None };
    if claim.returned && rest.is_none() {
        // The object came back to this content after another one. Its rows have to win over those of that one.
        return Box::pin(run_in_span(context, database, request)).await;
    }
    Ok(LoadReport {
        reason: ending.reason.map(|reason| reason.name().to_owned()),
        counts: Some(ending.counts),
        rejects_key,
        statistics: ending.statistics,
        error: ending.error,
        rest,
        source: ending.source,
        resume_after: ending.resume_after,
        ..report(ending.status, claim.load_id, claim.attempt)
    })
}

/// Why the location is not one of a file. A marker is a file if a load of it has begun, so that the load ends.
async fn why_skipped(database: &Database, request: &Request) -> Result<Option<&'static str>> {
    let reason = no_file(request, false);
    let Location::S3 { bucket, key, .. } = &request.location else { return Ok(reason) };
    if reason.is_none() || no_file(request, true).is_some() {
        return Ok(reason);
    }
    let keys = [key.as_str()];
    let begun = retrying(|| database.unfinished(bucket, &keys)).await?;
    Ok(reason.filter(|_| begun.is_empty()))
}

static WHOLE: [String; 1] = [String::new()];

/// The claim of an object without parts.
fn whole<'a>(
    (datasets, terms): (&'a Datasets, &'a ClaimTerms),
    object: &'a ObjectVersion,
    dataset: &'a Dataset,
    source: Option<&'a str>,
    again: bool,
) -> FileToClaim<'a> {
    FileToClaim { object, part: "", parts: &WHOLE, dataset: &dataset.name, source, datasets, terms, again }
}

/// The report for a file that is left to the next worker before anybody claims it.
fn not_begun(request: &Request, dataset: &Dataset) -> LoadReport {
    LoadReport {
        bucket: Some(request.location.bucket().to_owned()),
        key: Some(request.location.key().to_string()),
        dataset: Some(dataset.name.clone()),
        part: Some(String::new()),
        rest: Some(request.location.clone()),
        ..empty_report(LoadStatus::Interrupted)
    }
}

/// The file for which the arrival of a manifest is news, since its load waits for it: some, where the location is that of
/// a manifest in S3, and then none where no load waits.
async fn file_that_waits(database: &Database, location: &Location) -> Result<Option<Option<ObjectVersion>>> {
    let Location::S3 { bucket, key, .. } = location else { return Ok(None) };
    let Some(file) = file_of_manifest(key).filter(|_| key.flaw().is_none()) else { return Ok(None) };
    retrying(|| database.interrupted(bucket, &file)).await.map(Some)
}

/// How the load of a claimed file ended.
struct Ending {
    status: LoadStatus,
    reason: Option<Reason>,
    error: Option<String>,
    counts: Counts,
    statistics: Value,
    /// The source by which the file was read.
    source: Option<String>,
    resume_after: Option<Duration>,
}

/// A file that this worker has claimed.
struct FileWork<'a> {
    context: &'a Context,
    database: &'a Database,
    claim: &'a Claim,
    object: &'a ObjectVersion,
    request: &'a Request,
}

impl FileWork<'_> {
    async fn load(&self) -> Result<Ending> {
        let datasets = self.datasets_in_force().await?;
        let definition = datasets.get(&self.claim.dataset).map_err(Error::configuration)?;
        let Request { progress, deadline, .. } = self.request;
        let totals = if definition.manifest.required {
            match self.await_manifest(definition).await {
                Ok(Awaited::Manifests(manifests)) => Totals::Of(manifests),
                Ok(Awaited::TimeOver(left)) => {
                    let ending = self.leave_rest(0, false).await?;
                    return Ok(Ending { resume_after: Some(left.min(MANIFEST_PAUSE)), ..ending });
                }
                Err(error) => return self.fail(error, 0, stream::empty).await,
            }
        } else {
            Totals::Beside(self.claim.run)
        };
        let stage = Arc::new(self.context.stages.open(Arc::clone(progress))?);
        let (extracted, validated, statistics) = match self.stage_in_time(definition, &stage, totals).await {
            Ok(Some(staged)) => staged,
            Ok(None) => return self.interrupt(progress.staged()).await,
            Err(error) => return self.fail(error, progress.staged(), stream::empty).await,
        };
        let read = extracted.read;
        // A file with rejects names its source itself.
        let source = extracted.sent.as_ref().map(|sent| sent.source.name.clone());
        tracing::info!(read, rejected = validated.rejected, "validated");
        let refused = self.over_threshold(&extracted, validated);
        // Else the first batch notes it. Where workers die before that, the ledger should say what the file has.
        if refused.is_some() || self.claim.attempt > 1 || read == 0 {
            retrying(|| self.database.note_read(self.claim, extracted.seen())).await?;
        }
        if let Some(error) = refused {
            let most = self.most_kept();
            return self.fail(error, read, || rejects::first(definition, &stage, &extracted, most)).await;
        }
        progress.set_total(read);
        stage.note_free_disk()?;
        let work = LoadWork {
            claim: self.claim.clone(),
            datasets: Arc::clone(&datasets),
            stage,
            extracted,
            object: self.object.clone(),
            validated,
            deadline: deadline.clone(),
        };
        if self.claim.late && !self.await_batches().await? {
            return self.interrupt(read).await;
        }
        match self.load_everywhere(&work).await {
            Ok(Loading::Done) => {}
            Ok(Loading::OutOfTime) => return self.interrupt(read).await,
            Err(error) => {
                let error = Error::with_source(error.kind(), self.object.display_name(), error);
                return self.fail(error, read, stream::empty).await;
            }
        }
        let closing = Closing {
            status: LoadStatus::Loaded,
            reason: None,
            error: None,
            read,
            statistics: &statistics,
            stalled: false,
        };
        Ok(Ending { source, ..self.close(&closing, stream::empty).await? })
    }

    /// Loads into Postgres, then hands the file to the other loaders, where they have not had it.
    async fn load_everywhere(&self, work: &LoadWork) -> Result<Loading> {
        let Pipeline { ledger, loaders, .. } = self.context.pipeline(&self.claim.dataset)?;
        if ledger.load(self.database, work).await? == Loading::OutOfTime {
            return Ok(Loading::OutOfTime);
        }
        if loaders.is_empty() {
            return Ok(Loading::Done);
        }
        let had = retrying(|| self.database.deliveries(self.claim.load_id)).await?;
        for (name, loader) in loaders.iter().filter(|(name, _)| !had.contains(name)) {
            let loading = tokio::select! {
                // Whatever is wrong there, it is not the file's fault: it comes again until it is mended.
                loading = loader.load(self.database, work) => loading.map_err(|error| match error.kind() {
                    ErrorKind::System | ErrorKind::File(_) => {
                        Error::with_source(ErrorKind::Connection, format!("loader {name}"), error)
                    }
                    _ => error,
                })?,
                lost = self.keep_lease() => return Err(lost),
                () = self.request.deadline.passed() => Loading::OutOfTime,
            };
            if loading == Loading::OutOfTime {
                return Ok(Loading::OutOfTime);
            }
            retrying(|| self.database.note_delivery(self.claim, name, work.validated.accepted)).await?;
            tracing::info!(loader = name, rows = work.validated.accepted, "delivered");
        }
        Ok(Loading::Done)
    }

    /// Waits for batches that do not know of this load. Returns whether the time was enough.
    async fn await_batches(&self) -> Result<bool> {
        tokio::select! {
            awaited = retrying(|| self.database.await_batches(&self.claim.dataset)) => awaited.map(|()| true),
            lost = self.keep_lease() => Err(lost),
            () = self.request.deadline.passed() => Ok(false),
        }
    }

    /// Waits for the manifest that the dataset requires, as long as there is time.
    async fn await_manifest(&self, definition: &Dataset) -> Result<Awaited> {
        let (limit, deadline) = (Duration::from_secs(definition.manifest.wait_seconds.into()), &self.request.deadline);
        let waiting = Instant::now();
        let extractor = self.context.pipeline(&definition.name)?.extractor(&self.object.key)?;
        self.request.progress.set_waiting(true);
        let wait = async {
            loop {
                let manifests = extractor.manifests(self.object, self.claim.run).await?;
                if !manifests.is_empty() {
                    return Ok(Awaited::Manifests(manifests));
                }
                let left = limit.saturating_sub(self.claim.age + waiting.elapsed());
                if left.is_zero() || manifest_key(self.object).is_none() {
                    return Err(manifest_missing(self.object, definition));
                }
                // A function that waited would be paid for waiting.
                if deadline.is_bounded() {
                    return Ok(Awaited::TimeOver(left));
                }
                tokio::time::sleep(left.min(MANIFEST_POLL)).await;
            }
        };
        let awaited = tokio::select! {
            awaited = wait => awaited,
            lost = self.keep_lease() => Err(lost),
            () = deadline.passed() => Ok(Awaited::TimeOver(Duration::ZERO)),
        };
        self.request.progress.set_waiting(false);
        awaited
    }

    /// Stages the file; none when the time is over before that.
    async fn stage_in_time(
        &self,
        definition: &Dataset,
        stage: &Arc<Stage>,
        totals: Totals,
    ) -> Result<Option<(Extracted, Validated, Value)>> {
        let pipeline = self.context.pipeline(&definition.name)?;
        let named = self.claim.source.as_deref();
        let source = named.map(|name| definition.source(name)).transpose().map_err(Error::configuration)?;
        let reading = Reading { source, part: "" };
        let mut staging = pin!(stage_and_validate(pipeline, self.object, definition, reading, stage, totals));
        let outcome = tokio::select! {
            staged = &mut staging => return staged.map(Some),
            lost = self.keep_lease() => Err(lost),
            () = self.request.deadline.passed() => Ok(None),
        };
        stage.cancel();
        // A sandbox may be frozen as soon as the call is answered: what is staged should be gone by then.
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, staging).await;
        outcome
    }

    /// Leaves the rest to the next worker, unless too many of them got nowhere.
    async fn interrupt(&self, read: i64) -> Result<Ending> {
        let stalled = !self.request.deadline.is_interrupted();
        if stalled && self.has_stalled().await? {
            let error = self.no_progress("the last one ran out of time; give it more time, or smaller batches");
            return self.fail(error, read, stream::empty).await;
        }
        self.leave_rest(read, stalled).await
    }

    async fn leave_rest(&self, read: i64, stalled: bool) -> Result<Ending> {
        let closing = Closing {
            status: LoadStatus::Interrupted,
            reason: None,
            error: None,
            read,
            statistics: &Value::Null,
            stalled,
        };
        self.close(&closing, stream::empty).await
    }

    /// Gives the load back after an error, so that it may be asked for again, unless too many workers got nowhere.
    async fn leave(&self, error: Error) -> Result<Ending> {
        if error.kind() == ErrorKind::LeaseLost {
            return Err(error);
        }
        // A connection that is away, or settings that a person must mend, are no fault of the file. A conflict that outlives
        // all retries may be for good: a trigger may always bring about what else only another load does.
        let stalled = matches!(error.kind(), ErrorKind::System | ErrorKind::Conflict);
        if stalled && self.has_stalled().await.unwrap_or_default() {
            tracing::error!(error = %error.chain(), "the third worker in a row failed");
            return self.fail(self.no_progress(&error.chain()), self.request.progress.staged(), stream::empty).await;
        }
        // Best effort: where even this fails, the lease ends by itself.
        if let Err(error) = retrying(|| self.database.give_back_lease(self.claim, stalled)).await {
            tracing::warn!(error = %error.chain(), "the lease could not be given back");
        }
        Err(error)
    }

    async fn has_stalled(&self) -> Result<bool> {
        Ok(retrying(|| self.database.stalled(self.claim)).await? >= MOST_STALLED)
    }

    fn no_progress(&self, cause: &str) -> Error {
        let file = self.object.display_name();
        let message = format!("{file}: {MOST_STALLED} workers in a row ended without committing anything: {cause}");
        Error::file(Reason::NoProgress, message)
    }

    /// A load that goes on runs under the definitions of its first claim, not under those of this program.
    async fn datasets_in_force(&self) -> Result<Arc<Datasets>> {
        let latest_version = self.claim.terms.latest_version(self.claim.started_at);
        if self.claim.dataset_version == self.context.datasets.version() {
            return Ok(Arc::new(self.context.datasets.with_latest_version(latest_version)));
        }
        let definitions = retrying(|| self.database.definitions(&self.claim.dataset_version)).await?;
        let files = definitions.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        // Frozen text cannot be mended, so a program that no longer reads it must not wait for that.
        let unreadable = |error| Error::system("read the definitions of the first claim", error);
        let datasets = Datasets::frozen(files).map_err(|error| unreadable(Error::configuration(error)))?;
        let datasets = with_rules(datasets, &self.context.pipelines).map_err(unreadable)?;
        Ok(Arc::new(datasets.with_latest_version(latest_version)))
    }

    /// The definitions in force, or those of this program if it cannot read them: such a load must end, too.
    async fn datasets_to_end_by(&self) -> Result<Arc<Datasets>> {
        match self.datasets_in_force().await {
            Err(error) if error.kind() == ErrorKind::System => Ok(Arc::clone(&self.context.datasets)),
            datasets => datasets,
        }
    }

    /// Renews the lease while the file is staged; returns only when it is lost.
    async fn keep_lease(&self) -> Error {
        loop {
            tokio::time::sleep(self.claim.terms.lease / 3).await;
            if let Err(error) = retrying(|| self.database.renew_lease(self.claim)).await {
                return error;
            }
        }
    }

    fn over_threshold(&self, extracted: &Extracted, validated: Validated) -> Option<Error> {
        let (rejected, read) = (validated.rejected, extracted.read);
        let terms = &self.claim.terms;
        let limit = match (terms.max_rejects, terms.max_reject_rate) {
            (Some(most), _) if rejected > most => format!("load.max_rejects = {most}"),
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
            (_, Some(rate)) if rejected as f64 > rate * read as f64 => format!("load.max_reject_rate = {rate}"),
            _ => return None,
        };
        let (file, most) = (self.object.display_name(), self.most_kept());
        let kept = if rejected > most { format!(", and the first {most} rejects are kept") } else { String::new() };
        Some(Error::file(
            Reason::TooManyRejects,
            format!(
                "{file}: {rejected} of {read} records are rejected, more than {limit} allows; nothing was loaded{kept}"
            ),
        ))
    }

    /// How many bad records of a file with too many of them are kept.
    fn most_kept(&self) -> i64 {
        self.claim.terms.max_rejects.unwrap_or_default().max(rejects::MOST_REJECTS)
    }

    /// Ends the load where the file is at fault; any other error passes through.
    async fn fail<S>(&self, error: Error, read: i64, rejects: impl Fn() -> S) -> Result<Ending>
    where
        S: Stream<Item = Result<RejectedChunk>>,
    {
        let ErrorKind::File(reason) = error.kind() else { return Err(error) };
        let message = error.chain();
        let status = if reason == Reason::Superseded { LoadStatus::Superseded } else { LoadStatus::Failed };
        tracing::warn!(reason = reason.name(), error = message, "the file as a whole cannot be loaded");
        if self.claim.attempt > 1 || self.request.progress.written() > 0 {
            // What others wait for may be committed.
            let ledger = &self.context.pipeline(&self.claim.dataset)?.ledger;
            ledger.release(self.database, self.claim, &*self.datasets_to_end_by().await?).await?;
        }
        let (reason, error) = (Some(reason), Some(message.as_str()));
        let closing = Closing { status, reason, error, read, statistics: &Value::Null, stalled: true };
        self.close(&closing, rejects).await
    }

    async fn close<S>(&self, closing: &Closing<'_>, rejects: impl Fn() -> S) -> Result<Ending>
    where
        S: Stream<Item = Result<RejectedChunk>>,
    {
        let datasets = self.datasets_to_end_by().await?;
        let dataset = datasets.get(&self.claim.dataset).map_err(Error::configuration)?;
        // There may be millions of rejects to keep. Whether the lease is lost, `close` itself finds out.
        let renewals = async {
            self.keep_lease().await;
            std::future::pending().await
        };
        let counts = tokio::select! {
            counts = retrying(|| self.database.close(self.claim, dataset, closing, rejects())) => counts?,
            never = renewals => never,
        };
        Ok(Ending {
            status: closing.status,
            reason: closing.reason,
            error: closing.error.map(String::from),
            counts,
            statistics: closing.statistics.clone(),
            source: self.claim.source.clone(),
            resume_after: None,
        })
    }

    /// Writes the rejects file of a load that has ended, and returns its key. The load stands whether this works or not;
    /// the nightly run writes what is missing.
    async fn write_rejects(&self) -> Option<String> {
        let Claim { load_id, dataset, .. } = self.claim;
        let bucket = self.context.output.bucket(&self.object.bucket, self.object.local)?;
        let written = tokio::select! {
            written = self.context.output.write_rejects(self.database, *load_id, dataset, bucket) => written,
            () = self.request.deadline.passed() => Err(Error::new(ErrorKind::OutOfTime, "the time is over")),
        };
        let failed = |error: &Error| tracing::warn!(error = %error.chain(), "the rejects file is not written yet");
        written.inspect_err(failed).ok()
    }
}

/// What came of waiting for a manifest.
enum Awaited {
    Manifests(Manifests),
    /// This worker has no more time, the file has so much.
    TimeOver(Duration),
}

/// The report for something that is no file of ours.
#[must_use]
pub fn skipped(reason: &str) -> LoadReport {
    LoadReport { reason: Some(reason.to_owned()), ..empty_report(LoadStatus::Skipped) }
}

fn empty_report(status: LoadStatus) -> LoadReport {
    LoadReport {
        load_id: None,
        bucket: None,
        key: None,
        version: None,
        dataset: None,
        source: None,
        part: None,
        status,
        reason: None,
        attempt: None,
        counts: None,
        rejects_key: None,
        elapsed_ms: 0,
        statistics: Value::Null,
        error: None,
        rest: None,
        retry_after: None,
        resume_after: None,
    }
}
