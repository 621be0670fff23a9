//! Files whose columns are no longer those that their source declares: what is missing is null only where that is declared, what is new
//! stays out, both are recorded and announced once, and a strict source refuses them.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;
use small_etl::domain::LoadStatus;

use crate::announce::{Subscriber, assert_fits, schemas};
use crate::command_line::{small_etl, text};
use crate::support::Scratch;
use crate::world::World;

const DEFINITION: &str = r#"
# What we know of fills.
name = "fill"
table = "fill"
key = "fill_id"
version = "arrival"
files = []

[[column]]
name = "fill_id"
type = "text"
required = true

[[column]]
name = "side"
type = "text"
allowed = ["buy", "sell"]

[[column]]
name = "price"
type = "decimal"
precision = 20
scale = 2

[[column]]
name = "fee"
type = "decimal"
precision = 20
scale = 2

[[source]]
name = "acme"
files = ["incoming/fills/**"]

[[source.column]]
name = "fill_id"
header = "Fill"

[[source.column]]
name = "side"
header = "Side"

[[source.column]]
name = "price"
header = "Price"

[[source.column]]
name = "fee"
header = "Fee"
optional = true
"#;

const TABLE: &str = "create table fill (fill_id text primary key, side text, price numeric(20, 2), fee numeric(20, 2))";

async fn world_with(folder: &Scratch, definition: &str) -> World {
    fs::write(folder.path().join("fill.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(TABLE).await;
    world
}

#[tokio::test]
async fn what_is_missing_or_new_is_a_warning_in_the_ledger_and_each_change_is_recorded_once() {
    let folder = Scratch::new("drift");
    let world = world_with(&folder, DEFINITION).await;
    for (key, content) in [
        ("incoming/fills/1.csv", "Fill,Side,Price,Fee\nF1,buy,1.50,0.10\n"),
        ("incoming/fills/2.csv", "Fill,Side,Price,Venue\nF2,sell,2.50,XETR\n"),
        ("incoming/fills/3.csv", "Fill,Side,Price,Venue\nF3,buy,3.50,XETR\n"),
        ("incoming/fills/4.csv", "Fill,Side,Price,Fee,Venue,Desk\nF4,buy,4.50,0.40,XETR,7\n"),
    ] {
        let report = world.drop_file(key, content).await;
        assert_eq!((report.error, report.status), (None, LoadStatus::Loaded), "{key}");
    }
    assert_snapshot!(world.query("select fill_id, side, price, fee from fill order by 1").await, @r"
    F1 | buy | 1.50 | 0.10
    F2 | sell | 2.50 | -
    F3 | buy | 3.50 | -
    F4 | buy | 4.50 | 0.40
    ");
    assert_snapshot!(world.query("select key, warnings, drift from etl.load order by id").await, @r#"
    incoming/fills/1.csv | 0 | -
    incoming/fills/2.csv | 2 | [{"change": "missing", "column": "fee"}, {"change": "new", "column": "Venue"}]
    incoming/fills/3.csv | 2 | [{"change": "missing", "column": "fee"}, {"change": "new", "column": "Venue"}]
    incoming/fills/4.csv | 2 | [{"change": "new", "column": "Venue"}, {"change": "new", "column": "Desk"}]
    "#);
    let changes = "select c.dataset, c.source, change, \"column\", l.key from etl.schema_change c \
        join etl.load l on l.id = c.load_id order by noted_at, change, \"column\"";
    assert_snapshot!(world.query(changes).await, @r"
    fill | acme | missing | fee | incoming/fills/2.csv
    fill | acme | new | Venue | incoming/fills/2.csv
    fill | acme | new | Desk | incoming/fills/4.csv
    ");
    let report = world.drop_file("incoming/fills/5.csv", "Fill,Side,Fee\nF5,buy,0.10\n").await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("missing_column")));
}

#[tokio::test]
async fn a_strict_source_fails_files_with_other_columns() {
    let folder = Scratch::new("drift");
    let strict = DEFINITION.replace("name = \"acme\"", "name = \"acme\"\ncolumns = \"strict\"");
    let world = world_with(&folder, &strict).await;
    for (key, content, reason, message) in [
        ("incoming/fills/1.csv", "Fill,Side,Price,Fee\nF1,buy,1.50,0.10\n", None, ""),
        (
            "incoming/fills/2.csv",
            "Fill,Side,Price,Fee,Venue\nF2,sell,2.50,0.10,XETR\n",
            Some("unexpected_column"),
            "it has \"Venue\", which the source does not read",
        ),
        ("incoming/fills/3.csv", "Fill,Side,Price\nF3,buy,3.50\n", Some("missing_column"), "it lacks \"fee\""),
    ] {
        let report = world.drop_file(key, content).await;
        assert_eq!(report.reason.as_deref(), reason, "{key}: {:?}", report.error);
        assert!(report.error.unwrap_or_default().contains(message), "{key}");
    }
    assert_eq!(world.query("select count(*) from fill").await, "1");
    let mut wrong =
        strict.replace("files = [\"incoming/fills/**\"]", "files = [\"incoming/fills/**\"]\nheader = \"none\"");
    for (position, header) in (1..).zip(["Fill", "Side", "Price", "Fee"]) {
        wrong = wrong.replace(&format!("header = \"{header}\""), &format!("position = {position}"));
    }
    let wrong = wrong.replace("optional = true\n", "");
    let message = small_etl::domain::Datasets::parse([("fill.toml", wrong.as_str())]).unwrap_err();
    assert!(message.contains("columns = \"strict\" goes with a header"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_columns_is_announced_once_for_each_source() {
    let folder = Scratch::new("drift");
    fs::write(folder.path().join("fill.toml"), DEFINITION).unwrap();
    let datasets = folder.path().to_str().unwrap();
    let world = World::on_moto(&[("DATASETS__PATH", datasets)]).await;
    world.query(TABLE).await;
    let subscriber = Subscriber::new(&world).await;
    let world = world.under_variables(&[("EVENTS__BUS", &subscriber.bus), ("DATASETS__PATH", datasets)]);
    for nth in 1..=2 {
        let key = format!("incoming/fills/{nth}.csv");
        world.put(&key, format!("Fill,Side,Price,Fee,Venue\nF{nth},buy,1.50,0.10,XETR\n")).await;
        world.worker(&key, None).finish().await.unwrap().unwrap();
    }
    let events = subscriber.events(3).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["FileLoaded", "FileLoaded", "SchemaChanged"]);
    let detail = &events[2].1;
    assert_fits(detail, &schemas()["SchemaChanged"]);
    assert_eq!(
        (&detail["change"], &detail["column"], &detail["key"]),
        (&"new".into(), &"Venue".into(), &"incoming/fills/1.csv".into())
    );
}

#[test]
fn guess_compares_a_file_with_a_dataset_whose_key_is_the_content_and_numbers_its_migration_after_those_in_use() {
    let folder = Scratch::new("drift-content");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let guess = |variables: &[(String, String)], text: &str, more: &[&str]| {
        fs::write(path("2025-01.csv"), text).unwrap();
        let file = path("2025-01.csv");
        small_etl(&folder, variables, &[&["guess", &file], more].concat())
    };
    let first = guess(
        &[],
        "Date,Text,Amount\n2025-01-31,a,1.50\n2025-01-30,b,2.50\n2025-01-15,c,3.75\n",
        &["--name", "booked", "--out", &path("o")],
    );
    let said = text(&first);
    assert!(
        said.contains("small-etl load --dataset booked "),
        "no pattern has a name that begins with a number: {said}"
    );
    let variables = [("DATASETS", "o/datasets"), ("MIGRATIONS", "o/migrations")]
        .map(|(of, at)| (format!("SMALL_ETL__{of}__PATH"), path(at)));
    let more = ["--against", "booked", "--out", &path("changed")];
    let changed = guess(&variables, "Date,Text,Amount,Note\n2025-03-28,a,1.50,hi\n", &more);
    assert!(text(&changed).contains("new column \"Note\": text note"), "{}", text(&changed));
    let files = |folder: &str| {
        let entries =
            fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<Vec<_>>()
    };
    assert_eq!(
        (files("o/migrations"), files("changed/migrations")),
        (vec!["V25__booked.sql".into()], vec!["V26__booked_columns.sql".into()])
    );
}

#[test]
fn guess_ends_with_2_where_more_than_half_of_the_rows_would_be_rejected() {
    let folder = Scratch::new("misread");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let preamble = "Kontonummer 12345-67\nKontoname: Giro Plus\nErstellt am 01.02.2025 08:15 Uhr\n\n";
    let rows = "Datum;Betrag;Text\n31.01.2025;-1,50;a\n30.01.2025;2,50;b\n29.01.2025;3,75;c\n";
    fs::write(path("giro.csv"), format!("{preamble}{rows}")).unwrap();
    let guessed = small_etl(&folder, &[], &["guess", &path("giro.csv"), "--name", "giro", "--out", &path("o")]);
    let said = text(&guessed);
    assert!(said.contains("1 would load, 6 would be rejected"), "{said}");
    assert!(said.contains("more than half of the rows would be rejected") && !said.contains("To load them"), "{said}");
    assert_eq!(guessed.status.code(), Some(2));
}

#[test]
fn guess_says_what_has_changed_and_writes_what_takes_it() {
    let folder = Scratch::new("drift");
    fs::create_dir(folder.path().join("datasets")).unwrap();
    fs::write(folder.path().join("datasets/fill.toml"), DEFINITION).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, out) = (path("fills.csv"), path("changed"));
    let variables = [("SMALL_ETL__DATASETS__PATH".to_owned(), path("datasets"))];
    let guess = |more: &[&str]| {
        let arguments = [&["guess", &file, "--against", "fill", "--out", &out, "--force"], more].concat();
        small_etl(&folder, &variables, &arguments)
    };
    fs::write(&file, "Fill,Side,Price,Fee\nF1,buy,1.50,0.10\nF2,sell,2.50,0.20\n").unwrap();
    assert!(text(&guess(&[])).contains("nothing has changed"));
    // Another delimiter and encoding, a header that reads alike, a new column, a finer price, another code.
    let changed = "FILL;Side;Price;Abzüge;Venue\nF1;buy;1.505;0.10;XETR\nF2;short;2.50;0.20;XLON\n";
    fs::write(&file, encoding_rs::WINDOWS_1252.encode(changed).0).unwrap();
    let asked = guess(&["--json"]);
    assert_eq!(asked.status.code(), Some(4), "{}", text(&asked));
    let told: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(told["questions"][0]["id"], "renamed:Fee");
    let written = fs::read_to_string(told["against"]["definition"].as_str().unwrap()).unwrap();
    assert!(written.contains("\nopen_questions = [\"renamed:Fee\"]\n"), "nothing is loaded under it: {written}");
    let done = guess(&["--answer", "renamed:Fee=Abzüge"]);
    let said = text(&done);
    assert!(!fs::read_to_string(told["against"]["definition"].as_str().unwrap()).unwrap().contains("open_questions"));
    for line in [
        "delimiter: it is \";\" and was \",\"",
        "encoding: it is \"windows-1252\" and was \"utf-8\"",
        "column fill_id: its header is \"FILL\" and was \"Fill\"",
        "column fee: its header is \"Abzüge\" and was \"Fee\"",
        "new column \"Venue\": text venue",
        "column side: new values \"short\"",
        "column price: 1 of 2 cells are no longer",
        "2 rows read: 1 would load, 1 would be rejected",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let amended = fs::read_to_string(path("changed/datasets/fill.toml")).unwrap();
    assert!(
        amended.contains("# What we know of fills.") && amended.contains("header = [\"Abzüge\", \"Fee\"]"),
        "{amended}"
    );
    let migration = fs::read_dir(path("changed/migrations")).unwrap().next().unwrap().unwrap().path();
    let migration = fs::read_to_string(migration).unwrap();
    for change in ["add column venue text;", "alter column price type numeric(22, 4)"] {
        assert!(migration.contains(change), "{change} is not in {migration}");
    }
}
