//! A type with one set of options, its dataset and its table.

use std::fs;
use std::process::Command;

use rand::RngExt;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use small_etl::domain::LoadReport;
use small_etl::domain::types::{ColumnType, Registration, Samples, TYPES};

use crate::support::Scratch;
use crate::world::{World, client};

/// A type with one set of options.
pub struct Case {
    /// The name of the dataset and of the table.
    pub name: String,
    pub kind: ColumnType,
    pub type_name: &'static str,
    pub samples: &'static Samples,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let of = |registered: &'static Registration| {
            registered.samples.iter().enumerate().map(|(nth, samples)| Self {
                name: format!("held_{}_{nth}", registered.name),
                kind: registered.kind(&toml::from_str(samples.options).unwrap()).unwrap(),
                type_name: registered.name,
                samples,
            })
        };
        TYPES.iter().copied().flat_map(of).collect()
    }

    /// Returns a definition whose column `v` has the type. `more` is added to that column, and `rest` at the end.
    pub fn definition(&self, more: &str, rest: &str) -> String {
        let Self { name, type_name, samples: Samples { options, .. }, .. } = self;
        format!(
            "name = \"{name}\"\ntable = \"{name}\"\nkey = \"id\"\nversion = \"seen_at\"\nfiles = [\"incoming/{name}/*\"]\nnull_values = [\"\"]\n\
             [[column]]\nname = \"id\"\ntype = \"text\"\nrequired = true\n\
             [[column]]\nname = \"v\"\ntype = \"{type_name}\"\n{options}\n{more}\n\
             [[column]]\nname = \"seen_at\"\ntype = \"timestamp\"\nrequired = true\n{rest}"
        )
    }

    /// The values of the samples, with the keys of their rows.
    pub fn values(&self) -> Vec<(String, Option<&'static str>)> {
        self.samples.values.iter().enumerate().map(|(nth, (cell, _))| (format!("r{nth:02}"), Some(*cell))).collect()
    }

    /// The values as Postgres prints them, in the order of their keys.
    pub fn stored(&self) -> Vec<Option<String>> {
        self.samples.values.iter().map(|(_, stored)| Some((*stored).to_owned())).collect()
    }

    pub async fn drop(&self, world: &World, file: &str, rows: &[(String, Option<&str>)]) -> LoadReport {
        world.drop_file(&self.key(file), csv_of(rows)).await
    }

    pub fn key(&self, file: &str) -> String {
        format!("incoming/{}/{file}", self.name)
    }
}

pub fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap()
}

pub const SEEN: &str = "2026-01-05T08:15:00Z";

pub fn csv_of(rows: &[(String, Option<&str>)]) -> Vec<u8> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["id", "v", "seen_at"]).unwrap();
    for (id, cell) in rows {
        out.write_record([id, cell.unwrap_or_default(), SEEN]).unwrap();
    }
    out.into_inner().unwrap()
}

/// Creates a world with a dataset and a table for each case. The column of the table has the type of the samples, or
/// that of `column`.
pub async fn world_of(
    cases: &[Case],
    scratch: &Scratch,
    definition: impl Fn(&Case) -> String,
    column: Option<&str>,
) -> World {
    let folder = scratch.path().join("datasets");
    write_definitions(cases, scratch, definition);
    let world = World::with(&[("DATASETS__PATH", folder.to_str().unwrap())]).await;
    world.query(&tables(cases, column)).await;
    world
}

pub fn write_definitions(cases: &[Case], scratch: &Scratch, definition: impl Fn(&Case) -> String) {
    let folder = scratch.path().join("datasets");
    fs::create_dir_all(&folder).unwrap();
    for case in cases {
        fs::write(folder.join(&case.name).with_extension("toml"), definition(case)).unwrap();
    }
}

pub fn tables(cases: &[Case], column: Option<&str>) -> String {
    let table = |case: &Case| {
        let column = column.unwrap_or(case.samples.column);
        format!("create table {} (id text primary key, v {column}, seen_at timestamptz not null);", case.name)
    };
    cases.iter().map(table).collect()
}

/// Returns the texts in the only column of a query.
pub async fn texts(world: &World, sql: &str) -> Vec<Option<String>> {
    let (client, driver) = client(&world.url).await;
    client.batch_execute("set timezone = 'UTC'").await.unwrap();
    let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let texts = rows.iter().map(|row| row.get(0)).collect();
    drop(client);
    driver.await.unwrap();
    texts
}

/// Returns what `psql` prints.
pub fn psql(world: &World, sql: &str) -> Vec<String> {
    let output = Command::new("psql").args([&world.url, "-Atc", sql]).env("PGTZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
}

/// Returns a cell similar to one of the samples: with other digits, and perhaps one more, one less, or one different
/// character.
pub fn cell_like(samples: &Samples, random: &mut ChaCha8Rng) -> String {
    const NOISE: [&str; 17] = ["", "-", "+", ".", "e", "E", "_", " ", "0", ":", "T", "Z", "٣", "\"", ",", "}", "a"];
    let known: Vec<&str> = samples.values.iter().map(|(cell, _)| *cell).chain(samples.others.iter().copied()).collect();
    let (cell, other) = (known.choose(random).unwrap(), random.random_ratio(2, 3));
    let mut changed: Vec<String> = cell
        .chars()
        .map(|old| if other && old.is_ascii_digit() { random.random_range(0..10).to_string() } else { old.to_string() })
        .collect();
    if random.random_ratio(1, 3) {
        let at = random.random_range(0..changed.len());
        (*NOISE.choose(random).unwrap()).clone_into(&mut changed[at]);
    }
    changed.concat()
}

pub const PARENT: &str = "name = \"parent\"\ntable = \"parent\"\nkey = \"id\"\nversion = \"seen_at\"\nfiles = [\"incoming/parent/*\"]\n\
    [[column]]\nname = \"id\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"seen_at\"\ntype = \"timestamp\"\nrequired = true\n";
