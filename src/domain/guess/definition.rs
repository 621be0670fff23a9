//! The text of a definition, with the evidence for each choice.

use super::dataset::Guessed;
use super::field::{ColumnOption, Field, FieldType};
use super::key::Key;
use super::place::Line;
use super::question::Question;
use super::toml_text;

/// Writes the definition of a dataset and its source. Until its questions are answered it lists them, and is not read.
#[must_use]
pub fn definition(guessed: &Guessed) -> String {
    write(guessed, true)
}

/// The definition with something in the place of each open answer, to see which rows can be read.
#[must_use]
pub fn provisional(guessed: &Guessed) -> String {
    write(guessed, false)
}

fn write(guessed: &Guessed, marked: bool) -> String {
    let name = &guessed.place.name;
    let open: Vec<&Question> = guessed.open().collect();
    let mut out = Lines::default();
    out.comment(&format!("Made by `small-etl guess`: {}.", guessed.place.looked_at));
    out.comment("Each choice says what it rests on. Change what you know better.");
    out.blank();
    if marked && !open.is_empty() {
        out.comment(
            "These questions are open. Answer them with --answer ID=VALUE, or write what is missing at the lines",
        );
        out.comment("marked OPEN and delete this list.");
        let ids: Vec<&str> = open.iter().map(|question| question.id.as_str()).collect();
        out.line(&format!("open_questions = {}", toml_text::list(&ids)));
        out.blank();
    }
    out.line(&format!("name = {}", toml_text::text(name)));
    out.line(&format!("table = {}", toml_text::text(name)));
    out.comment(guessed.key.evidence());
    match &guessed.key {
        Key::Columns(columns, _) => out.line(&format!("key = {}", toml_text::one_or_list(columns))),
        Key::Content(_, of_file) => {
            if !of_file.is_empty() {
                out.comment(&format!(
                    "without {}, which differs from file to file for the same row",
                    of_file.join(", ")
                ));
            }
            out.line("key = \"content\"");
            let covered = covered(guessed).filter(|field| !of_file.contains(&field.name));
            let covered: Vec<&str> = covered.map(|field| field.name.as_str()).collect();
            out.line(&format!("content = {}", toml_text::list(&covered)));
        }
    }
    if let Some(column) = &guessed.version {
        out.comment("the time of the last change");
        out.line(&format!("version = {}", toml_text::text(column)));
    } else {
        out.comment("no column tells the time of the last change: the row that arrives later wins");
        out.line("version = \"arrival\"");
    }
    out.line("files = []");
    for field in &guessed.fields {
        column(&mut out, field);
    }
    source(&mut out, guessed, &open, marked);
    out.text
}

/// The columns that a key made of the content covers: those of the table, and what tells one account from another.
fn covered(guessed: &Guessed) -> impl Iterator<Item = &Field> {
    let by_file = |field: &&Field| {
        !field.is_made
            || ["account", "currency", "file_code", "symbol"].contains(&field.name.as_str())
                && field.position == 0
                && field.header.is_none()
    };
    guessed.fields.iter().filter(by_file)
}

fn column(out: &mut Lines, field: &Field) {
    out.blank();
    out.comment(&field.evidence);
    out.line("[[column]]");
    out.line(&format!("name = {}", toml_text::text(&field.name)));
    out.line(&format!("type = {}", toml_text::text(field.kind.name())));
    if let FieldType::Decimal { precision, scale } = field.kind {
        out.line(&format!("precision = {precision}"));
        out.line(&format!("scale = {scale}"));
    }
    if field.required {
        out.line("required = true");
    }
    if let Some(values) = &field.allowed {
        out.comment(&format!("allowed = {}", toml_text::list(values)));
    }
}

fn source(out: &mut Lines, guessed: &Guessed, open: &[&Question], marked: bool) {
    out.blank();
    out.line("[[source]]");
    let mut name = guessed.place.name.clone();
    name.truncate(40);
    out.line(&format!("name = {}", toml_text::text(&name)));
    out.line(&format!("files = {}", toml_text::list(&guessed.place.files)));
    for Line { option, evidence } in &guessed.options {
        if !evidence.is_empty() {
            out.comment(evidence);
        }
        out.line(option);
    }
    for field in &guessed.fields {
        out.blank();
        out.line("[[source.column]]");
        out.line(&format!("name = {}", toml_text::text(&field.name)));
        for option in &field.options {
            option_line(out, option, open, marked);
        }
    }
}

fn option_line(out: &mut Lines, option: &ColumnOption, open: &[&Question], marked: bool) {
    let question = option.question.as_ref().and_then(|id| open.iter().find(|question| question.id == *id));
    match question.filter(|_| marked) {
        None => out.line(&format!("{} = {}", option.name, option.value)),
        Some(question) => {
            out.comment(&format!("OPEN {}: {}", question.id, question.why));
            let answers = question.answers.join(", ");
            out.comment(&format!("{} = … (answers: {answers})", option.name));
        }
    }
}

/// Lines of a definition.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, comment: &str) {
        self.line(&format!("# {}", toml_text::in_comment(comment)));
    }

    fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }
}
