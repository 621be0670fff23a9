//! The modes beside `psql` doing the same without a check: rows appended, a scope replaced; and rows without a key beside rows with one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Sizes;
use crate::figures::{Figures, Line};
use crate::support::emulator::Emulator;
use crate::world::{COLUMNS, World, invoke, seconds, timed};

const TRADE: &str = include_str!("../../datasets/trade.toml");
/// How trades are identified in the sample's own definition.
const UPSERT: &str = "key = \"traded_id\"\nversion = \"updated_at\"\n";
/// Dataset and table, and how its definition identifies rows.
const MODES: [(&str, &str); 3] = [
    ("appended", "mode = \"append\"\n"),
    ("replaced", "mode = \"replace\"\nkey = \"traded_id\"\n"),
    ("counted", "key = \"content\"\nversion = \"arrival\"\n"),
];
/// The tables have the plain indexes and the foreign key of `trade`. `plain` is where `psql` appends.
const TABLES: [(&str, &str); 4] = [
    (
        "appended",
        "drop column id, add column load_id bigint, add column record bigint, add primary key (load_id, record)",
    ),
    ("replaced", "add primary key (id), add unique (traded_id)"),
    ("counted", "drop column id, add column content_key varchar(84) primary key"),
    ("plain", "add primary key (id)"),
];
const INDEXED: [&str; 4] = ["account_id", "account_type", "stock_code", "traded_time"];

/// Measures each mode in turn with what it is compared with.
pub async fn modes(world: &World, sizes: &Sizes) -> Vec<Line> {
    let sandbox = sandbox(world).await;
    let file = world.trades(sizes.rows, 0);
    let changed = world.changed(&file, 100);
    let load = async |dataset: &str, file: &Path, run: usize| {
        let name = file.file_name().expect("the file has a name").to_string_lossy();
        let key = format!("{dataset}/{run}-{name}");
        world.put(&key, file).await;
        timed(|| invoke(&sandbox, &key, false))
    };
    let (mut append, mut replace, mut content) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=sizes.runs {
        let mut figures = Vec::new();
        empty(world, "appended").await;
        figures.push(counted(load("appended", &file, run).await, "inserted", sizes.rows));
        empty(world, "plain").await;
        figures.push(psql(world, "append", &appending(&file)));

        empty(world, "replaced").await;
        counted(load("replaced", &file, run).await, "inserted", sizes.rows);
        world.settle().await;
        figures.push(counted(load("replaced", &changed, run).await, "updated", sizes.rows.div_ceil(100)));
        empty(world, "replaced").await;
        psql(world, "replace", &replacing(&file));
        world.settle().await;
        figures.push(psql(world, "replace", &replacing(&changed)));

        empty(world, "counted").await;
        figures.push(counted(load("counted", &file, run).await, "inserted", sizes.rows));
        world.empty().await;
        world.put("incoming/trades/keyed.csv", &file).await;
        figures.push(counted(timed(|| world.ingest("incoming/trades/keyed.csv", true)), "inserted", sizes.rows));
        println!("run {run}: append, replace, content, each beside its peer: {figures:.2?} s");
        if run > 0 {
            append.push((figures[0], figures[1]));
            replace.push((figures[2], figures[3]));
            content.push((figures[4], figures[5]));
        }
    }
    let line = |work: &str, other: &str, pairs: &[(f64, f64)], bound| {
        let of = |nth: fn(&(f64, f64)) -> f64| -> Figures { pairs.iter().map(nth).collect() };
        let (own, other) = (format!("{} s", of(|pair| pair.0)), format!("{other} {} s", of(|pair| pair.1)));
        Line::at_most(&format!("{} trades {work}", sizes.rows), own, other, (&Figures::ratios(pairs), " x"), bound)
    };
    vec![
        line("appended", "psql, by a temporary table", &append, 0.85),
        line("replace as many, 1% of them changed", "psql, delete and copy", &replace, 0.5),
        line("with content keys, all new", "upsert by one column", &content, 1.3),
    ]
}

/// Defines the datasets, creates their tables, and starts a function that knows them.
async fn sandbox(world: &World) -> Emulator {
    let folder = world.scratch.path().join("modes");
    std::fs::create_dir_all(&folder).expect("create a folder");
    for (name, identity) in MODES {
        let definition = TRADE
            .replace("name = \"trade\"\ntable = \"trade\"", &format!("name = \"{name}\"\ntable = \"{name}\""))
            .replace(UPSERT, identity)
            .replace("incoming/trades/**", &format!("{name}/**"));
        std::fs::write(folder.join(format!("{name}.toml")), definition).expect("write a definition");
    }
    for (name, identity) in TABLES {
        let create = format!(
            "create table {name} (like trade including identity); alter table {name} {identity}, \
            add foreign key (account_id) references asset (account_id)"
        );
        world.admin.batch_execute(&create).await.expect("create a table");
        for column in INDEXED {
            let index = format!("create index on {name} ({column})");
            world.admin.batch_execute(&index).await.expect("create an index");
        }
    }
    let datasets = [("SMALL_ETL__DATASETS__PATH".to_owned(), folder.display().to_string())];
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    seconds(migrate.arg("migrate").env("DATABASE_URL", &world.url).envs(datasets.clone()));
    world.with(&datasets, Stdio::null())
}

/// Deletes the rows of a table and the ledger of their loads.
async fn empty(world: &World, table: &str) {
    for statement in [format!("truncate {table}"), format!("delete from etl.load where dataset = '{table}'")] {
        world.admin.batch_execute(&statement).await.expect("empty the tables");
    }
    world.settle().await;
}

/// Returns the seconds of a load after checking its report.
fn counted((elapsed, report): (f64, Value), outcome: &str, rows: u64) -> f64 {
    assert_eq!(report[outcome], rows, "{report}");
    elapsed
}

/// Measures how long `psql` takes for a script, in one transaction.
fn psql(world: &World, name: &str, script: &str) -> f64 {
    let path: PathBuf = world.scratch.path().join(format!("{name}.sql"));
    std::fs::write(&path, script).expect("write the script");
    seconds(Command::new("psql").args(["-q", "-1", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&path).arg(&world.url))
}

fn appending(file: &Path) -> String {
    format!(
        "create temporary table incoming (like plain) on commit drop;\n\
         \\copy incoming (id, {COLUMNS}) from '{}' with (format csv, header)\n\
         insert into plain ({COLUMNS}) select {COLUMNS} from incoming;\n",
        file.display()
    )
}

fn replacing(file: &Path) -> String {
    format!(
        "delete from replaced;\n\\copy replaced (id, {COLUMNS}) from '{}' with (format csv, header)\n",
        file.display()
    )
}
