//! The report of one load as a web page: a single file that loads nothing, runs nothing, and prints well.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::rejects_writer::RejectsWriter;
use crate::data_access::postgres::{Database, LoadDetail, LoadSummary, RejectCursor, RejectFilter, StoredReject};
use crate::data_access::retry::retrying;
use crate::domain::object::{place_of_part, with_part};
use crate::domain::{Counts, LoadId};
use crate::error::Result;

const STYLE: &str = include_str!("report.css");
/// With this policy a browser neither runs nor fetches anything, whatever a cell contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const EXAMPLES: usize = 20;
const LONGEST_EXAMPLE: usize = 400;

/// Builds the page for a load, which may still be running.
///
/// # Errors
/// `Connection` after all retries, `System`; `Configuration` if the load does not exist.
pub async fn page(database: &Database, load: LoadId) -> Result<String> {
    let detail = retrying(|| database.load_detail(load)).await?;
    page_of(database, detail).await
}

/// Builds the page for a load whose rejects file has just been written to that place.
///
/// # Errors
/// The same as those of [`page`].
pub(super) async fn page_beside(database: &Database, load: LoadId, bucket: &str, key: &str) -> Result<String> {
    let mut detail = retrying(|| database.load_detail(load)).await?;
    (detail.summary.rejects_bucket, detail.summary.rejects_key) = (Some(bucket.to_owned()), Some(key.to_owned()));
    page_of(database, detail).await
}

async fn page_of(database: &Database, detail: LoadDetail) -> Result<String> {
    let load = detail.summary.load_id;
    let cells = RejectsWriter::of(database, load).await?;
    let filter = RejectFilter { load: Some(load), all: true, ..RejectFilter::default() };
    let (mut examples, _) = retrying(|| database.page_of_rejects(&filter, RejectCursor::default())).await?;
    examples.truncate(EXAMPLES);
    Ok(render(&detail, &examples, &cells).into_string())
}

/// The head of every page.
pub(super) fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn render(detail: &LoadDetail, examples: &[StoredReject], cells: &RejectsWriter) -> Markup {
    let load = &detail.summary;
    let name = with_part(load.key.rsplit('/').next().unwrap_or(&load.key).to_owned(), &load.part);
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("Load {}: {name}", load.load_id)))
            body {
                (heading(detail))
                h2 { "Outcomes of " (grouped(load.counts.read)) " records" }
                (outcomes(&load.counts))
                @if load.counts.rejected > 0 {
                    h2 { "Rejects by rule and column" }
                    (rules(detail))
                    h2 { "The first rejects" }
                    (rejects(examples, cells, load.counts.rejected))
                }
                @if let Some(statistics) = detail.statistics.as_object().filter(|all| !all.is_empty()) {
                    h2 { "Statistics of the accepted rows" }
                    table {
                        @for (name, value) in statistics { (statistic(name, value)) }
                    }
                }
                @if !detail.batches.is_empty() {
                    h2 { "When the batches were committed" }
                    (timeline(load.started_at, &detail.batches))
                }
                footer class="dull" { (balance(load)) }
            }
        }
    }
}

fn heading(detail: &LoadDetail) -> Markup {
    let load = &detail.summary;
    let place = place_of_part(&load.bucket, &load.key, &load.part);
    let elapsed = load.finished_at.map(|end| (end - load.started_at).as_seconds_f64());
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a speed for people")]
    let speed =
        elapsed.filter(|_| load.attempt == 1).map(|seconds| (load.counts.read as f64 / seconds.max(0.001)) as i64);
    html! {
        p class="dull" { "Load " (load.load_id) ", dataset " (load.dataset) }
        h1 { (place) " " span class={ "state " (load.state) } { (load.state) } }
        @if let Some(error) = &load.error {
            div class="error" { strong { (load.reason.as_deref().unwrap_or("failed")) } " " (error) }
        }
        dl {
            dt { "version" } dd { code { (load.version) } @if load.run > 0 { ", run " (load.run) } }
            dt { "began" } dd { (moment(load.started_at)) }
            @if let (Some(end), Some(seconds)) = (load.finished_at, elapsed) {
                dt { "ended" }
                dd {
                    (moment(end)) ", after " (format!("{seconds:.1}")) " s"
                    @if let Some(speed) = speed { " (" (grouped(speed)) " rows/s)" }
                    @if load.attempt > 1 { ", by " (load.attempt) " workers" }
                }
            }
            @if let Some(source) = &detail.source {
                dt { "source" } dd { (source) (no_records(&detail.dropped)) }
            }
            dt { "rules" } dd { code { (load.dataset_version) } }
            @if let (Some(bucket), Some(key)) = (&load.rejects_bucket, &load.rejects_key) {
                dt { "rejects file" } dd { "s3://" (bucket) "/" (key) }
            }
        }
    }
}

/// How many lines of the file are not records, if any.
fn no_records(dropped: &Value) -> String {
    let counts = dropped.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64().unwrap_or(0) > 0);
    let counts: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    if counts.is_empty() { String::new() } else { format!("; lines that are not records: {}", counts.join(", ")) }
}

/// A bar for each outcome, as long as its share of the records.
fn outcomes(counts: &Counts) -> Markup {
    const ROW: i64 = 28;
    const LEFT: f64 = 110.0;
    const WIDTH: f64 = 620.0;
    let bars = counts.outcomes();
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    html! {
        svg viewBox={ "0 0 900 " (ROW * 8 + 8) } role="img" aria-label="bar chart of outcomes" {
            @for (row, (name, count)) in (0_i64..).zip(bars) {
                @let top = row * ROW + 4;
                @let length = ratio(count, most) * WIDTH;
                // A rare outcome must still be visible.
                @let length = if count > 0 { length.max(2.0) } else { 0.0 };
                text x=(LEFT - 12.0) y=(top + 15) text-anchor="end" class=[(count == 0).then_some("dull")] { (name) }
                rect class={ "bar " (name) } x=(LEFT) y=(top) width=(format!("{length:.1}")) height="20" rx="2" {}
                text x=(format!("{:.1}", LEFT + length + 8.0)) y=(top + 15) class=[(count == 0).then_some("dull")] {
                    (grouped(count)) @if count > 0 { " (" (percent(count, counts.read)) ")" }
                }
            }
        }
        p class="dull" {
            (grouped(counts.warnings)) " warnings on accepted rows; " (grouped(counts.released)) " rows of earlier loads released; "
            (grouped(counts.deleted)) " rows deleted"
        }
    }
}

fn rules(detail: &LoadDetail) -> Markup {
    html! {
        table {
            tr {
                th { "column" } th { "rule" } th class="number" { "records" } th class="number share" { "of those read" }
                th class="number" { "still open" }
            }
            @for (column, rule, records, open) in &detail.rules {
                tr {
                    td { @match column { Some(column) => (column), None => span class="dull" { "the whole record" } } }
                    td { (rule) }
                    td class="number" { (grouped(*records)) }
                    td class="number share" { (percent(*records, detail.summary.counts.read)) }
                    td class="number" { (grouped(*open)) }
                }
            }
        }
    }
}

fn rejects(examples: &[StoredReject], cells: &RejectsWriter, rejected: i64) -> Markup {
    let records = examples.chunk_by(|one, next| one.violation.record == next.violation.record);
    let shown = i64::try_from(records.clone().count()).unwrap_or(i64::MAX);
    html! {
        table class="examples" {
            tr { th class="number" { "line" } th { "what is wrong" } }
            @for record in records {
                tr {
                    td class="number" { (record[0].violation.line) }
                    td class="what" {
                        @for StoredReject { violation, .. } in record {
                            p {
                                @if let Some(column) = &violation.column { strong { (column) } ": " }
                                (violation.message) " " span class="dull" { "(rule " (violation.rule) ")" }
                            }
                        }
                        code { (cut(&cells.text(&record[0].violation.raw))) }
                        @if let Some(mended) = record[0].resolved_by {
                            p class="dull" { "mended by load " (mended) }
                        }
                    }
                }
            }
        }
        @if rejected > shown { p class="dull" { "and " (grouped(rejected - shown)) " more rejected records" } }
    }
}

fn statistic(name: &str, value: &Value) -> Markup {
    html! {
        tr {
            td { (name) }
            td class="what" {
                @match value {
                    Value::Object(groups) => {
                        @for (group, figure) in groups { div { span class="dull" { (group) ": " } (plain(figure)) } }
                    }
                    Value::Array(items) if items.is_empty() => span class="dull" { "none" },
                    Value::Array(items) => (items.iter().map(plain).collect::<Vec<_>>().join(", ")),
                    other => (plain(other)),
                }
            }
        }
    }
}

/// How the number of committed records grew.
fn timeline(began: DateTime<Utc>, batches: &[(DateTime<Utc>, i64)]) -> Markup {
    const LEFT: f64 = 20.0;
    const WIDTH: f64 = 780.0;
    const HEIGHT: f64 = 160.0;
    let seconds = |at: DateTime<Utc>| (at - began).as_seconds_f64().max(0.0);
    let end = batches.last().map_or(0.0, |(at, _)| seconds(*at)).max(0.001);
    let all: i64 = batches.iter().map(|(_, records)| records).sum();
    let mut path = format!("M{LEFT:.1},{HEIGHT:.1}");
    let mut sum = 0;
    for (at, records) in batches {
        sum += records;
        let (x, y) = (LEFT + seconds(*at) / end * WIDTH, HEIGHT - ratio(sum, all) * (HEIGHT - 20.0));
        let _ = write!(path, "H{x:.1}V{y:.1}");
    }
    let first = batches.first().map_or(0.0, |(at, _)| seconds(*at));
    html! {
        svg viewBox="0 0 900 190" role="img" aria-label="timeline of the batches" {
            path class="under" d={ (path) "V" (HEIGHT) "Z" } {}
            path class="steps" d=(path) {}
            line class="axis" x1=(LEFT) y1=(HEIGHT) x2=(LEFT + WIDTH) y2=(HEIGHT) {}
            text class="dull" x=(LEFT) y=(HEIGHT + 20.0) { "0 s" }
            text class="dull" x=(LEFT + WIDTH) y=(HEIGHT + 20.0) text-anchor="end" { (format!("{end:.1} s")) }
            text x=(LEFT + WIDTH + 10.0) y="24" { (grouped(all)) }
        }
        p class="dull" {
            (grouped(i64::try_from(batches.len()).unwrap_or(i64::MAX))) " batches; the first was committed after "
            (format!("{first:.1} s")) ", once the whole file had been read and checked"
        }
    }
}

fn balance(load: &LoadSummary) -> Markup {
    let Counts { read, inserted, updated, removed, unchanged, stale, parked, rejected, withheld, .. } = load.counts;
    html! {
        @if load.finished_at.is_some() && load.counts.is_balanced() {
            p {
                "The sum holds: " (read) " read = " (inserted) " inserted + " (updated) " updated + " (removed) " removed + "
                (unchanged) " unchanged + " (stale) " stale + " (parked) " parked + " (rejected) " rejected + " (withheld) " withheld."
            }
        } @else {
            p { "This load has not ended; its figures are those of the batches so far." }
        }
        p { "As of " (moment(Utc::now())) "; `small-etl status` and `etl.open_reject` show what has been mended since." }
        p { "This page holds cells of the file; keep it as you keep the file itself." }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a length on a page needs no more than 53 bits")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn percent(part: i64, whole: i64) -> String {
    match ratio(part, whole) * 100.0 {
        share if share > 0.0 && share < 0.01 => "under 0.01%".into(),
        share => format!("{share:.2}%"),
    }
}

/// Formats a number in groups of three digits.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_EXAMPLE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, -1_234_567].map(grouped), ["0", "999", "1,000", "-1,234,567"]);
    }

    #[test]
    fn a_share_that_is_not_zero_is_not_shown_as_zero() {
        assert_eq!([percent(0, 10), percent(1, 1_000_000), percent(1, 3)], ["0.00%", "under 0.01%", "33.33%"]);
    }
}
