//! Reconcile: compares buckets with the ledger, and the tables with the ledger and their contract.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Deadline;
use super::tidy::Tidied;
use crate::data_access::postgres::{Database, LeftBehind, Pass, Release, Standing, VersionStanding};
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::manifest::file_of_manifest;
use crate::domain::{Dataset, Datasets, Location, ObjectKey, ObjectVersion, Sequencer};
use crate::error::{Error, ErrorKind, Result};

/// The most entries of each kind that are shown; all of them are counted.
pub const SHOWN: usize = 100;
/// How many rows one transaction releases.
const RELEASED_AT_ONCE: i64 = 10_000;
/// How many parked rows are looked at together.
const WAITING_AT_ONCE: i64 = 10_000;
/// How many loads one statement covers when balances are checked.
const LOADS_AT_ONCE: i64 = 100_000;

/// What to compare: everything, one bucket, or what is under one prefix of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this bucket.
    pub bucket: Option<String>,
    /// Only keys with this prefix; tables and calendar are then left out.
    pub prefix: Option<String>,
}

/// Why a file is sent to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The ledger does not know the file.
    Missing,
    /// The ledger knows only other versions of the file.
    Changed,
    /// A worker left it unfinished.
    Interrupted,
    /// It could not be read at the time.
    Unreadable,
}

impl Cause {
    fn of(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Missing => Some(Self::Missing),
            Standing::Changed => Some(Self::Changed),
            Standing::Interrupted => Some(Self::Interrupted),
            Standing::Unreadable => Some(Self::Unreadable),
            Standing::Settled => None,
        }
    }
}

/// A version of a file that is in the bucket and not loaded according to the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFile {
    /// Bucket and key.
    pub file: String,
    /// The version id, or else the `ETag`.
    pub version: String,
    /// Why it is sent.
    pub cause: Cause,
    /// Where this version is.
    #[serde(skip)]
    pub location: Location,
    /// Whether the ledger says that it is finished, so that it must be loaded again.
    #[serde(skip)]
    pub again: bool,
    /// The parts to load; all parts if this is empty.
    #[serde(skip)]
    pub parts: Vec<String>,
}

/// Something that loads the files that were found.
#[async_trait(?Send)]
pub trait Receiver: Send + Sync {
    /// Takes files for loading, in order. Returns how many could not be taken.
    ///
    /// # Errors
    /// If no more files can be taken at all.
    async fn take(&self, files: &[FoundFile]) -> Result<u64>;
}

/// Something that should be equal or true and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discrepancy {
    /// The dataset, if it concerns one.
    pub dataset: Option<String>,
    /// `listing`, `unfit`, `balance`, `row_count`, `reference`, `parked`, `retention`, or the rule that a row of the table breaks.
    pub check: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// A file that was due and did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingFile {
    /// The dataset.
    pub dataset: String,
    /// When it was due.
    pub due: DateTime<Utc>,
}

/// A step of a run, or a part of it, that failed. The others were done, and the next run tries it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedStep {
    /// The step and the part.
    pub step: String,
    /// What kind of error it met.
    #[serde(skip)]
    pub kind: ErrorKind,
    /// Why it failed.
    pub error: String,
}

/// What a run found and did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciliation {
    /// The id of the row in `etl.reconciliation`.
    pub id: i64,
    /// Versions in the bucket that were compared.
    pub compared: u64,
    /// Files that were sent for loading.
    pub sent: u64,
    /// How many of them were sent for each cause.
    pub causes: BTreeMap<Cause, u64>,
    /// Files that could not be sent.
    pub not_sent: u64,
    /// The first of the files that were sent.
    pub files: Vec<FoundFile>,
    /// Parked rows that were released.
    pub released: i64,
    /// For how many seconds the oldest parked row has waited.
    pub oldest_parked_seconds: Option<f64>,
    /// What happened to rejects files and old rejects.
    #[serde(flatten)]
    pub tidied: Tidied,
    /// Loads whose balance was checked.
    pub loads_checked: u64,
    /// Rows of tables that were checked.
    pub rows_checked: i64,
    /// The number of discrepancies.
    pub discrepancy_count: i64,
    /// The first discrepancies.
    pub discrepancies: Vec<Discrepancy>,
    /// Files that were due and did not arrive.
    pub missing_files: Vec<MissingFile>,
    /// Parts for which there was no time; the next run continues with them.
    pub unfinished: Vec<String>,
    /// Whether there are unfinished parts.
    pub out_of_time: bool,
    /// Steps that failed.
    pub failed: Vec<FailedStep>,
    /// The key of the report.
    pub report_key: Option<String>,
    /// The datasets of the files that were sent.
    #[serde(skip)]
    pub found_in: BTreeSet<String>,
}

impl Reconciliation {
    /// Records a finding that stands for `count` discrepancies.
    pub fn note(&mut self, dataset: Option<&str>, check: &str, message: String, count: i64) {
        self.discrepancy_count += count;
        if self.discrepancies.len() < SHOWN {
            let (dataset, check) = (dataset.map(String::from), check.to_owned());
            self.discrepancies.push(Discrepancy { dataset, check, message });
        }
    }

    /// Whether everything was done, nothing is missing, and everything agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.discrepancy_count == 0
            && self.missing_files.is_empty()
            && self.not_sent == 0
            && self.unfinished.is_empty()
            && self.failed.is_empty()
            && self.tidied.is_complete()
    }

    /// Records a part for which there was no time.
    pub fn leave(&mut self, part: String) {
        if !self.unfinished.contains(&part) {
            self.unfinished.push(part);
        }
        self.out_of_time = true;
    }

    /// Records a step, or a part of one, that failed.
    pub fn fail(&mut self, step: String, error: &Error) {
        tracing::error!(step, error = %error.chain(), "a step failed; the others go on");
        self.failed.push(FailedStep { step, kind: error.kind(), error: error.chain() });
    }

    /// The error of the run, if a step failed.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let first = self.failed.first()?;
        let others: Vec<&str> = self.failed[1..].iter().map(|failed| failed.step.as_str()).collect();
        let also = if others.is_empty() { String::new() } else { format!("; also failed: {}", others.join(", ")) };
        Some(Error::new(first.kind, format!("{}: {}{also}", first.step, first.error)))
    }
}

/// Lists the objects under `prefix` from where the pass continues, and passes every file that is not in the ledger to
/// `receiver`, except the files of datasets that are not in `fit`, because those could not be loaded. Files are compared
/// by version, never by time or by the order of names. Returns whether there was enough time.
///
/// # Errors
/// `Connection` and `Configuration` of S3, the ledger or the receiver.
pub async fn compare(
    (store, database): (&ObjectStore, &Database),
    (datasets, fit): (&Datasets, &Datasets),
    (bucket, prefix): (&str, &str),
    receiver: &dyn Receiver,
    (pass, deadline): (&Pass, &Deadline),
    result: &mut Reconciliation,
) -> Result<bool> {
    let mut listing = store.list(bucket, prefix, pass.cursor.as_deref());
    while deadline.has_time_for(Duration::ZERO) {
        let Some(mut keys) = listing.next_keys().await? else { return Ok(true) };
        let last = keys.iter().rev().map(|versions| versions[0].key.clone()).find(|key| key.flaw().is_none());
        let markers: Vec<&str> = keys
            .iter()
            .map(|versions| &versions[0].key)
            .filter(|key| key.is_marker() && key.flaw().is_none())
            .map(ObjectKey::as_str)
            .collect();
        let begun = retrying(|| database.unfinished(bucket, &markers)).await?;
        keep_claimed(&mut keys, datasets, &begun, result);
        keys.retain(|versions| {
            datasets.reading(versions[0].key.as_str()).any(|dataset| fit.get(&dataset.name).is_ok())
        });
        let versions: Vec<_> = keys.iter().flatten().collect();
        let standings = retrying(|| database.standings(bucket, &versions)).await?;
        result.compared += versions.len() as u64;
        let found = found_among(&keys, &standings, datasets, result);
        let left = if found.is_empty() { 0 } else { receiver.take(&found).await? };
        result.not_sent += left;
        result.sent += (found.len() as u64).saturating_sub(left);
        let room = SHOWN.saturating_sub(result.files.len());
        result.files.extend(found.into_iter().take(room));
        // Files that were left for lack of time are looked at again. A file that cannot be loaded must not hold up all
        // that come after it.
        if left > 0 && !deadline.has_time_for(Duration::ZERO) {
            break;
        }
        if let Some(last) = last {
            retrying(|| database.advance_pass(pass, &last)).await?;
        }
    }
    Ok(false)
}

/// Keeps the keys that a dataset claims. Keys that the ledger cannot hold are reported and removed.
/// A marker counts as a file if a load of it has begun.
fn keep_claimed(
    keys: &mut Vec<Vec<ObjectVersion>>,
    datasets: &Datasets,
    begun: &HashSet<String>,
    result: &mut Reconciliation,
) {
    keys.retain(|versions| {
        let key = &versions[0].key;
        let is_file = file_of_manifest(key).is_none() && (!key.is_marker() || begun.contains(key.as_str()));
        let Some(dataset) = datasets.claiming(key.as_str()).filter(|_| is_file) else { return false };
        if let Some(flaw) = key.flaw() {
            let message = format!("{:?}: {flaw}", versions[0].display_name());
            result.note(Some(&dataset.name), "listing", message, 1);
        }
        key.flaw().is_none()
    });
}

/// Returns the versions to load.
fn found_among(
    keys: &[Vec<ObjectVersion>],
    standings: &[VersionStanding],
    datasets: &Datasets,
    result: &mut Reconciliation,
) -> Vec<FoundFile> {
    let mut standings = standings.iter();
    let mut found = Vec::new();
    for versions in keys {
        let standings: Vec<&VersionStanding> = standings.by_ref().take(versions.len()).collect();
        for (index, (object, standing)) in versions.iter().zip(&standings).enumerate() {
            let Some(cause) = Cause::of(standing.standing) else { continue };
            let mut object = object.clone();
            let is_known = |other: &&VersionStanding| !matches!(other.standing, Standing::Missing | Standing::Changed);
            if let Some(Sequencer::InListing { is_late, .. }) = &mut object.sequencer {
                *is_late = standings[index + 1..].iter().any(is_known);
            }
            *result.causes.entry(cause).or_default() += 1;
            result.found_in.extend(datasets.reading(object.key.as_str()).map(|dataset| dataset.name.clone()));
            found.push(FoundFile {
                file: object.display_name(),
                version: object.version.clone(),
                cause,
                location: Location::of(&object),
                again: cause == Cause::Unreadable,
                parts: if cause == Cause::Unreadable { named(&standing.unreadable) } else { Vec::new() },
            });
        }
    }
    found
}

/// Returns the parts to request: none for the whole object, which is requested without naming a part.
fn named(parts: &[String]) -> Vec<String> {
    if parts.iter().any(String::is_empty) { Vec::new() } else { parts.to_vec() }
}

/// What became of the parked rows of a dataset.
#[derive(Debug, Default)]
pub struct Released {
    /// How many were released.
    pub rows: i64,
    /// Whether there was time for all that wait.
    pub whole: bool,
    /// How many keep waiting because they lack a value that has since become required.
    pub incomplete: i64,
    /// Why the table refuses one of them.
    pub refusal: Option<Error>,
}

impl Released {
    /// Records what a person must correct.
    pub fn note(&self, dataset: &str, result: &mut Reconciliation) {
        if let Some(error) = &self.refusal {
            result.note(Some(dataset), "parked", error.chain(), 1);
        }
        if self.incomplete > 0 {
            let message = format!(
                "{} parked rows lack a value that has since become required, and stay parked; complete the column content in etl.parked",
                self.incomplete
            );
            result.note(Some(dataset), "parked", message, self.incomplete);
        }
    }
}

/// Releases parked rows of a dataset whose reference has arrived in some other way than by a load, from where the pass continues.
///
/// # Errors
/// `Connection`, `System`.
pub async fn release(database: &Database, dataset: &Dataset, (pass, deadline): (&Pass, &Deadline)) -> Result<Released> {
    let (mut after, mut released) = (pass.cursor.clone(), Released::default());
    while deadline.has_time_for(Duration::ZERO) {
        let next = retrying(|| database.waiting_page(dataset, after.as_deref(), WAITING_AT_ONCE)).await?;
        let Some(page) = next else { return Ok(Released { whole: true, ..released }) };
        // It repeats until nothing moves: of rows with one key, the newest is loaded first.
        loop {
            match retrying(|| database.release_waiting(dataset, &page, RELEASED_AT_ONCE)).await? {
                Release::Rows(rows @ 1..) => released.rows += rows,
                Release::Done | Release::Rows(_) => break,
                Release::Refused(error) => {
                    released.refusal = released.refusal.or(Some(error));
                    break;
                }
            }
        }
        released.incomplete += retrying(|| database.incomplete_parked(dataset, &page)).await?;
        retrying(|| database.advance_pass(pass, &page.last)).await?;
        after = Some(page.last);
    }
    Ok(released)
}

/// Checks the balance of every load that ended since the last complete pass began, and reports those that never ended. Returns whether there was time for
/// all of them.
///
/// # Errors
/// `Connection`, `System`.
pub async fn check_balance(
    database: &Database,
    (pass, deadline): (&Pass, &Deadline),
    result: &mut Reconciliation,
) -> Result<bool> {
    for LeftBehind { load_id, dataset, file, rows } in retrying(|| database.left_behind(LOADS_AT_ONCE)).await? {
        let message = format!(
            "load {load_id} of {file} has not ended, {rows} of its rows are written, and nobody has worked on it for a day; perhaps its object was \
             deleted or replaced, or no dataset claims its key any more. Load it with --dataset {dataset}, which ends it; where the bucket \
             keeps versions, with --message and its version_id"
        );
        result.note(Some(&dataset), "unfinished", message, 1);
    }
    let mut after = pass.load();
    while deadline.has_time_for(Duration::ZERO) {
        let (wrong, checked, last) = retrying(|| database.unbalanced_loads(pass.since, after, LOADS_AT_ONCE)).await?;
        result.loads_checked += checked as u64;
        for load in wrong {
            let advice = "somebody changed the ledger by hand; look at etl.load_batch and etl.parked of this load";
            let message = format!("load {load}: its counts differ from those of its batches and parked rows; {advice}");
            result.note(None, "balance", message, 1);
        }
        let Some(last) = last else { return Ok(true) };
        after = last;
        retrying(|| database.advance_pass(pass, &last)).await?;
    }
    Ok(false)
}

/// Compares the number of rows in a table with the ledger.
///
/// # Errors
/// `Connection`, `System`.
pub async fn check_rows(database: &Database, dataset: &Dataset, result: &mut Reconciliation) -> Result<()> {
    let (name, table) = (dataset.name.as_str(), dataset.table.as_str());
    let (rows, inserted) = retrying(|| database.row_counts(dataset)).await?;
    if rows != inserted {
        let advice = "rows were added or deleted by something other than a load";
        let message = format!("table {table} has {rows} rows, the ledger has inserted {inserted}; {advice}");
        result.note(Some(name), "row_count", message, (rows - inserted).abs());
    }
    Ok(())
}

/// Checks the references of the rows of a part of a table: those after the key `after`, up to the key `last`.
///
/// # Errors
/// `Connection`, `System`.
pub async fn check_references(
    database: &Database,
    dataset: &Dataset,
    (after, last): (Option<&str>, Option<&str>),
    result: &mut Reconciliation,
) -> Result<()> {
    if let (orphans @ 1.., Some(key)) = retrying(|| database.orphans(dataset, after, last)).await? {
        let (table, of) = (&dataset.table, dataset.reference.as_ref().map_or("", |reference| &reference.dataset));
        let message = format!("{orphans} rows of table {table} refer to no existing {of}; the first is {key}");
        result.note(Some(&dataset.name), "reference", message, orphans);
    }
    Ok(())
}

/// Looks for files that did not arrive although they were due since the last run, or are still due from before it.
///
/// # Errors
/// `Connection`, `System`.
pub async fn check_calendar(
    database: &Database,
    datasets: &Datasets,
    (since, now): (Option<DateTime<Utc>>, DateTime<Utc>),
    result: &mut Reconciliation,
) -> Result<()> {
    for dataset in datasets.all() {
        let Some(calendar) = &dataset.expected else { continue };
        // The latest due file is looked for until the next one is due, so that it stays missing until it arrives.
        let Some(last) = calendar.due_before(now) else { continue };
        let mut moments: Vec<_> = since.map(|since| calendar.due(since, now).collect()).unwrap_or_default();
        if moments.is_empty() {
            moments.push(last);
        }
        for due in moments {
            let Some(window) = calendar.window(due) else { continue };
            // A file that this run has just sent is on its way; the next run checks whether it was loaded.
            let on_its_way = due == last && result.found_in.contains(&dataset.name);
            if !on_its_way && !retrying(|| database.came_in(&dataset.name, window)).await? {
                tracing::error!(dataset = dataset.name, due = %due, "a file was due and did not arrive");
                result.missing_files.push(MissingFile { dataset: dataset.name.clone(), due });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_ledger_cannot_hold_is_reported_and_left_out() {
        let definition = include_str!("../../datasets/asset.toml");
        let datasets = Datasets::parse([("asset.toml", definition)]).unwrap();
        let keys = [
            "elsewhere/a\0.csv",
            "incoming/assets/a\0.csv",
            "incoming/assets/b.csv",
            "incoming/assets/b.csv.manifest.json",
        ];
        let object = |key: &str| ObjectVersion {
            bucket: "b".into(),
            key: key.into(),
            version: "1".into(),
            version_id: None,
            size: None,
            sequencer: None,
            modified: None,
            local: false,
        };
        let mut keys: Vec<_> = keys.map(|key| vec![object(key)]).into();
        let mut result = Reconciliation::default();
        keep_claimed(&mut keys, &datasets, &HashSet::new(), &mut result);
        assert_eq!(keys, [vec![object("incoming/assets/b.csv")]]);
        assert_eq!(result.discrepancies.len(), 1);
        assert_eq!(
            result.discrepancies[0].message,
            r#""s3://b/incoming/assets/a\0.csv": the key has a NUL, which the ledger cannot hold; rename the object"#
        );
    }
}
