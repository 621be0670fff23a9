//! Stages and checks a file and writes nothing: the part of a load that needs no database.

use std::sync::{Arc, PoisonError};

use chrono::Utc;
use futures::{Stream, TryStreamExt};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::context::Context;
use super::request::{Readers, Request, choose_readers};
use crate::data_access::duckdb::Stage;
use crate::data_access::traces;
use crate::domain::dataset::{FOOTER, MANIFEST};
use crate::domain::manifest::manifest_key;
use crate::domain::object::with_part;
use crate::domain::source::model::Source;
use crate::domain::{Dataset, ObjectVersion, Progress, Violation};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::checks::only_checked;
use crate::services::object_parts::{FoundPart, ObjectCopy, fetch};
use crate::services::{Extracted, Extractor, Pipeline, Validated, analyse, bad_records, manifests, totals};

/// The control totals to compare a file with.
pub(super) enum Totals {
    /// The totals in these manifests.
    Of(Vec<Vec<u8>>),
    /// The totals in the manifests beside the file, if it has any.
    Beside {
        /// The run of this version.
        run: i32,
        /// Whether rows of it are written, so that the file was compared before: with the manifest of that time.
        is_begun: bool,
    },
    /// No totals.
    Ignored,
}

/// How a file is read: in the form of a source, or in the plain form, and which part of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Reading<'a> {
    pub(super) source: Option<&'a Source>,
    /// The member, sheet or section; empty for a whole object.
    pub(super) part: &'a str,
    /// All parts of the object that are loaded.
    pub(super) parts: &'a [String],
    /// The object on this machine, if it has parts. Otherwise it is fetched.
    pub(super) copy: Option<&'a Arc<ObjectCopy>>,
}

/// Stages a file, compares it with its control totals, and checks its rows.
pub(super) async fn stage_and_validate(
    pipeline: &Pipeline,
    object: &ObjectVersion,
    dataset: &Dataset,
    reading: Reading<'_>,
    stage: &Arc<Stage>,
    totals: Totals,
) -> Result<(Extracted, Validated, Value)> {
    stage.check_room(object)?;
    // The extractor repeats its own requests, because only it knows how much of the body it has.
    let extractor = pipeline.extractor(&object.key)?;
    let extract = async {
        match (reading.source, reading.copy) {
            (Some(source), Some(copy)) => copy.extract(object, dataset, (source, reading.part), stage).await,
            (Some(source), None) => extractor.extract_sent(object, dataset, source, reading.part, stage).await,
            (None, _) => extractor.extract(object, dataset, stage).await,
        }
    };
    let extract = Box::pin(extract).instrument(traces::step("stage"));
    let is_begun = matches!(totals, Totals::Beside { is_begun: true, .. });
    let (extracted, manifests) = match totals {
        Totals::Beside { run, .. } => {
            let (extracted, manifests) = tokio::join!(extract, extractor.manifests(object, run));
            (extracted?, manifests?)
        }
        Totals::Of(manifests) => (extract.await?, manifests),
        Totals::Ignored => (extract.await?, Vec::new()),
    };
    let agreed = match manifests::check(&manifests, object, dataset, (reading.part, reading.parts), &extracted) {
        Ok(agreed) => agreed,
        Err(error) if is_begun && matches!(error.kind(), ErrorKind::File(_)) => None,
        Err(error) => return Err(unless_replaced(&**extractor, object, error).await?),
    };
    let footer = totals::check(object, dataset, &extracted)?;
    let validate =
        async { Ok((pipeline.validate(dataset, stage).await?, analyse::analyse(dataset, stage, &extracted).await?)) };
    let (validated, mut statistics) = Box::pin(validate).instrument(traces::step("validate")).await?;
    if let Value::Object(statistics) = &mut statistics {
        statistics.extend(agreed.map(|agreed| (MANIFEST.to_owned(), agreed)));
        statistics.extend(footer.map(|footer| (FOOTER.to_owned(), footer)));
    }
    Ok((extracted, validated, statistics))
}

/// If a file that differs from its manifest was replaced meanwhile, returns an error that says so: the manifest then
/// belongs to the new version.
async fn unless_replaced(extractor: &dyn Extractor, object: &ObjectVersion, mismatch: Error) -> Result<Error> {
    if object.local {
        return Ok(mismatch);
    }
    match extractor.identify(&object.where_it_lies()).await {
        Ok(present) if present.version != object.version => {
            let message = format!("{mismatch}; the file was replaced meanwhile, and perhaps its manifest before that");
            Ok(Error::file(Reason::Superseded, message))
        }
        // A file that no longer exists failed for what it was.
        Err(error) if !matches!(error.kind(), ErrorKind::File(_)) => Err(error),
        _ => Ok(mismatch),
    }
}

/// Returns the error for a file that needs a manifest and has none.
pub(super) fn manifest_missing(object: &ObjectVersion, dataset: &Dataset) -> Error {
    let advice = match manifest_key(object) {
        Some(key) => format!(
            "there is none; put it beside the file as {key}, and load the file with --again if it has failed because of this"
        ),
        None => {
            "the key is too long for one: with .manifest.json it has more than 1,024 bytes; give the file a shorter key"
                .into()
        }
    };
    let message = format!("{}: dataset {} requires a manifest and {advice}", object.display_name(), dataset.name);
    Error::file(Reason::ManifestMissing, message)
}

/// A file that was checked without a database.
pub struct CheckedFile {
    /// The name of the file for people.
    pub name: String,
    /// The dataset it was checked against.
    pub dataset: Dataset,
    /// What is known about the file.
    pub extracted: Extracted,
    /// The result of validating its rows.
    pub validated: Validated,
    /// The statistics of its accepted rows.
    pub statistics: Value,
    /// Its part, or an empty text for a whole file.
    pub part: String,
    /// How many parts of the file are checked.
    pub of_parts: usize,
    stage: Arc<Stage>,
}

impl CheckedFile {
    /// All violations of severity error in the order of the file, in chunks of bounded size.
    pub fn violations(&self) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
        bad_records::errors(&self.dataset, &self.stage, &self.extracted)
    }

    /// Returns the first violations of severity error, at most `most`.
    ///
    /// # Errors
    /// `System` if the staging database fails.
    pub async fn first_rejects(&self, most: usize) -> Result<Vec<Violation>> {
        first(self.violations(), most).await
    }

    /// Returns the first violations of severity warning on accepted rows, at most `most`.
    ///
    /// # Errors
    /// `System` if the staging database fails.
    pub async fn first_warnings(&self, most: usize) -> Result<Vec<Violation>> {
        first(self.warnings().await?, most).await
    }

    /// Returns the result for programs, with these violations.
    #[must_use]
    pub fn as_json(&self, rejects: &[Violation], warnings: &[Violation]) -> Value {
        json!({
            "file": self.name, "part": self.part, "dataset": self.dataset.name,
            "source": self.extracted.sent.as_ref().map(|sent| sent.source.name.as_str()),
            "status": if self.validated.rejected > 0 { "rejects" } else { "valid" },
            "read": self.extracted.read, "accepted": self.validated.accepted, "rejected": self.validated.rejected,
            "warnings": self.validated.warnings, "rejects": rejects, "warned": warnings,
            "statistics": self.statistics,
        })
    }

    async fn warnings(&self) -> Result<impl Stream<Item = Result<Vec<Violation>>> + use<>> {
        bad_records::warnings(&self.dataset, &self.stage, &self.extracted).await
    }
}

async fn first(chunks: impl Stream<Item = Result<Vec<Violation>>>, most: usize) -> Result<Vec<Violation>> {
    let mut shown = Vec::new();
    let mut chunks = std::pin::pin!(chunks);
    while shown.len() < most {
        let Some(chunk) = chunks.try_next().await? else { break };
        shown.extend(chunk.into_iter().take(most - shown.len()));
    }
    Ok(shown)
}

/// Returns the result, for programs, for a file that is unusable as a whole.
///
/// # Errors
/// The error itself if it is of any other kind.
pub fn unusable(file: &str, error: Error) -> Result<Value> {
    let ErrorKind::File(reason) = error.kind() else { return Err(error) };
    Ok(json!({ "file": file, "status": "unusable", "reason": reason.name(), "error": in_full(&error) }))
}

/// Returns what is wrong with a file, including text that only the person who asks about it may see.
#[must_use]
pub fn in_full(error: &Error) -> String {
    error.cells().map_or_else(|| error.chain(), |cells| format!("{}; {cells}", error.chain()))
}

/// Checks a file against its dataset, or each part of it against that of its rows, and hands what it finds to `each`; a part that as a whole
/// is unusable as an error. Nothing is written anywhere.
///
/// # Errors
/// `File` when the file as a whole is unusable, `Configuration` when no dataset claims it, `Connection`, `System`; those of `each`.
pub async fn validate(
    context: &Context,
    request: &Request,
    mut each: impl AsyncFnMut(Result<CheckedFile>) -> Result<()>,
) -> Result<()> {
    let readers = choose_readers(&context.datasets, request)?.ok_or_else(|| {
        let key = request.location.key();
        Error::configuration(format!(
            "{key}: no dataset claims this path; name one of {}",
            context.datasets.names().join(", ")
        ))
    })?;
    let (dataset, readers) = match readers {
        Readers::Whole(dataset, source) => (dataset, Err(source)),
        Readers::Parts(readers) => match readers.first() {
            Some(first) => (first.dataset, Ok(readers)),
            None => return Ok(()),
        },
    };
    let extractor = context.pipeline(&dataset.name)?.extractor_at(&request.location)?;
    let object = extractor.find(&request.location).await?;
    let work = CheckWork { context, request, object: &object, extractor: &**extractor };
    let readers = match readers {
        Ok(readers) => readers,
        Err(source) => return each(Ok(work.check(dataset, Reading { source, ..Reading::default() }).await?)).await,
    };
    let copy = Arc::new(fetch(&**extractor, &object, &context.stages).await?);
    if copy.rejects_of()?.is_some() {
        let source = readers.first().map(|reader| reader.source);
        return each(Ok(work.check(dataset, Reading { source, ..Reading::default() }).await?)).await;
    }
    let found = copy.parts(object.display_name(), &readers).await?.parts;
    let names: Vec<String> = found.iter().map(|part| part.name.clone()).collect();
    if let Some(unknown) = request.parts.iter().find(|part| !names.contains(part)) {
        let (file, names) = (object.display_name(), names.join(", "));
        return Err(Error::configuration(format!("{file}: no source reads a part {unknown:?}; known are {names}")));
    }
    let wanted: Vec<&FoundPart> =
        found.iter().filter(|part| request.parts.is_empty() || request.parts.contains(&part.name)).collect();
    for FoundPart { name, dataset, source } in &wanted {
        let dataset = context.datasets.get(dataset).map_err(Error::configuration)?;
        let source = Some(dataset.source(source).map_err(Error::configuration)?);
        let reading = Reading { source, part: name, parts: &names, copy: Some(&copy) };
        request.progress.begin();
        match work.check(dataset, reading).await {
            Ok(checked) => each(Ok(CheckedFile { of_parts: wanted.len(), ..checked })).await?,
            Err(error) if matches!(error.kind(), ErrorKind::File(_)) => each(Err(error)).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file that is to be checked.
struct CheckWork<'a> {
    context: &'a Context,
    request: &'a Request,
    object: &'a ObjectVersion,
    extractor: &'a dyn Extractor,
}

impl CheckWork<'_> {
    async fn check(&self, dataset: &Dataset, reading: Reading<'_>) -> Result<CheckedFile> {
        let Self { context, request, object, extractor } = self;
        check_definition(context, dataset).await?;
        let manifests = extractor.manifests(object, 0).await?;
        if manifests.is_empty() && dataset.manifest.required {
            return Err(manifest_missing(object, dataset));
        }
        let pipeline = context.pipeline(&dataset.name)?;
        // The source is that of the definition as it was read: no bound of time is a part of it.
        let bounded = dataset.with_latest_version(context.terms.latest_version(Utc::now()));
        // Validators of one's own may read any column.
        let bounded = if pipeline.validators.len() == 1 { only_checked(&bounded) } else { bounded };
        check(context, pipeline, object, &bounded, reading, &request.progress, Totals::Of(manifests)).await
    }
}

/// Tries the rules of a definition on an empty stage.
///
/// # Errors
/// `Configuration`, saying what is wrong with it.
pub async fn try_definition(context: &Context, dataset: &Dataset) -> Result<()> {
    let stage = Arc::new(context.stages.open(Arc::default())?);
    for validator in &context.pipeline(&dataset.name)?.validators {
        validator.check_definition(dataset, &stage).await?;
    }
    Ok(())
}

/// Tries the rules of a dataset once, before anything is claimed: a mistake in them must not cost a load.
pub(super) async fn check_definition(context: &Context, dataset: &Dataset) -> Result<()> {
    // The set only grows, so a panic elsewhere cannot leave it half changed.
    if context.checked.lock().unwrap_or_else(PoisonError::into_inner).contains(&dataset.name) {
        return Ok(());
    }
    try_definition(context, dataset).await?;
    context.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(dataset.name.clone());
    Ok(())
}

/// Checks this version of a file against this definition.
pub(super) async fn check(
    context: &Context,
    pipeline: &Pipeline,
    object: &ObjectVersion,
    dataset: &Dataset,
    reading: Reading<'_>,
    progress: &Arc<Progress>,
    totals: Totals,
) -> Result<CheckedFile> {
    let stage = Arc::new(context.stages.open(Arc::clone(progress))?);
    let (extracted, validated, statistics) =
        stage_and_validate(pipeline, object, dataset, reading, &stage, totals).await?;
    let (name, part, dataset) =
        (with_part(object.display_name(), reading.part), reading.part.to_owned(), dataset.clone());
    Ok(CheckedFile { name, dataset, extracted, validated, statistics, part, of_parts: 1, stage })
}
