//! What tells the rows of a table apart, and which of two is the newer one.

use std::collections::BTreeSet;

use super::answers::About;
use super::column::Sent;
use super::field::{Field, FieldType};
use super::known_table::Table;
use super::names::words;
use super::question::Asked;

/// What tells the rows of a table apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The values of these columns.
    Columns(Vec<String>, String),
    /// Nothing but the whole row, besides what another file has otherwise for the same row: these columns.
    Content(String, Vec<String>),
}

impl Key {
    /// The columns of the key; none if the content of the row is.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Columns(columns, _) => columns,
            Self::Content(..) => &[],
        }
    }

    /// Why.
    #[must_use]
    pub fn evidence(&self) -> &str {
        match self {
            Self::Columns(_, evidence) | Self::Content(evidence, _) => evidence,
        }
    }
}

/// Words of what happens: its id names a row.
const EVENTS: &[&str] = &[
    "order",
    "trade",
    "transaction",
    "txn",
    "tx",
    "deal",
    "ticket",
    "execution",
    "exec",
    "fill",
    "serial",
    "operation",
    "position",
    "hash",
    "txid",
    "uuid",
    "guid",
    "contract",
    "booking",
    "payment",
    "entry",
    "record",
    "row",
    "event",
    "invoice",
    "transfer",
    "request",
    "match",
    "confirmation",
    "document",
    "receipt",
    "run",
];
const ACCOUNTS: &[&str] = &[
    "account",
    "acct",
    "holder",
    "portfolio",
    "client",
    "customer",
    "login",
    "konto",
    "conto",
    "depot",
    "compte",
    "cuenta",
    "wallet",
    "subaccount",
];
const INSTRUMENTS: &[&str] = &[
    "symbol",
    "code",
    "ticker",
    "isin",
    "wkn",
    "cusip",
    "sedol",
    "instrument",
    "security",
    "contract",
    "coin",
    "asset",
    "pair",
    "stock",
    "fund",
    "valor",
    "product",
    "market",
    "currency",
    "ccy",
];
/// Words that only tables of events have.
const OF_EVENTS: &[&str] = &[
    "side",
    "direction",
    "operation",
    "description",
    "summary",
    "transaction",
    "trade",
    "order",
    "deal",
    "payee",
    "merchant",
    "counterparty",
    "omschrijving",
    "beskrivning",
    "action",
    "activity",
    "event",
    "way",
    "opis",
    "libelle",
    "buchungstext",
    "purpose",
    "verwendungszweck",
    "settlement",
    "deposit",
    "withdrawal",
    "debit",
    "credit",
    "buy",
    "sell",
    "income",
    "expense",
    "belegdatum",
    "booking",
];

/// Words of days on which something happens.
const DAYS_OF_EVENTS: &[&str] = &["ex", "dividend", "payable", "pay", "payment", "record", "posting", "posted", "paid"];

/// Words of what there is, of which a lone amount is a part.
const OF_STATES: &[&str] = &[
    "price", "close", "open", "high", "low", "nav", "quantity", "qty", "shares", "position", "market", "value",
    "total", "balance", "cost", "weight", "volume", "holding", "held", "cash",
];

/// Words of fills, and of what each of them has.
const FILLS: &[&str] =
    &["fill", "filled", "traded", "trade", "deal", "exec", "executed", "execution", "match", "matched"];
const OF_FILLS: &[&str] = &["price", "quantity", "qty", "volume", "amount", "time", "date", "value", "shares"];

/// Finds the key. `outside` are the columns that a file has from elsewhere than its rows.
pub(super) fn find(table: &Table<'_>, fields: &[Field], outside: &[Field], asked: &mut Vec<Asked>) -> Key {
    let own: Vec<&Field> = fields.iter().filter(|field| field.position > 0 && !field.is_unit).collect();
    let rows = table.found.first().map_or(0, |found| found.rows);
    let whole = |field: &&&Field| field.required || table.found[field.at].there == rows;
    let can_be_key =
        |field: &&&Field| !matches!(field.kind, FieldType::Json | FieldType::Boolean | FieldType::Decimal { .. });
    let candidates: Vec<&Field> = own.iter().filter(whole).filter(can_be_key).copied().collect();
    let unique = |columns: &[&Field]| rows > 0 && is_unique(table, columns, rows);
    let chosen = chosen(table, asked, |names| {
        let is_plain = |field: &&&Field| field.kind != FieldType::Json;
        let named = |name: &&str| own.iter().filter(whole).filter(is_plain).find(|field| field.name == **name).copied();
        let is_outside = |name: &&str| outside.iter().any(|field| field.name == **name);
        names.iter().all(|name| named(name).is_some() || is_outside(name))
            && unique(&names.iter().filter_map(named).collect::<Vec<_>>())
    });
    if let Some(columns) = chosen.clone().filter(|columns| !columns.is_empty()) {
        return Key::Columns(columns, BY_ANSWER.into());
    }
    let is_open = chosen.is_none();
    let is_id = |field: &&&Field| table.sent[field.at].hints().id || field.kind == FieldType::Uuid;
    let has = |field: &Field, list: &[&str]| words(&field.name).any(|word| list.contains(&word));
    // What a payer calls a payment comes again with the next one.
    let is_of_payer = |field: &Field| {
        has(field, &["mandate", "customer", "payer", "payee"])
            || has(field, &["payment", "invoice"]) && has(field, &["ref", "reference"])
    };
    let is_event_id = |field: &&&Field| {
        is_id(field)
            && !is_of_payer(field)
            && (has(field, EVENTS) || field.name == "id" || field.kind == FieldType::Uuid)
            && !has(field, ACCOUNTS)
    };
    // An order is filled in any number of rows, even if each has one in this file.
    let is_order = |field: &Field| has(field, &["order", "contract"]) && !has(field, FILLS);
    let is_fill = |field: &Field| {
        has(field, FILLS) && has(field, OF_FILLS) && !has(field, &["avg", "average", "total", "remaining"])
    };
    let has_status = own.iter().any(|field| has(field, &["status", "state"]));
    let are_fills = !has_status && own.iter().any(|field| is_fill(field));
    let of_others = |field: &Field| has(field, &["merchant", "counterparty", "parent", "related", "last", "request"]);
    let events: Vec<&Field> = candidates.iter().filter(is_event_id).copied().collect();
    // The next file begins at 1 again.
    let is_running = |field: &Field| {
        let last = words(&field.name).last().unwrap_or("");
        let mut numbers: Vec<Option<usize>> =
            table.found[field.at].values.iter().map(|value| value.as_ref()?.parse().ok()).collect();
        if numbers.first() > numbers.last() {
            numbers.reverse();
        }
        let counts = |first: usize| numbers.iter().enumerate().all(|(row, number)| *number == Some(row + first));
        !["id", "uuid", "guid", "hash", "txid"].contains(&last) && !has(field, ACCOUNTS) && (counts(0) || counts(1))
    };
    let names_row = |field: &&&Field| unique(&[field]) && !(are_fills && is_order(field)) && !is_running(field);
    let by_rank = events.iter().filter(names_row).min_by_key(|field| of_others(field));
    if let Some(id) = by_rank.filter(|_| is_open) {
        let evidence =
            format!("{} is there in each of {rows} rows and never twice, and its name is that of an id", id.name);
        return Key::Columns(vec![id.name.clone()], evidence);
    }
    let changed = version(fields).and_then(|name| candidates.iter().find(|field| field.name == name).copied());
    if let (Some(id), Some(changed)) = (events.iter().find(|field| !of_others(field)), changed)
        && is_open
        && unique(&[id, changed])
    {
        let evidence = format!("{} comes several times, but never twice with the same {}", id.name, changed.name);
        return Key::Columns(vec![id.name.clone(), changed.name.clone()], evidence);
    }
    if is_open
        && !are_fills
        && !is_of_events(&own)
        && let Some(key) = of_positions(&candidates, (&own, outside), rows, &unique, &has)
    {
        return key;
    }
    // The number of a line is another one in a file that overlaps this one.
    let is_of_line =
        |field: &&&Field| field.position == 1 && rows > 2 && is_line_number(&field.name) && is_running(field);
    let of_file = own.iter().filter(is_of_line).map(|field| field.name.clone()).collect();
    let evidence = match () {
        () if !is_open => BY_ANSWER,
        () if are_fills && events.iter().any(|field| is_order(field) && unique(&[field])) => {
            "an order is filled in any number of rows, even if each has one here, so that its id names no row"
        }
        () => "no column, and no set of columns that names something, tells every row from every other",
    };
    content(table, &own, (rows, of_file, evidence), asked)
}

/// Whether a name is that of a number of lines.
fn is_line_number(name: &str) -> bool {
    const WORDS: &[&str] =
        &["no", "nr", "num", "row", "rownum", "line", "lfd", "seq", "sequence", "index", "pos", "serial"];
    words(name)
        .any(|word| WORDS.contains(&word) || ["number", "nummer", "zeile"].iter().any(|part| word.contains(part)))
}

const BY_ANSWER: &str = "by your answer";

/// The columns that a person wants for the key, none of them for the content; `None` without an answer, and with one that cannot be the key.
fn chosen(table: &Table<'_>, asked: &mut Vec<Asked>, can_be: impl Fn(&[&str]) -> bool) -> Option<Vec<String>> {
    let about = About { part: &table.place.part, ..About::default() };
    table.answers.get("key", about)?;
    let why = "the columns of a key are there in each row, and no two rows have the same in all of them".to_owned();
    // A column may be named by its header.
    let name = |given: &str| {
        let is = |column: &&Sent<'_>| column.header.as_deref().is_some_and(|header| header.trim() == given);
        table.sent.iter().find(is).map_or_else(|| given.to_owned(), |column| column.name.clone())
    };
    let names = |answer: &str| answer.split(',').map(|given| name(given.trim())).collect::<Vec<_>>();
    let known = table.sent.iter().map(|column| column.name.clone()).chain(["content".into()]).collect();
    let question = table.ask_about(about, "key", why, (Vec::new(), known), |answer| {
        let names = names(answer);
        let once = names.iter().collect::<BTreeSet<_>>().len() == names.len();
        let fits = names == ["content"] || once && can_be(&names.iter().map(String::as_str).collect::<Vec<_>>());
        fits.then(|| names.join(","))
    });
    let answer = question.answer.clone();
    asked.push(question);
    answer.map(|answer| if answer == "content" { Vec::new() } else { names(&answer) })
}

/// Whether the rows of a table are what happened, and not what is.
fn is_of_events(fields: &[&Field]) -> bool {
    let of_state = |field: &&Field| words(&field.name).any(|word| OF_STATES.contains(&word));
    let has_state = fields.iter().any(of_state);
    let is_time = |field: &&Field| {
        matches!(field.kind, FieldType::Date | FieldType::Time | FieldType::Timestamp | FieldType::LocalTimestamp)
    };
    // What is held has a quantity or a value and no time. Then its description is that of an instrument.
    let is_held = has_state && !fields.iter().any(is_time);
    let of_instrument = |word: &str| is_held && word == "description";
    fields.iter().any(|field| {
        let all: Vec<&str> = words(&field.name).filter(|word| !of_instrument(word)).collect();
        let instrument = all.iter().any(|word| ["code", "market", "currency", "id", "account"].contains(word));
        ["type", "typ"].contains(&field.name.as_str())
            || all.iter().any(|word| OF_EVENTS.contains(word)) && !instrument
            || matches!(field.kind, FieldType::Time)
            || ["amount", "change", "delta"].contains(&field.name.as_str()) && !has_state
            || field.kind == FieldType::Date && all.iter().any(|word| DAYS_OF_EVENTS.contains(word))
            || matches!(field.kind, FieldType::Timestamp | FieldType::LocalTimestamp)
                && !all.iter().any(|word| ["as", "updated", "update", "modified", "last"].contains(word))
    })
}

/// Account, instrument and day, as far as the table has them and needs them.
fn of_positions(
    candidates: &[&Field],
    (own, outside): (&[&Field], &[Field]),
    rows: usize,
    unique: &impl Fn(&[&Field]) -> bool,
    has: &impl Fn(&Field, &[&str]) -> bool,
) -> Option<Key> {
    let text = |field: &&&Field| matches!(field.kind, FieldType::Text | FieldType::Bigint);
    let no_kind = |field: &&&Field| !has(field, &["type", "name", "currency_name", "four"]);
    let account = candidates.iter().filter(text).filter(no_kind).find(|field| has(field, ACCOUNTS));
    let is_instrument =
        |field: &&&Field| has(field, INSTRUMENTS) && account.is_none_or(|account| account.name != field.name);
    let rank = |field: &&Field| {
        INSTRUMENTS.iter().position(|word| words(&field.name).any(|own| own == *word)).unwrap_or(usize::MAX)
    };
    let instrument =
        candidates.iter().filter(text).filter(no_kind).filter(is_instrument).min_by_key(|field| rank(field));
    let day = candidates.iter().find(|field| matches!(field.kind, FieldType::Date));
    let mut columns: Vec<&Field> = account.into_iter().chain(instrument).copied().collect();
    // An account has one balance a day, and any number of bookings.
    let is_described = |field: &&Field| {
        matches!(field.kind, FieldType::Text | FieldType::Json)
            && account.is_none_or(|account| account.name != field.name)
            && !has(field, &["currency", "ccy", "type", "name", "status"])
    };
    // Any number of sums of one currency are exchanged or paid in a day.
    let is_sum = |field: &&Field| has(field, &["amount", "sum", "bought", "sold", "paid", "received"]);
    let only_currency = account.is_none() && instrument.is_some_and(|field| has(field, &["currency", "ccy"]));
    if columns.is_empty()
        || instrument.is_none() && own.iter().any(is_described)
        || only_currency && own.iter().any(is_sum)
    {
        return None;
    }
    // A file of the next day has the same names again.
    let is_daily = unique(&columns) && day.is_some_and(|day| is_of_a_day(day, own, has));
    if is_daily || !unique(&columns) {
        columns.push(day?);
    }
    if !unique(&columns) {
        return None;
    }
    columns.sort_by_key(|field| field.position);
    // Another file has the same for another account.
    let is_account = |field: &&Field| account.is_none() && (has(field, ACCOUNTS) || field.name == "file_code");
    columns.splice(0..0, outside.iter().find(is_account));
    let names: Vec<String> = columns.iter().map(|field| field.name.clone()).collect();
    let why =
        if is_daily { "a file of another day names the same again" } else { "no smaller set that names something is" };
    let (together, verb) = if names.len() > 1 { (" together", "are") } else { ("", "is") };
    let evidence = format!("{}{together} {verb} in each of {rows} rows and never twice, and {why}", names.join(", "));
    Some(Key::Columns(names, evidence))
}

/// Whether rows say what was on a day, so that each day has rows of its own: prices and holdings of a day do. What was gained up
/// to a day, in percent, is renewed.
fn is_of_a_day(day: &Field, own: &[&Field], has: &impl Fn(&Field, &[&str]) -> bool) -> bool {
    let dated = has(
        day,
        &["date", "day", "as", "of", "nav", "valuation", "price", "pricing", "business", "datum", "fecha", "data"],
    );
    let other = has(
        day,
        &[
            "maturity",
            "expiry",
            "expiration",
            "birth",
            "inception",
            "listing",
            "launch",
            "issue",
            "settlement",
            "open",
            "opened",
            "purchase",
            "acquired",
            "coupon",
            "dividend",
            "ex",
            "start",
            "end",
            "due",
            "update",
            "updated",
            "created",
        ],
    );
    dated && !other && !own.iter().any(|field| has(field, &["percent", "return", "performance", "ytd"]))
}

fn content(
    table: &Table<'_>,
    own: &[&Field],
    (rows, of_file, evidence): (usize, Vec<String>, &str),
    asked: &mut Vec<Asked>,
) -> Key {
    let evidence = evidence.to_owned();
    let repeated = repetitions(table, rows);
    if repeated.is_empty() {
        return Key::Content(evidence, of_file);
    }
    let complete: Vec<&Field> = own
        .iter()
        .filter(|field| table.found[field.at].there == rows && field.kind != FieldType::Json)
        .copied()
        .collect();
    let distinct: BTreeSet<Vec<&Option<String>>> = (0..rows).map(|row| row_of(table, row)).collect();
    let by_complete: BTreeSet<Vec<&Option<String>>> =
        (0..rows).map(|row| complete.iter().map(|field| &table.found[field.at].values[row]).collect()).collect();
    let can_be_once = distinct.len() == by_complete.len() && !complete.is_empty();
    let mut answers = vec!["keep".to_owned()];
    if can_be_once {
        answers.push("once".into());
    }
    let why = "some rows are alike in every cell: either each is an event of its own (keep), or the sender wrote one twice (once)".to_owned();
    let about = About { part: &table.place.part, ..About::default() };
    let known = answers.clone();
    let question = table.ask_about(about, "repeated_rows", why, (repeated, answers), move |answer| {
        let answer = match answer.to_ascii_lowercase().as_str() {
            "keep" | "events" | "two" | "both" | "yes" | "all" | "keep_all" | "distinct" | "separate" => "keep",
            "once" | "one" | "duplicate" | "drop" | "sent_twice" | "no" => "once",
            _ => return None,
        };
        known.iter().any(|known| known == answer).then(|| answer.to_owned())
    });
    let once = question.answer.as_deref() == Some("once");
    asked.push(question);
    if once {
        let names = complete.iter().map(|field| field.name.clone()).collect();
        return Key::Columns(names, "rows that are alike in every cell are one row, by your answer".into());
    }
    Key::Content(evidence, of_file)
}

fn row_of<'t>(table: &'t Table<'_>, row: usize) -> Vec<&'t Option<String>> {
    table.found.iter().map(|found| &found.values[row]).collect()
}

/// The lines of rows that are alike in every cell, as `5 and 6`.
fn repetitions(table: &Table<'_>, rows: usize) -> Vec<String> {
    let mut seen = std::collections::BTreeMap::new();
    let mut all = Vec::new();
    for row in 0..rows {
        if let Some(first) = seen.insert(row_of(table, row), row)
            && all.len() < 5
        {
            let line = |row: usize| table.sent.first().map_or(0, |column| column.cells[row].0);
            all.push(format!("lines {} and {}", line(first), line(row)));
        }
    }
    all
}

fn is_unique(table: &Table<'_>, columns: &[&Field], rows: usize) -> bool {
    let mut seen = BTreeSet::new();
    (0..rows).all(|row| seen.insert(columns.iter().map(|field| &table.found[field.at].values[row]).collect::<Vec<_>>()))
}

/// The column with the time of the last change.
pub(super) fn version(fields: &[Field]) -> Option<String> {
    const NAMES: &[&str] = &[
        "updated_at",
        "update_time",
        "last_update_time",
        "last_updated",
        "last_updated_at",
        "modified_at",
        "last_modified",
        "updated",
        "update_date_time",
        "updated_time",
        "last_update",
        "modified",
        "updated_on",
    ];
    let is_version =
        |field: &&Field| field.kind == FieldType::Timestamp && field.required && NAMES.contains(&field.name.as_str());
    fields.iter().find(is_version).map(|field| field.name.clone())
}
