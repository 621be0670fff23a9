//! `migrate --plan`: the SQL that makes tables fit their definitions. After it was applied, the check of each table passes and rows load.

use std::fmt::Write as _;
use std::fs;
use std::process::Output;

use insta::assert_snapshot;
use small_etl::domain::types::TYPES;

use crate::command_line::{small_etl, text};
use crate::support::Scratch;
use crate::world::{empty_database, query};

/// A database with the ledger, and a folder of definitions and migrations.
struct Desk {
    scratch: Scratch,
    url: String,
}

impl Desk {
    async fn new(definitions: &[(&str, &str)]) -> Self {
        let (scratch, (url, _)) = (Scratch::new("plans"), empty_database().await);
        for folder in ["datasets", "migrations"] {
            fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        let desk = Self { scratch, url };
        for (name, definition) in definitions {
            desk.define(name, definition);
        }
        let early = text(&desk.run(&["migrate", "--plan"]));
        assert!(early.starts_with("exit 3\n") && early.contains("run `small-etl migrate`, and then plan"), "{early}");
        desk.succeed(&["migrate"]);
        desk
    }

    fn define(&self, name: &str, text: &str) {
        fs::write(self.scratch.path().join("datasets").join(name).with_extension("toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let variables = [
            ("DATABASE_URL", self.url.as_str()),
            ("SMALL_ETL__DATASETS__PATH", "datasets"),
            ("SMALL_ETL__MIGRATIONS__PATH", "migrations"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        small_etl(&self.scratch, &variables, arguments)
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes the plan as a migration and applies it. Then every table fits.
    fn apply(&self) -> String {
        let planned = self.succeed(&["migrate", "--plan"]);
        assert_eq!(self.succeed(&["migrate", "--plan"]), planned, "a plan altered something");
        self.succeed(&["migrate", "--plan", "--out", "migrations"]);
        self.succeed(&["migrate"]);
        assert_eq!(self.succeed(&["migrate", "--plan"]), "every table fits its definition\n");
        planned
    }

    fn load(&self, dataset: &str, file: &str, csv: &str) {
        fs::write(self.scratch.path().join(file), csv).unwrap();
        let said = self.succeed(&["load", file, "--dataset", dataset, "--json"]);
        assert!(said.contains("\"rejected\":0") && said.contains("\"status\":\"loaded\""), "{said}");
    }
}

/// The columns of a dataset that has each type with each set of options, and a row of it.
fn every_type() -> (String, Vec<String>, Vec<&'static str>) {
    let (mut columns, mut names, mut cells) = (String::new(), Vec::new(), Vec::new());
    for registered in TYPES {
        for (nth, samples) in registered.samples.iter().enumerate() {
            let name = format!("v_{}_{nth}", registered.name);
            writeln!(columns, "[[column]]\nname = \"{name}\"\ntype = \"{}\"\n{}", registered.name, samples.options)
                .unwrap();
            names.push(name);
            cells.push(samples.values[0].0);
        }
    }
    (columns, names, cells)
}

fn definition(name: &str, table: &str, key: &str, columns: &str) -> String {
    let version = if key.starts_with("key") { "\nversion = \"arrival\"" } else { "" };
    let key = format!("{key}{version}");
    format!(
        "name = \"{name}\"\ntable = \"{table}\"\n{key}\nfiles = [\"{name}/**\"]\n\
         [[column]]\nname = \"id\"\ntype = \"text\"\nrequired = true\n\
         [[column]]\nname = \"day\"\ntype = \"date\"\nrequired = true\n{columns}"
    )
}

fn csv(names: &[String], cells: &[&str], ids: &[&str]) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    let header = ["id", "day"].into_iter().chain(names.iter().map(String::as_str));
    out.write_record(header).unwrap();
    for id in ids {
        out.write_record([id, "2025-12-22"].into_iter().chain(cells.iter().copied())).unwrap();
    }
    String::from_utf8(out.into_inner().unwrap()).unwrap()
}

#[tokio::test]
async fn a_missing_table_is_planned_with_every_type_and_every_form_of_a_key() {
    let (columns, names, cells) = every_type();
    let forms = [
        ("one", "one", "key = \"id\""),
        ("several", "broker.several", "key = [\"id\", \"day\"]"),
        ("content", "content", "key = \"content\"\ncontent = [\"id\", \"day\"]"),
        ("append", "append", "mode = \"append\""),
        ("replace", "replace", "mode = \"replace\"\nreplace_by = \"day\"\ndeleted = \"is_gone\"\nkey = \"id\""),
    ];
    let definitions = forms.map(|(name, table, key)| (name, definition(name, table, key, &columns)));
    let definitions: Vec<(&str, &str)> = definitions.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let desk = Desk::new(&definitions).await;
    let planned = desk.apply();
    assert!(planned.contains("create schema if not exists broker;\ncreate table broker.several ("), "{planned}");
    for (name, ..) in forms {
        desk.load(name, &format!("{name}.csv"), &csv(&names, &cells, &["a", "b"]));
    }
    assert_eq!(desk.succeed(&["migrate", "--plan"]), "every table fits its definition\n");
}

#[tokio::test]
async fn columns_are_added_and_widened_and_an_index_is_made_without_touching_a_row() {
    let (columns, names, cells) = every_type();
    let desk = Desk::new(&[("one", &definition("one", "one", "key = \"id\"", &columns))]).await;
    desk.apply();
    desk.load("one", "first.csv", &csv(&names, &cells, &["a", "b"]));
    let narrow = [
        ("v_integer_0", "smallint"),
        ("v_bigint_0", "integer"),
        ("v_decimal_0", "numeric(5, 3)"),
        ("v_time_0", "time(0)"),
        ("v_timestamp_0", "timestamptz(2)"),
        ("v_local_timestamp_0", "timestamp(3)"),
        ("v_text_0", "varchar(5)"),
        ("v_smallint_0", "smallint"),
    ];
    for (column, kind) in narrow {
        query(&desk.url, &format!("alter table one alter {column} type {kind}")).await;
    }
    query(&desk.url, "alter table one drop constraint one_pkey, drop column v_uuid_0, alter v_boolean_0 set not null")
        .await;
    let extra = "alter table one add column extra text not null default 'x'; alter table one alter extra drop default";
    query(&desk.url, extra).await;
    let rows = "select jsonb_agg(to_jsonb(t) - 'v_uuid_0' order by id)::text from one t";
    let before = query(&desk.url, rows).await;
    assert_snapshot!(desk.apply(), @r"
    -- dataset one
    alter table public.one alter column v_text_0 type character varying;
    alter table public.one alter column v_integer_0 type integer;
    alter table public.one alter column v_bigint_0 type bigint;
    alter table public.one alter column v_decimal_0 type numeric(21, 3);
    alter table public.one alter column v_boolean_0 drop not null;
    alter table public.one alter column v_time_0 type time without time zone;
    alter table public.one alter column v_timestamp_0 type timestamp with time zone;
    alter table public.one alter column v_local_timestamp_0 type timestamp without time zone;
    alter table public.one add column v_uuid_0 uuid;
    alter table public.one alter column extra drop not null;
    create unique index on public.one (id);
    ");
    assert_eq!(query(&desk.url, rows).await, before);
    desk.load("one", "second.csv", &csv(&names, &cells, &["a", "c"]));
}

#[tokio::test]
async fn what_would_lose_a_value_is_refused_with_its_reason_and_nothing_is_written() {
    let columns = "[[column]]\nname = \"amount\"\ntype = \"integer\"\n[[column]]\nname = \"note\"\ntype = \"text\"\nmax_length = 3\n";
    let desk = Desk::new(&[("one", &definition("one", "one", "key = \"id\"", columns))]).await;
    let table = |columns: &str| {
        format!("drop table if exists one cascade; drop view if exists one_view; create table one ({columns})")
    };
    let refused = |expected: &str| {
        let output = desk.run(&["migrate", "--plan", "--out", "migrations"]);
        let said = text(&output);
        assert!(said.starts_with("exit 3\n") && said.contains(expected), "{expected}: {said}");
        assert_eq!(fs::read_dir(desk.scratch.path().join("migrations")).unwrap().count(), 0);
    };
    for (columns, expected) in [
        (
            "id text primary key, day date, amount numeric(10, 2), note text",
            "dataset one: table one: column amount is numeric(10,2) and must be integer or bigint; that would change or lose values",
        ),
        (
            "id text primary key, day date, amount text, note text",
            "column amount is text and must be integer or bigint",
        ),
        (
            "id text primary key, day timestamp, amount integer, note text",
            "column day is timestamp without time zone and must be date",
        ),
        (
            "id text primary key, day date, amount integer, note character(3)",
            "column note is character(3) and must be text",
        ),
        (
            "id text, day date, amount integer, note text, primary key (id, note)",
            "column note is not null and part of the primary key, optional in the definition",
        ),
    ] {
        query(&desk.url, &table(columns)).await;
        refused(expected);
    }
    query(&desk.url, "drop table one; create table below (id text, day date, amount integer, note text)").await;
    query(&desk.url, "create view one as select * from below").await;
    refused("it is a view; name the table that it shows");
    query(&desk.url, "drop view one; create table one (day date); insert into one values ('2025-12-22')").await;
    refused("column id is part of the key, and the rows that are there have no value for it");
    query(&desk.url, "delete from one").await;
    assert_snapshot!(desk.succeed(&["migrate", "--plan"]), @r"
    -- dataset one
    alter table public.one add column id text not null;
    alter table public.one add column amount integer;
    alter table public.one add column note text;
    create unique index on public.one (id);
    ");
}

#[tokio::test]
async fn a_key_without_a_unique_index_gets_one() {
    let desk = Desk::new(&[("one", &definition("one", "broker.order", "key = [\"id\", \"day\"]", ""))]).await;
    query(&desk.url, "create schema broker; create table broker.\"order\" (id text, day date)").await;
    assert_snapshot!(desk.apply(), @r#"
    -- dataset one
    create unique index on broker."order" (id, day);
    "#);
    desk.load("one", "first.csv", &csv(&[], &[], &["a"]));
}

#[test]
fn an_output_goes_with_a_plan_alone() {
    let output = small_etl(&Scratch::new("plans"), &[], &["migrate", "--out", "x"]);
    assert!(text(&output).contains("--plan"), "{}", text(&output));
}

/// A value is encrypted together with the key of its row.
#[tokio::test]
async fn the_decimals_of_a_key_are_not_changed_where_values_are_encrypted() {
    let keyed = |scale: u32, encrypt: &str| {
        format!(
            "name = \"t\"\ntable = \"t\"\nkey = \"id\"\nversion = \"arrival\"\nfiles = [\"t/*\"]\n[[column]]\nname = \"id\"\ntype = \"decimal\"\n\
             precision = {}\nscale = {scale}\nrequired = true\n[[column]]\nname = \"s\"\ntype = \"text\"\n{encrypt}",
            8 + scale
        )
    };
    for (encrypt, is_refused) in [("encrypt = true\n", true), ("", false)] {
        let desk = Desk::new(&[("t", &keyed(2, encrypt))]).await;
        desk.apply();
        query(&desk.url, "insert into t (id) values (1.5)").await;
        desk.define("t", &keyed(4, encrypt));
        let planned = text(&desk.run(&["migrate", "--plan"]));
        assert_eq!(planned.contains("with other decimals they could not be decrypted"), is_refused, "{planned}");
        assert_eq!(planned.contains("alter column id type"), !is_refused, "{planned}");
    }
}
