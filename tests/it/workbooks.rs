//! Workbooks: what their cells mean, and how their rejects come back as workbooks.

use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use calamine::{Data, Reader as _, Xlsx};
use insta::assert_snapshot;
use small_etl::domain::{LoadReport, LoadStatus};

use crate::command_line::small_etl;
use crate::object_parts::archive;
use crate::support::Scratch;
use crate::world::World;

const FILL: &str = r#"
name = "fill"
table = "fill"
key = "code"
version = "known_at"

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "price"
type = "decimal"
precision = 20
scale = 4
max = "1000"

[[column]]
name = "day"
type = "date"

[[column]]
name = "at"
type = "time"

[[column]]
name = "note"
type = "text"

[[column]]
name = "known_at"
type = "timestamp"
required = true

[[source]]
name = "book"
files = ["incoming/fills/**"]
format = "xlsx"

[[source.column]]
name = "known_at"
from = "key"
pattern = '(\d{8})'
form = "%Y%m%d"
zone = "UTC"
"#;

const TABLE: &str = "create table fill (code text primary key, price numeric(20, 4), day date, at time, note text, known_at timestamptz not null)";
const ROWS: &str = "select code, price, day, at, note, known_at::date from fill order by code";

/// A cell of a workbook.
#[derive(Clone, Debug, PartialEq)]
pub enum Is {
    Empty,
    Text(String),
    Number(f64),
    Day(f64),
    Clock(f64),
    Error(&'static str),
    /// A formula, with the value that was computed.
    Formula(f64),
    Bool(bool),
}

fn text(text: &str) -> Is {
    Is::Text(text.to_owned())
}

/// A workbook with one sheet, as a spreadsheet writes it: with a table of texts, and without empty cells.
pub fn book(sheet: &str, rows: &[Vec<Is>]) -> Vec<u8> {
    let head = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    let (mut texts, mut body) = (String::new(), String::new());
    let mut count = 0;
    for (row, cells) in rows.iter().enumerate() {
        let number = row + 1;
        write!(body, r#"<row r="{number}">"#).unwrap();
        for (column, cell) in cells.iter().enumerate() {
            let place = format!("{}{number}", char::from(b'A' + u8::try_from(column).unwrap()));
            match cell {
                Is::Empty => {}
                Is::Text(text) => {
                    let text = text.replace('&', "&amp;").replace('<', "&lt;");
                    write!(texts, r#"<si><t xml:space="preserve">{text}</t></si>"#).unwrap();
                    write!(body, r#"<c r="{place}" t="s"><v>{count}</v></c>"#).unwrap();
                    count += 1;
                }
                Is::Number(value) => write!(body, r#"<c r="{place}"><v>{value}</v></c>"#).unwrap(),
                Is::Day(value) => write!(body, r#"<c r="{place}" s="1"><v>{value}</v></c>"#).unwrap(),
                Is::Clock(value) => write!(body, r#"<c r="{place}" s="2"><v>{value}</v></c>"#).unwrap(),
                Is::Error(error) => write!(body, r#"<c r="{place}" t="e"><v>{error}</v></c>"#).unwrap(),
                Is::Formula(value) => write!(body, r#"<c r="{place}"><f>4*2</f><v>{value}</v></c>"#).unwrap(),
                Is::Bool(value) => write!(body, r#"<c r="{place}" t="b"><v>{}</v></c>"#, u8::from(*value)).unwrap(),
            }
        }
        body.push_str("</row>");
    }
    let parts = [
        (
            "[Content_Types].xml",
            format!(
                r#"{head}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/></Types>"#
            ),
        ),
        (
            "_rels/.rels",
            format!(
                r#"{head}<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/workbook.xml",
            format!(
                r#"{head}<workbook xmlns="{main}" xmlns:r="{relations}"><sheets><sheet name="{sheet}" sheetId="1" r:id="rId1"/></sheets></workbook>"#
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                r#"{head}<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{relations}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="{relations}/styles" Target="styles.xml"/><Relationship Id="rId3" Type="{relations}/sharedStrings" Target="sharedStrings.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/styles.xml",
            format!(
                r#"{head}<styleSheet xmlns="{main}"><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="21"/></cellXfs></styleSheet>"#
            ),
        ),
        ("xl/sharedStrings.xml", format!(r#"{head}<sst xmlns="{main}">{texts}</sst>"#)),
        (
            "xl/worksheets/sheet1.xml",
            format!(r#"{head}<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>"#),
        ),
    ];
    let parts: Vec<(&str, &str)> = parts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    archive(&parts)
}

/// The sheets of a workbook, as a program reads them that knows nothing of it.
fn cells_of(bytes: &[u8]) -> Vec<(String, Vec<Vec<Is>>)> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes.to_vec())).unwrap();
    let is = |cell: &Data| match cell {
        Data::String(text) => Is::Text(text.clone()),
        Data::Float(number) => Is::Number(*number),
        Data::DateTime(moment) if moment.as_f64() < 1.0 => Is::Clock(moment.as_f64()),
        Data::DateTime(moment) => Is::Day(moment.as_f64()),
        Data::Error(_) => Is::Error("#N/A"),
        Data::Bool(value) => Is::Bool(*value),
        _ => Is::Empty,
    };
    let rows = |range: calamine::Range<Data>| range.rows().map(|row| row.iter().map(is).collect()).collect();
    book.worksheets().into_iter().map(|(name, range)| (name, rows(range))).collect()
}

/// The rejects as a spreadsheet saves them after a person has changed them.
fn saved_again(rejects: &[u8], mut change: impl FnMut(usize, &mut Vec<Is>)) -> Vec<u8> {
    let mut sheets = cells_of(rejects);
    let (name, mut rows) = sheets.remove(0);
    rows.iter_mut().enumerate().for_each(|(number, row)| change(number, row));
    book(&name, &rows)
}

fn fills() -> Vec<Vec<Is>> {
    let header = ["code", "price", "day", "at", "note"].map(text).to_vec();
    vec![
        header,
        vec![text("000037"), Is::Number(4.99), Is::Day(45_669.0), Is::Clock(0.5), text("good")],
        vec![text("000038"), Is::Number(5000.25), Is::Day(45_670.0), Is::Clock(0.541_694_444_444_444_4)],
        vec![Is::Empty, Is::Number(1.5), Is::Day(45_671.0), Is::Empty, text("no code\n<&>")],
        vec![text("000040"), text("n/a"), Is::Day(45_672.0)],
        vec![text("000041"), Is::Error("#N/A"), Is::Empty, Is::Empty, text("007")],
        vec![text("000042"), Is::Number(0.1)],
    ]
}

async fn world_with(folder: &Scratch, definition: &str) -> World {
    fs::write(folder.path().join("fill.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(TABLE).await;
    world
}

async fn bytes_of(world: &World, key: &str) -> Vec<u8> {
    let object = world.s3.get_object().bucket(&world.bucket).key(key).send().await.unwrap();
    object.body.collect().await.unwrap().to_vec()
}

fn summary(report: &LoadReport) -> (LoadStatus, Option<&str>, i64, i64, i64) {
    let counts = report.counts.unwrap_or_default();
    (report.status, report.reason.as_deref(), counts.read, counts.inserted, counts.rejected)
}

/// What a person mends in the rejects of [`fills`]. Our columns are the first six.
#[expect(clippy::ptr_arg, reason = "it is passed as a function of rows, which may grow")]
fn mend(number: usize, row: &mut Vec<Is>) {
    match number {
        1 => row[7] = Is::Number(500.25),
        2 => row[6] = text("000039"),
        3 => row[7] = Is::Number(7.5),
        4 => row[7] = Is::Formula(8.0),
        _ => {}
    }
}

#[tokio::test]
async fn the_rejects_of_a_workbook_come_back_as_a_workbook_that_the_same_source_reads() {
    let folder = Scratch::new("workbooks");
    let world = world_with(&folder, FILL).await;
    let report = world.drop_file("incoming/fills/20251222.xlsx", book("Fills", &fills())).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 6, 2, 4), "{:?}", report.error);
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/fill/1.xlsx"));
    let rejects = bytes_of(&world, "rejects/fill/1.xlsx").await;
    let shown = |cell: &Is| match cell {
        Is::Empty => "-".to_owned(),
        Is::Text(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    };
    let sheets = cells_of(&rejects);
    assert_eq!((sheets.len(), sheets[0].0.as_str()), (1, "_rejects"));
    let lines: Vec<String> =
        sheets[0].1.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" | ")).collect();
    assert_snapshot!(lines.join("\n"), @r##"
    "_load_id" | "_record" | "_line" | "_source" | "_errors" | "_key" | "code" | "price" | "day" | "at" | "note"
    Number(1.0) | Number(2.0) | Number(3.0) | "book" | "price: \"5000.25\" is greater than 1000 (rule max)" | "incoming/fills/20251222.xlsx" | "000038" | Number(5000.25) | Day(45670.0) | Clock(0.5416944444444445) | -
    Number(1.0) | Number(3.0) | Number(4.0) | "book" | "code: the cell holds no value, but one is required (rule required)" | "incoming/fills/20251222.xlsx" | - | Number(1.5) | Day(45671.0) | - | "no code\n<&>"
    Number(1.0) | Number(4.0) | Number(5.0) | "book" | "price: \"n/a\" is not a number as the source declares it (decimal mark '.') (rule number)" | "incoming/fills/20251222.xlsx" | "000040" | "n/a" | Day(45672.0) | - | -
    Number(1.0) | Number(5.0) | Number(6.0) | "book" | "price: \"#N/A\" is an error of the workbook, not a value (rule cell)" | "incoming/fills/20251222.xlsx" | "000041" | Error("#N/A") | - | - | "007"
    "##);

    // Nothing is mended: all come back again, and with one that is.
    let again = world.drop_file("incoming/fills/same.xlsx", rejects.clone()).await;
    assert_eq!(summary(&again), (LoadStatus::Loaded, None, 4, 0, 4), "{:?}", again.error);
    let mended = saved_again(&bytes_of(&world, "rejects/fill/2.xlsx").await, |number, row| {
        if number == 1 {
            mend(number, row);
        }
    });
    let half = world.drop_file("incoming/fills/half.xlsx", mended).await;
    assert_eq!(summary(&half), (LoadStatus::Loaded, None, 4, 1, 3), "{:?}", half.error);
    // And the others under any name, all at once.
    let rest = saved_again(&rejects, mend);
    let report = world.drop_file("incoming/fills/any name.bin", rest).await;
    let counts = report.counts.unwrap();
    assert_eq!((report.status, counts.inserted, counts.rejected), (LoadStatus::Loaded, 3, 0), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r"
    000037 | 4.9900 | 2025-01-12 | 12:00:00 | good | 2025-12-22
    000038 | 500.2500 | 2025-01-13 | 13:00:02.4 | - | 2025-12-22
    000039 | 1.5000 | 2025-01-14 | - | no code
    <&> | 2025-12-22
    000040 | 7.5000 | 2025-01-15 | - | - | 2025-12-22
    000041 | 8.0000 | - | - | 007 | 2025-12-22
    000042 | 0.1000 | - | - | - | 2025-12-22
    ");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

/// A workbook of the binary format, as the Python library xlwt writes it.
#[tokio::test]
async fn a_binary_workbook_is_read_as_any_other_and_its_rejects_are_one_of_today() {
    let folder = Scratch::new("workbooks");
    let definition = FILL.replace("format = \"xlsx\"\n", "format = \"xlsx\"\nsheet = \"Fills\"\nheader = \"find\"\n");
    let world = world_with(&folder, &definition).await;
    let report = world.drop_file("incoming/fills/20251222.xls", include_bytes!("fills.xls").as_slice()).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 3, 2, 1), "{:?}", report.error);
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/fill/1.xlsx"));
    let mended = saved_again(&bytes_of(&world, "rejects/fill/1.xlsx").await, |number, row| {
        if number == 1 {
            row[7] = Is::Number(7.25);
        }
    });
    let report = world.drop_file("incoming/fills/mended.xlsx", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 1, 1, 0), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r"
    000037 | 15.5000 | 2025-12-22 | 09:31:05 | 买入 | 2025-12-22
    000038 | 7.2500 | 2025-02-28 | 23:59:59 | - | 2025-12-22
    000039 | 0.1000 | 2024-02-29 | - | é | 2025-12-22
    ");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

#[tokio::test]
async fn rejects_of_a_workbook_that_were_written_as_text_still_load() {
    let folder = Scratch::new("workbooks");
    let world = world_with(&folder, FILL).await;
    world.drop_file("incoming/fills/20251222.xlsx", book("Fills", &fills())).await;
    let scratch = Scratch::new("export");
    let export = |name: &str| small_etl(&scratch, &world.variables(), &["rejects", "1", "--export", name]);
    assert!(export("mend.csv").status.success() && export("mend.xlsx").status.success());
    let read = |name: &str| fs::read(scratch.path().join(name)).unwrap();
    assert_eq!(cells_of(&read("mend.xlsx")), cells_of(&bytes_of(&world, "rejects/fill/1.xlsx").await));
    let csv = String::from_utf8(read("mend.csv")).unwrap();
    assert!(csv.starts_with("_load_id,_record,_line,_source,_errors,_key,_cells,code,price,"), "{csv}");
    let csv = csv.replace("5000.25", "500.25").replace("n/a,2025", "7.5,2025").replace("#N/A,", "8,");
    let report = world.drop_file("incoming/fills/mended.csv", csv).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 4, 3, 1), "{:?}", report.error);
    // What came as text goes back as text.
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/fill/2.csv"));
    let refused = small_etl(&scratch, &world.variables(), &["rejects", "2", "--export", "again.xlsx"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("write them as text: again.csv"));
    let csv = String::from_utf8(bytes_of(&world, "rejects/fill/2.csv").await).unwrap();
    let report = world.drop_file("incoming/fills/last.csv", csv.replace(",,1.5,", ",000039,1.5,")).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 1, 1, 0), "{:?}", report.error);
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    assert_eq!(world.query("select price, day from fill where code = '000040'").await, "7.5000 | 2025-01-15");
}

#[tokio::test]
async fn rejects_of_a_sheet_are_not_a_part_of_anything() {
    let folder = Scratch::new("workbooks");
    let definition = FILL.replace("format = \"xlsx\"\n", "format = \"xlsx\"\nsheet = \"Fills\"\n");
    let world = world_with(&folder, &definition).await;
    let report = world.drop_file("incoming/fills/20251222.xlsx", book("Fills", &fills())).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 6, 2, 4), "{:?}", report.error);
    let mended = saved_again(&bytes_of(&world, "rejects/fill/1.xlsx").await, mend);
    let report = world.drop_file("incoming/fills/mended.xlsx", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 4, 4, 0), "{:?}", report.error);
    assert_eq!(world.query("select part, state from etl.load order by id").await, "Fills | loaded\n | loaded");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

#[tokio::test]
async fn rejects_that_no_workbook_holds_or_that_a_dataset_would_load_are_text() {
    let folder = Scratch::new("workbooks");
    let world = world_with(&folder, FILL).await;
    let mut rows = fills();
    rows[2][4..].fill(Is::Empty);
    rows[2].push(Is::Text("x".repeat(40_000)));
    let report = world.drop_file("incoming/fills/20251222.xlsx", book("Fills", &rows)).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 6, 2, 4), "{:?}", report.error);
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/fill/1.csv"));
    assert_eq!(world.query("select rejects_key from etl.load").await, "rejects/fill/1.csv");
    let csv = String::from_utf8(bytes_of(&world, "rejects/fill/1.csv").await).unwrap();
    assert!(csv.contains(&"x".repeat(40_000)));
    let scratch = Scratch::new("export");
    let refused = small_etl(&scratch, &world.variables(), &["rejects", "1", "--export", "mend.xlsx"]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("a workbook does not hold these rejects") && message.contains("mend.csv"), "{message}");
    assert!(!scratch.path().join("mend.xlsx").exists());

    let folder = Scratch::new("workbooks");
    let world = world_with(&folder, &FILL.replace("incoming/fills/**", "**/*.xlsx")).await;
    let report = world.drop_file("incoming/fills/20251222.xlsx", book("Fills", &fills())).await;
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/fill/1.csv"), "{:?}", report.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workbook_and_its_mended_rejects_are_compared_with_manifests_explained_and_replayed() {
    let folder = Scratch::new("workbooks");
    let world = world_with(&folder, FILL).await;
    let key = "incoming/fills/20251222.xlsx";
    world.put(&format!("{key}.manifest.json"), r#"{"row_count": 7}"#).await;
    let report = world.drop_file(key, book("Fills", &fills())).await;
    assert_eq!(summary(&report), (LoadStatus::Failed, Some("manifest_mismatch"), 6, 0, 0), "{:?}", report.error);
    let key = "incoming/fills/20251223.xlsx";
    world.put(&format!("{key}.manifest.json"), r#"{"row_count": 6}"#).await;
    let report = world.drop_file(key, book("Fills", &fills())).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 6, 2, 4), "{:?}", report.error);
    let mended = saved_again(&bytes_of(&world, "rejects/fill/2.xlsx").await, mend);
    let report = world.drop_file("incoming/fills/mended.xlsx", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 4, 4, 0), "{:?}", report.error);

    let scratch = Scratch::new("workbooks");
    let told = |arguments: &[&str]| text_of(&small_etl(&scratch, &world.variables(), arguments));
    let explained = told(&["explain", "fill", "000042"]);
    assert!(explained.contains("incoming/fills/20251223.xlsx line 7"), "{explained}");
    let explained = told(&["explain", "fill", "000040"]);
    assert!(explained.contains("incoming/fills/mended.xlsx line 4"), "{explained}");
    let rejected = told(&["rejects", "2", "--all"]);
    assert!(rejected.contains("20251223.xlsx line 5") && rejected.contains("mended by load 3"), "{rejected}");
    // Numbers up to 4 alone: the good row that has 4.99, in either file, and all but one that were mended.
    fs::write(scratch.path().join("new.toml"), FILL.replace("max = \"1000\"", "max = \"4\"")).unwrap();
    let replayed = told(&["replay", "--dataset", "fill", "--definition", "new.toml", "--since", "30d"]);
    assert!(replayed.contains("3 files with 16 records of dataset fill: 5 rows would be rejected"), "{replayed}");
    for place in ["load 1 20251222.xlsx line 2", "load 2 20251223.xlsx line 2", "load 3 mended.xlsx line 2"] {
        assert!(replayed.contains(place), "{place}: {replayed}");
    }
}

fn text_of(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn validate_writes_the_rejects_of_a_workbook_as_one_and_reads_them() {
    let scratch = Scratch::new("workbooks");
    let datasets = scratch.path().join("datasets");
    fs::create_dir_all(&datasets).unwrap();
    fs::write(datasets.join("fill.toml"), FILL).unwrap();
    fs::write(scratch.path().join("20251222.xlsx"), book("Fills", &fills())).unwrap();
    let variables = [("SMALL_ETL__DATASETS__PATH".to_owned(), datasets.display().to_string())];
    let validate = |arguments: &[&str]| text_of(&small_etl(&scratch, &variables, &[&["validate"], arguments].concat()));
    for name in ["bad.xlsx", "bad.csv"] {
        let told = validate(&["20251222.xlsx", "--source", "book", "--rejects", name]);
        assert!(told.contains("6 records, 2 accepted, 4 rejected"), "{told}");
        let told = validate(&[name, "--dataset", "fill"]);
        assert!(told.contains("4 records, 0 accepted, 4 rejected"), "{told}");
    }
    let read = |name: &str| fs::read(Path::new(scratch.path()).join(name)).unwrap();
    assert!(read("bad.csv").starts_with(b"_load_id,"));
    let mended = saved_again(&read("bad.xlsx"), mend);
    fs::write(scratch.path().join("mended.xlsx"), mended).unwrap();
    let told = validate(&["mended.xlsx", "--dataset", "fill"]);
    assert!(told.contains("4 records, 4 accepted, 0 rejected"), "{told}");
    let text = read("bad.csv");
    let text = String::from_utf8_lossy(&text).replace("_cells,", "");
    fs::write(scratch.path().join("as_text.csv"), text).unwrap();
    let told = validate(&["as_text.csv", "--dataset", "fill"]);
    assert!(told.contains("if they were a workbook, save them as xlsx"), "{told}");
    // Of a sheet with another name nobody knows what it is.
    let (_, rows) = cells_of(&read("bad.xlsx")).remove(0);
    fs::write(scratch.path().join("copied.xlsx"), book("Sheet1", &rows)).unwrap();
    let told = validate(&["copied.xlsx", "--source", "book"]);
    assert!(told.contains("these are rejects, and they are not as they were written"), "{told}");
}
