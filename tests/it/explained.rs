//! `explain` and `replay` of files that were read as their senders write them: texts, sheets of workbooks, and members of archives.

use std::fs;

use encoding_rs::GB18030;
use insta::assert_snapshot;
use serde_json::Value;

use crate::command_line::{self, small_etl};
use crate::inspect::tidy;
use crate::object_parts::archive;
use crate::support::Scratch;
use crate::workbooks::{Is, book};
use crate::world::World;

const DEAL: &str = r#"
name = "deal"
table = "deal"
key = "ref"
version = "arrival"

[[column]]
name = "ref"
type = "text"
required = true

[[column]]
name = "day"
type = "date"
required = true

[[column]]
name = "price"
type = "decimal"
precision = 20
scale = 2
max = "1000"
"#;

/// The same columns in each kind of file: the rest of a source, by its name and files.
const SOURCES: [(&str, &str, &str); 4] = [
    ("text", "*.txt", "encoding = \"gb18030\""),
    ("book", "*.xlsx", "format = \"xlsx\"\nsheet = \"Deals*\""),
    ("member", "day/*.zip", "member = \"*/deals_*.csv\""),
    ("section", "report/*.zip", "member = \"*.csv\"\nsection = \"Deals\"\nend = [\"Sum\"]"),
];

const COLUMNS: &str = r#"
[[source.column]]
name = "ref"
header = "编号"

[[source.column]]
name = "day"
header = "日期"
form = "%d.%m.%Y"

[[source.column]]
name = "price"
header = "价格"
"#;

fn definition() -> String {
    let source = |(name, files, rest): &(&str, &str, &str)| {
        let lines = if *name == "book" { "" } else { "delimiter = \";\"\n" };
        format!(
            "\n[[source]]\nname = \"{name}\"\nfiles = [\"incoming/{files}\"]\nheader = \"find\"\ndecimal_mark = \",\"\nthousands = \".\"\n\
             {lines}{rest}\n{COLUMNS}"
        )
    };
    DEAL.to_owned() + &SOURCES.iter().map(source).collect::<String>()
}

/// A good row, one with a day in another form, one whose price is too high, and another good one.
fn rows(name: &str) -> String {
    format!(
        "编号;日期;价格\n{name}1;22.12.2025;15,50\n{name}2;2025-12-23;8,25\n{name}3;24.12.2025;1.500,00\n{name}4;25.12.2025;7\n"
    )
}

struct Case {
    world: World,
    scratch: Scratch,
    _folder: Scratch,
}

impl Case {
    async fn new() -> Self {
        let folder = Scratch::new("explained");
        fs::write(folder.path().join("deal.toml"), definition()).unwrap();
        let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
        world.query("create table deal (ref text primary key, day date not null, price numeric(20, 2))").await;
        Self { world, scratch: Scratch::new("explained"), _folder: folder }
    }

    /// Loads all parts of a file.
    async fn load(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.world.put(key, content).await;
        for report in self.world.load_parts(key).await {
            assert_eq!(report.error, None);
        }
    }

    /// Mends the rejects of a load, and loads them.
    async fn mend(&self, load: i64, key: &str) {
        let rejects = self.world.get(&self.world.bucket, &format!("rejects/deal/{load}.csv")).await;
        let mended = rejects.replace(";2025-12-23;", ";23.12.2025;").replace(";1.500,00", ";150,00");
        assert_ne!(rejects, mended);
        self.load(key, mended).await;
    }

    fn explain(&self, key: &str) -> String {
        tidy(&self.world, &small_etl(&self.scratch, &self.world.variables(), &["explain", "deal", key]))
    }

    /// What a definition would do in which these texts are others.
    fn replay(&self, changes: &[(&str, &str)]) -> String {
        let new = changes.iter().fold(definition(), |text, (from, to)| text.replace(from, to));
        fs::write(self.scratch.path().join("new.toml"), new).unwrap();
        let arguments = ["replay", "--dataset", "deal", "--definition", "new.toml", "--since", "1d"];
        command_line::text(&small_etl(&self.scratch, &self.world.variables(), &arguments))
            .replace(&self.world.bucket, "b")
    }
}

const OTHER_FORM: (&str, &str) = ("%d.%m.%Y", "%Y-%m-%d");
const HIGHER: (&str, &str) = ("\"1000\"", "\"2000\"");
const LOWER: (&str, &str) = ("\"1000\"", "\"10\"");

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_text_are_explained_and_replayed_by_their_lines_as_they_were_sent() {
    let case = Case::new().await;
    let text = format!("账户;880015\n\n{}", rows("T"));
    case.load("incoming/a.txt", GB18030.encode(&text).0.into_owned()).await;
    assert_snapshot!(case.explain("T1"), @"
    deal T1: its present values come from
      load 1 s3://b/incoming/a.txt line 4: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 1 s3://b/incoming/a.txt line 4: inserted TIME (version VERSION, rules RULES)
    ");
    assert_snapshot!(case.explain("T2"), @r#"
    deal T2: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/a.txt line 5: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form) (rules RULES)
    "#);
    assert_snapshot!(case.explain("T3"), @r#"
    deal T3: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/a.txt line 6: column price: "1500.00" is greater than 1000 (rule max) (rules RULES)
    "#);
    assert_snapshot!(case.replay(&[LOWER]), @r#"
    exit 0
    1 files with 4 records of dataset deal: 1 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule max: would reject 1, would accept 0
        load 1 a.txt line 4: column price: "15.50" is greater than 10 (rule max)
    "#);
    assert_snapshot!(case.replay(&[OTHER_FORM, HIGHER]), @r#"
    exit 0
    1 files with 4 records of dataset deal: 2 rows would be rejected that are accepted today, 1 accepted that are rejected
      rule form: would reject 2, would accept 1
        load 1 a.txt line 4: column day: "22.12.2025" does not have the form %Y-%m-%d (rule form)
        load 1 a.txt line 5: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form)
        load 1 a.txt line 7: column day: "25.12.2025" does not have the form %Y-%m-%d (rule form)
    "#);
    assert_snapshot!(case.replay(&[("name = \"text\"", "name = \"other\"")]), @r#"
    exit 0
    0 files with 0 records of dataset deal: 0 rows would be rejected that are accepted today, 0 accepted that are rejected
      load 1 could not be compared: s3://b/incoming/a.txt: under the changed definition: dataset deal: unknown source "text"; known are other, book, member, section
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_sheet_are_explained_and_replayed_by_their_rows() {
    let case = Case::new().await;
    let text = |text: &str| Is::Text(text.to_owned());
    let sheet = [
        vec![text("账户"), text("880015")],
        vec![],
        vec![text("编号"), text("日期"), text("价格")],
        vec![text("B1"), Is::Day(46_013.0), Is::Number(15.5)],
        vec![text("B2"), text("2025-12-23"), Is::Number(8.25)],
        vec![text("B3"), text("24.12.2025"), text("1.500,00")],
        vec![text("B4"), Is::Day(46_016.0), Is::Number(7.0)],
    ];
    case.load("incoming/a.xlsx", book("Deals May", &sheet)).await;
    assert_eq!(
        case.world.query("select * from deal order by 1").await,
        "B1 | 2025-12-22 | 15.50\nB4 | 2025-12-25 | 7.00"
    );
    assert_snapshot!(case.explain("B1"), @"
    deal B1: its present values come from
      load 1 s3://b/incoming/a.xlsx [Deals May] line 4: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 1 s3://b/incoming/a.xlsx [Deals May] line 4: inserted TIME (version VERSION, rules RULES)
    ");
    assert_snapshot!(case.explain("B2"), @r#"
    deal B2: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/a.xlsx [Deals May] line 5: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form) (rules RULES)
    "#);
    assert_snapshot!(case.explain("B3"), @r#"
    deal B3: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/a.xlsx [Deals May] line 6: column price: "1500.00" is greater than 1000 (rule max) (rules RULES)
    "#);
    assert_snapshot!(case.replay(&[LOWER]), @r#"
    exit 0
    1 files with 4 records of dataset deal: 1 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule max: would reject 1, would accept 0
        load 1 a.xlsx [Deals May] line 4: column price: "15.5" is greater than 10 (rule max)
    "#);
    assert_snapshot!(case.replay(&[OTHER_FORM, HIGHER]), @r#"
    exit 0
    1 files with 4 records of dataset deal: 0 rows would be rejected that are accepted today, 1 accepted that are rejected
      rule form: would reject 0, would accept 1
        load 1 a.xlsx [Deals May] line 5: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form)
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_member_are_explained_and_replayed_by_its_name_and_its_lines() {
    let case = Case::new().await;
    let (first, second) = (rows("M"), rows("N"));
    let members = [("2025/deals_1.csv", first.as_str()), ("2025/notes.csv", "x"), ("2025/deals_2.csv", &second)];
    case.load("incoming/day/a.zip", archive(&members)).await;
    assert_snapshot!(case.explain("N1"), @"
    deal N1: its present values come from
      load 2 s3://b/incoming/day/a.zip [2025/deals_2.csv] line 2: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 2 s3://b/incoming/day/a.zip [2025/deals_2.csv] line 2: inserted TIME (version VERSION, rules RULES)
    ");
    assert_snapshot!(case.explain("M2"), @r#"
    deal M2: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/day/a.zip [2025/deals_1.csv] line 3: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form) (rules RULES)
    "#);
    assert_snapshot!(case.replay(&[LOWER]), @r#"
    exit 0
    2 files with 8 records of dataset deal: 2 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule max: would reject 2, would accept 0
        load 1 a.zip [2025/deals_1.csv] line 2: column price: "15.50" is greater than 10 (rule max)
        load 2 a.zip [2025/deals_2.csv] line 2: column price: "15.50" is greater than 10 (rule max)
    "#);
    assert_snapshot!(case.replay(&[OTHER_FORM, HIGHER]), @r#"
    exit 0
    2 files with 8 records of dataset deal: 4 rows would be rejected that are accepted today, 2 accepted that are rejected
      rule form: would reject 4, would accept 2
        load 1 a.zip [2025/deals_1.csv] line 2: column day: "22.12.2025" does not have the form %Y-%m-%d (rule form)
        load 1 a.zip [2025/deals_1.csv] line 3: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form)
        load 1 a.zip [2025/deals_1.csv] line 5: column day: "25.12.2025" does not have the form %Y-%m-%d (rule form)
    "#);
    let explained = small_etl(&case.scratch, &case.world.variables(), &["explain", "deal", "N3", "--json"]);
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    let reject = &explained["rejects"][0];
    assert_eq!((&reject["part"], &reject["line"]), (&Value::from("2025/deals_2.csv"), &Value::from(4)), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_section_of_a_member_are_explained_and_replayed_by_the_lines_of_the_member() {
    let case = Case::new().await;
    let text = format!("Report\nDeals\n{}Sum;4\nCash\nx\n", rows("S"));
    case.load("incoming/report/a.zip", archive(&[("all.csv", &text)])).await;
    assert_snapshot!(case.explain("S1"), @"
    deal S1: its present values come from
      load 1 s3://b/incoming/report/a.zip [all.csv/Deals] line 4: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 1 s3://b/incoming/report/a.zip [all.csv/Deals] line 4: inserted TIME (version VERSION, rules RULES)
    ");
    assert_snapshot!(case.explain("S2"), @r#"
    deal S2: no such row in the table
    rejects with this key:
      load 1 s3://b/incoming/report/a.zip [all.csv/Deals] line 5: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form) (rules RULES)
    "#);
    assert_snapshot!(case.replay(&[LOWER]), @r#"
    exit 0
    1 files with 4 records of dataset deal: 1 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule max: would reject 1, would accept 0
        load 1 a.zip [all.csv/Deals] line 4: column price: "15.50" is greater than 10 (rule max)
    "#);
}

/// A file of rejects has no parts, whatever the file had from which they came.
#[tokio::test(flavor = "multi_thread")]
async fn mended_rows_are_explained_and_replayed_by_the_source_of_their_file() {
    let case = Case::new().await;
    let text = format!("Deals\n{}Sum;4\n", rows("S"));
    case.load("incoming/day/a.zip", archive(&[("x/deals_1.csv", &rows("M"))])).await;
    case.load("incoming/report/a.zip", archive(&[("all.csv", &text)])).await;
    case.mend(1, "incoming/mended 1.txt").await;
    case.mend(2, "incoming/mended 2.txt").await;
    assert_snapshot!(case.explain("M2"), @r#"
    deal M2: its present values come from
      load 3 s3://b/incoming/mended 1.txt line 2: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 3 s3://b/incoming/mended 1.txt line 2: inserted TIME (version VERSION, rules RULES)
    rejects with this key:
      load 1 s3://b/incoming/day/a.zip [x/deals_1.csv] line 3: column day: "2025-12-23" does not have the form %d.%m.%Y (rule form), mended by load 3 (rules RULES)
    "#);
    assert_snapshot!(case.explain("S3"), @r#"
    deal S3: its present values come from
      load 4 s3://b/incoming/mended 2.txt line 3: inserted TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 4 s3://b/incoming/mended 2.txt line 3: inserted TIME (version VERSION, rules RULES)
    rejects with this key:
      load 2 s3://b/incoming/report/a.zip [all.csv/Deals] line 5: column price: "1500.00" is greater than 1000 (rule max), mended by load 4 (rules RULES)
    "#);
    assert_snapshot!(case.replay(&[LOWER]), @r#"
    exit 0
    4 files with 12 records of dataset deal: 4 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule max: would reject 4, would accept 0
        load 1 a.zip [x/deals_1.csv] line 2: column price: "15.50" is greater than 10 (rule max)
        load 2 a.zip [all.csv/Deals] line 3: column price: "15.50" is greater than 10 (rule max)
        load 3 mended 1.txt line 3: column price: "150.00" is greater than 10 (rule max)
    "#);
}
