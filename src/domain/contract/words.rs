//! A contract in words: sentences that a sender understands who has never heard of this program.

use super::{Contract, Delivered};
use crate::domain::column::{Column, Constraint};
use crate::domain::rule::Severity;
use crate::domain::source::cell_form::{CellForm, Value, Wanted, ZoneOf};
use crate::domain::source::layout::{End, FirstCell, Format, Header, Layout, Sheet, TextLines};
use crate::domain::source::model::{Origin, Outside, Source};
use crate::domain::source::zone::Zone;
use crate::domain::violation::UNIQUE;

/// A list of things, the last after "or".
fn or(things: impl IntoIterator<Item = String>) -> String {
    let things: Vec<String> = things.into_iter().collect();
    match &things[..] {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

impl Delivered<'_> {
    /// What the cell must be, a sentence each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some((place, of)) = self.joined {
            words.push(format!("Cell {} of {of} that together are one value.", place + 1));
        }
        let Some(column) = self.column else {
            words.push("Text; values are computed from it.".to_owned());
            return words;
        };
        match self.form.map(|form| &form.form) {
            Some(form) => words.extend(form_words(column, form)),
            None => words.push(column.kind.about()),
        }
        // Where values stand for others, the list of them says which there are.
        let is_mapped = self.form.is_some_and(|form| matches!(form.form.value, Value::Map(_)));
        let rules =
            column.constraints.iter().filter(|(rule, _)| !(is_mapped && matches!(rule, Constraint::Allowed(_))));
        words.extend(rules.map(|(constraint, severity)| constraint_words(constraint, *severity)));
        if column.encrypt {
            words.push("It is stored encrypted.".to_owned());
        }
        words
    }

    /// The zone of its times, if all of them are in one: its name or its offset.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.column.filter(|column| column.kind.is_instant())?;
        match self.form.map(|form| &form.form.value) {
            // The plain form is in UTC.
            None | Some(Value::Plain | Value::Json) => Some("UTC".to_owned()),
            Some(Value::Time(rule)) => match rule.zone {
                ZoneOf::Source(zone) => Some(zone_name(zone)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether each record must have a value.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.column.is_some_and(|column| column.required)
    }
}

fn zone_name(zone: Zone) -> String {
    match zone {
        Zone::Fixed(0) => "UTC".to_owned(),
        Zone::Named(zone) | Zone::Letters(zone, _) => zone.name().to_owned(),
        Zone::Fixed(seconds) => {
            let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    }
}

/// A rule of a column in words, with the bound as it is declared.
fn constraint_words(constraint: &Constraint, severity: Severity) -> String {
    let characters =
        |length: &u32| if *length == 1 { "1 character".to_owned() } else { format!("{length} characters") };
    let rule = match constraint {
        Constraint::MinLength(length) => format!("At least {}", characters(length)),
        Constraint::MaxLength(length) => format!("At most {}", characters(length)),
        Constraint::Min(bound) => format!("Not less than {}", code(bound)),
        Constraint::Above(bound) => format!("Greater than {}", code(bound)),
        Constraint::Max(bound) => format!("Not greater than {}", code(bound)),
        Constraint::Below(bound) => format!("Less than {}", code(bound)),
        Constraint::Allowed(values) => format!("One of {}", or(values.iter().map(code))),
        Constraint::Pattern(pattern) => format!("The whole text matches the regular expression {}", code(pattern)),
    };
    match severity {
        Severity::Error => format!("{rule}."),
        Severity::Warning => format!("{rule}; otherwise the row is loaded and counted."),
    }
}

/// How a sender writes the cells of a column.
fn form_words(column: &Column, form: &CellForm) -> Vec<String> {
    let list = |words: &[String]| or(words.iter().map(code));
    let mut words = match &form.value {
        Value::Plain | Value::Json => vec![column.kind.about()],
        Value::Number(number) => vec![column.kind.about(), format!("Written with {}.", number.describe())],
        Value::Unit(_) => vec!["The unit or the currency sign of a number.".to_owned()],
        Value::Time(rule) => {
            let forms = or(rule.forms.iter().map(|form| code(form.text())));
            let zone = match (rule.wanted, rule.zone) {
                (Wanted::Timestamp, ZoneOf::Source(zone)) => format!(" in the local time of {}", zone_name(zone)),
                (Wanted::Timestamp, ZoneOf::Cell) => " in the zone that another cell names".to_owned(),
                _ => String::new(),
            };
            vec![format!("In the form {forms}{zone}.")]
        }
        Value::Epoch(epoch) => vec![format!("A moment, counted from 1970 on ({}).", epoch.name())],
        Value::Words(yes, no) => vec![format!("{} for true, {} for false.", list(yes), list(no))],
        Value::Map(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(sent, value)| format!("{} ({value})", code(sent))).collect();
            pairs.sort_unstable();
            vec![format!("One of {}.", or(pairs))]
        }
    };
    let nulls: Vec<&String> = form.null_values.iter().filter(|null| !null.is_empty()).collect();
    if !nulls.is_empty() {
        words.push(format!("A missing value is written as {}.", or(nulls.into_iter().map(code))));
    }
    if let Some(pattern) = &form.part {
        words.push(format!("The value is the part that matches {}.", code(pattern.as_str())));
    }
    words
}

impl Contract<'_> {
    /// How the file is written, a sentence each.
    #[must_use]
    pub fn file_words(&self) -> Vec<String> {
        let mut words = match self.source {
            None => vec![
                "CSV in UTF-8, with a comma between cells, and quotes around a cell that contains a comma, a quote (written twice) or a line end."
                    .to_owned(),
                "The first line names the columns, in any order; columns that are not listed here are not loaded.".to_owned(),
            ],
            Some(source) => source_words(source),
        };
        let files = self.source.map_or(&self.dataset.files, |source| &source.files);
        words.push(format!("The key of the object in S3 matches {}.", or(files.patterns().map(code))));
        let nulls =
            self.dataset.null_values.iter().map(|null| if null.is_empty() { "nothing".to_owned() } else { code(null) });
        if self.source.is_none() {
            words.push(format!("A cell without a value is {}.", or(nulls)));
        }
        if self.dataset.manifest.required {
            words.push("A manifest with the number of rows lies beside it, named like the file with `.manifest.json` at the end.".to_owned());
        }
        if let Some(calendar) = &self.dataset.expected {
            words.push(format!("It is due {}.", code(calendar)));
        }
        words.extend(self.told_elsewhere());
        words
    }

    /// The values that are not in the records.
    fn told_elsewhere(&self) -> Vec<String> {
        let columns = self.source.iter().flat_map(|source| &source.columns);
        let told = columns.filter_map(|column| {
            let (from, pattern) = match (&column.origin, &column.year) {
                (Origin::Outside(from, pattern), _) => (*from, pattern.as_ref()),
                (_, Some(year)) => (year.origin, Some(&year.pattern)),
                _ => return None,
            };
            let from = match from {
                Outside::Key => "key of the object",
                Outside::Preamble => "lines before the header",
                Outside::Part => "name of the member, the sheet or the section",
            };
            let what = if column.year.is_some() { "The year of" } else { "The value of" };
            let pattern = pattern.map(|pattern| format!(", where it matches {}", code(pattern.as_str())));
            Some(format!("{what} {} comes from the {from}{}.", code(&column.name), pattern.unwrap_or_default()))
        });
        told.collect()
    }

    /// What is true of rows and of several columns of a row: the name of the rule, and a sentence.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, String)> {
        let dataset = self.dataset;
        let mut rules = Vec::new();
        if dataset.mode.has_key() {
            rules.extend(self.key_rules());
        } else {
            rules.push(("key".to_owned(), "Each record is a row of its own.".to_owned()));
        }
        if let Some(replacement) = &dataset.replacement {
            let scope = replacement.scope.iter().map(code).collect::<Vec<_>>().join(" and ");
            let scope = if scope.is_empty() {
                "the whole table".to_owned()
            } else {
                format!("each {scope} that it has rows of")
            };
            let gone = if replacement.flag.is_some() { "flagged as gone" } else { "deleted" };
            rules.push((
                "replace".to_owned(),
                format!("A file replaces {scope}: rows that it does not have are {gone}."),
            ));
        }
        if let Some(tombstone) = &dataset.tombstone {
            let values = or(tombstone.values.iter().map(code));
            let text = format!("A record whose {} is {values} deletes the row with its key.", code(&tombstone.column));
            rules.push(("tombstone".to_owned(), text));
        }
        for rule in &dataset.rules {
            let when = rule.when.as_ref().map(|when| format!("If {}: ", code(when))).unwrap_or_default();
            let check = rule.check.as_ref().map(|check| format!("{} holds. ", code(check))).unwrap_or_default();
            let else_ = match rule.severity {
                Severity::Error => "Otherwise the row is rejected",
                Severity::Warning => "Otherwise the row is loaded and counted",
            };
            rules.push((rule.id.clone(), format!("{when}{check}{else_}: {}.", rule.message.trim_end_matches('.'))));
        }
        if let Some(reference) = &dataset.reference {
            let here = reference.columns.iter().map(code).collect::<Vec<_>>().join(" and ");
            let there = reference.key.iter().map(code).collect::<Vec<_>>().join(" and ");
            let text = format!(
                "{here} names a row of dataset {} by its {there}; until that row has come, this one waits.",
                code(&reference.dataset)
            );
            rules.push(("parent_missing".to_owned(), text));
            for agreement in &reference.agreements {
                let text = format!(
                    "{} agrees with {} of that row; otherwise the row is loaded and counted.",
                    code(&agreement.column),
                    code(&agreement.equals)
                );
                rules.push((agreement.id.clone(), text));
            }
        }
        rules
    }
}

impl Contract<'_> {
    /// What tells rows apart, and which of two stays.
    fn key_rules(&self) -> [(String, String); 2] {
        let names: Vec<String> = self.key().map(|cell| code(&cell.header)).collect();
        let one = match &self.dataset.content {
            Some(content) => {
                let covered = content.columns.iter().map(code).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "Rows are told apart by {covered}; equal rows within a file are repetitions and are all kept."
                );
                ("key".to_owned(), text)
            }
            None => (
                UNIQUE.to_owned(),
                format!("No two rows of a file have the same {}; of those that do, one is kept.", names.join(" and ")),
            ),
        };
        let newer = match &self.dataset.version {
            Some(version) => format!("Of two rows with one key the one with the later {} stays.", code(version)),
            None => "Of two rows with one key the one of the file that arrives later stays.".to_owned(),
        };
        [one, ("stale".to_owned(), newer)]
    }
}

/// How a file of a source is laid out.
fn source_words(source: &Source) -> Vec<String> {
    let mut words = match &source.format {
        Format::Delimited(lines, dialect) => {
            let quote = dialect.quote.map_or("no sign".to_owned(), |quote| code(char::from(quote)));
            vec![format!(
                "Text in {}, with {} between cells, and {quote} around cells that need quotes.",
                lines.encoding.name(),
                shown(&dialect.delimiter)
            )]
            .into_iter()
            .chain(comment(lines))
            .collect()
        }
        Format::Fixed(lines, _) => {
            vec![format!("Lines of text in {}, with cells at fixed places.", lines.encoding.name())]
                .into_iter()
                .chain(comment(lines))
                .collect()
        }
        Format::JsonLines => vec!["A JSON object on each line.".to_owned()],
        Format::Parquet => vec!["Apache Parquet.".to_owned()],
        Format::Workbook(workbook) => vec![match &workbook.sheet {
            None => "A workbook (xlsx or xls); its first sheet is read.".to_owned(),
            Some(Sheet::Named(name)) => format!("A workbook (xlsx or xls); the sheet {} is read.", code(name)),
            Some(Sheet::Numbered(number)) => format!("A workbook (xlsx or xls); sheet {number} is read."),
        }],
    };
    if let Some(member) = &source.member {
        words.push(format!("It is a member of a zip archive that matches {}.", code(member)));
    }
    // Values that have names need no header.
    if !matches!(source.format, Format::JsonLines | Format::Parquet) {
        words.extend(layout_words(&source.layout));
    }
    if source.strict {
        words
            .push("A file that has a column which is not listed here, or lacks one, is refused as a whole.".to_owned());
    }
    if !source.totals.is_empty() {
        let totals = source.totals.iter().map(code).collect::<Vec<_>>().join(" and ");
        words.push(format!(
            "The footer has the total of {totals}; a file whose records add up to another one is refused."
        ));
    }
    words
}

fn comment(lines: &TextLines) -> Option<String> {
    lines.comment.map(|sign| format!("A line that begins with {} is a comment.", code(sign)))
}

/// A delimiter that can be seen.
fn shown(delimiter: &str) -> String {
    match delimiter {
        "\t" => "a tab".to_owned(),
        " " => "a blank".to_owned(),
        other => code(other),
    }
}

fn layout_words(layout: &Layout) -> Vec<String> {
    // Every option has its words, or nothing that a sender can see.
    let Layout {
        header,
        header_lines,
        section,
        end,
        anything_after_end: _,
        trailing_delimiter,
        longer,
        shorter,
        between,
        blank_between,
    } = layout;
    let mut words = Vec::new();
    if let Some(section) = section {
        words.push(format!("The table begins after a line whose first cell is {}.", code(section)));
    }
    let lines = if *header_lines > 1 { format!(", on {header_lines} lines") } else { String::new() };
    words.push(match header {
        Header::First => format!("The first line names the columns{lines}."),
        Header::Line(line) => format!("Line {line} names the columns{lines}."),
        Header::Find => format!("A line names the columns{lines}; what is before it is not loaded."),
        Header::None => "No line names the columns; they are told by their place.".to_owned(),
    });
    let allowed = [
        (*trailing_delimiter, "A delimiter may end each line."),
        (*longer, "Cells after the last column are not loaded."),
        (*shorter, "Cells that a record lacks at its end have no value."),
        (*blank_between, "At least one blank stands between any two cells."),
        (between.header, "The line that names the columns may come again between the records."),
        (between.ruled, "Lines of nothing but dashes and the like are not records."),
    ];
    words.extend(allowed.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words.to_owned()));
    if !between.first_cells.is_empty() {
        let cells = or(between.first_cells.iter().map(|cell| match cell {
            FirstCell::Is(text) => format!("is {}", code(text)),
            FirstCell::Begins(text) => format!("begins with {}", code(text)),
        }));
        words.push(format!("A line whose first cell {cells} is no record."));
    }
    match end {
        End::Never => {}
        End::Blank => words.push("A blank line ends the table.".to_owned()),
        End::Cells(begin) => {
            let begin = or(begin.iter().map(code));
            words.push(format!("A line whose first cell begins with {begin} ends the table."));
        }
        End::LastLines(count) => words.push(format!("The last {count} lines are a footer.")),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::Contract;
    use crate::domain::Datasets;

    const DEFINITION: &str = r#"
        name = "deal"
        table = "deal"
        key = "id"
        version = "arrival"
        column = [
            { name = "id", type = "text", required = true },
            { name = "price", type = "decimal", precision = 12, scale = 2 },
            { name = "op", type = "text", required = true },
        ]
        tombstone = { column = "op", values = ["D", "X"], in_table = false }

        [[source]]
        name = "acme"
        files = ["acme/*"]
        trailing_delimiter = true
        longer = "ignore"
        shorter = "null"
        repeated_header = true
        ruled = true
        skip = ["Subtotal", "Page*"]
        columns = "strict"
        end = ["Total"]
        total = "price"

        [[source.column]]
        name = "price"
        null_values = ["n/a", ""]
    "#;

    #[test]
    fn whatever_a_source_allows_is_said_to_its_sender() {
        let datasets = Datasets::parse([("deal.toml", DEFINITION)]).unwrap();
        let dataset = datasets.get("deal").unwrap();
        let contract = Contract::of(dataset, dataset.sources.first());
        let said = contract.file_words().join("\n");
        for words in [
            "A delimiter may end each line.",
            "Cells after the last column are not loaded.",
            "Cells that a record lacks at its end have no value.",
            "names the columns may come again",
            "Lines of nothing but dashes",
            "A line whose first cell is `Subtotal` or begins with `Page` is no record.",
            "or lacks one, is refused as a whole",
            "The footer has the total of `price`",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let price = contract.cells.iter().find(|cell| cell.header == "price").unwrap().words();
        assert!(price.contains(&"A missing value is written as `n/a`.".to_owned()), "{price:?}");
        let rules = contract.rules();
        let tombstone = rules.iter().find(|(id, _)| id == "tombstone").unwrap();
        assert_eq!(tombstone.1, "A record whose `op` is `D` or `X` deletes the row with its key.");
    }
}
