//! What a rule would do: reads loaded files again and checks them under two definitions. Nothing is written.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use futures::{Stream, StreamExt};
use serde::Serialize;

use super::check::CheckedFile;
use super::check::{Reading, Totals, check};
use super::context::Context;
use crate::data_access::postgres::LoadedFile;
use crate::domain::object::with_part;
use crate::domain::{Dataset, LoadId, ObjectVersion, Violation};
use crate::error::{Error, ErrorKind, Reason, Result};

/// How many rows of one file would change between accepted and rejected because of one rule.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RuleChange {
    /// Rows that are accepted today and would be rejected because they break this rule, possibly among others.
    pub would_reject: u64,
    /// Rows that are rejected today because they break this rule, possibly among others, and would be accepted.
    pub would_accept: u64,
    /// The first of them: position and message.
    pub examples: Vec<String>,
}

/// A file under both definitions.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayedFile {
    /// The load that read the file.
    pub load_id: LoadId,
    /// The name of the file for people.
    pub file: String,
    /// Records after the header.
    pub read: i64,
    /// Rows that are accepted today and would be rejected.
    pub would_reject: u64,
    /// Rows that are rejected today and would be accepted.
    pub would_accept: u64,
    /// By rule: the new rule if a row would be rejected, the current one if it would be accepted.
    pub rules: BTreeMap<String, RuleChange>,
}

/// The most examples of one rule in one file.
const EXAMPLES: usize = 3;

/// Checks exactly this version of a file under the current definition and under a changed one, as if it were the day of
/// its load.
///
/// # Errors
/// `File` if that version can no longer be read, or cannot be used under one of the definitions; `Connection`,
/// `System`.
pub async fn replay(
    context: &Context,
    file: &LoadedFile,
    (today, changed): (&Dataset, &Dataset),
) -> Result<ReplayedFile> {
    let extractor = context.pipeline(&today.name)?.extractor_at(&file.location)?;
    let object = extractor.identify(&file.location).await?;
    if object.version != file.version {
        let message = format!("{}: it was replaced since; the version that was loaded is gone", object.display_name());
        return Err(Error::file(Reason::Superseded, message));
    }
    let under = async |dataset: &Dataset, which: &str| {
        let dataset = dataset.with_latest_version(file.latest_version);
        under(context, &object, &dataset, file, which).await
    };
    let (before, after) = (under(today, "today's").await?, under(changed, "the changed").await?);
    compare(file, &before, &after).await
}

async fn under(
    context: &Context,
    object: &ObjectVersion,
    dataset: &Dataset,
    file: &LoadedFile,
    which: &str,
) -> Result<CheckedFile> {
    let pipeline = context.pipeline(&dataset.name)?;
    // The file is read with the same source as in its load.
    let source = file.source.as_deref().map(|name| dataset.source(name)).transpose().map_err(|message| {
        Error::file(Reason::Malformed, format!("{}: under {which} definition: {message}", object.display_name()))
    })?;
    let reading = Reading { source, part: &file.part, ..Reading::default() };
    let checked = check(context, pipeline, object, dataset, reading, &std::sync::Arc::default(), Totals::Ignored).await;
    checked.map_err(|error| match error.kind() {
        ErrorKind::File(_) => Error::with_source(error.kind(), format!("under {which} definition"), error),
        _ => error,
    })
}

async fn compare(file: &LoadedFile, before: &CheckedFile, after: &CheckedFile) -> Result<ReplayedFile> {
    let key = file.location.key();
    let name = key.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    // A part may have slashes in its name as well.
    let name = format!("load {} {}", file.load_id, with_part(name, &file.part));
    let mut replayed = ReplayedFile {
        load_id: file.load_id,
        file: after.name.clone(),
        read: after.extracted.read,
        would_reject: 0,
        would_accept: 0,
        rules: BTreeMap::new(),
    };
    let (mut today, mut changed) = (Rejected::of(before.violations()), Rejected::of(after.violations()));
    let (mut old, mut new) = (today.next().await?, changed.next().await?);
    loop {
        // Records have other numbers where the changed definition leaves other lines out.
        let line = |record: &[Violation]| record.first().map_or(i64::MAX, |violation| violation.line.0);
        match line(&old).cmp(&line(&new)) {
            std::cmp::Ordering::Equal if old.is_empty() => return Ok(replayed),
            std::cmp::Ordering::Equal => (old, new) = (today.next().await?, changed.next().await?),
            std::cmp::Ordering::Less => {
                replayed.would_accept += 1;
                replayed.note(&name, &old, |change| change.would_accept += 1);
                old = today.next().await?;
            }
            std::cmp::Ordering::Greater => {
                replayed.would_reject += 1;
                replayed.note(&name, &new, |change| change.would_reject += 1);
                new = changed.next().await?;
            }
        }
    }
}

impl ReplayedFile {
    /// Notes the violations of a record. `name` is that of the load and its file, for people.
    fn note(&mut self, name: &str, record: &[Violation], count: impl Fn(&mut RuleChange)) {
        for (index, violation) in record.iter().enumerate() {
            let change = self.rules.entry(violation.rule.clone()).or_default();
            if record[..index].iter().all(|earlier| earlier.rule != violation.rule) {
                count(change);
            }
            if change.examples.len() < EXAMPLES {
                change.examples.push(violation.describe(name));
            }
        }
    }
}

/// The violations of a file, one record at a time.
struct Rejected<S> {
    chunks: std::pin::Pin<Box<S>>,
    present: Peekable<IntoIter<Violation>>,
}

impl<S: Stream<Item = Result<Vec<Violation>>>> Rejected<S> {
    fn of(chunks: S) -> Self {
        Self { chunks: Box::pin(chunks), present: Vec::new().into_iter().peekable() }
    }

    /// Returns the violations of the next record that has any; empty at the end. A record is never split between two
    /// chunks.
    async fn next(&mut self) -> Result<Vec<Violation>> {
        while self.present.peek().is_none() {
            let Some(chunk) = self.chunks.next().await else { return Ok(Vec::new()) };
            self.present = chunk?.into_iter().peekable();
        }
        let mut record: Vec<Violation> = self.present.next().into_iter().collect();
        while let Some(more) = self.present.next_if(|next| next.record == record[0].record) {
            record.push(more);
        }
        Ok(record)
    }
}
