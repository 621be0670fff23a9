//! A claimed file: extract, validate, load, finish; and what becomes of it where one of these fails.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt, stream};
use serde_json::Value;
use tracing::Instrument as _;

use super::check::{Reading, Totals, manifest_missing, stage_and_validate};
use super::context::{Context, with_rules};
use super::piece::{Piece, Refused};
use super::request::Request;
use crate::data_access::duckdb::Stage;
use crate::data_access::postgres::{Claim, Closing, Database};
use crate::data_access::retry::retrying;
use crate::data_access::traces;
use crate::domain::manifest::manifest_key;
use crate::domain::object::with_part;
use crate::domain::source::drift;
use crate::domain::{Counts, Dataset, Datasets, LoadStatus, ObjectVersion, RejectedChunk, is_more};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::content::number_in_ledger;
use crate::services::{Extracted, LoadWork, Loading, Pipeline, Places, Validated, bad_records, resubmissions};

/// The most workers in a row that may end without committing anything. After that the load has failed; otherwise it
/// would go on forever.
const MOST_STALLED: i32 = 3;
/// How long an interrupted worker waits for its staging to end.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a worker that has time looks for a manifest, and how long one without time leaves that to the next worker.
const MANIFEST_POLL: Duration = Duration::from_secs(1);
const MANIFEST_PAUSE: Duration = Duration::from_mins(1);

/// How the load of a claimed file ended.
pub(super) struct Ending {
    pub(super) status: LoadStatus,
    pub(super) reason: Option<Reason>,
    pub(super) error: Option<String>,
    pub(super) counts: Counts,
    pub(super) statistics: Value,
    /// The source by which the file was read.
    pub(super) source: Option<String>,
    /// How many changes of the columns no file of the source had before.
    pub(super) schema_changes: u64,
    pub(super) resume_after: Option<Duration>,
    /// Whether the rest is left to a larger machine.
    pub(super) handed_over: bool,
}

/// Why the work on a file stops before its load is closed as loaded.
enum Stop {
    /// Of the error the file may be guilty, after so many records.
    Failed(Error, i64),
    /// The time of this worker is over, after so many records.
    OutOfTime(i64),
    /// The manifest is missing, and may be missing this much longer.
    Waiting(Duration),
    /// Of the error the file is not guilty.
    Other(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A file that this worker has claimed.
pub(super) struct FileWork<'a> {
    pub(super) context: &'a Context,
    pub(super) database: &'a Database,
    pub(super) claim: &'a Claim,
    pub(super) object: &'a ObjectVersion,
    pub(super) request: &'a Request,
    pub(super) piece: &'a Piece<'a>,
}

impl FileWork<'_> {
    /// Loads the file, or ends its load as failed. After any other error the load is given back.
    pub(super) async fn run(&self) -> Result<Ending> {
        let ended = match self.piece.refused.clone() {
            Some(Refused { reason, message }) => self.fail(Error::file(reason, message), 0, stream::empty).await,
            None if self.claim.stalled > MOST_STALLED => {
                self.fail(self.no_progress("it is not known how they ended"), 0, stream::empty).await
            }
            None => self.load().await,
        };
        match ended {
            Err(error) => self.leave(error).await,
            ended => ended,
        }
    }

    async fn load(&self) -> Result<Ending> {
        match self.load_all().await {
            Ok(ending) => Ok(ending),
            Err(Stop::Failed(error, read)) => self.fail(error, read, stream::empty).await,
            Err(Stop::OutOfTime(read)) => self.interrupt(read).await,
            Err(Stop::Waiting(left)) => {
                let ending = self.leave_rest(0, false).await?;
                Ok(Ending { resume_after: Some(left.min(MANIFEST_PAUSE)), ..ending })
            }
            Err(Stop::Other(error)) => Err(error),
        }
    }

    async fn load_all(&self) -> Result<Ending, Stop> {
        let datasets = self.datasets_in_force().await?;
        let definition = datasets.get(&self.claim.dataset).map_err(Error::configuration)?;
        let totals = self.totals(definition).await?;
        let Request { progress, deadline, .. } = self.request;
        let stage = Arc::new(self.context.stages.open(Arc::clone(progress))?);
        let staged = self.stage_in_time(definition, &stage, totals).await;
        let staged = staged.map_err(|error| Stop::Failed(error, progress.staged()))?;
        let (extracted, validated, statistics) = staged.ok_or_else(|| Stop::OutOfTime(progress.staged()))?;
        let read = extracted.read;
        let failed = |error| Stop::Failed(error, read);
        // A file with rejects names its source itself.
        let source = extracted.sent.as_ref().map(|sent| sent.source.name.clone());
        tracing::info!(read, rejected = validated.rejected, "validated");
        if definition.content.is_some() {
            self.number_copies(&stage, &extracted).await.map_err(failed)?;
        }
        let schema_changes = self.note_drift(&extracted).await?;
        let refused = self.over_threshold(&extracted, validated);
        let places = Places::find(self.database, self.claim, definition, (&stage, extracted.mends)).await;
        let places = places.map_err(failed)?;
        // Otherwise the first batch records it. If workers die before that, the ledger should still say what the file
        // contains.
        if refused.is_some() || self.claim.attempt > 1 || read == 0 {
            retrying(|| self.database.note_read(self.claim, extracted.seen())).await?;
        }
        if let Some(error) = refused {
            let most = self.most_kept();
            let first = || bad_records::first(definition, &stage, &extracted, most);
            return Ok(self.fail(error, read, || keyed(first(), places.clone())).await?);
        }
        progress.set_total(read);
        stage.note_free_disk()?;
        let claim = self.ranked(definition, &stage, &extracted).await?;
        let (datasets, object, deadline) = (Arc::clone(&datasets), self.object.clone(), deadline.clone());
        let work = LoadWork { claim, datasets, stage, extracted, object, validated, places, deadline };
        let named = |error: Error| failed(Error::with_source(error.kind(), self.name(), error));
        if work.claim.late && !self.await_batches().await? {
            return Err(Stop::OutOfTime(read));
        }
        let loading = Box::pin(self.load_everywhere(&work)).instrument(traces::step("write"));
        if loading.await.map_err(named)? == Loading::OutOfTime {
            return Err(Stop::OutOfTime(read));
        }
        let (status, statistics) = (LoadStatus::Loaded, &statistics);
        let closing = Closing { status, reason: None, error: None, read, statistics, stalled: false };
        // The table may refuse that rows are taken out of it.
        let ending = self.close(&closing, stream::empty).await.map_err(failed)?;
        Ok(Ending { source, schema_changes, ..ending })
    }

    /// Where the control totals of the file are.
    async fn totals(&self, definition: &Dataset) -> Result<Totals, Stop> {
        let Claim { load_id, attempt, run, .. } = *self.claim;
        let is_begun = attempt > 1 && retrying(|| self.database.records_written(load_id)).await?.is_some();
        if is_begun || !definition.manifest.required {
            return Ok(Totals::Beside { run, is_begun });
        }
        match self.await_manifest(definition).await {
            Ok(Awaited::Manifests(manifests)) => Ok(Totals::Of(manifests)),
            Ok(Awaited::TimeOver(left)) => Err(Stop::Waiting(left)),
            Err(error) => Err(Stop::Failed(error, 0)),
        }
    }

    /// Records how the columns of the file differ from those that its source declares. Returns how many of these changes are new.
    async fn note_drift(&self, extracted: &Extracted) -> Result<u64> {
        let Some(sent) = extracted.sent.as_deref().filter(|sent| !sent.drift.is_empty()) else { return Ok(0) };
        let (source, drift) = (sent.source.name.as_str(), &sent.drift);
        let new = retrying(|| self.database.note_drift(self.claim, source, drift)).await?;
        tracing::warn!(source, new, changes = drift::shown(drift), "the columns differ from those of the source");
        Ok(new)
    }

    /// Numbers the copies of rows, as far as that depends on other loads. Rejects are numbered, too, so it comes before all that is written.
    async fn number_copies(&self, stage: &Arc<Stage>, extracted: &Extracted) -> Result<()> {
        let numbered = tokio::select! {
            numbered = number_in_ledger(self.database, self.claim, self.piece.parts, stage, extracted) => numbered,
            lost = self.keep_lease() => Err(lost),
        };
        numbered.map_err(|error| Error::with_source(error.kind(), self.name(), error))
    }

    /// The claim as it is once it is known which rejects the rows mend: without a version, a row ranks with the load that rejected it.
    async fn ranked(&self, definition: &Dataset, stage: &Arc<Stage>, extracted: &Extracted) -> Result<Claim> {
        if !extracted.mends || definition.version.is_some() {
            return Ok(self.claim.clone());
        }
        let loads = resubmissions::loads_mended(stage).await?;
        retrying(|| self.database.rank_with(self.claim, &loads)).await
    }

    /// Loads the file into Postgres, then passes it to the other loaders that have not had it.
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
                // Whatever goes wrong there is not the fault of the file: it is delivered again until the cause is
                // corrected.
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

    /// Waits for batches that do not know about this load. Returns whether there was time for that.
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
                // A function that waits would cost money for waiting.
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

    /// Stages the file; `None` if the time is over before that is done.
    async fn stage_in_time(
        &self,
        definition: &Dataset,
        stage: &Arc<Stage>,
        totals: Totals,
    ) -> Result<Option<(Extracted, Validated, Value)>> {
        let pipeline = self.context.pipeline(&definition.name)?;
        let named = self.claim.source.as_deref();
        let source = named.map(|name| definition.source(name)).transpose().map_err(Error::configuration)?;
        let Piece { part, parts, copy, .. } = self.piece;
        let reading = Reading { source, part, parts, copy: copy.as_ref() };
        let mut staging = pin!(stage_and_validate(pipeline, self.object, definition, reading, stage, totals));
        let outcome = tokio::select! {
            staged = &mut staging => return staged.map(Some),
            lost = self.keep_lease() => Err(lost),
            () = self.request.deadline.passed() => Ok(None),
        };
        stage.cancel();
        // A sandbox may be frozen as soon as the call is answered. The staged data should be gone by then.
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, staging).await;
        outcome
    }

    /// Leaves the rest to the next worker, unless too many workers have made no progress.
    async fn interrupt(&self, read: i64) -> Result<Ending> {
        let stalled = !self.request.deadline.is_interrupted();
        if stalled && self.request.hands_over {
            return self.hand_over(read, "the time of this worker is over").await;
        }
        if stalled && self.has_stalled().await? {
            let error = self.no_progress(
                "the last one ran out of time; give it more time, or smaller batches; \
                 on AWS, LargeFiles=fargate leaves such files to a larger machine",
            );
            return self.fail(error, read, stream::empty).await;
        }
        self.leave_rest(read, stalled).await
    }

    /// Leaves the rest to a larger machine. That this one was too small counts as no failure of the file.
    async fn hand_over(&self, read: i64, why: &str) -> Result<Ending> {
        tracing::info!(why, "left to a larger machine");
        let ending = self.leave_rest(read, false).await?;
        Ok(Ending { handed_over: true, ..ending })
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

    /// Gives the load back after an error, so that it may be requested again, unless too many workers have made no
    /// progress.
    async fn leave(&self, error: Error) -> Result<Ending> {
        if error.kind() == ErrorKind::LeaseLost {
            return Err(error);
        }
        // A lost connection, or settings that a person must correct, are not the fault of the file. A conflict that
        // outlives all retries may be permanent: a trigger may always cause what otherwise only another load causes.
        let stalled = matches!(error.kind(), ErrorKind::System | ErrorKind::Conflict);
        if stalled && self.has_stalled().await.unwrap_or_default() {
            tracing::error!(error = %error.chain(), "the third worker in a row failed");
            return self.fail(self.no_progress(&error.chain()), self.request.progress.staged(), stream::empty).await;
        }
        // Best effort: if this fails too, the lease ends when its time is over.
        if let Err(error) = retrying(|| self.database.give_back_lease(self.claim, stalled)).await {
            tracing::warn!(error = %error.chain(), "the lease could not be given back");
        }
        Err(error)
    }

    async fn has_stalled(&self) -> Result<bool> {
        Ok(retrying(|| self.database.stalled(self.claim)).await? >= MOST_STALLED)
    }

    /// The name of the file for people.
    fn name(&self) -> String {
        with_part(self.object.display_name(), self.piece.part)
    }

    fn no_progress(&self, cause: &str) -> Error {
        let file = self.name();
        let message = format!("{file}: {MOST_STALLED} workers in a row ended without committing anything: {cause}");
        Error::file(Reason::NoProgress, message)
    }

    /// A load that continues uses the definitions of its first claim, not those of this program.
    async fn datasets_in_force(&self) -> Result<Arc<Datasets>> {
        let latest_version = self.claim.terms.latest_version(self.claim.started_at);
        if self.claim.dataset_version == self.context.datasets.version() {
            return Ok(Arc::new(self.context.datasets.with_latest_version(latest_version)));
        }
        let definitions = retrying(|| self.database.definitions(&self.claim.dataset_version)).await?;
        let files = definitions.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        // Frozen text cannot be corrected, so a program that can no longer read it must not wait for that.
        let unreadable = |error| Error::system("read the definitions of the first claim", error);
        let datasets = Datasets::frozen(files).map_err(|error| unreadable(Error::configuration(error)))?;
        let datasets = with_rules(datasets, &self.context.pipelines).map_err(unreadable)?;
        Ok(Arc::new(datasets.with_latest_version(latest_version)))
    }

    /// Returns the definitions in force, or those of this program if it cannot read them: such a load must end, too.
    async fn datasets_to_end_by(&self) -> Result<Arc<Datasets>> {
        match self.datasets_in_force().await {
            Err(error) if error.kind() == ErrorKind::System => Ok(Arc::clone(&self.context.datasets)),
            datasets => datasets,
        }
    }

    /// Renews the lease while the file is staged. Returns only if the lease is lost.
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
            (_, Some(rate)) if is_more(rejected, rate, read) => format!("load.max_reject_rate = {rate}"),
            _ => return None,
        };
        let (file, most) = (self.name(), self.most_kept());
        let kept = if rejected > most { format!(", and the first {most} rejects are kept") } else { String::new() };
        Some(Error::file(
            Reason::TooManyRejects,
            format!(
                "{file}: {rejected} of {read} records are rejected, more than {limit} allows; nothing was loaded{kept}"
            ),
        ))
    }

    /// How many rejected records are kept of a file with too many of them.
    fn most_kept(&self) -> i64 {
        self.claim.terms.max_rejects.unwrap_or_default().max(bad_records::MOST_REJECTS)
    }

    /// Ends the load if the file is at fault; passes on any other error.
    async fn fail<S>(&self, error: Error, read: i64, rejects: impl Fn() -> S) -> Result<Ending>
    where
        S: Stream<Item = Result<RejectedChunk>>,
    {
        if self.request.is_outgrown_by(&error) {
            return self.hand_over(read, &error.chain()).await;
        }
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
        // There may be millions of rejects to store. `close` itself finds out whether the lease is lost.
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
            schema_changes: 0,
            resume_after: None,
            handed_over: false,
        })
    }

    /// Writes the rejects file of a load that has ended, and returns its key. If this fails, the load is still
    /// complete, and the nightly run writes the file.
    pub(super) async fn write_rejects(&self) -> Option<String> {
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

/// Gives rejects the places of their records, where rows have no key.
fn keyed(
    rejects: impl Stream<Item = Result<RejectedChunk>>,
    places: Option<Arc<Places>>,
) -> impl Stream<Item = Result<RejectedChunk>> {
    rejects.map_ok(move |mut chunk| {
        if let Some(places) = &places {
            places.key(&mut chunk.violations);
        }
        chunk
    })
}

/// What came of waiting for a manifest.
enum Awaited {
    Manifests(Vec<Vec<u8>>),
    /// This worker has no more time, but the file may wait this much longer.
    TimeOver(Duration),
}
