//! The report of a reconciliation run as a web page.

use maud::{DOCTYPE, Markup, html};

use super::reconciliation::{Reconciliation, Scope};
use super::report::head;

/// Builds the page for a run that ended in `state`.
#[must_use]
pub fn page(result: &Reconciliation, scope: &Scope, state: &str) -> String {
    let clean = state == "done" && result.is_clean();
    let what = match (&scope.bucket, &scope.prefix) {
        (bucket, Some(prefix)) => format!("s3://{}/{prefix}", bucket.as_deref().unwrap_or("*")),
        (Some(bucket), None) => format!("s3://{bucket}"),
        (None, None) => "everything".into(),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("Reconciliation {}", result.id)))
            body {
                h1 {
                    "Reconciliation " (result.id) " "
                    span class={ "state" @if clean { " loaded" } } { @if clean { "everything agrees" } @else { (state) ", see below" } }
                }
                p class="dull" { "compared " (what) " with the ledger" }
                (figures(result))
                @if !result.missing_files.is_empty() {
                    h2 { "Files that were due and did not arrive" }
                    table { @for file in &result.missing_files { tr { td { (file.dataset) } td { "due " (file.due) } } } }
                }
                @if !result.discrepancies.is_empty() {
                    h2 { "Discrepancies" }
                    table { @for found in &result.discrepancies {
                        tr { td { (found.dataset.as_deref().unwrap_or("ledger")) } td { (found.check) } td { (found.message) } }
                    } }
                }
                @if !result.failed.is_empty() {
                    h2 { "Steps that failed; the others were done" }
                    table { @for failed in &result.failed { tr { td { (failed.step) } td { (failed.error) } } } }
                }
                @if !result.unfinished.is_empty() {
                    h2 { "Not finished; the next run continues here" }
                    table { @for part in &result.unfinished { tr { td { (part) } } } }
                }
                @if !result.files.is_empty() {
                    h2 { "Sent for loading" }
                    table { @for file in &result.files {
                        tr { td { (format!("{:?}", file.cause).to_lowercase()) } td { (file.file) } td { code { (file.version) } } }
                    } }
                }
            }
        }
    }
    .into_string()
}

fn figures(result: &Reconciliation) -> Markup {
    let tidied = &result.tidied;
    let rows = [
        ("versions compared", result.compared.to_string()),
        ("sent for loading", format!("{} (not sent: {})", result.sent, result.not_sent)),
        ("parked rows released", result.released.to_string()),
        (
            "rejects files written",
            format!("{} (still missing: {})", tidied.rejects_files_written, tidied.rejects_files_missing.len()),
        ),
        ("rejects deleted", format!("{} (open: {})", tidied.rejects_deleted, tidied.open_rejects_deleted)),
        ("parked rows expired", tidied.parked_expired.to_string()),
        ("loads pruned", tidied.loads_pruned.to_string()),
        ("loads checked", result.loads_checked.to_string()),
        ("rows checked", result.rows_checked.to_string()),
        ("discrepancies", result.discrepancy_count.to_string()),
        ("files due and not arrived", result.missing_files.len().to_string()),
    ];
    html! { dl { @for (name, figure) in rows { dt { (name) } dd { (figure) } } } }
}
