//! What the name of a file and the lines before its table tell of every row.

use std::sync::LazyLock;

use regex::Regex;

use super::field::{ColumnOption, Field, FieldType};
use super::file_code;
use super::file_name::{DAY, file_name, general};
use super::known_table::Table;
use super::moments::{What, readings};
use super::names::words;
use super::question::Asked;
use super::toml_text;

/// Lines that tell an account, and the part of them that it is.
static ACCOUNT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)^[#\s"]*(?:[\w ]{0,20}?)(?:account|acct|konto|conto|compte|cuenta|rachunek|portfolio|depot|iban|账\s*[户号]|帐\s*[户号]|卡\s*号|资金账号|客户号|login)[^:：,;\t=]{0,20}[:：,;\t=\x1f]["\s:：,;\t=\x1f]*\[?(?:[^\d\[\]:：,;]{1,12}[:：])?\s*((?-i:[A-Z]{2}\d{2}(?: [A-Z0-9]{1,4}){3,8})|[A-Za-z0-9_*-]{4,}(?:[ ./-]\d{2,})*)"#).ok()
});
/// Lines that tell a currency.
static CURRENCY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)^[#\s"]*(?:currency|base currency|ccy|货\s*币|币\s*[种别]|valuta|währung|devise|divisa|moneda|waluta)["\s]*[:：,;\t=\x1f]["\s:：,;\t=\x1f]*\[?([^\]\s,;"\x1f]+)"#).ok()
});
/// Lines that tell when the file was made.
static MADE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)^[#\s"]*(?:[^\d:：]{0,60}\b(?:as of)\b[^\d]{0,10}|[^\d:：]{0,30}(?:as at|estrazione|generated|generation|created|exported|export date|report date|生成时间|导出时间|erstellt|stand)[^\d:：]{0,20}[:：]?["\s\x1f,;]*\[?\s*)(\d[0-9:./ T-]*[0-9])"#).ok()
});
/// A year with a month.
static STATEMENT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|\D)((?:19|20)\d{2})(年| ?[-/._] ?|)(0[1-9]|1[0-2]|[1-9]月)").ok());
static YEAR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?:^|\D)((?:19|20)\d{2})(?:\D|$)").ok());

/// The option for the year of dates that have none, and the question for it.
pub(super) fn year(table: &Table<'_>, at: usize) -> (Vec<ColumnOption>, Asked) {
    let told = statement(table);
    let mut answers: Vec<String> = told.iter().map(|told| told.shown.clone()).collect();
    answers.dedup();
    let why = match told.first() {
        Some(told) => format!(
            "the dates have no year; {} tells {}, and a later month would belong to the year before",
            told.from, told.shown
        ),
        None => {
            "the dates have no year, and neither the name of the file nor a line before the table tells one".to_owned()
        }
    };
    let known = answers.clone();
    let asked = table.ask(at, "year", why, (table.examples(at), answers), move |answer| {
        let digits: String = answer.chars().filter(char::is_ascii_digit).take(4).collect();
        let same = known.iter().find(|told| told.as_str() == answer || digits.len() == 4 && told.starts_with(&digits));
        let first = ["preamble", "key", "file", "statement", "name"].iter().any(|word| answer.contains(word));
        same.cloned()
            .or_else(|| known.first().filter(|_| first).cloned())
            .or_else(|| (digits.len() == 4).then_some(digits))
    });
    let chosen = match &asked.answer {
        Some(answer) => {
            told.iter().find(|told| told.shown == *answer).map_or_else(|| answer.clone(), |told| told.option.clone())
        }
        None => told.first().map_or_else(|| "2000".to_owned(), |told| told.option.clone()),
    };
    (vec![ColumnOption::asked("year", chosen, &asked)], asked)
}

/// A year that the file tells.
struct Told {
    shown: String,
    option: String,
    from: &'static str,
}

fn statement(table: &Table<'_>) -> Vec<Told> {
    let name = file_name(&table.place.key);
    let lines = table.preamble.iter().map(|line| ("preamble", line.as_str(), "a line before the table"));
    let mut told: Vec<Told> = Vec::new();
    for (from, text, shown) in lines.chain([("key", name, "the name of the file")]) {
        let end = if from == "key" { "$" } else { "" };
        // The last month is that of the statement.
        if let Some(found) = STATEMENT.as_ref().and_then(|pattern| pattern.captures_iter(text).last())
            && let (Some(year), Some(between), Some(month)) = (found.get(1), found.get(2), found.get(3))
        {
            let number = month.as_str().trim_end_matches('月');
            let after = &text[month.start() + number.len()..];
            let tail = if end.is_empty() { String::new() } else { general(after) + end };
            let before = if from == "key" { general(&text[..year.start()]) } else { String::new() };
            let compact = between.as_str().is_empty() && after.starts_with(|c: char| c.is_ascii_digit());
            let tail = if compact && from != "key" { r"\d{2}".to_owned() + &tail } else { tail };
            let pattern = format!(r"{before}(\d{{4}}){}(\d{{1,2}}){tail}", regex::escape(between.as_str()))
                .replace(r"(\d{1,2})\d", r"(\d{2})\d");
            let option = format!("{{ from = \"{from}\", pattern = {} }}", toml_text::text(&pattern));
            let month: u32 = number.parse().unwrap_or(0);
            told.push(Told { shown: format!("{}-{month:02}", year.as_str()), option, from: shown });
        } else if let Some(year) =
            YEAR.as_ref().and_then(|pattern| pattern.captures_iter(text).last()).and_then(|found| found.get(1))
        {
            let option = format!("{{ from = \"{from}\", pattern = {} }}", toml_text::text(r"(?:^|\D)(\d{4})(?:\D|$)"));
            told.push(Told { shown: year.as_str().to_owned(), option, from: shown });
        }
    }
    told
}

/// Columns that no cell of the table fills.
pub(super) fn fields(table: &Table<'_>, known: &[Field], names: &[String], asked: &mut Vec<Asked>) -> Vec<Field> {
    let mut all: Vec<Field> = Vec::new();
    let has = |list: &[&str]| known.iter().any(|field| words(&field.name).any(|word| list.contains(&word)));
    if !has(&["account", "card", "holder"]) {
        let is_account = |value: &str| {
            value.contains(|c: char| c.is_ascii_digit()) && DAY.as_ref().is_none_or(|day| !day.is_match(value))
        };
        all.extend(from_line(table, ACCOUNT.as_ref(), "account", is_account));
    }
    if !has(&["currency", "ccy"]) {
        all.extend(from_line(table, CURRENCY.as_ref(), "currency", |value| {
            value.chars().all(char::is_alphabetic) && value.chars().count() <= 5
        }));
    }
    all.extend(made(table, known));
    all.extend(day_of_name(table, known));
    all.extend(file_code::find(table, known, &all, asked));
    for field in &mut all {
        let mut name = field.name.clone();
        let mut nth = 2;
        while names.contains(&name) {
            name = format!("{}_{nth}", field.name);
            nth += 1;
        }
        field.name = name;
    }
    all
}

/// What stands before a value in a line, as a pattern. The cells of a workbook stand side by side there.
fn before(text: &str) -> String {
    regex::escape(&text.replace(super::sample::BETWEEN_CELLS, ""))
}

fn from_line(table: &Table<'_>, pattern: Option<&Regex>, name: &str, fits: impl Fn(&str) -> bool) -> Option<Field> {
    let pattern = pattern?;
    let found =
        table.preamble.iter().find_map(|line| pattern.captures(line).and_then(|found| Some((line, found.get(1)?))));
    let (line, value) = found.filter(|(line, value)| fits(value.as_str()) && !goes_on(&line[value.end()..]))?;
    let group = if name == "account" {
        r"([A-Z]{2}\d{2}(?: [A-Z0-9]{1,4}){3,8}|[A-Za-z0-9_*-]+(?:[ ./-]\d{2,})*)(?:[^\w./-]|[./-](?:\D|$)|$)"
    } else {
        r#"([^\]\s,;"]+)"#
    };
    let own = format!("^{}{group}", before(&line[..value.start()]));
    let options = vec![ColumnOption::new("from", "\"preamble\""), ColumnOption::new("pattern", toml_text::text(&own))];
    Some(Field::outside(name, FieldType::Text, "a line before the table tells it for all rows".into(), options))
}

/// Whether what follows a value belongs to it, so that it would be cut.
fn goes_on(rest: &str) -> bool {
    let mut next = rest.chars();
    let first = next.next();
    let joins = matches!(first, Some('.' | '/' | '-')) && next.next().is_some_and(|c| c.is_ascii_digit());
    joins || first.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// When the file was made, if a line before the table says so in a way that only one reading fits.
fn made(table: &Table<'_>, known: &[Field]) -> Option<Field> {
    let pattern = MADE.as_ref()?;
    let (line, value) =
        table.preamble.iter().find_map(|line| pattern.captures(line).and_then(|found| Some((line, found.get(1)?))))?;
    let start = value.start();
    let (value, tail) = with_tail(line, start, value.end())?;
    let all = readings(&[value]);
    let begins =
        |form: &str| known.iter().filter_map(|field| field.form.as_deref()).any(|own| own.get(..3) == form.get(..3));
    let reading = match all.as_slice() {
        [one] => one,
        several => several.iter().find(|reading| begins(&reading.forms[0]))?,
    };
    if reading.short_year || reading.no_year || reading.what == What::Time {
        return None;
    }
    let own = format!("^{}({}{tail})", before(&line[..start]), r"\d[0-9:./ T-]*[0-9]");
    let mut options = vec![
        ColumnOption::new("from", "\"preamble\""),
        ColumnOption::new("pattern", toml_text::text(&own)),
        ColumnOption::new("form", toml_text::text(&reading.forms[0])),
    ];
    let kind = match (reading.what, reading.zoned) {
        (What::Date, _) => FieldType::Date,
        (_, true) => FieldType::Timestamp,
        _ => {
            options.push(ColumnOption::new("zone", "\"none\""));
            FieldType::LocalTimestamp
        }
    };
    let mut made =
        Field::outside("made_at", kind, "a line before the table tells when the file was made".into(), options);
    made.form = Some(reading.forms[0].clone());
    Some(made)
}

/// A time in a line together with what belongs to it after its digits, and the pattern for that: a zone, or half of a day. `None`
/// if something follows that may change what it means.
fn with_tail(line: &str, start: usize, end: usize) -> Option<(&str, String)> {
    let rest = &line[end..];
    let blanks = rest.len() - rest.trim_start_matches(' ').len();
    let word = &rest[blanks..];
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ':' | '/' | '_');
    let length = word.find(|c: char| !is_part(c)).unwrap_or(word.len());
    let word = &word[..length];
    // A longer word goes on with the sentence.
    let is_sentence = word.len() > 5 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    if word.is_empty() || blanks > 1 || is_sentence {
        return Some((&line[start..end], String::new()));
    }
    let whole = &line[start..end + blanks + length];
    if readings(&[whole]).is_empty() {
        return None;
    }
    Some((whole, format!("{}[A-Za-z0-9+:/_-]+", " ".repeat(blanks))))
}

/// The day in the name of a file, if the table has none of its own.
fn day_of_name(table: &Table<'_>, known: &[Field]) -> Option<Field> {
    let temporal =
        |field: &Field| matches!(field.kind, FieldType::Date | FieldType::Timestamp | FieldType::LocalTimestamp);
    let events = known
        .iter()
        .any(|field| temporal(field) && !words(&field.name).any(|word| ["nav", "maturity", "expiry"].contains(&word)));
    let is_trades = known.iter().any(|field| field.kind == FieldType::Timestamp && field.position > 0);
    if events && !is_trades {
        return None;
    }
    let name = file_name(&table.place.key);
    let (mut days, mut from) = (Vec::new(), 0);
    while let Some(found) = DAY.as_ref()?.captures_at(name, from) {
        days.push(found.get(2)?.as_str());
        // The sign after a day may be the one before the next: the two are a range, which no row tells more of.
        from = found.get(1)?.end();
    }
    let [sign] = days.as_slice() else { return None };
    let digits = if sign.is_empty() {
        r"(\d{8})".to_owned()
    } else {
        format!(r"(\d{{4}}{0}\d{{2}}{0}\d{{2}})", regex::escape(sign))
    };
    // The rest of the name may differ from file to file.
    let pattern = format!(r"(?:^|\D){digits}(?:\D|$)");
    let form = format!("%Y{sign}%m{sign}%d");
    let options = vec![
        ColumnOption::new("from", "\"key\""),
        ColumnOption::new("pattern", toml_text::text(&pattern)),
        ColumnOption::new("form", toml_text::text(&form)),
    ];
    let mut field = Field::outside(
        "as_of",
        FieldType::Date,
        "the name of the file tells the day; add it to the key to keep every day".into(),
        options,
    );
    field.form = Some(form);
    Some(field)
}
