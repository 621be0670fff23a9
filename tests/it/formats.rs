//! Files as their senders write them, through the whole path: each of the formats in `tests/formats` lies in the tables as its
//! `truth.json` says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use small_etl::data_access::postgres::Database;
use small_etl::domain::LoadReport;

use crate::support::Scratch;
use crate::world::{World, checked, settings_for};

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn files(folder: &Path, is_ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|file| is_ours(file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()));
    all.sort();
    all
}

/// The type of a column of a table that holds a column of a definition.
fn table_type(column: &toml::Value) -> String {
    match column["type"].as_str().unwrap() {
        "decimal" => format!("numeric({}, {})", column["precision"], column["scale"]),
        "timestamp" => "timestamptz".into(),
        "local_timestamp" => "timestamp".into(),
        "double" => "double precision".into(),
        other => other.into(),
    }
}

/// The text of a column of a table, as truth has it.
fn as_text(name: &str, kind: &str) -> String {
    match kind {
        "timestamp" => format!("replace((\"{name}\" at time zone 'UTC')::text, ' ', 'T') || 'Z'"),
        "local_timestamp" => format!("replace(\"{name}\"::text, ' ', 'T')"),
        "decimal" => format!("trim_scale(\"{name}\")::text"),
        _ => format!("\"{name}\"::text"),
    }
}

/// Values that are equal have the same text.
fn normal(kind: &str, text: &str) -> String {
    let without_zeros = |text: &str| {
        let fraction = text.contains('.');
        if fraction { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    match kind {
        "decimal" => without_zeros(text),
        "double" => text.parse::<f64>().unwrap().to_string(),
        "time" | "timestamp" | "local_timestamp" => match text.strip_suffix('Z') {
            Some(clock) => without_zeros(clock) + "Z",
            None => without_zeros(text),
        },
        _ => text.to_owned(),
    }
}

fn truths(folder: &Path) -> Vec<Value> {
    let truth: Value = serde_json::from_str(&fs::read_to_string(folder.join("truth.json")).unwrap()).unwrap();
    truth["parts"].as_array().cloned().unwrap_or_else(|| vec![truth])
}

/// What a column must hold, row by row; `None` for columns of which the truth says nothing.
fn expected(truth: &Value, column: &str) -> Option<Vec<Option<String>>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let rows = truth["rows"].as_array().unwrap();
    if let Some(index) = truth["columns"].as_array().unwrap().iter().position(|known| known["name"] == column) {
        return Some(rows.iter().map(|row| text(&row[index])).collect());
    }
    let combined = truth["combined"].as_array().into_iter().flatten().find(|known| known["name"] == column);
    if let Some(combined) = combined {
        return Some(combined["values"].as_array().unwrap().iter().map(text).collect());
    }
    let told = ["from_name", "from_preamble"].into_iter().find_map(|outside| truth[outside][column].as_str())?;
    Some(vec![Some(told.to_owned()); rows.len()])
}

/// A dataset of one of the formats.
struct Defined {
    name: String,
    columns: Vec<(String, String)>,
    truth: Value,
    key: String,
    bytes: Vec<u8>,
}

/// Writes every definition and one migration with all tables into a folder.
fn prepare(folder: &Path) -> Vec<Defined> {
    let mut defined = Vec::new();
    let mut migration = String::new();
    for format in folders() {
        let sent = files(&format, |extension| !matches!(extension, "toml" | "json")).remove(0);
        let truths = truths(&format);
        for file in files(&format, |extension| extension == "toml") {
            let text = fs::read_to_string(&file).unwrap();
            let definition: toml::Table = toml::from_str(&text).unwrap();
            let name = definition["name"].as_str().unwrap().to_owned();
            fs::write(folder.join(format!("{name}.toml")), &text).unwrap();
            let columns = definition["column"].as_array().unwrap();
            let of_table = columns.iter().map(|column| {
                let key = if column["name"].as_str() == Some("line") { " primary key" } else { "" };
                format!("{} {}{key}", column["name"], table_type(column))
            });
            writeln!(migration, "create table public.\"{name}\" ({});", of_table.collect::<Vec<_>>().join(", "))
                .unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let of_part = |truth: &&Value| {
                let part = truth["part"].as_str().unwrap_or_default().to_lowercase();
                truths.len() == 1 || part.contains(&stem) || part.contains(stem.trim_end_matches('s'))
            };
            let format = format.file_name().unwrap().to_str().unwrap();
            defined.push(Defined {
                columns: columns
                    .iter()
                    .map(|column| (column["name"].as_str().unwrap().into(), column["type"].as_str().unwrap().into()))
                    .collect(),
                truth: truths.iter().find(of_part).unwrap().clone(),
                key: format!("incoming/{format}/{}", sent.file_name().unwrap().to_str().unwrap()),
                bytes: fs::read(&sent).unwrap(),
                name,
            });
        }
    }
    fs::create_dir(folder.join("migrations")).unwrap();
    fs::write(folder.join("migrations/V1__formats.sql"), migration).unwrap();
    defined
}

/// The rows that were rejected, counted from 0.
async fn rejected(world: &World, load: i64) -> Vec<u64> {
    let records = world.query(&format!("select distinct record - 1 from etl.reject where load_id = {load}")).await;
    records.lines().map(|record| record.parse().unwrap()).collect()
}

/// Compares every cell of a table with the truth, but for the rows that were rejected.
async fn compare(world: &World, defined: &Defined, rejected: &[u64]) {
    let cells: Vec<String> = defined.columns.iter().map(|(name, kind)| as_text(name, kind)).collect();
    let sql = format!(
        "select coalesce(json_agg(json_build_array({}) order by line), '[]') from public.\"{}\"",
        cells.join(", "),
        defined.name
    );
    let rows: Vec<Vec<Option<String>>> = serde_json::from_str(&world.query(&sql).await).unwrap();
    for (index, (column, kind)) in defined.columns.iter().enumerate() {
        let Some(expected) = expected(&defined.truth, column) else {
            assert!(["line", "known_at"].contains(&column.as_str()), "{}: {column}", defined.name);
            continue;
        };
        let kept = expected.into_iter().zip(0..).filter(|(_, row)| !rejected.contains(row));
        let expected: Vec<_> = kept.map(|(value, _)| value.map(|text| normal(kind, &text))).collect();
        let found: Vec<_> = rows.iter().map(|row| row[index].as_ref().map(|text| normal(kind, text))).collect();
        assert_eq!(found, expected, "{}: {column}", defined.name);
    }
}

/// Every record of a format is in its table as the truth says, or rejected where that calls it odd.
async fn check(world: &World, defined: &Defined, report: &LoadReport) {
    let counts = report.counts.unwrap_or_default();
    let rows = i64::try_from(defined.truth["rows"].as_array().unwrap().len()).unwrap();
    assert_eq!((report.error.as_ref(), counts.read), (None, rows), "{}", defined.name);
    let rejected = rejected(world, report.load_id.unwrap().0).await;
    let odd: Vec<u64> =
        defined.truth["odd"].as_array().into_iter().flatten().map(|odd| odd["row"].as_u64().unwrap()).collect();
    assert!(rejected.iter().all(|row| odd.contains(row)), "{}: {rejected:?} were rejected", defined.name);
    compare(world, defined, &rejected).await;
}

#[tokio::test]
async fn every_format_lies_in_its_table_as_it_was_meant() {
    let folder = Scratch::new("formats");
    let all = prepare(folder.path());
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    let owner = Database::new(&settings_for(&world.url, &[]).database().unwrap()).unwrap();
    owner.migrate(Some(&folder.path().join("migrations")), &world.context.datasets).await.unwrap();
    for of_object in all.chunk_by(|one, next| one.key == next.key) {
        // Several datasets may read one object, each a part of it.
        world.put(&of_object[0].key, of_object[0].bytes.clone()).await;
        let reports = world.load_parts(&of_object[0].key).await;
        assert_eq!(reports.len(), of_object.len(), "{reports:?}");
        if of_object.len() == 1 && reports[0].part.is_none() {
            let found = checked(&world.context, &world.request(&of_object[0].key)).await.unwrap();
            assert_eq!(Some(found.validated.rejected), reports[0].counts.map(|counts| counts.rejected));
        }
        for defined in of_object {
            let of_dataset = |report: &&LoadReport| report.dataset.as_ref() == Some(&defined.name);
            check(&world, defined, reports.iter().find(of_dataset).unwrap()).await;
        }
    }
    assert_eq!(all.len(), 34);
}
