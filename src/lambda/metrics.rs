//! Metrics for `CloudWatch`: a line in the embedded metric format for each file and for each nightly run.
//!
//! Every metric has two sets of dimensions, so that an alarm need not know the datasets. The format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

#![expect(unused_qualifications, reason = "`#[metrics]` writes them")]

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metrique::emf::Emf;
use metrique::unit::{Count, Megabyte, Millisecond, Percent};
use metrique::unit_of_work::metrics;
use metrique::writer::{EntryIoStream, FormatExt};
use metrique::{CloseValue, InflectableEntry, RootEntry};

use crate::domain::{LoadReport, LoadStatus};
use crate::services::reconciliation::Reconciliation;

/// Files with fewer records raise no alarm: their speed and reject rate mean little.
const LARGE_FILE: i64 = 10_000;
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// When this process began, as closely as it can know.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Notes that the process begins. The first file of a sandbox reports how long the process took from here until it was
/// ready.
pub(super) fn note_start() {
    LazyLock::force(&STARTED);
}

/// One file, as far as this call got with it.
#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Environment"], ["Dataset", "Environment"]])]
struct FileMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    environment: String,
    dataset: String,
    #[metrics(unit = Count)]
    failed_loads: u64,
    #[metrics(unit = Count)]
    read: Option<u64>,
    #[metrics(unit = Count)]
    inserted: Option<u64>,
    #[metrics(unit = Count)]
    updated: Option<u64>,
    #[metrics(unit = Count)]
    removed: Option<u64>,
    #[metrics(unit = Count)]
    unchanged: Option<u64>,
    #[metrics(unit = Count)]
    stale: Option<u64>,
    #[metrics(unit = Count)]
    parked: Option<u64>,
    #[metrics(unit = Count)]
    rejected: Option<u64>,
    #[metrics(unit = Count)]
    withheld: Option<u64>,
    #[metrics(unit = Count)]
    warnings: Option<u64>,
    #[metrics(unit = Count)]
    released: Option<u64>,
    #[metrics(unit = Count)]
    deleted: Option<u64>,
    #[metrics(unit = Count)]
    schema_changes: Option<u64>,
    rows_per_second: f64,
    #[metrics(unit = Percent)]
    reject_rate: Option<f64>,
    large_file_rows_per_second: Option<f64>,
    #[metrics(unit = Percent)]
    large_file_reject_rate: Option<f64>,
    #[metrics(unit = Millisecond)]
    elapsed: u64,
    #[metrics(unit = Millisecond)]
    slowest_batch: u64,
    #[metrics(unit = Count)]
    connections: Option<u64>,
    #[metrics(unit = Megabyte)]
    peak_memory: Option<f64>,
    #[metrics(unit = Megabyte)]
    temporary_disk_free: Option<f64>,
    #[metrics(unit = Millisecond)]
    init_time: Option<u64>,
    load_id: Option<String>,
}

/// One nightly run over everything.
#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Environment"]])]
struct RunMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    environment: String,
    #[metrics(unit = Count)]
    reconciliations: u64,
    #[metrics(unit = Count)]
    files_sent: u64,
    #[metrics(unit = Count)]
    missing_files: Option<u64>,
    #[metrics(unit = Count)]
    discrepancies: Option<u64>,
    oldest_parked_days: Option<f64>,
}

impl RunMetrics {
    fn of(environment: &str, done: &Reconciliation) -> Self {
        // A zero for what was not looked at would end an alarm, so it is left out. Whatever was found is reported in
        // any case, because the next run continues after it.
        let whole = !done.out_of_time;
        let reported = |found: u64| (whole || found > 0).then_some(found);
        Self {
            timestamp: SystemTime::now(),
            environment: environment.to_owned(),
            reconciliations: u64::from(whole),
            files_sent: done.sent,
            missing_files: reported(done.missing_files.len() as u64),
            discrepancies: reported(count(done.discrepancy_count)),
            oldest_parked_days: whole.then(|| done.oldest_parked_seconds.unwrap_or_default() / 86_400.0),
        }
    }
}

/// A call that failed because the database could not be reached.
#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Environment"]])]
struct OutageMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    environment: String,
    #[metrics(unit = Count)]
    database_unreachable: u64,
}

/// Prints metrics to standard output, where Lambda collects them.
pub(super) struct Metrics {
    environment: String,
    /// The time from the start of the process until it was ready; reported once.
    init: Mutex<Option<Duration>>,
}

impl Metrics {
    /// Creates the metrics of this environment and notes that the program is ready now.
    #[must_use]
    pub(super) fn new(environment: &str) -> Self {
        Self { environment: environment.to_owned(), init: Mutex::new(Some(STARTED.elapsed())) }
    }

    /// Reports a file that was loaded, failed, or left to the next call, and how many sessions the database server has.
    pub(super) fn loaded(&self, report: &LoadReport, sessions: Option<i64>) {
        let progress = &report.progress;
        // The counts of a load are reported once, in the call that ends it; its speed is reported by each call.
        let counts = report.counts.filter(|_| report.status != LoadStatus::Interrupted);
        let large = progress.total().max(report.counts.map_or(0, |counts| counts.read)) >= LARGE_FILE;
        let rows_per_second = as_float(count(progress.written())) * 1000.0 / as_float(report.elapsed_ms.max(1));
        let reject_rate =
            counts.map(|counts| as_float(count(counts.rejected)) * 100.0 / as_float(count(counts.read).max(1)));
        print(FileMetrics {
            timestamp: SystemTime::now(),
            environment: self.environment.clone(),
            dataset: report.dataset.clone().unwrap_or_default(),
            failed_loads: u64::from(report.status == LoadStatus::Failed),
            read: counts.map(|counts| count(counts.read)),
            inserted: counts.map(|counts| count(counts.inserted)),
            updated: counts.map(|counts| count(counts.updated)),
            removed: counts.map(|counts| count(counts.removed)),
            unchanged: counts.map(|counts| count(counts.unchanged)),
            stale: counts.map(|counts| count(counts.stale)),
            parked: counts.map(|counts| count(counts.parked)),
            rejected: counts.map(|counts| count(counts.rejected)),
            withheld: counts.map(|counts| count(counts.withheld)),
            warnings: counts.map(|counts| count(counts.warnings)),
            released: counts.map(|counts| count(counts.released)),
            deleted: counts.map(|counts| count(counts.deleted)),
            schema_changes: (report.schema_changes > 0).then_some(report.schema_changes),
            rows_per_second,
            reject_rate,
            large_file_rows_per_second: (large && report.status != LoadStatus::Failed).then_some(rows_per_second),
            large_file_reject_rate: reject_rate.filter(|_| large),
            elapsed: report.elapsed_ms,
            slowest_batch: millis(progress.slowest_batch()),
            connections: sessions.map(count),
            peak_memory: peak_memory(),
            temporary_disk_free: progress.free_disk().map(|bytes| as_float(bytes) / MEGABYTE),
            // A panic elsewhere cannot leave this value half changed.
            init_time: self.init.lock().unwrap_or_else(PoisonError::into_inner).take().map(millis),
            load_id: report.load_id.map(|load| load.to_string()),
        });
    }

    /// Reports a nightly run. It counts as one only if it finished in time.
    pub(super) fn reconciled(&self, done: &Reconciliation) {
        print(RunMetrics::of(&self.environment, done));
    }

    /// Reports a call that failed because the database could not be reached.
    pub(super) fn database_unreachable(&self) {
        let environment = self.environment.clone();
        print(OutageMetrics { timestamp: SystemTime::now(), environment, database_unreachable: 1 });
    }
}

fn print<M>(metrics: M)
where
    M: CloseValue,
    M::Closed: InflectableEntry,
{
    let mut lines = Emf::builder("SmallEtl".into(), vec![vec![]]).build().output_to(std::io::stdout().lock());
    if let Err(error) = lines.next(&RootEntry::new(metrics.close())).map(|()| lines.flush()) {
        tracing::warn!(%error, "a line of metrics could not be printed");
    }
}

/// The peak memory of this process, in megabytes.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a metric needs no more than 53 bits")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_ran_out_of_time_still_reports_what_it_found() {
        let reported = |found: i64, in_time: bool| {
            let mut done = Reconciliation::default();
            if found > 0 {
                done.note(None, "row_count", String::new(), found);
            }
            if !in_time {
                done.leave("table trade".into());
            }
            let metrics = RunMetrics::of("test", &done);
            (metrics.reconciliations, metrics.discrepancies, metrics.missing_files)
        };
        assert_eq!(reported(0, true), (1, Some(0), Some(0)));
        assert_eq!(reported(7, true), (1, Some(7), Some(0)));
        assert_eq!(reported(7, false), (0, Some(7), None));
        assert_eq!(reported(0, false), (0, None, None));
    }
}
