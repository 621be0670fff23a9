//! One object from its event to its loads: what reads it, which parts it has, and a load for each of them.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument, Span};

use super::check::check_definition;
use super::context::Context;
use super::file_work::{CANCEL_TIMEOUT, FileWork};
use super::piece::{Piece, Refused};
use super::plan::{Plan, PlannedPart, check_names, in_parts, is_again, merged};
use super::request::{Readers, Request, choose_readers, no_file, unidentified};
use crate::data_access::postgres::{Claimed, Database, FileToClaim, ReplacedLoad};
use crate::data_access::retry::retrying;
use crate::data_access::traces;
use crate::domain::manifest::file_of_manifest;
use crate::domain::object::with_part;
use crate::domain::source::model::Source;
use crate::domain::{Dataset, LoadReport, LoadStatus, Location, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::object_parts::{FoundParts, ObjectCopy, PartReader, fetch_beside, listed};
use crate::services::{Extractor, Pipeline};

/// Loads one object, or says why not: a report for each of its loads, which is one unless the object has parts. The object's own faults
/// are in the reports.
///
/// # Errors
/// `Connection` and `Conflict` after all retries, `LeaseLost`, `OutOfTime`, `Configuration`, `System`: a part is then neither loaded
/// nor failed, and the object may be asked for again. The other parts were loaded nevertheless.
pub async fn run(context: &Context, database: &Database, request: &Request) -> Result<Vec<LoadReport>> {
    let mut ended = Ended::default();
    let outcome = Box::pin(run_object(context, database, request, &mut ended)).await;
    if ended.0.iter().any(|report| report.counts.is_some()) {
        Box::pin(context.announce(database, &request.deadline)).await;
    }
    outcome.map(|()| ended.0)
}

/// The loads that have ended so far.
#[derive(Default)]
struct Ended(Vec<LoadReport>);

async fn run_object(context: &Context, database: &Database, request: &Request, ended: &mut Ended) -> Result<()> {
    if let Some(file) = file_that_waits(database, &request.location).await? {
        let Some(file) = file else {
            ended.0.push(skip(request, "a manifest, and no load waits for it; name the file itself"));
            return Ok(());
        };
        let request = Request { location: Location::of(&file), ..request.clone() };
        return Box::pin(run_object(context, database, &request, ended)).await;
    }
    if let Some(reason) = why_skipped(database, request).await? {
        ended.0.push(skip(request, reason));
        return Ok(());
    }
    let Some(readers) = choose_readers(&context.datasets, request)? else {
        ended.0.push(skip(request, "no dataset claims this key"));
        return Ok(());
    };
    let work = ObjectWork { context, database, request };
    match readers {
        Readers::Whole(dataset, source) => work.load_whole(dataset, source, ended).await,
        Readers::Parts(readers) => work.load_parts(&readers, ended).await,
    }
}

fn skip(request: &Request, reason: &str) -> LoadReport {
    let (bucket, key) = (request.location.bucket().to_owned(), request.location.key().to_string());
    LoadReport { bucket: Some(bucket), key: Some(key), ..skipped(reason) }
}

/// Explains why the location is not that of a file; `None` if it is one. A marker counts as a file if a load of it has
/// begun, so that the load ends.
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

/// Returns the file whose load waits for this manifest. The outer option is `None` if the location is not that of a
/// manifest in S3, and the inner one is `None` if no load waits for it.
async fn file_that_waits(database: &Database, location: &Location) -> Result<Option<Option<ObjectVersion>>> {
    let Location::S3 { bucket, key, .. } = location else { return Ok(None) };
    let Some(file) = file_of_manifest(key).filter(|_| key.flaw().is_none()) else { return Ok(None) };
    retrying(|| database.interrupted(bucket, &file)).await.map(Some)
}

static WHOLE: [String; 1] = [String::new()];

/// An object that is asked for.
struct ObjectWork<'a> {
    context: &'a Context,
    database: &'a Database,
    request: &'a Request,
}

impl ObjectWork<'_> {
    fn span(&self, part: &str) -> Span {
        let (bucket, key) = (self.request.location.bucket(), self.request.location.key());
        tracing::info_span!(
            "load",
            bucket,
            key = key.as_str(),
            part = (!part.is_empty()).then_some(part),
            dataset = tracing::field::Empty,
            load_id = tracing::field::Empty,
            otel.status_code = tracing::field::Empty
        )
    }

    /// The report for something that is left to the next worker before anybody claims it.
    fn not_begun(&self, dataset: &Dataset, part: &str) -> LoadReport {
        LoadReport {
            bucket: Some(self.request.location.bucket().to_owned()),
            key: Some(self.request.location.key().to_string()),
            dataset: Some(dataset.name.clone()),
            part: Some(part.to_owned()),
            rest: Some(self.request.location.clone()),
            ..LoadReport::new(LoadStatus::Interrupted)
        }
    }

    fn has_time(&self) -> bool {
        self.request.deadline.has_time_for(Duration::ZERO)
    }

    async fn load_whole(&self, dataset: &Dataset, source: Option<&Source>, ended: &mut Ended) -> Result<()> {
        if let Some(part) = self.request.parts.iter().find(|part| !part.is_empty()) {
            return Err(self.no_such_part(part, "it is loaded as a whole"));
        }
        if !self.has_time() {
            ended.0.push(self.not_begun(dataset, ""));
            return Ok(());
        }
        let span = self.span("");
        let found = self.in_span(&span, async {
            Span::current().record("dataset", &dataset.name);
            let extractor = self.context.pipeline(&dataset.name)?.extractor_at(&self.request.location)?;
            let (object, refused) = self.identify(&**extractor).await?;
            let plan = match refused {
                None => {
                    let source = source.map(|source| source.name.as_str());
                    self.begun_in_parts(&object, (dataset, source), &**extractor).await?
                }
                Some(_) => None,
            };
            Ok((object, refused, plan))
        });
        let (object, refused, plan) = found.await?;
        if let Some(plan) = plan {
            self.load_planned(&object, dataset, &plan, ended).await?;
            return if object.local { Ok(()) } else { self.end_others(&object, None).await };
        }
        let reason = refused.as_ref().map(|refused| refused.reason);
        let piece = Piece { dataset, source, part: "", parts: &WHOLE, copy: None, refused };
        ended.0.push(self.observed("", Box::pin(self.load_piece(&object, piece))).await?);
        if object.local { Ok(()) } else { self.end_others(&object, reason).await }
    }

    fn no_such_part(&self, part: &str, has: &str) -> Error {
        let key = self.request.location.key();
        Error::configuration(format!("{key}: there is no part {part:?} that a source reads; {has}"))
    }

    /// Runs a load in a span of its own, and logs how it ended.
    async fn observed(&self, part: &str, loading: impl Future<Output = Result<LoadReport>>) -> Result<LoadReport> {
        let (span, started) = (self.span(part), Instant::now());
        self.request.progress.begin();
        let mut report = self.in_span(&span, loading).await?;
        report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.progress = Arc::new(self.request.progress.snapshot());
        span.in_scope(|| log(&report));
        if report.status == LoadStatus::Failed {
            traces::fail(&span);
        }
        Ok(report)
    }

    /// Runs a step in a span, and logs why it failed.
    async fn in_span<T>(&self, span: &Span, step: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let outcome = Box::pin(step).instrument(span.clone()).await;
        outcome.inspect_err(|error| {
            let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            span.in_scope(
                || tracing::error!(kind = error.kind().name(), error = %error.chain(), elapsed_ms, "file not loaded"),
            );
            traces::fail(span);
        })
    }

    /// The version of the object, and why it cannot be read, if it cannot.
    async fn identify(&self, extractor: &dyn Extractor) -> Result<(ObjectVersion, Option<Refused>)> {
        let location = &self.request.location;
        match extractor.identify(location).await {
            Ok(object) => {
                if object.local {
                    self.end_others(&object, None).await?;
                }
                Ok((object, None))
            }
            Err(error) if matches!(location, Location::S3 { .. }) => {
                Ok((unidentified(location), Some(Refused::of(error)?)))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the loads of earlier contents of a file, or of an object without versions, that is read or why it cannot be: they are gone, and no event
    /// or listing asks for them again.
    async fn end_others(&self, object: &ObjectVersion, refused: Option<Reason>) -> Result<()> {
        let location = &self.request.location;
        let names_version = matches!(location, Location::S3 { version_id: Some(_), .. });
        // An event may come late, and name a content that others have replaced.
        let names_content = matches!(location, Location::S3 { etag: Some(_), .. });
        let (reason, why, all) = match refused {
            None if object.version_id.is_none() => {
                (Reason::Superseded, "the file was replaced before it was loaded", !names_content)
            }
            Some(Reason::NotFound) if !names_version => {
                (Reason::NotFound, "the object was deleted before it was loaded", true)
            }
            _ => return Ok(()),
        };
        for ReplacedLoad { object, part, dataset } in retrying(|| self.database.replaced_loads(object, all)).await? {
            let Ok(dataset) = self.context.datasets.get(&dataset) else { continue };
            let message = format!("{}: {why}", with_part(object.display_name(), &part));
            let refused = Some(Refused { reason, message });
            let parts = std::slice::from_ref(&part);
            let piece = Piece { dataset, source: None, part: &part, parts, copy: None, refused };
            match self.observed(&part, Box::pin(self.load_piece(&object, piece))).await {
                // What is asked for does not depend on it, and the nightly run reports a load that has not ended.
                Err(error) if error.kind() == ErrorKind::Configuration => {}
                ended => drop(ended?),
            }
        }
        Ok(())
    }

    /// Loads the parts of an object, one after the other. One that fails leaves the others alone.
    async fn load_parts(&self, readers: &[PartReader<'_>], ended: &mut Ended) -> Result<()> {
        let Some(PartReader { dataset, source }) = readers.first().copied() else { return Ok(()) };
        if !self.has_time() {
            ended.0.push(self.not_begun(dataset, ""));
            return Ok(());
        }
        let extractor = self.context.pipeline(&dataset.name)?.extractor_at(&self.request.location)?;
        let (object, mut refused) = self.identify(&**extractor).await?;
        let mut plan = Plan { parts: Vec::new(), copy: None };
        if refused.is_none() {
            match self.plan(&object, readers, &**extractor).await {
                Ok(planned) => plan = planned,
                // Which parts it has is found out where it fits.
                Err(error) if self.request.is_outgrown_by(&error) => {
                    tracing::info!(why = error.chain(), object = object.display_name(), "left to a larger machine");
                    ended.0.push(handed_over(LoadReport {
                        rest: Some(Location::of(&object)),
                        ..self.not_begun(dataset, "")
                    }));
                    return Ok(());
                }
                Err(error) => refused = Some(Refused::of(error)?),
            }
        }
        if let Some(reason) = refused.as_ref().map(|refused| refused.reason) {
            let piece = Piece { dataset, source: Some(source), part: "", parts: &WHOLE, copy: None, refused };
            ended.0.push(self.observed("", Box::pin(self.load_piece(&object, piece))).await?);
            return self.end_others(&object, Some(reason)).await;
        }
        self.load_planned(&object, dataset, &plan, ended).await?;
        self.end_others(&object, None).await
    }

    async fn load_planned(
        &self,
        object: &ObjectVersion,
        first: &Dataset,
        plan: &Plan,
        ended: &mut Ended,
    ) -> Result<()> {
        let names: Vec<String> = plan.parts.iter().map(|part| part.name.clone()).collect();
        if let Some(unknown) = self.request.parts.iter().find(|part| !names.contains(part)) {
            return Err(self.no_such_part(unknown, &format!("known are {}", names.join(", "))));
        }
        let is_wanted = |part: &&PlannedPart| self.request.parts.is_empty() || self.request.parts.contains(&part.name);
        let mut first_error = None;
        for part in plan.parts.iter().filter(is_wanted) {
            // What has ended needs its dataset for its name alone.
            let dataset = self.context.datasets.get(&part.dataset).unwrap_or(first);
            if !self.has_time() {
                ended.0.push(self.not_begun(dataset, &part.name));
                continue;
            }
            let source = part.source.as_ref().and_then(|name| dataset.source(name).ok());
            let refused = part.is_orphan.then(|| Refused::orphan(object, &part.name));
            let (copy, parts) = (plan.copy.clone(), &names[..]);
            let piece = Piece { dataset, source, part: &part.name, parts, copy, refused };
            match self.observed(&part.name, Box::pin(self.load_piece(object, piece))).await {
                Ok(report) => ended.0.push(report),
                // Without the database or S3 no other part fares better.
                Err(error) if error.kind() == ErrorKind::Connection => return Err(error),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Finds out which parts are to be loaded. An object is only fetched if one of them is not finished.
    async fn plan(
        &self,
        object: &ObjectVersion,
        readers: &[PartReader<'_>],
        extractor: &dyn Extractor,
    ) -> Result<Plan> {
        let known = retrying(|| self.database.known_parts(object)).await?;
        let first = readers.first().map_or("", |reader| &reader.dataset.name);
        let (again, has_ended) = (is_again(&known, self.request.again), known.iter().all(|part| !part.is_wanted()));
        if !again && !known.is_empty() && has_ended {
            let listed = known.iter().filter(|part| part.is_listed);
            return Ok(Plan { parts: listed.map(|part| PlannedPart::known(part, first)).collect(), copy: None });
        }
        let copy = Arc::new(self.fetch(object, extractor).await?);
        if let Some(load) = copy.rejects_of()? {
            let named = match load {
                Some(load) => retrying(|| self.database.dataset_of(load, &object.bucket)).await?,
                None => None,
            };
            let of = |reader: &&PartReader<'_>| named.as_ref().is_none_or(|name| *name == reader.dataset.name);
            let reader = readers.iter().find(of).or(readers.first());
            let whole = reader.map(|reader| PlannedPart::new("", reader.dataset, Some(&reader.source.name)));
            return Ok(Plan { parts: whole.into_iter().collect(), copy: None });
        }
        let found = match copy.parts(object.display_name(), readers).await {
            // What has begun under other definitions goes on under them.
            Err(error) if matches!(error.kind(), ErrorKind::File(_)) && !has_ended => FoundParts::default(),
            found => found?,
        };
        if !found.unread.is_empty() {
            let (count, names) = (found.unread.len(), listed(&found.unread));
            tracing::info!(object = object.display_name(), count, names, "no source reads these members or sheets");
        }
        let parts: Vec<PlannedPart> = found.parts.into_iter().map(PlannedPart::from).collect();
        if again {
            check_names(object, &known, &parts, &self.context.datasets)?;
        }
        Ok(Plan { parts: merged(&parts, &known, again, first), copy: Some(copy) })
    }

    /// What there is to do with an object that was begun or loaded in parts of a dataset, and that its definition reads as a whole now; `None` if it
    /// is loaded as a whole.
    async fn begun_in_parts(
        &self,
        object: &ObjectVersion,
        (dataset, source): (&Dataset, Option<&str>),
        extractor: &dyn Extractor,
    ) -> Result<Option<Plan>> {
        check_definition(self.context, dataset).await?;
        retrying(|| self.database.check_ready(dataset, self.context.datasets.version())).await?;
        let known = retrying(|| self.database.known_parts(object)).await?;
        let (again, whole) = (is_again(&known, self.request.again), PlannedPart::new("", dataset, source));
        if again {
            check_names(object, &known, std::slice::from_ref(&whole), &self.context.datasets)?;
        }
        let parts = in_parts(whole, &known, again);
        if parts.is_empty() {
            return Ok(None);
        }
        let is_begun = known.iter().any(|part| part.is_wanted() || part.is_open());
        let copy = if is_begun { Some(Arc::new(self.fetch(object, extractor).await?)) } else { None };
        Ok(Some(Plan { parts, copy }))
    }

    async fn fetch(&self, object: &ObjectVersion, extractor: &dyn Extractor) -> Result<ObjectCopy> {
        let stage = Arc::new(self.context.stages.open(Arc::default())?);
        let mut keeping = pin!(fetch_beside(extractor, object, &self.context.stages, &stage));
        tokio::select! {
            copy = &mut keeping => return copy,
            () = self.request.deadline.passed() => {}
        }
        stage.cancel();
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, keeping).await;
        let (name, interrupted) = (object.display_name(), self.request.deadline.is_interrupted());
        let message = if interrupted {
            format!("{name}: stopped before it was fetched")
        } else {
            format!("{name}: the time is over before the object is fetched; give the function more time")
        };
        Err(Error::new(ErrorKind::OutOfTime, message))
    }

    /// Claims a piece and loads it.
    async fn load_piece(&self, object: &ObjectVersion, piece: Piece<'_>) -> Result<LoadReport> {
        let Self { context, database, request } = self;
        Span::current().record("dataset", &piece.dataset.name);
        let object = &self.checked(object, piece.dataset).await?;
        let report = |status, load_id, attempt| piece.report(object, status, load_id, attempt);
        let claim = match self.claim(object, &piece).await? {
            Claimed::Taken(claim) => claim,
            Claimed::Finished { load_id, attempt, dataset, source, reason, error, rejects_key } => {
                let dataset = Some(dataset);
                let report = report(LoadStatus::Duplicate, load_id, attempt);
                return Ok(LoadReport { dataset, source, reason, error, rejects_key, ..report });
            }
            Claimed::Held { load_id, attempt, remaining } => {
                let report = report(LoadStatus::InProgress, load_id, attempt);
                return Ok(LoadReport { retry_after: Some(remaining), ..report });
            }
        };
        Span::current().record("load_id", claim.load_id.0);
        tracing::info!(attempt = claim.attempt, "claimed");
        let work = FileWork { context, database, claim: &claim, object, request, piece: &piece };
        // It would make the future of every caller large.
        let ending = Box::pin(work.run()).await?;
        let rest = (ending.status == LoadStatus::Interrupted).then(|| Location::of(object));
        let rejects_key = if rest.is_none() && ending.counts.rejected > 0 { work.write_rejects().await } else { None };
        if claim.returned && rest.is_none() && piece.refused.is_none() {
            // The object has come back to this content after another one. Its rows must win over those of the other
            // content.
            return Box::pin(self.load_piece(object, piece)).await;
        }
        let report = LoadReport {
            reason: ending.reason.map(|reason| reason.name().to_owned()),
            counts: Some(ending.counts),
            rejects_key,
            statistics: ending.statistics,
            error: ending.error,
            rest,
            source: ending.source,
            schema_changes: ending.schema_changes,
            resume_after: ending.resume_after,
            ..report(ending.status, claim.load_id, claim.attempt)
        };
        Ok(if ending.handed_over { handed_over(report) } else { report })
    }

    /// Checks what must be right before anything is claimed. Returns the object with the time at which it was written, if that orders its rows.
    async fn checked(&self, object: &ObjectVersion, dataset: &Dataset) -> Result<ObjectVersion> {
        let pipeline: &Pipeline = self.context.pipeline(&dataset.name)?;
        let modified = match dataset.version {
            None => {
                let extractor = pipeline.extractor_at(&self.request.location)?;
                retrying(|| extractor.written_at(object)).await?
            }
            Some(_) => object.modified,
        };
        let object = ObjectVersion { modified, ..object.clone() };
        for (_, loader) in &pipeline.loaders {
            loader.check_file(&object)?;
        }
        check_definition(self.context, dataset).await?;
        retrying(|| self.database.check_ready(dataset, self.context.datasets.version())).await?;
        Ok(object)
    }

    async fn claim(&self, object: &ObjectVersion, piece: &Piece<'_>) -> Result<Claimed> {
        let token = retrying(|| self.database.fencing_token()).await?;
        let terms = self.context.terms.of(piece.dataset);
        let file = FileToClaim {
            object,
            part: piece.part,
            parts: piece.parts,
            dataset: &piece.dataset.name,
            source: piece.source.map(|source| source.name.as_str()),
            datasets: &self.context.datasets,
            terms: &terms,
            again: self.request.again,
        };
        retrying(|| self.database.claim(token, file)).await
    }
}

/// The report of a file that a larger machine goes on with.
fn handed_over(report: LoadReport) -> LoadReport {
    LoadReport { handed_over: true, reason: Some("handed_over".into()), ..report }
}

/// Returns the report of something that is not a file to load.
#[must_use]
pub fn skipped(reason: &str) -> LoadReport {
    LoadReport { reason: Some(reason.to_owned()), ..LoadReport::new(LoadStatus::Skipped) }
}

fn log(report: &LoadReport) {
    let counts = report.counts.unwrap_or_default();
    tracing::info!(
        status = report.status.name(),
        reason = report.reason,
        elapsed_ms = report.elapsed_ms,
        read = counts.read,
        inserted = counts.inserted,
        updated = counts.updated,
        removed = counts.removed,
        unchanged = counts.unchanged,
        stale = counts.stale,
        parked = counts.parked,
        rejected = counts.rejected,
        withheld = counts.withheld,
        warnings = counts.warnings,
        "file ended"
    );
}
