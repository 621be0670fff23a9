//! `describe` and `guess --from`: contracts that people read, that the tools of their standards accept, and that become datasets again.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::command_line::{small_etl, text};
use crate::support::{Scratch, contract_tools};

/// A dataset that one sender writes in a way of its own.
const ORDERS: &str = r#"
name = "orders"
table = "broker.orders"
key = ["order_id", "leg"]
version = "changed_at"
files = ["incoming/orders/**"]
expected = "weekdays 18:00 Europe/Amsterdam"

[[column]]
name = "order_id"
type = "text"
required = true
pattern = "[A-Z]-[0-9]{4}"

[[column]]
name = "leg"
type = "smallint"
required = true
min = 1
below = 10

[[column]]
name = "day"
type = "date"
required = true
min = 2020-01-01

[[column]]
name = "price"
type = "decimal"
precision = 12
scale = 2
above = "0.01"
max = 5000
severity = { max = "warning" }

[[column]]
name = "side"
type = "text"
required = true
allowed = ["buy", "sell"]

[[column]]
name = "open"
type = "boolean"

[[column]]
name = "ref"
type = "uuid"

[[column]]
name = "note"
type = "text"
max_length = 20

[[column]]
name = "weight"
type = "double"

[[column]]
name = "more"
type = "json"

[[column]]
name = "at"
type = "time"

[[column]]
name = "seen"
type = "local_timestamp"

[[column]]
name = "changed_at"
type = "timestamp"
required = true

[[rule]]
id = "bought_for_more"
column = "price"
when = "side = 'buy'"
check = "price > 1"
message = "a purchase has a price of more than 1"

[[source]]
name = "acme"
files = ["acme/orders_*.csv"]
delimiter = ";"
decimal_mark = ","
zone = "Europe/Amsterdam"
true_values = "J"
false_values = "N"

[[source.column]]
name = "order_id"
header = ["Order", "Order number"]
[[source.column]]
name = "day"
header = "Datum"
form = "%d.%m.%Y"
[[source.column]]
name = "side"
map = { "Koop" = "buy", "Verkoop" = "sell" }
[[source.column]]
name = "changed_at"
join = ["Wijzigingsdatum", "Tijd"]
form = "%d.%m.%Y %H:%M:%S"
[[source.column]]
name = "seen"
zone = "none"
[[source.column]]
name = "note"
from = "key"
pattern = 'orders_(.*)\.csv'
"#;

struct Desk {
    scratch: Scratch,
}

impl Desk {
    fn new() -> Self {
        let scratch = Scratch::new("contracts");
        fs::create_dir(scratch.path().join("datasets")).unwrap();
        fs::write(scratch.path().join("datasets/orders.toml"), ORDERS).unwrap();
        Self { scratch }
    }

    fn run(&self, folder: &str, arguments: &[&str]) -> std::process::Output {
        small_etl(&self.scratch, &[("SMALL_ETL__DATASETS__PATH".to_owned(), folder.to_owned())], arguments)
    }

    fn succeed(&self, folder: &str, arguments: &[&str]) -> String {
        let output = self.run(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn describe(&self, of: &[&str], form: &str) -> String {
        self.succeed("datasets", &[&["describe"], of, &["--format", form]].concat())
    }

    fn write(&self, file: &str, text: &str) -> String {
        let path = self.scratch.path().join(file);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs Python with the tools of the standards.
    fn python(&self, program: &str, arguments: &[&str]) {
        let output = Command::new("python3")
            .args(["-c", program])
            .args(arguments)
            .env("PYTHONPATH", contract_tools())
            .current_dir(self.scratch.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// The example rows of a page in Markdown, the names of the cells first.
fn examples(markdown: &str) -> Vec<Vec<String>> {
    let table = markdown.split("## Rows that keep all of this\n\n").nth(1).expect("there are examples");
    let cells = |line: &str| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace("\\|", "|")).collect::<Vec<_>>()
    };
    table.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| cells(line)).collect()
}

fn csv(rows: &[Vec<String>], delimiter: u8) -> String {
    let mut out = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    for row in rows {
        out.write_record(row).unwrap();
    }
    String::from_utf8(out.into_inner().unwrap()).unwrap()
}

#[test]
fn an_example_is_a_file_that_the_dataset_accepts_in_the_plain_form_and_in_that_of_a_sender() {
    let desk = Desk::new();
    for dataset in ["asset", "trade", "orders"] {
        let rows = examples(&desk.describe(&[dataset], "markdown"));
        assert_eq!(rows.len(), 4, "{dataset}: {rows:?}");
        desk.write("example.csv", &csv(&rows, b','));
        let said = desk.succeed("datasets", &["validate", "example.csv", "--dataset", dataset]);
        assert!(said.contains("3 records, 3 accepted, 0 rejected"), "{said}");
    }
    let rows = examples(&desk.describe(&["orders", "--source", "acme"], "markdown"));
    assert!(rows[0].contains(&"Wijzigingsdatum".to_owned()) && !rows[0].contains(&"note".to_owned()), "{rows:?}");
    desk.write("orders_7.csv", &csv(&rows, b';'));
    let said = desk.succeed("datasets", &["validate", "orders_7.csv", "--dataset", "orders", "--source", "acme"]);
    assert!(said.contains("3 records, 3 accepted, 0 rejected"), "{said}\n{rows:?}");
}

#[test]
fn every_form_is_valid_by_the_tool_of_its_standard() {
    let desk = Desk::new();
    for of in [&["asset"][..], &["trade"], &["orders"], &["orders", "--source", "acme"]] {
        let rows = examples(&desk.describe(of, "markdown"));
        let file = desk.write("example.csv", &csv(&rows, b','));
        let schema = desk.write("frictionless.json", &desk.describe(of, "frictionless"));
        desk.python(
            "import sys, json\n\
             from frictionless import Resource, Schema, system\n\
             system.trusted = True\n\
             schema = json.load(open(sys.argv[1]))\n\
             Schema.from_descriptor(schema)\n\
             version = 'https://datapackage.org/profiles/2.0/dataresource.json'\n\
             resource = {'$schema': version, 'name': 'example', 'path': sys.argv[2], 'schema': schema}\n\
             report = Resource.from_descriptor(resource).validate()\n\
             assert report.valid, report.flatten(['rowNumber', 'fieldName', 'message'])\n\
             assert report.tasks[0].stats['rows'] == 3, report",
            &[&schema, &file],
        );
        let contract = desk.write("contract.yaml", &desk.describe(of, "odcs"));
        desk.python(
            "import sys, json, yaml, jsonschema\n\
             from open_data_contract_standard.model import OpenDataContractStandard as Contract\n\
             text = open(sys.argv[1]).read()\n\
             contract = Contract.from_string(text)\n\
             assert contract.schema_[0].properties\n\
             schema = Contract.json_schema()\n\
             schema = json.loads(schema) if isinstance(schema, str) else schema\n\
             jsonschema.Draft201909Validator(schema).validate(yaml.safe_load(text))",
            &[&contract],
        );
        let schema = desk.write("schema.json", &desk.describe(of, "json-schema"));
        desk.python(
            "import sys, json, jsonschema\n\
             schema = json.load(open(sys.argv[1]))\n\
             jsonschema.Draft202012Validator.check_schema(schema)\n\
             for name, of in schema['properties'].items():\n\
             \x20   assert of['description'], name\n\
             \x20   for example in of['examples']: jsonschema.validate(example, of)",
            &[&schema],
        );
    }
}

/// The table of cells of a page, without the descriptions of what a standard cannot say.
fn cells(markdown: &str) -> &str {
    let rest = markdown.split("## The cells of a record").nth(1).unwrap();
    rest.split("## The rules of rows").next().unwrap()
}

#[test]
fn a_contract_becomes_the_dataset_that_it_was_made_of() {
    let desk = Desk::new();
    for (form, file) in [("frictionless", "contract.json"), ("odcs", "contract.yaml")] {
        for name in ["trade", "asset"] {
            desk.write(file, &desk.describe(&[name], form));
            let said = desk.succeed("datasets", &["guess", "--from", file, "--name", name, "--out", form, "--force"]);
            assert!(said.starts_with(&format!("dataset {name} ({file})")), "{said}");
            let made = format!("{form}/datasets");
            let again = desk.succeed(&made, &["describe", name, "--format", "markdown"]);
            assert_eq!(cells(&again), cells(&desk.describe(&[name], "markdown")), "{form}");
            assert!(again.contains(if name == "trade" { "`traded_id`" } else { "`account_id`" }));
        }
        desk.succeed(&format!("{form}/datasets"), &["check"]);
        let migration = fs::read_to_string(desk.scratch.path().join(form).join("migrations")).err();
        assert!(migration.is_some(), "it is a folder");
    }
}

#[test]
fn what_a_contract_does_not_say_is_asked() {
    let desk = Desk::new();
    let contract = r#"{"fields": [
        {"name": "Order No", "type": "string", "constraints": {"required": true, "pattern": "[A-Z]+"}},
        {"name": "Preis", "type": "number", "decimalChar": ",", "groupChar": "."},
        {"name": "Tag", "type": "date", "format": "%d.%m.%Y"},
        {"name": "Zeit", "type": "datetime"},
        {"name": "Wann", "type": "date", "format": "any"},
        {"name": "offen", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
        {"name": "Stück", "type": "integer", "constraints": {"minimum": 1, "enum": [1, 2, 3]}}
    ], "missingValues": ["", "-"]}"#;
    desk.write("schema.json", contract);
    let base = ["guess", "--from", "schema.json", "--name", "orders", "--out", "mine"];
    let output = desk.run("datasets", &[&base[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<&str> =
        said["questions"].as_array().unwrap().iter().map(|asked| asked["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["digits:Preis", "zone:Zeit", "form:Wann", "key"]);
    let refused = desk.run("mine/datasets", &["check"]);
    assert!(text(&refused).contains("question \"digits:Preis\" is open"), "{}", text(&refused));
    let answers = ["digits:Preis=12.4", "zone:Zeit=Europe/Berlin", "form:Wann=%Y%m%d", "key=Order No"];
    let answers: Vec<&str> = answers.iter().flat_map(|answer| ["--answer", *answer]).collect();
    desk.succeed("datasets", &[&base[..], &answers].concat());
    desk.succeed("mine/datasets", &["check"]);
    desk.write(
        "orders.csv",
        "Order No,Preis,Tag,Zeit,Wann,offen,Stück\nA,\"1.234,5\",22.12.2025,2025-12-22T10:00:00,20251222,ja,2\nB,-,-,-,-,nein,9\n",
    );
    let said =
        text(&desk.run("mine/datasets", &["validate", "orders.csv", "--dataset", "orders", "--source", "orders"]));
    assert!(said.contains("2 records, 1 accepted, 1 rejected") && said.contains("is not one of 1 2 3"), "{said}");
    for (wrong, message) in [
        ("[]", "neither a Table Schema"),
        ("{\"fields\": [{\"name\": \"a\", \"type\": \"colour\"}]}", "type \"colour\""),
        ("{\"kind\": \"DataContract\", \"schema\": []}", "0 schemas"),
        ("{\"fields\": [{\"name\": \"a\"}], \"primaryKey\": \"b\"}", "names \"b\", which is no field"),
        ("a: [", "neither JSON nor YAML"),
    ] {
        desk.write("wrong.json", wrong);
        let said = text(&desk.run("datasets", &["guess", "--from", "wrong.json", "--name", "wrong"]));
        assert!(said.starts_with("exit 3\n") && said.contains(message), "{message}: {said}");
    }
}

#[test]
fn a_page_is_one_file_that_loads_nothing_whatever_the_definition_says() {
    let desk = Desk::new();
    let hostile = ORDERS.replace("a purchase has", "</td><script src='http://x.example/a.js'></script> a purchase has");
    desk.write("datasets/orders.toml", &hostile);
    let page = desk.describe(&["orders", "--source", "acme"], "html");
    assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme: dark"));
    assert!(
        !page.contains("<script") && !page.contains("<link") && !page.contains("<img") && page.contains("&lt;script")
    );
    for words in [
        "One of <code>Koop</code> (buy)",
        "<code>%d.%m.%Y</code>",
        "comes from the key of the object",
        "weekdays 18:00 Europe/Amsterdam",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let refused = text(&desk.run("datasets", &["describe", "orders", "--source", "acmé"]));
    assert!(refused.starts_with("exit 3\n") && refused.contains("unknown source"), "{refused}");
}
