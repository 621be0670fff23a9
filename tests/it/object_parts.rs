//! One object with several parts: members of an archive, sheets of a workbook, sections of a text. Each is a load of its own.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use insta::assert_snapshot;
use serde_json::json;
use small_etl::domain::{LoadReport, LoadStatus, Location, Sequencer};
use small_etl::pipeline::Request;
use small_etl::services::Deadline;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::functions::{INGEST, notification, start};
use crate::nightly::{found, reconcile};
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

/// A dataset of a table with this name, read by these sources.
fn dataset(name: &str, sources: &str) -> String {
    format!(
        r#"
name = "{name}"
table = "{name}"
key = "ref"
version = "seen_at"

[[column]]
name = "ref"
type = "text"
required = true

[[column]]
name = "qty"
type = "bigint"
required = true

[[column]]
name = "seen_at"
type = "timestamp"
required = true

{sources}"#
    )
}

const FILLS: &str = r#"
[[source]]
name = "archive"
files = ["incoming/days/*.zip"]
zone = "UTC"
member = "fills_*.csv"

[[source]]
name = "book"
files = ["incoming/days/*.xlsx"]
zone = "UTC"
format = "xlsx"
sheet = "Fills*"

[[source]]
name = "text"
files = ["incoming/days/*.txt"]
zone = "UTC"
section = "Fills"
header = "find"
end = ["Sum"]
"#;

const STOCKS: &str = r#"
[[source]]
name = "archive"
files = ["incoming/days/*.zip"]
zone = "UTC"
member = "stocks_*.csv"

[[source]]
name = "book"
files = ["incoming/days/*.xlsx"]
zone = "UTC"
format = "xlsx"
sheet = "Stocks"

[[source]]
name = "text"
files = ["incoming/days/*.txt"]
zone = "UTC"
section = "Stocks"
header = "find"
end = ["Sum"]
"#;

/// Sources of a section that is in the members of an archive, or in a sheet.
fn of_sections(section: &str) -> String {
    let source = |name: &str, files: &str, container: &str| {
        format!(
            "\n[[source]]\nname = \"{name}\"\nfiles = [\"incoming/reports/*.{files}\"]\nzone = \"UTC\"\n{container}\n\
             section = \"{section}\"\nheader = \"find\"\nend = [\"Sum\"]\n"
        )
    };
    source("packed_text", "zip", "member = \"*.csv\"") + &source("sheet_text", "xlsx", "format = \"xlsx\"\nsheet = 1")
}

/// A world with the datasets `fill` and `stock`, whose sources read parts.
pub async fn world() -> (World, Scratch) {
    let folder = Scratch::new("parts");
    std::fs::write(folder.path().join("fill.toml"), dataset("fill", &(FILLS.to_owned() + &of_sections("Fills"))))
        .unwrap();
    std::fs::write(folder.path().join("stock.toml"), dataset("stock", &(STOCKS.to_owned() + &of_sections("Stocks"))))
        .unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let world = World::with_own_s3(&[("DATASETS__PATH", path.as_str())]).await;
    for table in ["fill", "stock"] {
        let columns = "ref text primary key, qty bigint not null, seen_at timestamptz not null";
        world.query(&format!("create table {table} ({columns})")).await;
    }
    (world, folder)
}

const AT: &str = "2025-12-22T14:30:00";

/// Rows in the plain form.
pub fn rows(names: &[&str]) -> String {
    let mut text = "ref,qty,seen_at\n".to_owned();
    for (index, name) in names.iter().enumerate() {
        writeln!(text, "{name},{},{AT}", index + 1).unwrap();
    }
    text
}

pub fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A workbook of sheets with the cells of these texts.
pub fn workbook(sheets: &[(&str, &str)]) -> Vec<u8> {
    let head = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006";
    let (mut types, mut listed, mut related) = (String::new(), String::new(), String::new());
    let mut parts = Vec::new();
    for (index, (name, text)) in sheets.iter().enumerate() {
        let number = index + 1;
        write!(types, r#"<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>"#).unwrap();
        write!(listed, r#"<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>"#).unwrap();
        write!(
            related,
            r#"<Relationship Id="rId{number}" Type="{relations}/worksheet" Target="worksheets/sheet{number}.xml"/>"#
        )
        .unwrap();
        let cell = |text: &str| format!(r#"<c t="inlineStr"><is><t>{text}</t></is></c>"#);
        let row = |line: &str| format!("<row>{}</row>", line.split(',').map(cell).collect::<String>());
        let sheet = text.lines().map(row).collect::<String>();
        parts.push((
            format!("xl/worksheets/sheet{number}.xml"),
            format!(r#"{head}<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData></worksheet>"#),
        ));
    }
    parts.push((
        "[Content_Types].xml".to_owned(),
        format!(
            r#"{head}<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{types}</Types>"#
        ),
    ));
    parts.push((
        "_rels/.rels".to_owned(),
        format!(r#"{head}<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#),
    ));
    parts.push((
        "xl/workbook.xml".to_owned(),
        format!(r#"{head}<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{listed}</sheets></workbook>"#),
    ));
    parts.push((
        "xl/_rels/workbook.xml.rels".to_owned(),
        format!(r#"{head}<Relationships xmlns="{package}/relationships">{related}</Relationships>"#),
    ));
    let parts: Vec<(&str, &str)> = parts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    archive(&parts)
}

/// Status, dataset, part and rows of each load.
fn told(reports: &[LoadReport]) -> String {
    let mut text = String::new();
    for report in reports {
        let counts = report.counts.unwrap_or_default();
        let (dataset, source) = (report.dataset.as_deref().unwrap_or("-"), report.source.as_deref().unwrap_or("-"));
        let (status, part) = (report.status.name(), report.part.as_deref().unwrap_or("-"));
        writeln!(text, "{status} {dataset} {source} [{part}] {} read, {} inserted", counts.read, counts.inserted)
            .unwrap();
    }
    text
}

const ZIP: &str = "incoming/days/1.zip";

fn two_members() -> Vec<u8> {
    archive(&[
        ("fills_1.csv", &rows(&["a", "b"])),
        ("README.txt", "not for us"),
        ("stocks_1.csv", &rows(&["x"])),
        ("fills_2.csv", &rows(&["c"])),
    ])
}

const LEDGER: &str =
    "select part, dataset, source, run, state, inserted, array_to_string(parts, ' ') from etl.load order by id";

#[tokio::test(flavor = "multi_thread")]
async fn each_member_that_a_source_matches_is_a_load_of_its_own() {
    let (world, _folder) = world().await;
    world.put(ZIP, two_members()).await;
    assert_snapshot!(told(&world.load_parts(ZIP).await), @"
    loaded fill archive [fills_1.csv] 2 read, 2 inserted
    loaded fill archive [fills_2.csv] 1 read, 1 inserted
    loaded stock archive [stocks_1.csv] 1 read, 1 inserted
    ");
    assert_snapshot!(world.query(LEDGER).await, @"
    fills_1.csv | fill | archive | 0 | loaded | 2 | fills_1.csv fills_2.csv stocks_1.csv
    fills_2.csv | fill | archive | 0 | loaded | 1 | fills_1.csv fills_2.csv stocks_1.csv
    stocks_1.csv | stock | archive | 0 | loaded | 1 | fills_1.csv fills_2.csv stocks_1.csv
    ");
    let reads = || world.s3_server.reads().iter().filter(|(path, _)| path.ends_with(ZIP)).count();
    assert_eq!(reads(), 1, "the object is fetched once");
    assert_snapshot!(told(&world.load_parts(ZIP).await), @"
    duplicate fill archive [fills_1.csv] 0 read, 0 inserted
    duplicate fill archive [fills_2.csv] 0 read, 0 inserted
    duplicate stock archive [stocks_1.csv] 0 read, 0 inserted
    ");
    assert_eq!(reads(), 1, "what is finished is not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sheet_and_each_section_is_a_load_of_its_own() {
    let (world, _folder) = world().await;
    let book = workbook(&[
        ("Fills 1", &rows(&["a", "b"])),
        ("Notes", "not for us"),
        ("Stocks", &rows(&["x"])),
        ("Fills 2", &rows(&["c"])),
    ]);
    world.put("incoming/days/1.xlsx", book).await;
    assert_snapshot!(told(&world.load_parts("incoming/days/1.xlsx").await), @"
    loaded fill book [Fills 1] 2 read, 2 inserted
    loaded fill book [Fills 2] 1 read, 1 inserted
    loaded stock book [Stocks] 1 read, 1 inserted
    ");
    let text = format!("A report\nFills\n{}Sum,2,\n\nStocks\n{}Sum,1,\n", rows(&["d", "e"]), rows(&["y"]));
    world.put("incoming/days/1.txt", text).await;
    assert_snapshot!(told(&world.load_parts("incoming/days/1.txt").await), @"
    loaded fill text [Fills] 2 read, 2 inserted
    loaded stock text [Stocks] 1 read, 1 inserted
    ");
    assert_eq!(world.query("select string_agg(ref, ' ' order by ref) from fill").await, "a b c d e");
    assert_eq!(world.query("select string_agg(ref, ' ' order by ref) from stock").await, "x y");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_section_of_a_member_or_a_sheet_is_a_load_of_its_own() {
    let (world, _folder) = world().await;
    let text = |names: [&str; 2]| format!("Fills\n{}Sum,1\nStocks\n{}Sum,1\n", rows(&names[..1]), rows(&names[1..]));
    let (zip, book) = ("incoming/reports/1.zip", "incoming/reports/1.xlsx");
    world.put(zip, archive(&[("1.csv", &text(["a", "x"])), ("2.csv", &text(["b", "y"]))])).await;
    world.put(book, workbook(&[("Day", &text(["c", "z"]))])).await;
    assert_snapshot!(told(&world.load_parts(zip).await) + &told(&world.load_parts(book).await), @"
    loaded fill packed_text [1.csv/Fills] 1 read, 1 inserted
    loaded fill packed_text [2.csv/Fills] 1 read, 1 inserted
    loaded stock packed_text [1.csv/Stocks] 1 read, 1 inserted
    loaded stock packed_text [2.csv/Stocks] 1 read, 1 inserted
    loaded fill sheet_text [Day/Fills] 1 read, 1 inserted
    loaded stock sheet_text [Day/Stocks] 1 read, 1 inserted
    ");
    assert_eq!(world.query("select string_agg(ref, ' ' order by ref) from fill").await, "a b c");
    assert_eq!(world.query("select string_agg(ref, ' ' order by ref) from stock").await, "x y z");
    assert!(reconcile(&world).await.is_clean());
    for (key, again) in [(zip, 4), (book, 2)] {
        let reports = world.load_parts(key).await;
        assert_eq!(reports.iter().filter(|report| report.status == LoadStatus::Duplicate).count(), again);
    }
}

/// A record with bytes that are not in the encoding is a reject of its member, and all others load.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_in_the_encoding_of_its_source_loses_its_bad_records_alone() {
    let (world, _folder) = world().await;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let bad = rows(&["c", "d"]).replace("c,", "\u{1},").into_bytes();
    let bad: Vec<u8> = bad.into_iter().map(|byte| if byte == 1 { 0xe9 } else { byte }).collect();
    for (name, content) in [("fills_1.csv", rows(&["a", "b"]).into_bytes()), ("fills_2.csv", bad)] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(&content).unwrap();
    }
    world.put("incoming/days/1.zip", writer.finish().unwrap().into_inner()).await;
    world.load_parts("incoming/days/1.zip").await;
    assert_eq!(world.query("select string_agg(ref, ' ' order by ref) from fill").await, "a b d");
    let rejects = "select l.part, r.line, r.rule from etl.reject r join etl.load l on l.id = r.load_id";
    assert_eq!(world.query(rejects).await, "fills_2.csv | 2 | encoding");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_or_a_section_that_is_not_there_fails_alone_and_says_what_there_is() {
    let (world, _folder) = world().await;
    world.put("incoming/days/1.xlsx", workbook(&[("Fills", &rows(&["a"])), ("Notes", "x")])).await;
    world.put("incoming/days/1.txt", format!("Fills\n{}", rows(&["b"]))).await;
    for key in ["incoming/days/1.xlsx", "incoming/days/1.txt"] {
        let reports = world.load_parts(key).await;
        let statuses: Vec<_> = reports.iter().map(|report| report.status).collect();
        assert_eq!(statuses, [LoadStatus::Loaded, LoadStatus::Failed], "{reports:?}");
    }
    assert_snapshot!(world.query("select part, replace(error, bucket, 'b') from etl.load where state = 'failed' order by id").await, @r#"
    Stocks | s3://b/incoming/days/1.xlsx [Stocks]: source book reads sheet "Stocks", and 0 of 2 sheets fit; small-etl validate names them
    Stocks | s3://b/incoming/days/1.txt [Stocks]: no line begins section "Stocks" of source text
    "#);
    assert!(reconcile(&world).await.is_clean(), "what has failed is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_a_part_for_us_has_failed_and_says_what_it_has() {
    let (world, _folder) = world().await;
    world.put(ZIP, archive(&[("README.txt", "x"), ("prices.csv", "y")])).await;
    assert_snapshot!(told(&world.load_parts(ZIP).await), @"failed fill archive [] 0 read, 0 inserted");
    assert_snapshot!(world.query("select reason, replace(error, bucket, 'b') from etl.load").await, @r#"malformed | s3://b/incoming/days/1.zip: it has nothing for source archive (member "fills_*.csv"), source archive (member "stocks_*.csv"); it is an archive with "README.txt", "prices.csv""#);
    assert_eq!(world.load_parts(ZIP).await[0].status, LoadStatus::Duplicate);
    assert_eq!(reconcile(&world).await.sent, 0);
    world.put("incoming/days/2.zip", "this is a text").await;
    let report = world.load_parts("incoming/days/2.zip").await.remove(0);
    assert!(report.error.unwrap().contains("neither an archive nor a workbook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_part_fails_alone() {
    let (world, _folder) = world().await;
    let members = [
        ("fills_1.csv", "no,header,of,ours\n".to_owned()),
        ("fills_2.csv", rows(&["a"])),
        ("stocks_1.csv", rows(&["x"])),
    ];
    world.put(ZIP, archive(&members.each_ref().map(|(name, text)| (*name, text.as_str())))).await;
    assert_snapshot!(told(&world.load_parts(ZIP).await), @"
    failed fill archive [fills_1.csv] 0 read, 0 inserted
    loaded fill archive [fills_2.csv] 1 read, 1 inserted
    loaded stock archive [stocks_1.csv] 1 read, 1 inserted
    ");
    let error = world.query("select replace(error, bucket, 'b') from etl.load where state = 'failed'").await;
    assert!(error.starts_with("s3://b/incoming/days/1.zip [fills_1.csv]"), "{error}");
    assert_eq!(reconcile(&world).await.sent, 0, "each part is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_unpacks_to_far_more_than_it_is_fails_alone() {
    let (world, _folder) = world().await;
    let bomb = "0".repeat(32 * 1024 * 1024);
    world.put(ZIP, archive(&[("fills_1.csv", &bomb), ("stocks_1.csv", &rows(&["x"]))])).await;
    let reports = world.load_parts(ZIP).await;
    assert_eq!((reports[0].status, reports[1].status), (LoadStatus::Failed, LoadStatus::Loaded));
    assert!(reports[0].error.as_ref().unwrap().contains("far more than it is"), "{reports:?}");
}

/// After each of its commits in turn a worker is killed; the next one, or the nightly run, loads what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_worker_is_killed_every_part_is_loaded_once() {
    let (world, _folder) = world().await;
    let proxy = world.proxy();
    world.put(ZIP, archive(&[("fills_1.csv", &rows(&["a", "b"])), ("stocks_1.csv", &rows(&["x"]))])).await;
    let (mut between, mut commits) = (0, 0);
    loop {
        commits += 1;
        world.query("truncate fill, stock, etl.load restart identity cascade").await;
        let worker = world.signalled_worker(ZIP, &proxy, (Which::Commit, commits), Fault::CallAnswered, "KILL");
        let was_killed = worker.finish().await.is_none();
        proxy.disarm();
        let state = world.query("select count(*), count(*) filter (where state = 'loaded') from etl.load").await;
        between += usize::from(state == "1 | 1");
        world.end_leases().await;
        if commits % 2 == 0 {
            let left = if state == "2 | 2" { vec![] } else { vec!["Interrupted 1.zip"] };
            assert_eq!(found(&reconcile(&world).await), left, "{state}");
        } else {
            world.load_parts(ZIP).await;
        }
        let loaded = "select part, inserted, state, run from etl.load order by part";
        let expected = "fills_1.csv | 2 | loaded | 0\nstocks_1.csv | 1 | loaded | 0";
        assert_eq!(world.query(loaded).await, expected, "killed at commit {commits}");
        if !was_killed {
            break;
        }
    }
    assert!(commits > 4 && between >= 1, "of {commits} commits {between} lay between two parts");
    assert_eq!(reconcile(&world).await.sent, 0, "nothing is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_run_loads_a_part_that_has_no_load() {
    let (world, _folder) = world().await;
    world.put(ZIP, two_members()).await;
    world.load_parts(ZIP).await;
    assert_eq!(reconcile(&world).await.sent, 0);
    world.query("delete from etl.load where part = 'stocks_1.csv'; truncate stock").await;
    let done = reconcile(&world).await;
    assert_eq!(found(&done), ["Interrupted 1.zip"]);
    assert_snapshot!(world.query("select part, run, state from etl.load order by id").await, @"
    fills_1.csv | 0 | loaded
    fills_2.csv | 0 | loaded
    stocks_1.csv | 0 | loaded
    ");
    assert_eq!(world.query("select ref from stock").await, "x");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_no_source_reads_any_more_has_failed_and_is_not_asked_for_every_night() {
    let (world, folder) = world().await;
    world.put(ZIP, two_members()).await;
    world.load_parts(ZIP).await;
    world.query("delete from etl.load where part = 'stocks_1.csv'; truncate stock").await;
    std::fs::write(folder.path().join("stock.toml"), dataset("stock", &STOCKS.replace("stocks_*.csv", "other_*.csv")))
        .unwrap();
    let world = world.under(&[]);
    assert_eq!(reconcile(&world).await.sent, 1);
    assert_snapshot!(world.query("select part, state, replace(error, bucket, 'b') from etl.load order by id").await, @"
    fills_1.csv | loaded | -
    fills_2.csv | loaded | -
    stocks_1.csv | failed | s3://b/incoming/days/1.zip [stocks_1.csv]: it was to be loaded, and no source reads it any more; declare one, and load it with --again
    ");
    assert_eq!(reconcile(&world).await.sent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_have_not_begun_when_the_time_is_over_are_left_to_the_next_worker() {
    let (world, _folder) = world().await;
    world.put(ZIP, two_members()).await;
    world.slow_down(1.0).await;
    let deadline = Deadline::before(SystemTime::now() + Duration::from_millis(1500), Duration::ZERO);
    let reports = world.run_all(&Request { deadline, ..world.request(ZIP) }).await.unwrap();
    assert_eq!(reports.len(), 3);
    let left: Vec<_> = reports.iter().filter(|report| report.status == LoadStatus::Interrupted).collect();
    assert!(!left.is_empty() && left.iter().all(|report| report.rest.is_some()), "{reports:?}");
    assert!(left.iter().any(|report| report.load_id.is_none()), "{reports:?}");
    let rest = world.load_parts(ZIP).await;
    assert!(rest.iter().all(|report| matches!(report.status, LoadStatus::Loaded | LoadStatus::Duplicate)), "{rest:?}");
    assert_eq!(
        world.query("select count(*), count(distinct part) from etl.load where state = 'loaded'").await,
        "3 | 3"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_part_is_loaded_again_by_its_name() {
    let (world, _folder) = world().await;
    world.put(ZIP, two_members()).await;
    world.load_parts(ZIP).await;
    let again = |part: &str| Request { again: true, parts: vec![part.into()], ..world.request(ZIP) };
    assert_snapshot!(told(&world.run_all(&again("stocks_1.csv")).await.unwrap()), @"loaded stock archive [stocks_1.csv] 1 read, 0 inserted");
    assert_eq!(world.query("select part, run from etl.load where run > 0").await, "stocks_1.csv | 1");
    let error = world.run_all(&again("prices.csv")).await.unwrap_err();
    assert!(error.to_string().contains("known are fills_1.csv, fills_2.csv, stocks_1.csv"), "{error}");
}

/// A row of an older version of the object, in another part of it, comes late and loses a tie.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_older_version_that_come_late_lose_every_tie() {
    let (world, _folder) = world().await;
    let at = |sequencer: &str| {
        let mut request = world.request(ZIP);
        let Location::S3 { sequencer: told, .. } = &mut request.location else { unreachable!("it lies in S3") };
        *told = Sequencer::of_event(sequencer.to_owned());
        request
    };
    let newer = rows(&["a", "b"]);
    world.put(ZIP, archive(&[("fills_1.csv", &newer)])).await;
    world.run_all(&at("02")).await.unwrap();
    let older = "ref,qty,seen_at\na,77,2025-12-22T14:30:00\nc,78,2025-12-22T14:30:00\n";
    world.put(ZIP, archive(&[("fills_0.csv", older), ("fills_2.csv", &rows(&["d"]))])).await;
    world.run_all(&at("01")).await.unwrap();
    assert_snapshot!(world.query("select part, late, inserted, stale from etl.load order by id").await, @"
    fills_1.csv | f | 2 | 0
    fills_0.csv | t | 1 | 1
    fills_2.csv | t | 1 | 0
    ");
    assert_eq!(world.query("select qty from fill where ref = 'a'").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_of_several_parts_are_mended_each_by_its_own_file() {
    let (world, _folder) = world().await;
    let bad = |name: &str| format!("{}{name},many,{AT}\n", rows(&[&format!("{name}1")]));
    world.put(ZIP, archive(&[("fills_1.csv", &bad("a")), ("stocks_1.csv", &bad("x"))])).await;
    let reports = world.load_parts(ZIP).await;
    let keys: Vec<String> = reports.iter().map(|report| report.rejects_key.clone().unwrap()).collect();
    assert_eq!(keys, ["rejects/fill/1.csv", "rejects/stock/2.csv"]);
    assert_snapshot!(world.query("select part, line, \"column\", value from etl.open_reject order by reject_id").await, @"
    fills_1.csv | 3 | qty | many
    stocks_1.csv | 3 | qty | many
    ");
    for (key, name) in keys.iter().zip(["stock", "fill"]) {
        let mended = world.get(&world.bucket, key).await.replace(",many,", ",7,");
        // Its name does not tell which of the two datasets it is for; its records do.
        world.put(&format!("incoming/days/mended {name}.txt"), mended).await;
        let reports = world.load_parts(&format!("incoming/days/mended {name}.txt")).await;
        assert_eq!((reports.len(), reports[0].status), (1, LoadStatus::Loaded), "{reports:?}");
    }
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    assert_eq!(
        world.query("select ref, qty from fill where qty = 7 union all select ref, qty from stock where qty = 7").await,
        "a | 7\nx | 7"
    );
    assert_snapshot!(world.query("select id, part, dataset, key like '%mended%' from etl.load order by id").await, @"
    1 | fills_1.csv | fill | f
    2 | stocks_1.csv | stock | f
    3 |  | fill | t
    4 |  | stock | t
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_rejects_of_a_part_load_under_any_name_if_their_dataset_is_named() {
    let folder = Scratch::new("part");
    let source = FILLS.split("[[source]]").nth(1).unwrap();
    std::fs::write(folder.path().join("fill.toml"), dataset("fill", &format!("[[source]]{source}"))).unwrap();
    let world = World::with_own_s3(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query("create table fill (ref text primary key, qty bigint not null, seen_at timestamptz not null)").await;
    world.put(ZIP, archive(&[("fills_1.csv", &format!("{}b,many,{AT}\n", rows(&["a"])))])).await;
    let report = world.load_parts(ZIP).await.remove(0);
    let mended = world.get(&world.bucket, &report.rejects_key.unwrap()).await.replace(",many,", ",7,");
    world.put("elsewhere/mended.csv", mended).await;
    let named = |key: &str| Request { dataset: Some("fill".into()), ..world.request(key) };
    let reports = world.run_all(&named("elsewhere/mended.csv")).await.unwrap();
    assert_snapshot!(told(&reports), @"loaded fill archive [] 1 read, 1 inserted");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    let reports = world.run_all(&named("elsewhere/nothing.csv")).await.unwrap();
    assert_eq!(reports.iter().map(|report| report.status).collect::<Vec<_>>(), [LoadStatus::Failed], "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_s3_is_answered_with_an_entry_for_each_part() {
    let (world, _folder) = world().await;
    world.put(ZIP, two_members()).await;
    let (ingest, _log) = start(INGEST, &world.variables());
    let event = notification(&world, ZIP).await;
    for status in ["loaded", "duplicate"] {
        let answer = ingest.invoke(&event);
        let loads = answer["loads"].as_array().unwrap();
        let told: Vec<_> =
            loads.iter().map(|load| json!([load["status"], load["dataset"], load["source"], load["part"]])).collect();
        let expected = [("fill", "fills_1.csv"), ("fill", "fills_2.csv"), ("stock", "stocks_1.csv")];
        assert_eq!(told, expected.map(|(dataset, part)| json!([status, dataset, "archive", part])), "{answer}");
    }
    let checked = ingest.invoke(&json!({"bucket": world.bucket, "key": ZIP, "validate_only": true}));
    let parts = checked["validated"]["parts"].as_array().unwrap();
    let told: Vec<_> = parts.iter().map(|part| json!([part["part"], part["status"], part["read"]])).collect();
    assert_eq!(
        told,
        [json!(["fills_1.csv", "valid", 2]), json!(["fills_2.csv", "valid", 1]), json!(["stocks_1.csv", "valid", 1])]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_an_object_with_parts_says_what_each_holds() {
    let (world, _folder) = world().await;
    world.put(ZIP, archive(&[("fills_1.csv", &rows(&["a", "b"])), ("stocks_1.csv", &rows(&["x"]))])).await;
    let manifest =
        json!({"parts": {"fills_1.csv": {"row_count": 2, "sums": {"qty": 3}}, "stocks_1.csv": {"row_count": 2}}});
    world.put(&format!("{ZIP}.manifest.json"), manifest.to_string()).await;
    let reports = world.load_parts(ZIP).await;
    assert_eq!(reports[0].statistics["manifest"], json!({"row_count": "2", "sum of qty": "3"}));
    assert_eq!(reports[1].reason.as_deref(), Some("manifest_mismatch"));
    assert!(
        reports[1].error.as_ref().unwrap().contains("[stocks_1.csv]: row_count: the manifest says 2, the file has 1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_packed_once_more_is_unpacked() {
    let (world, _folder) = world().await;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("fills_1.csv", SimpleFileOptions::default()).unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(rows(&["a", "b"]).as_bytes()).unwrap();
    writer.write_all(&packed.finish().unwrap()).unwrap();
    world.put(ZIP, writer.finish().unwrap().into_inner()).await;
    assert_snapshot!(told(&world.load_parts(ZIP).await), @"loaded fill archive [fills_1.csv] 2 read, 2 inserted");
}
