//! The lexical forms of the contract, compared with the same forms written once more in plain Rust, on thousands of
//! cells that are valid, nearly valid, or noise.

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::Location;
use small_etl::pipeline::Request;

use futures::TryStreamExt;

use crate::support::Scratch;
use crate::world::{checked, settings_for};

const ROWS: usize = 5_000;

const DEFINITION: &str = r#"
name = "cell"
table = "cell"
key = "id"
version = "seen_at"
files = ["none"]
null_values = []
[[column]]
name = "id"
type = "text"
required = true
[[column]]
name = "whole"
type = "integer"
[[column]]
name = "large"
type = "bigint"
[[column]]
name = "money"
type = "decimal"
precision = 20
scale = 2
[[column]]
name = "time"
type = "timestamp"
[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_integer(cell: &str, bits: u32) -> bool {
    let form = digits(cell.strip_prefix('-').unwrap_or(cell));
    let limit = 1_i128 << (bits - 1);
    form && cell.parse::<i128>().is_ok_and(|number| (-limit..limit).contains(&number))
}

fn is_money(cell: &str) -> bool {
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "00"));
    digits(whole) && whole.len() <= 18 && digits(fraction) && fraction.bytes().skip(2).all(|byte| byte == b'0')
}

fn is_time(cell: &str) -> bool {
    let Some((date, time)) = cell.split_once('T') else { return false };
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let number =
        |text: &str, length: usize| (digits(text) && text.len() == length).then(|| text.parse::<u32>().ok()).flatten();
    let (date, time): (Vec<_>, Vec<_>) = (date.split('-').collect(), time.split(':').collect());
    let ([year, month, day], [hour, minute, second]) = (&date[..], &time[..]) else { return false };
    let parts =
        (number(year, 4), number(month, 2), number(day, 2), number(hour, 2), number(minute, 2), number(second, 2));
    let (Some(year @ 1..), Some(month @ 1..=12), Some(day @ 1..), Some(..=23), Some(..=59), Some(..=59)) = parts else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
    day <= length && digits(fraction) && fraction.len() <= 6
}

/// Returns a valid cell, sometimes with one character replaced, removed or doubled.
fn cell(random: &mut ChaCha8Rng, kind: usize) -> String {
    let length = random.random_range(1..=21);
    let number: String = (0..length).map(|_| char::from(random.random_range(b'0'..=b'9'))).collect();
    let mut text = match kind {
        0 | 1 => number,
        2 => format!("{number}.{}", ["0", "15", "5000", "555", "05", ""][random.random_range(0..6)]),
        _ => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}",
            random.random_range(0..4000),
            random.random_range(0..14),
            random.random_range(0..33),
            random.random_range(0..26),
            random.random_range(0..62),
            random.random_range(0..62),
            ["", "Z", ".1", ".123456Z", ".1234567", "+08:00"][random.random_range(0..6)],
        ),
    };
    if random.random_ratio(1, 2) {
        let at = random.random_range(0..text.len());
        let noise = ["", "-", "+", ".", "e", "_", " ", "0", ":", "T", "Z", "٣", "−"][random.random_range(0..13)];
        text.replace_range(at..=at, noise);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_and_the_contract_agree_on_every_cell() {
    let scratch = Scratch::new("lexical");
    std::fs::write(scratch.path().join("cell.toml"), DEFINITION).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut file = String::from("id,whole,large,money,time,seen_at\n");
    let mut expected = Vec::new();
    for row in 1..=ROWS {
        let cells: Vec<String> = (0..4).map(|kind| cell(&mut random, kind)).collect();
        let rules = [
            ("whole", is_integer(&cells[0], 32)),
            ("large", is_integer(&cells[1], 64)),
            ("money", is_money(&cells[2])),
            ("time", is_time(&cells[3])),
        ];
        let wrong = rules.iter().zip(&cells).filter(|((_, valid), _)| !valid);
        expected.extend(wrong.map(|((column, _), cell)| format!("{row} {column} {cell:?}")));
        writeln!(file, "{row},{},2025-12-22T14:30:00", cells.join(",")).unwrap();
    }
    std::fs::write(scratch.path().join("cells.csv"), file).unwrap();
    let settings = settings_for("postgres://localhost/unused", &[("DATASETS__PATH", scratch.path().to_str().unwrap())]);
    let context = small_etl::start::context(&settings, &small_etl::services::Parts::default()).unwrap();
    let location = Location::File(scratch.path().join("cells.csv"));
    let request = Request { dataset: Some("cell".into()), ..Request::new(location) };
    let checked = checked(&context, &request).await.unwrap();
    let chunks: Vec<_> = checked.violations().try_collect().await.unwrap();
    let found: Vec<String> = chunks
        .into_iter()
        .flatten()
        .map(|violation| format!("{} {} {:?}", violation.record, violation.column.unwrap(), violation.value.unwrap()))
        .collect();
    let differing: Vec<_> = found
        .iter()
        .filter(|cell| !expected.contains(cell))
        .chain(expected.iter().filter(|cell| !found.contains(cell)))
        .take(20)
        .collect();
    assert!(differing.is_empty(), "judged differently: {differing:#?}");
    let (valid, invalid) = (4 * ROWS - expected.len(), expected.len());
    assert!(valid > 1000 && invalid > 1000, "{valid} valid and {invalid} invalid cells prove too little");
}
