//! A column of numbers.

use super::convention::is_lone_rate;
use super::field::{ColumnOption, Field, FieldType};
use super::known_table::Table;
use super::numbers::{Mark, Numbers};
use super::question::Asked;
use super::toml_text;
use crate::domain::source::number::{NumberForm, Percent};

/// Digits before the point that a column has room for at the least.
const ROOM: usize = 18;
/// The most digits of a decimal.
const MOST_DIGITS: usize = 38;
/// Scales that are usual; what was seen is rounded up to one of them.
const SCALES: &[usize] = &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18];

/// How many letters of a name are left where `_unit` follows.
const MOST_LETTERS: usize = 35;
pub(super) fn fields(table: &Table<'_>, at: usize, numbers: &Numbers, asked: &mut Vec<Asked>) -> Vec<Field> {
    let (mark, question) = mark_of(table, at, numbers);
    let (percent, percent_question) = percent_of(table, at, numbers);
    let form = numbers.form(mark, percent);
    let (whole, scale, decimals) = size(table, at, &form);
    let kind = kind(table, at, whole, scale);
    let places = if decimals > 0 { format!(" with up to {decimals} decimals") } else { String::new() };
    let doubles = decimals >= 10 && !numbers.exponent;
    let doubles = if doubles { ", as programs write doubles; every digit is kept" } else { "" };
    let evidence = format!("{} are numbers{places}{doubles}", table.share(at));
    let mut field = table.field(at, kind, evidence);
    field.form = Some(describe(&form));
    field.options.extend(options(table, numbers, mark, question.as_ref()));
    if let (Some(percent), Some(question)) = (percent, &percent_question) {
        let value = match percent {
            Percent::Keep => "\"keep\"",
            Percent::Divide => "\"divide\"",
            Percent::Multiply => "\"multiply\"",
        };
        field.options.push(ColumnOption::asked("percent", value, question));
    }
    asked.extend(question);
    asked.extend(percent_question);
    if !numbers.unit_varies() {
        return vec![field];
    }
    vec![field.clone(), unit_field(table, at, field)]
}

fn unit_field(table: &Table<'_>, at: usize, number: Field) -> Field {
    let keep = [
        "header",
        "nth",
        "position",
        "null_values",
        "currency",
        "unit",
        "unit_pattern",
        "decimal_mark",
        "thousands",
        "grouping",
        "negative",
        "plus",
        "exponent",
        "bare_point",
        "percent",
    ];
    let mut options: Vec<ColumnOption> =
        number.options.into_iter().filter(|option| keep.contains(&option.name)).collect();
    options.push(ColumnOption::new("part", "\"unit\""));
    Field {
        name: format!("{}_unit", number.name.chars().take(MOST_LETTERS).collect::<String>()),
        kind: FieldType::Text,
        form: None,
        evidence: "the unit may differ from row to row, so it is a value of its own".into(),
        required: false,
        is_unit: true,
        options,
        longest: 10,
        at,
        ..table.field(at, FieldType::Text, String::new())
    }
}

/// The decimal mark of a column, and the question for it if neither its cells nor other columns tell.
fn mark_of(table: &Table<'_>, at: usize, numbers: &Numbers) -> (Mark, Option<Asked>) {
    let convention = table.convention;
    if let Some(mark) = numbers.mark {
        let follows = numbers.indifferent || !numbers.sure;
        return (if follows { convention.mark.unwrap_or(mark) } else { mark }, None);
    }
    let answered = table.is_answered(at, "decimal_mark");
    // The rate of a day is often taken from elsewhere, with a mark of its own.
    let workbook = table.place.sheet && table.found[at].has_numbers;
    let is_doubtful_rate = is_lone_rate(&table.sent[at], numbers) && !workbook && !table.place.named;
    if let Some(mark) = convention.mark.filter(|_| !answered && !is_doubtful_rate) {
        return (mark, None);
    }
    let point_alone = numbers.thousands(Mark::Point).iter().all(|sign| *sign != ',');
    let is_doubtful = convention.point_is_doubtful || convention.mark == Some(Mark::Comma) && is_doubtful_rate;
    if point_alone && !answered && (workbook || table.place.named || !is_doubtful) {
        return (Mark::Point, None);
    }
    let sign = if point_alone { "point" } else { "comma" };
    let why = format!(
        "a lone {sign} before three digits is either the decimal mark or sets thousands apart, and no row decides"
    );
    let values = numbers.doubtful.iter().take(5).cloned().collect();
    let asked = table.ask(at, "decimal_mark", why, (values, vec![",".into(), ".".into()]), understood_mark);
    let mark = match asked.answer.as_deref() {
        Some(".") => Mark::Point,
        _ => Mark::Comma,
    };
    (mark, Some(asked))
}

fn understood_mark(answer: &str) -> Option<String> {
    match answer.trim_matches('"').to_ascii_lowercase().as_str() {
        "," | "comma" => Some(",".into()),
        "." | "point" | "dot" | "period" => Some(".".into()),
        _ => None,
    }
}

/// What becomes of numbers with a percent sign, and of those that a workbook shows with one, and the question for it.
fn percent_of(table: &Table<'_>, at: usize, numbers: &Numbers) -> (Option<Percent>, Option<Asked>) {
    if table.place.percents.contains(&at) && table.found[at].has_numbers {
        let why = "the workbook shows these numbers as percentages: 12.5% is 0.125 in the file, and may be kept as 12.5 or divided to 0.125";
        let asked = percent_question(table, at, why);
        let divide = asked.answer.as_deref() == Some("divide");
        let percent = match (divide, numbers.percent) {
            (true, true) => Some(Percent::Divide),
            // The file already has fractions, such as 0.125.
            (true, false) => None,
            (false, _) => Some(Percent::Multiply),
        };
        return (percent, Some(asked));
    }
    if !numbers.percent {
        return (None, None);
    }
    let why = "the numbers have a percent sign: 12.5% may be kept as 12.5 or divided to 0.125";
    let asked = percent_question(table, at, why);
    let divide = asked.answer.as_deref() == Some("divide");
    (Some(if divide { Percent::Divide } else { Percent::Keep }), Some(asked))
}

fn percent_question(table: &Table<'_>, at: usize, why: &str) -> Asked {
    let why = why.to_owned();
    table.ask(at, "percent_scale", why, (table.examples(at), vec!["keep".into(), "divide".into()]), |answer| {
        match answer.to_ascii_lowercase().as_str() {
            "keep" | "percent" | "kept" | "1" | "100" | "12.5" => Some("keep".into()),
            "divide" | "divided" | "fraction" | "ratio" | "0.01" | "0.125" => Some("divide".into()),
            _ => None,
        }
    })
}

/// The most digits before the point, the scale that a column needs, and the decimals that were seen.
fn size(table: &Table<'_>, at: usize, form: &NumberForm) -> (usize, usize, usize) {
    let (mut whole, mut scale) = (0, 0);
    let mut plain = String::new();
    for value in table.found[at].values.iter().flatten() {
        plain.clear();
        if form.write(value.trim(), &mut plain).is_err() {
            continue;
        }
        let digits = plain.trim_start_matches('-');
        let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
        whole = whole.max(before.len());
        // A workbook has digits that nobody wrote.
        let after = if table.place.sheet && after.len() > 10 { after.len().min(10) } else { after.len() };
        scale = scale.max(after);
    }
    let decimals = scale;
    (whole, SCALES.iter().copied().find(|usual| *usual >= scale).unwrap_or(scale), decimals)
}

fn kind(table: &Table<'_>, at: usize, whole: usize, scale: usize) -> FieldType {
    let hints = table.sent[at].hints();
    if scale == 0 && whole <= ROOM && !hints.money {
        return FieldType::Bigint;
    }
    let scale = if scale == 0 && hints.money { 2 } else { scale };
    let scale = if scale == 10 && table.place.sheet { 12 } else { scale };
    FieldType::Decimal { precision: (whole.max(ROOM) + scale).clamp(1, MOST_DIGITS).max(scale + whole), scale }
}

/// The options that say how the numbers of a column are written, besides those that hold for all columns.
fn options(table: &Table<'_>, numbers: &Numbers, mark: Mark, question: Option<&Asked>) -> Vec<ColumnOption> {
    let mut options = Vec::new();
    let thousands: Vec<String> = numbers.thousands(mark).iter().map(char::to_string).collect();
    let own_mark = !table.convention.is_shared() || question.is_some();
    if own_mark {
        let sign = toml_text::text(&mark.sign().to_string());
        match question {
            Some(asked) => options.push(ColumnOption::asked("decimal_mark", sign, asked)),
            None if mark == Mark::Comma => options.push(ColumnOption::new("decimal_mark", sign)),
            None => {}
        }
        if !thousands.is_empty() {
            let mut option = ColumnOption::new("thousands", toml_text::one_or_list(&thousands));
            option.question = question.filter(|asked| asked.is_open()).map(|asked| asked.question.id.clone());
            options.push(option);
        } else if table.convention.sets_apart(mark) {
            options.push(ColumnOption::new("thousands", "[]"));
        }
        if numbers.indian {
            options.push(ColumnOption::new("grouping", "\"indian\""));
        }
    }
    let pattern = numbers.unit_pattern();
    if let Some(pattern) = &pattern {
        options.push(ColumnOption::new("unit_pattern", toml_text::text(pattern)));
    } else if !numbers.units.is_empty() {
        let after = !numbers.units_before && numbers.units.iter().all(|unit| unit.chars().all(char::is_alphabetic));
        options
            .push(ColumnOption::new(if after { "unit" } else { "currency" }, toml_text::one_or_list(&numbers.units)));
    }
    let negative = numbers.negative_names();
    if !negative.is_empty() {
        options.push(ColumnOption::new("negative", toml_text::one_or_list(&negative)));
    }
    for (name, there) in [("plus", numbers.plus), ("exponent", numbers.exponent), ("bare_point", numbers.bare_point)] {
        if there {
            options.push(ColumnOption::new(name, "true"));
        }
    }
    options
}

fn describe(form: &NumberForm) -> String {
    let mut parts = vec![form.describe()];
    if form.percent.is_some() {
        parts.push("percent".into());
    }
    if form.exponent {
        parts.push("exponent".into());
    }
    parts.join(", ")
}
