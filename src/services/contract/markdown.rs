//! A contract as Markdown.

use std::fmt::Write as _;

use super::described::Described;

pub(super) fn markdown(described: &Described<'_>) -> String {
    let contract = &described.contract;
    let mut text = format!("# What to deliver: {}\n\n## The file\n\n", described.title());
    for sentence in contract.file_words() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {sentence}");
    }
    text.push_str("\n## The cells of a record\n\n| cell | needed | what it is |\n| --- | --- | --- |\n");
    for cell in &contract.cells {
        let also = if cell.also.is_empty() { String::new() } else { format!(" (also `{}`)", cell.also.join("`, `")) };
        let needed = if cell.is_required() { "yes" } else { "" };
        let lacking = if cell.may_lack { " A file may lack the column." } else { "" };
        let words = cell.words().join(" ") + lacking;
        let _ = writeln!(text, "| `{}`{} | {needed} | {} |", escaped(&cell.header), escaped(&also), escaped(&words));
    }
    text.push_str("\n## The rules of rows\n\n| rule | |\n| --- | --- |\n");
    for (id, sentence) in contract.rules() {
        let _ = writeln!(text, "| `{id}` | {} |", escaped(&sentence));
    }
    if !described.rows.is_empty() {
        let headers: Vec<String> = contract.cells.iter().map(|cell| escaped(&cell.header)).collect();
        let _ = write!(
            text,
            "\n## Rows that keep all of this\n\n| {} |\n|{}\n",
            headers.join(" | "),
            " --- |".repeat(headers.len())
        );
        for row in &described.rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.as_deref().map_or("…".to_owned(), escaped)).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

/// Escapes a text so that it cannot end a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
