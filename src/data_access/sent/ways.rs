//! Any table, written in any of the ways that a source can declare, comes back as it was.

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset, Utc};
use encoding_rs::Encoding;
use proptest::prelude::*;

use super::hostile::{read, source_of};
use crate::domain::source::kind::Kind;

const COLUMNS: [(&str, Kind); 6] = [
    ("code", Kind::Text),
    ("amount", Kind::Decimal),
    ("share", Kind::Decimal),
    ("flag", Kind::Boolean),
    ("side", Kind::Whole),
    ("at", Kind::Timestamp),
];

/// How many characters each of the cells takes at fixed places.
const WIDTH: usize = 32;

/// Encodings, each with a letter of its own.
const ENCODINGS: &[(&str, &str)] = &[
    ("utf-8", "\u{1f4b6}"),
    ("utf-16le", "ж"),
    ("utf-16be", "é"),
    ("windows-1252", "é"),
    ("windows-1251", "ж"),
    ("shift_jis", "カ"),
    ("euc-kr", "가"),
    ("big5", "台"),
    ("gb18030", "亅"),
];

/// How numbers are written, and what declares it.
#[derive(Clone, Copy, Debug)]
enum Numbers {
    Plain,
    Parentheses,
    Trailing,
    Unicode,
    Triangle,
    Plus,
    Exponent,
    CurrencyBefore,
    CurrencyBehind,
    Apostrophes,
}

impl Numbers {
    const ALL: [Self; 10] = [
        Self::Plain,
        Self::Parentheses,
        Self::Trailing,
        Self::Unicode,
        Self::Triangle,
        Self::Plus,
        Self::Exponent,
        Self::CurrencyBefore,
        Self::CurrencyBehind,
        Self::Apostrophes,
    ];

    fn options(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Parentheses => "negative = \"parentheses\"\n",
            Self::Trailing => "negative = \"trailing\"\n",
            Self::Unicode => "negative = \"unicode\"\n",
            Self::Triangle => "negative = \"triangle\"\n",
            Self::Plus => "plus = true\n",
            Self::Exponent => "exponent = true\n",
            Self::CurrencyBefore | Self::CurrencyBehind => "currency = [\"EUR\", \"$\"]\n",
            Self::Apostrophes => "thousands = \"'\"\n",
        }
    }

    fn write(self, cents: i64) -> String {
        let size = format!("{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        let is_negative = cents < 0;
        let minus = if is_negative { "-" } else { "" };
        match self {
            Self::Parentheses if is_negative => format!("({size})"),
            Self::Trailing if is_negative => format!("{size}-"),
            Self::Unicode if is_negative => format!("\u{2212}{size}"),
            Self::Triangle if is_negative => format!("\u{25b3}{size}"),
            Self::Plus if !is_negative => format!("+{size}"),
            Self::Exponent => format!("{cents}E-2"),
            Self::CurrencyBefore => format!("{minus}$ {size}"),
            Self::CurrencyBehind => format!("{minus}{size} EUR"),
            Self::Apostrophes => {
                let (mut whole, mut at) = ((cents.abs() / 100).to_string(), (cents.abs() / 100).to_string().len());
                while at > 3 {
                    at -= 3;
                    whole.insert(at, '\'');
                }
                format!("{minus}{whole}.{:02}", cents.abs() % 100)
            }
            _ => format!("{minus}{size}"),
        }
    }

    /// Whether a sign of it is in the encoding.
    fn is_in(self, encoding: &str) -> bool {
        match self {
            Self::Unicode => encoding.starts_with("utf"),
            Self::Triangle => !encoding.starts_with("windows"),
            _ => true,
        }
    }
}

#[derive(Clone, Debug)]
struct Way {
    encoding: &'static (&'static str, &'static str),
    /// The delimiter, the quote and the escape; `None` for fixed places.
    dialect: Option<(&'static str, char, Option<char>)>,
    end: &'static str,
    /// The character before lines that are comments.
    comment: Option<char>,
    numbers: Numbers,
    percent: &'static str,
    words: (&'static str, &'static str),
    /// The form of times, and the zone in which they are written.
    time: (&'static str, &'static str),
}

fn way() -> impl Strategy<Value = Way> {
    let quotes =
        (prop::sample::select(vec![",", ";", "\t", "|", "||"]), prop::sample::select(vec!['"', '\'']), any::<bool>());
    let dialect = prop::option::weighted(0.8, quotes);
    let lines =
        (prop::sample::select(vec!["\n", "\r\n", "\r"]), prop::option::of(prop::sample::select(vec!['#', '!'])));
    let numbers = prop::sample::select(&Numbers::ALL[..]);
    let values = (
        prop::sample::select(vec!["keep", "divide"]),
        prop::sample::select(vec![("Ja", "Nein"), ("1", "0"), ("Y", "")]),
    );
    let times = prop::sample::select(vec![
        ("%Y-%m-%d %H:%M:%S", "Asia/Shanghai"),
        ("%d.%m.%Y %H:%M:%S", "+08:00"),
        ("%d %b %Y %I:%M:%S %p", "Asia/Shanghai"),
        ("%Y%m%d%H%M%S", "UTC"),
        ("%Y-%m-%dT%H:%M:%S%:z", ""),
        ("epoch_s", ""),
        ("epoch_ms", ""),
    ]);
    let parts = (prop::sample::select(ENCODINGS), dialect, lines, numbers, values, times);
    parts
        .prop_filter("its signs are in the encoding", |(encoding, _, _, numbers, ..)| numbers.is_in(encoding.0))
        .prop_map(|(encoding, dialect, (end, comment), numbers, (percent, words), time)| Way {
            encoding: ENCODINGS.iter().find(|known| **known == encoding).unwrap(),
            dialect: dialect.map(|(delimiter, quote, escapes)| (delimiter, quote, escapes.then_some('\\'))),
            end,
            comment,
            numbers,
            percent,
            words,
            time,
        })
}

struct Record {
    code: String,
    cents: i64,
    /// Hundredths of a percent.
    share: i64,
    flag: bool,
    side: i64,
    at: DateTime<Utc>,
}

impl Way {
    fn definition(&self) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let (name, _) = self.encoding;
        let mut text = format!("encoding = \"{name}\"\ntrue_values = {}\n", quoted(self.words.0));
        writeln!(text, "false_values = {}\nnull_values = [\"(none)\"]", quoted(self.words.1)).unwrap();
        if let Some((delimiter, quote, escape)) = self.dialect {
            writeln!(text, "delimiter = {}\nquote = {}", quoted(delimiter), quoted(&quote.to_string())).unwrap();
            text.extend(escape.map(|escape| format!("escape = {}\n", quoted(&escape.to_string()))));
        } else {
            text.push_str("format = \"fixed\"\ntrim = true\nheader = \"none\"\n");
        }
        text.extend((self.end == "\r").then_some("line_end = \"cr\"\n"));
        text.extend(self.comment.map(|sign| format!("comment = \"{sign}\"\n")));
        for (place, (name, _)) in COLUMNS.iter().enumerate() {
            writeln!(text, "[[source.column]]\nname = \"{name}\"").unwrap();
            if self.dialect.is_none() {
                writeln!(text, "at = [{}, {}]", place * WIDTH, (place + 1) * WIDTH).unwrap();
            }
            let zone = if self.time.1.is_empty() { String::new() } else { format!("zone = \"{}\"\n", self.time.1) };
            match *name {
                "amount" => text.push_str(self.numbers.options()),
                "share" => writeln!(text, "percent = \"{}\"", self.percent).unwrap(),
                "side" => text.push_str("map = { Kauf = 48, Verkauf = 49 }\n"),
                "at" => write!(text, "form = \"{}\"\n{zone}", self.time.0).unwrap(),
                _ => {}
            }
        }
        text
    }

    fn time(&self, at: DateTime<Utc>) -> String {
        let (form, zone) = self.time;
        match form {
            "epoch_s" => at.timestamp().to_string(),
            "epoch_ms" => at.timestamp_millis().to_string(),
            _ => {
                let hours = if zone == "UTC" { 0 } else { 8 };
                at.with_timezone(&FixedOffset::east_opt(hours * 3600).unwrap()).format(form).to_string()
            }
        }
    }

    fn cells(&self, record: &Record) -> [String; 6] {
        [
            record.code.clone(),
            self.numbers.write(record.cents),
            format!("{}.{:02}%", record.share / 100, record.share % 100),
            if record.flag { self.words.0 } else { self.words.1 }.to_owned(),
            if record.side == 48 { "Kauf" } else { "Verkauf" }.to_owned(),
            self.time(record.at),
        ]
    }

    fn line(&self, cells: &[String; 6]) -> String {
        let Some((delimiter, quote, escape)) = self.dialect else {
            let padded = |cell: &String| format!("{cell}{}", " ".repeat(WIDTH - cell.chars().count()));
            return cells.iter().map(padded).collect();
        };
        let in_quotes = |cell: &String| {
            let inner = match escape {
                Some(escape) => {
                    cell.replace(escape, &format!("{escape}{escape}")).replace(quote, &format!("{escape}{quote}"))
                }
                None => cell.replace(quote, &format!("{quote}{quote}")),
            };
            format!("{quote}{inner}{quote}")
        };
        cells.iter().map(in_quotes).collect::<Vec<_>>().join(delimiter)
    }

    fn write(&self, records: &[Record]) -> Vec<u8> {
        let mut lines = Vec::new();
        if self.dialect.is_some() {
            lines.push(self.line(&COLUMNS.map(|(name, _)| name.to_owned())));
        }
        for record in records {
            lines.extend(self.comment.map(|sign| format!("{sign} said, \"once")));
            lines.push(self.line(&self.cells(record)));
        }
        let text = lines.join(self.end) + self.end;
        match self.encoding.0 {
            "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "utf-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            label => {
                let (bytes, _, has_failed) = Encoding::for_label(label.as_bytes()).unwrap().encode(&text);
                assert!(!has_failed, "{label} has not all of {text}");
                bytes.into_owned()
            }
        }
    }

    /// What the table has.
    fn expected(&self, record: &Record) -> String {
        let minus = if record.cents < 0 { "-" } else { "" };
        let share = match self.percent {
            "keep" => format!("{}.{:02}", record.share / 100, record.share % 100),
            _ => format!("{}.{:04}", record.share / 10_000, record.share % 10_000),
        };
        format!(
            "{}|{minus}{}.{:02}|{share}|{}|{}|{}",
            record.code,
            record.cents.abs() / 100,
            record.cents.abs() % 100,
            record.flag,
            record.side,
            record.at.format("%Y-%m-%dT%H:%M:%SZ")
        )
    }
}

proptest! {
    #[test]
    fn a_table_of_all_kinds_comes_back_from_every_way_of_writing_it(
        way in way(),
        rows in prop::collection::vec(
            ("[A-Z][A-Za-z,;|\"'\\\\ ]{0,6}[A-Z]", -99_999_999_999_i64..99_999_999_999, 0_i64..1_000_000, any::<bool>(), 48_i64..50, 946_684_800_i64..2_200_000_000),
            0..6,
        ),
    ) {
        let record = |(code, cents, share, flag, side, seconds): (String, i64, i64, bool, i64, i64)| {
            let code = code + way.encoding.1;
            Record { code, cents, share, flag, side, at: DateTime::from_timestamp(seconds, 0).unwrap() }
        };
        let records: Vec<Record> = rows.into_iter().map(record).collect();
        let expected: Vec<String> = records.iter().map(|record| way.expected(record)).collect();
        let source = source_of(&COLUMNS, &way.definition());
        prop_assert_eq!(read(&source, &way.write(&records)).unwrap(), expected);
    }
}
