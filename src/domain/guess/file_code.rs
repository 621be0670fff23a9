//! The account or the symbol in the name of a file, which tells the files of a series apart.

use std::sync::LazyLock;

use regex::Regex;

use super::answers::About;
use super::field::{ColumnOption, Field, FieldType};
use super::file_name::{DAY, file_name, general};
use super::known_table::Table;
use super::names::words;
use super::question::Asked;
use super::toml_text;

/// A masked number. A run of signs inside of it belongs to it.
static MASKED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[_\s(-])(\d{2,6}[_*xX]{2,}\d{2,6})(?:[_\s)-]|$)").ok());
/// A number, an IBAN, or capital letters.
static PLAIN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(?:[A-Z]?\d{4,12}|[A-Z]{2}\d{2}[A-Z0-9]{10,30}|[A-Z0-9]{5,12})$").ok());
/// The name of a file that is nothing but a ticker.
static TICKER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^([A-Z]{1,6}(?:[.-][A-Z]{1,4})?)(?:[_\s(-]|$)").ok());
/// Words after which a code is what they say.
static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:account|acct|konto|conto|compte|cuenta|rachunek|depot|iban|card|portfolio|login|client|broker|symbol|ticker|isin|账户|账号|帐号|卡号)[_\s(-]*$").ok()
});
/// What pairs of a market end with.
const QUOTES: &[&str] = &[
    "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BTC", "ETH", "BNB", "KRW", "CHF",
    "PERP",
];
const GENERIC: &[&str] = &[
    "TRADES",
    "ORDERS",
    "POSITIONS",
    "STATEMENT",
    "HISTORY",
    "ACCOUNT",
    "REPORT",
    "EXPORT",
    "FILLS",
    "DEALS",
    "DATA",
    "CSV",
    "ALL",
    "PRICES",
    "QUOTES",
    "NAV",
    "EOD",
];

/// A code in the name of a file.
struct Code<'n> {
    name: &'static str,
    /// Where it begins.
    start: usize,
    text: &'n str,
    /// Whether its form or a word before it tells what it is.
    is_sure: bool,
}

/// A column for the code in the name, if there is one, and the question what it tells, if the name does not say.
pub(super) fn find(table: &Table<'_>, known: &[Field], found: &[Field], asked: &mut Vec<Asked>) -> Option<Field> {
    let name = file_name(&table.place.key);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let code = code_in(table, stem, known, found)?;
    let question = if code.is_sure { None } else { Some(question(table, &code)) };
    let group = if code.name == "symbol" { "([A-Za-z0-9.-]+?)" } else { r"(\w+?)" };
    let rest = general(&stem[code.start + code.text.len()..]);
    let pattern = format!("{}{group}{rest}", general(&stem[..code.start]));
    let begin = if code.start == 0 { "(?:^|/)" } else { "" };
    let extension = general(&name[stem.len()..]);
    let pattern = toml_text::text(&format!("{begin}{pattern}{extension}$"));
    let mut options = vec![ColumnOption::new("from", "\"key\"")];
    options.push(match &question {
        Some(question) => ColumnOption::asked("pattern", pattern, question),
        None => ColumnOption::new("pattern", pattern),
    });
    let dropped = question.as_ref().is_some_and(|question| question.answer.as_deref() == Some("drop"));
    asked.extend(question);
    let evidence = "a part of the name of the file that tells files of a series apart";
    (!dropped).then(|| Field::outside(code.name, FieldType::Text, evidence.into(), options))
}

fn question(table: &Table<'_>, code: &Code<'_>) -> Asked {
    let about = About { part: &table.place.part, ..About::default() };
    let why = format!(
        "the name of the file has {:?}: it tells the rows of this file from those of others (keep), or is a number of the export (drop)",
        code.text
    );
    let values = vec![code.text.to_owned()];
    table.ask_about(about, "file_code", why, (values, vec!["keep".into(), "drop".into()]), |answer| {
        Some(answer.to_ascii_lowercase()).filter(|answer| ["keep", "drop"].contains(&answer.as_str()))
    })
}

fn code_in<'n>(table: &Table<'_>, stem: &'n str, known: &[Field], found: &[Field]) -> Option<Code<'n>> {
    let has = |fields: &[Field], list: &[&str]| {
        fields.iter().any(|field| words(&field.name).any(|word| list.contains(&word)))
    };
    let symbol =
        has(known, &["symbol", "code", "ticker", "isin", "pair", "stock", "security", "instrument", "fund", "coin"]);
    if let Some(value) = MASKED.as_ref()?.captures(stem).and_then(|found| found.get(1)) {
        return Some(Code { name: "file_code", start: value.start(), text: value.as_str(), is_sure: true });
    }
    if !symbol
        && is_price_series(known)
        && let Some(value) = TICKER.as_ref()?.captures(stem).and_then(|found| found.get(1))
        && !GENERIC.contains(&value.as_str())
    {
        return Some(Code { name: "symbol", start: value.start(), text: value.as_str(), is_sure: false });
    }
    let plain = PLAIN.as_ref()?;
    let (start, text) =
        tokens(stem).find(|(_, text)| plain.is_match(text) && is_code(text) && !GENERIC.contains(text))?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let letters = text.bytes().filter(u8::is_ascii_uppercase).count();
    let labelled = LABEL.as_ref().is_some_and(|label| label.is_match(&stem[..start]));
    let told = table.preamble.iter().any(|line| line.contains(text));
    if letters >= 5 && letters + 3 > text.len() {
        let pair = QUOTES.iter().any(|quote| text.len() > quote.len() + 1 && text.ends_with(quote));
        return (!symbol).then_some(Code { name: "symbol", start, text, is_sure: pair || labelled });
    }
    let account = has(known, &["account", "card", "holder"]);
    if told && has(found, &["account", "card", "holder"]) || letters > 1 && text.len() < 5 {
        return None;
    }
    let is_iban = letters > 1 && text.len() >= 15;
    let is_sure =
        labelled || told || is_iban || digits && text.starts_with('0') && text.len() > 6 || !digits && letters == 1;
    // A table with accounts of its own has no need of a number that nothing names.
    (is_sure || !account).then_some(Code { name: "file_code", start, text, is_sure })
}

/// The parts of a name, and where each begins.
fn tokens(stem: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    stem.split(|c: char| c.is_whitespace() || matches!(c, '_' | '(' | ')' | '-')).map(move |token| {
        let start = at;
        // Each sign between two parts has one byte, but for white space of other scripts.
        at += token.len() + stem[start + token.len()..].chars().next().map_or(0, char::len_utf8);
        (start, token)
    })
}

/// Whether a text is neither a day, a year nor a count of seconds.
fn is_code(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let day =
        DAY.as_ref().is_some_and(|day| day.is_match(text)) || matches!(digits, 14 | 6 | 8) && text.starts_with("20");
    let year = text.len() == 4 && (text.starts_with("19") || text.starts_with("20"));
    let counted = digits == text.len() && matches!(digits, 10 | 13) && text.starts_with('1');
    !day && !year && !counted
}

/// Whether the rows are prices of one instrument, which no column names.
fn is_price_series(known: &[Field]) -> bool {
    let names: Vec<&str> = known.iter().flat_map(|field| words(&field.name)).collect();
    let prices = ["open", "high", "low", "close", "last", "nav", "settle", "bid", "ask", "volume", "adj"];
    let day = known
        .iter()
        .any(|field| matches!(field.kind, FieldType::Date | FieldType::Timestamp | FieldType::LocalTimestamp));
    day && prices.iter().filter(|price| names.contains(price)).count() >= 2
}
