//! What the cells of a column are, as far as they tell it themselves.

use std::collections::BTreeSet;

use super::booleans;
use super::moments::{Reading, What, are_compact_dates, readings};
use super::names::words;
use super::nulls::{PLAIN, is_mark, is_mark_among_values};
use super::numbers::{self, Numbers};
use super::sample::SampleCell;
use super::zones::are_zones;
use crate::domain::source::cell_form::{CellKind, Clean};

/// A column of a table, as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent<'s> {
    /// Its place, from 1.
    pub(super) position: usize,
    /// Its header as it was sent; `None` if the table has none.
    pub(super) header: Option<String>,
    /// Which of several columns with this header it is, from 1; 0 if it is the only one.
    pub(super) nth: usize,
    /// A plain name for it.
    pub(super) name: String,
    /// The line and the cell of each row.
    pub(super) cells: Vec<(i64, &'s SampleCell)>,
}

/// What the cells of a column are.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    /// Nothing at all.
    Empty,
    /// Words for true and false.
    Words(&'static str, &'static str),
    /// Names of zones.
    Zones,
    Uuid,
    Json,
    Number(Box<Numbers>),
    /// Dates or times, and the ways to read them.
    Times(Vec<Reading>),
    /// True dates or times of a workbook.
    Workbook(What),
    /// A time that is counted, in which unit, and whether some cells are 0.
    Epoch(&'static str, bool),
    /// Text, and why it is not anything else, if that needs to be said.
    Text(Option<&'static str>),
}

/// What was found in a column.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) cells: Cells,
    /// How many rows have a value.
    pub(super) there: usize,
    /// How many rows there are.
    pub(super) rows: usize,
    /// The marks of missing values, with the first line of each.
    pub(super) marks: Vec<(String, i64)>,
    /// The line of the first row without a value.
    pub(super) first_empty: Option<i64>,
    /// Lines whose cell is not what the column holds.
    pub(super) odd: Vec<i64>,
    /// Whether apostrophes stand around its values.
    pub(super) apostrophes: bool,
    /// Its values, cleaned, in the order of the rows; `None` if one is missing.
    pub(super) values: Vec<Option<String>>,
    /// Whether some cells are numbers of a workbook.
    pub(super) has_numbers: bool,
}

/// What a header says of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that a name may say")]
pub(super) struct Hints {
    pub(super) id: bool,
    pub(super) time: bool,
    /// Whether it says that there are times of day, and no days.
    pub(super) clock: bool,
    pub(super) money: bool,
}

const IDS: &[&str] = &[
    "id",
    "ids",
    "code",
    "account",
    "acct",
    "symbol",
    "ticker",
    "isin",
    "wkn",
    "cusip",
    "sedol",
    "valor",
    "ref",
    "reference",
    "card",
    "iban",
    "bic",
    "no",
    "nr",
    "number",
    "ticket",
    "phone",
    "zip",
    "konto",
    "conto",
    "compte",
    "cuenta",
    "rachunek",
    "kontonummer",
    "referenz",
    "referencia",
    "riferimento",
    "key",
    "uid",
    "hash",
    "txid",
    "nummer",
    "numero",
    "numer",
    "four",
    "login",
    "client",
    "customer",
    "magic",
    "portfolio",
    "depot",
    "cpf",
    "cnpj",
    "contract",
    "branch",
    "uuid",
    "guid",
    "tx",
    "kontonr",
    "mobile",
    "tax",
];
const CLOCKS: &[&str] = &["time", "zeit", "uhrzeit", "tijd", "hora", "heure", "ora", "godzina", "tid"];
const DAYS: &[&str] = &["date", "datum", "fecha", "data", "valuta", "buchungstag"];
const TIMES: &[&str] = &[
    "date",
    "time",
    "datetime",
    "timestamp",
    "ts",
    "dt",
    "at",
    "day",
    "datum",
    "zeit",
    "tijd",
    "fecha",
    "hora",
    "data",
    "godzina",
    "created",
    "updated",
    "modified",
    "opened",
    "closed",
    "expiry",
    "maturity",
    "when",
    "utc",
    "epoch",
    "executed",
    "buchungstag",
    "valuta",
    "tag",
    "ms",
    "millis",
    "dag",
    "fecha",
    "jour",
    "heure",
    "kuupaev",
    "maturity",
    "cas",
    "dato",
    "transacttime",
];
const MONEY: &[&str] = &[
    "amount",
    "price",
    "fee",
    "commission",
    "balance",
    "cost",
    "value",
    "total",
    "profit",
    "tax",
    "interest",
    "rate",
    "cash",
    "debit",
    "credit",
    "income",
    "expense",
    "net",
    "gross",
    "betrag",
    "belopp",
    "kurs",
    "saldo",
    "montant",
    "importo",
    "importe",
    "kwota",
    "courtage",
    "pnl",
    "loss",
    "swap",
    "proceeds",
    "turnover",
    "duty",
    "fx",
    "quantity",
    "qty",
    "nav",
    "px",
    "margin",
    "asset",
    "equity",
    "prix",
    "preis",
    "pris",
    "precio",
    "prezzo",
    "cena",
    "bid",
    "ask",
    "high",
    "low",
    "shares",
    "size",
    "strike",
    "charge",
    "charges",
    "sum",
    "summa",
    "antal",
    "vega",
    "delta",
    "gamma",
    "theta",
    "money",
];

impl Sent<'_> {
    /// What its name says.
    pub(super) fn hints(&self) -> Hints {
        // A name that another column has as well ends with a number.
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let all: Vec<&str> = words(&self.name).filter(|word| !is_number(word)).collect();
        let last = all.last().copied().unwrap_or("");
        let any = |list: &[&str]| all.iter().any(|word| list.contains(word));
        let count = all.first() == Some(&"number")
            || any(&[
                "count", "quantity", "qty", "amount", "volume", "shares", "balance", "price", "percent", "rate", "fee",
                "value",
            ]);
        let ends_like = |list: &[&str]| {
            list.iter().any(|word| last.len() > word.len() + 2 && word.len() > 3 && last.ends_with(word))
        };
        let joined_id = last.len() > 3
            && (last.ends_with("id") && !last.ends_with("bid") && !last.ends_with("paid")
                || last.ends_with("nr")
                || last.ends_with("nummer"));
        Hints {
            id: !count
                && (IDS.contains(&last)
                    || all.contains(&"id")
                    || joined_id
                    || ["account", "code", "card"].iter().any(|word| all.contains(word))),
            clock: (any(CLOCKS) || ends_like(&["time", "zeit"])) && !any(DAYS) && !ends_like(&["date", "datum"]),
            time: any(TIMES) || ends_like(&["date", "time", "datum", "timestamp", "zeit"]),
            // An account of cash is an account.
            money: any(MONEY) && (count || !["account", "card"].contains(&last)),
        }
    }

    /// Looks at its cells.
    pub(super) fn look(&self, clean: Clean) -> Found {
        let hints = self.hints();
        let plain = |cell: &SampleCell| clean.apply(&cell.text).to_owned();
        // Rows of several files may have the same line: a row is known by its place.
        let texts: Vec<(i64, String, CellKind)> =
            (0..).zip(&self.cells).map(|(row, (_, cell))| (row, plain(cell), cell.kind)).collect();
        let is_there = |text: &str| !text.trim().is_empty();
        let quoted = texts.iter().filter(|(_, text, _)| is_there(text) && !is_mark(text));
        let in_apostrophes =
            |text: &str| text.len() > 1 && text.starts_with('\'') && !text[1..].trim_end_matches('\'').contains('\'');
        let apostrophes = quoted.clone().count() > 0 && quoted.clone().all(|(_, text, _)| in_apostrophes(text));
        let clean = Clean { apostrophes, ..clean };
        let texts: Vec<(i64, String, CellKind)> =
            texts.into_iter().map(|(line, text, kind)| (line, clean.apply(&text).to_owned(), kind)).collect();
        let gather = |is_null: fn(&str) -> bool| -> Vec<(i64, &str, CellKind)> {
            let there = |(_, text, _): &&(i64, String, CellKind)| {
                is_there(text) && !PLAIN.contains(&text.as_str()) && !is_null(text)
            };
            texts.iter().filter(there).map(|(line, text, kind)| (*line, text.as_str(), *kind)).collect()
        };
        // Beside a plus, a minus is a sign.
        let has_plus = texts.iter().any(|(_, text, _)| text == "+");
        let (strict, loose) = if has_plus {
            (gather(|_| false), gather(|_| false))
        } else {
            (gather(is_mark), gather(is_mark_among_values))
        };
        let header = self.header.as_deref().unwrap_or_default();
        let tried = |cells: &[(i64, &str, CellKind)]| what_are(cells, hints, header);
        let (mut cells, mut used) = (tried(&loose), &loose);
        // A mark such as NA is a text of its own among texts.
        if matches!(cells, Cells::Text(_) | Cells::Zones | Cells::Empty) && loose.len() < strict.len() {
            (cells, used) = (tried(&strict), &strict);
        }
        let lines: BTreeSet<i64> = used.iter().map(|(row, ..)| *row).collect();
        let line_of =
            |row: i64| usize::try_from(row).ok().and_then(|row| self.cells.get(row)).map_or(0, |(line, _)| *line);
        let mut marks: Vec<(String, i64)> = Vec::new();
        for (line, text, _) in texts.iter().filter(|(line, text, _)| is_there(text) && !lines.contains(line)) {
            if marks.iter().all(|(mark, _)| mark != text) {
                marks.push((text.clone(), line_of(*line)));
            }
        }
        let odd = match &cells {
            Cells::Number(numbers) => numbers.odd.iter().map(|at| line_of(used[*at].0)).collect(),
            _ => Vec::new(),
        };
        Found {
            there: used.len(),
            rows: texts.len(),
            first_empty: texts.iter().find(|(line, ..)| !lines.contains(line)).map(|(row, ..)| line_of(*row)),
            values: texts.iter().map(|(line, text, _)| lines.contains(line).then(|| text.clone())).collect(),
            has_numbers: used.iter().any(|(_, _, kind)| *kind == CellKind::Number),
            cells,
            marks,
            odd,
            apostrophes,
        }
    }
}

fn what_are(cells: &[(i64, &str, CellKind)], hints: Hints, header: &str) -> Cells {
    let texts: Vec<&str> = cells.iter().map(|(_, text, _)| *text).collect();
    if texts.is_empty() {
        return Cells::Empty;
    }
    if let Some(workbook) = workbook_times(cells) {
        return workbook;
    }
    if let Some((yes, no)) = booleans::words(&texts).filter(|_| !hints.id) {
        return Cells::Words(yes, no);
    }
    if texts.iter().all(|text| is_uuid(text)) {
        return Cells::Uuid;
    }
    if texts.iter().all(|text| text.starts_with(['{', '[']) && serde_json::from_str::<serde_json::Value>(text).is_ok())
    {
        return Cells::Json;
    }
    if are_zones(header, &texts) {
        return Cells::Zones;
    }
    let digits = texts.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(unit) = epoch(&texts, hints) {
        return Cells::Epoch(unit, texts.iter().any(|text| is_zero(text)));
    }
    if !digits || !hints.id && are_compact_dates(&texts, hints.time) {
        let found = readings(&texts);
        let fits = |reading: &Reading| reading.what != What::Time || !digits;
        // 12.05 may be a date without a year, and is a number.
        let number_like = found.iter().all(|reading| reading.no_year) && !hints.time && numbers::look(&texts).is_some();
        if !found.is_empty() && found.iter().all(fits) && !number_like {
            return Cells::Times(found);
        }
    }
    if digits && hints.clock && texts.iter().all(|text| text.len() == 6) && are_clock_digits(&texts) {
        return Cells::Times(vec![Reading::clock_digits()]);
    }
    if let Some(why) = stays_text(cells, hints) {
        return Cells::Text(Some(why));
    }
    match numbers::look(&texts) {
        Some(numbers) => Cells::Number(Box::new(numbers)),
        None => Cells::Text(None),
    }
}

/// True dates and times of a workbook, beside which nothing but dates and times stands.
fn workbook_times(cells: &[(i64, &str, CellKind)]) -> Option<Cells> {
    let moments: Vec<&str> =
        cells.iter().filter(|(.., kind)| *kind == CellKind::Moment).map(|(_, text, _)| *text).collect();
    if moments.is_empty() {
        return None;
    }
    let others: Vec<&str> =
        cells.iter().filter(|(.., kind)| *kind != CellKind::Moment).map(|(_, text, _)| *text).collect();
    let what = match () {
        () if moments.iter().all(|text| !text.contains('T')) => What::Time,
        () if moments.iter().all(|text| text.ends_with("T00:00:00")) => What::Date,
        () => What::Moment,
    };
    if others.is_empty() {
        return Some(Cells::Workbook(what));
    }
    let found: Vec<Reading> = readings(&others).into_iter().filter(|reading| reading.what == what).collect();
    Some(if found.is_empty() { Cells::Text(Some("dates and texts are mixed")) } else { Cells::Times(found) })
}

/// Why numbers are names of something, and not counted.
fn stays_text(cells: &[(i64, &str, CellKind)], hints: Hints) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let all_digits = cells.iter().all(|(_, text, _)| digits(text));
    if cells.iter().any(|(_, text, _)| digits(text) && text.len() > 1 && text.starts_with('0')) {
        return Some("a number with a leading zero is an id");
    }
    if cells.iter().any(|(_, text, kind)| *kind == CellKind::Text && digits(text) && text.len() > 15) {
        return Some("a number of more than 15 digits is an id");
    }
    let is_shortened = |text: &str| text.contains(['E', 'e']) && text.parse::<f64>().is_ok();
    if hints.id && !hints.money && cells.iter().any(|(_, text, _)| is_shortened(text)) {
        return Some("a program has shortened it, and its name says that it is an id");
    }
    if all_digits && hints.id && !hints.money {
        return Some("its name says that it is an id or a code");
    }
    // `1.10` and `1.1` are different codes.
    let are_dotted = cells.iter().all(|(_, text, kind)| {
        *kind == CellKind::Text && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    });
    if hints.id && !hints.money && are_dotted && are_of_parts(cells) {
        return Some("its name says that it is an id or a code");
    }
    // Codes of which some are numbers of a workbook, and some are texts.
    let mixed = cells.iter().any(|(.., kind)| *kind == CellKind::Number)
        && cells.iter().any(|(.., kind)| *kind == CellKind::Text);
    (mixed && hints.id).then_some("its name says that it is an id or a code")
}

/// Whether what is behind a point is a part of a code, and no fraction: numbers have no zeros at the end, or all as many digits.
fn are_of_parts(cells: &[(i64, &str, CellKind)]) -> bool {
    let fractions = || cells.iter().filter_map(|(_, text, _)| text.split_once('.')).map(|(_, fraction)| fraction);
    let lengths: BTreeSet<usize> = fractions().map(str::len).collect();
    fractions().any(|fraction| fraction.contains('.'))
        || lengths.len() > 1 && fractions().any(|fraction| fraction.ends_with('0'))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `093105`: six digits that are all a time of day.
fn are_clock_digits(cells: &[&str]) -> bool {
    let part = |cell: &str, at: usize| cell.get(at..at + 2).and_then(|part| part.parse::<u32>().ok()).unwrap_or(99);
    cells.iter().all(|cell| part(cell, 0) < 24 && part(cell, 2) < 60 && part(cell, 4) < 60)
}

/// `0`, which may stand for a time that is not there.
pub(super) fn is_zero(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'0')
}

/// The unit in which times are counted from 1970 on, if all numbers lie between 2000 and 2050 then.
fn epoch(cells: &[&str], hints: Hints) -> Option<&'static str> {
    if !hints.time || hints.id {
        return None;
    }
    let (from, to) = (946_684_800_u64, 2_524_608_000_u64);
    let in_reach = |cell: &&str, factor: u64| {
        let (whole, fraction) = cell.split_once('.').unwrap_or((cell, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(fraction) && digits(whole) && fraction.len() <= 9;
        fits && whole.parse::<u64>().is_ok_and(|number| (from * factor..to * factor).contains(&number))
    };
    let units = [("epoch_s", 1), ("epoch_ms", 1000), ("epoch_us", 1_000_000), ("epoch_ns", 1_000_000_000)];
    let counted: Vec<&&str> = cells.iter().filter(|cell| !is_zero(cell)).collect();
    let all = |(_, factor): &(&str, u64)| !counted.is_empty() && counted.iter().all(|cell| in_reach(cell, *factor));
    units.into_iter().find(all).map(|(unit, _)| unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, cells: &[&str]) -> Found {
        let cells: Vec<SampleCell> =
            cells.iter().map(|text| SampleCell { text: (*text).to_owned(), kind: CellKind::Text }).collect();
        let sent = Sent {
            position: 1,
            header: Some(name.to_owned()),
            nth: 0,
            name: name.to_owned(),
            cells: (1..).zip(&cells).collect(),
        };
        sent.look(Clean { trim: true, ..Clean::default() })
    }

    #[test]
    fn a_column_is_what_all_its_cells_are() {
        let is = |name: &str, cells: &[&str]| format!("{:?}", look(name, cells).cells);
        assert!(is("price", &["1.5", "-", "2"]).starts_with("Number"));
        assert!(is("day", &["2025-01-02", "N/A"]).starts_with("Times"));
        assert!(is("flag", &["True", "False"]).starts_with("Words"));
        assert_eq!(is("a", &["", " "]), "Empty");
        assert_eq!(is("order_id", &["d80fbc78-9ea5-48e2-ac76-3a51fd45bbe3", ""]), "Uuid");
        assert_eq!(is("extra", &["{\"a\": 1}", "[]"]), "Json");
        assert_eq!(is("time", &["1766361603960"]), "Epoch(\"epoch_ms\", false)");
        assert_eq!(is("seen_at", &["1766361603"]), "Epoch(\"epoch_s\", false)");
        assert_eq!(is("close_time", &["1766361603960", "0"]), "Epoch(\"epoch_ms\", true)");
        assert!(is("order_id", &["1766361603960"]).starts_with("Text"));
        assert!(is("code", &["600519", "600520"]).starts_with("Text(Some"));
        assert!(is("zip_or_not", &["01234", "12"]).starts_with("Text(Some"));
        assert!(is("long", &["12345678901234567"]).starts_with("Text(Some"));
        assert!(is("position_id", &["41e00", "42e01"]).starts_with("Text"));
        assert!(is("rank", &["1", "2"]).starts_with("Number"));
        assert!(is("trade_time", &["093105", "150000"]).contains("%H%M%S"));
    }

    #[test]
    fn marks_of_missing_values_are_told_with_their_line() {
        let found = look("price", &["1.5", "-", "", "NA"]);
        assert_eq!((found.there, found.rows, found.first_empty), (1, 4, Some(2)));
        assert_eq!(found.marks, [("-".to_owned(), 2), ("NA".to_owned(), 4)]);
        let text = look("symbol", &["NA", "-", "MRDF"]);
        assert_eq!((text.there, text.marks.len()), (2, 1));
        assert!(look("card", &["'5101770012348831'", "'5101770012348832'"]).apostrophes);
    }
}
