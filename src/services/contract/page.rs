//! A contract as a web page: one file that loads nothing, runs nothing, and prints well.

use maud::{DOCTYPE, Markup, html};

use super::described::Described;
use crate::services::report::head;

pub(super) fn page(described: &Described<'_>) -> String {
    let contract = &described.contract;
    let title = format!("What to deliver: {}", described.title());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                p class="dull" { "Table " (contract.dataset.table) }
                h1 { (title) }
                h2 { "The file" }
                ul { @for sentence in contract.file_words() { li { (marked(&sentence)) } } }
                h2 { "The cells of a record" }
                table {
                    tr { th { "cell" } th { "needed" } th { "what it is" } }
                    @for cell in &contract.cells {
                        tr {
                            td {
                                strong { (cell.header) }
                                @for other in &cell.also { br; span class="dull" { "also " (other) } }
                            }
                            td { @if cell.is_required() { "yes" } @else { span class="dull" { "no" } } }
                            td class="words" {
                                @for sentence in cell.words() { (marked(&sentence)) " " }
                                @if cell.may_lack { "A file may lack the column." }
                            }
                        }
                    }
                }
                h2 { "The rules of rows" }
                table {
                    @for (id, sentence) in contract.rules() {
                        tr { td class="dull" { (id) } td class="words" { (marked(&sentence)) } }
                    }
                }
                @if !described.rows.is_empty() {
                    h2 { "Rows that keep all of this" }
                    div class="wide" {
                        table {
                            tr { @for cell in &contract.cells { th { (cell.header) } } }
                            @for row in &described.rows {
                                tr { @for cell in row { td { (cell.as_deref().unwrap_or("…")) } } }
                            }
                        }
                    }
                }
                footer class="dull" { "Made from definitions " (described.version) "." }
            }
        }
    };
    page.into_string()
}

/// A sentence whose parts between backticks are code.
fn marked(sentence: &str) -> Markup {
    html! {
        @for (at, part) in sentence.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
