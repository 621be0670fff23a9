//! The servers, the function and the files for the measurements.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};
use small_etl::sample::{self, SampleOptions};
use tokio_postgres::{Client, NoTls};

use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;

const BUCKET: &str = "bench";
pub const ACCOUNTS: u64 = 10_000;
pub const COLUMNS: &str = "account_id, account_type, traded_id, stock_code, traded_time, traded_price, traded_volume, \
    traded_amount, strategy_name, order_remark, direction, offset_flag, created_at, updated_at";

pub struct World {
    pub admin: Client,
    pub url: String,
    pub scratch: Scratch,
    ingest: Emulator,
    s3: S3Server,
    _postgres: Postgres,
}

impl World {
    /// Starts the servers and creates schema and accounts.
    pub async fn start() -> Self {
        let scratch = Scratch::new("bench");
        let postgres = Postgres::start(&["max_wal_size=4GB"], |_| {});
        let s3 = S3Server::start();
        s3.client().create_bucket().bucket(BUCKET).send().await.expect("create the bucket");
        let url = postgres.url("postgres");
        let program = Command::new(env!("CARGO_BIN_EXE_small-etl")).arg("migrate").env("DATABASE_URL", &url).output();
        let program = program.expect("run small-etl");
        assert!(program.status.success(), "migrate: {}", String::from_utf8_lossy(&program.stderr));
        let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connect");
        tokio::spawn(connection);
        let ingest = function(&s3, &url, &[], Stdio::null());
        let world = Self { admin, url, scratch, ingest, s3, _postgres: postgres };
        let assets = world.scratch.path().join("assets.csv");
        let options = SampleOptions { rows: ACCOUNTS, accounts: ACCOUNTS, seed: 1, broken_every: 0 };
        sample::assets(&mut File::create(&assets).expect("create a file"), options).expect("make assets");
        world.put("incoming/assets/assets.csv", &assets).await;
        assert_eq!(world.ingest("incoming/assets/assets.csv", false)["inserted"], ACCOUNTS);
        world
    }

    /// Starts another sandbox of the function.
    pub fn another(&self) -> Emulator {
        self.logged(Stdio::null())
    }

    /// Starts another sandbox that prints to `log`.
    pub fn logged(&self, log: Stdio) -> Emulator {
        self.with(&[], log)
    }

    /// Starts another sandbox with the database at another address.
    pub fn at(&self, url: &str, log: Stdio) -> Emulator {
        function(&self.s3, url, &[], log)
    }

    /// Starts another sandbox with further settings.
    pub fn with(&self, settings: &[(String, String)], log: Stdio) -> Emulator {
        function(&self.s3, &self.url, settings, log)
    }

    /// Returns a file with this many trades, of which every Nth is broken.
    pub fn trades(&self, rows: u64, broken_every: u64) -> PathBuf {
        let path = self.scratch.path().join(format!("trades-{rows}-{broken_every}.csv"));
        if !path.exists() {
            let mut out = BufWriter::new(File::create(&path).expect("create a file"));
            let options = SampleOptions { rows, accounts: ACCOUNTS, seed: 1, broken_every };
            sample::trades(&mut out, options).expect("make trades");
            out.flush().expect("write the trades");
        }
        path
    }

    /// Returns a copy of the file in which every Nth row is newer.
    pub fn changed(&self, file: &Path, every: usize) -> PathBuf {
        let path = self.scratch.path().join(format!("changed-{every}.csv"));
        let mut out = BufWriter::new(File::create(&path).expect("create a file"));
        for (number, line) in BufReader::new(File::open(file).expect("open the file")).lines().enumerate() {
            let line = line.expect("read a line");
            match line.rsplit_once(',') {
                Some((front, _)) if number % every == 1 => writeln!(out, "{front},2025-12-23T15:00:00"),
                _ => writeln!(out, "{line}"),
            }
            .expect("write a line");
        }
        out.flush().expect("write the file");
        path
    }

    pub async fn put(&self, key: &str, file: &Path) {
        let body = ByteStream::from_path(file).await.expect("read the file");
        self.s3.client().put_object().bucket(BUCKET).key(key).body(body).send().await.expect("put the file");
    }

    /// Loads an object with the function. Returns its report.
    pub fn ingest(&self, key: &str, again: bool) -> Value {
        invoke(&self.ingest, key, again)
    }

    /// Vacuums the tables, so that each run begins in the same state.
    pub async fn settle(&self) {
        for statement in ["vacuum analyze", "checkpoint"] {
            self.admin.batch_execute(statement).await.expect("settle the tables");
        }
    }

    /// Deletes all trades and the ledger of their loads.
    pub async fn empty(&self) {
        for statement in ["truncate trade restart identity", "delete from etl.load where dataset = 'trade'"] {
            self.admin.batch_execute(statement).await.expect("empty the tables");
        }
        self.settle().await;
    }

    /// Returns the version of Postgres.
    pub async fn server(&self) -> String {
        self.admin.query_one("show server_version", &[]).await.expect("ask the server").get(0)
    }

    pub async fn number(&self, query: &str) -> i64 {
        self.admin.query_one(query, &[]).await.expect("ask the database").get(0)
    }

    /// Measures how long `psql` takes to copy and upsert a file.
    pub fn psql(&self, file: &Path) -> f64 {
        let script = self.scratch.path().join("upsert.sql");
        std::fs::write(&script, psql_script(&file.display().to_string())).expect("write the script");
        seconds(Command::new("psql").args(["-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&script).arg(&self.url))
    }

    /// Measures how long two `psql` take that each copy half of a file directly into the table.
    pub fn copy(&self, file: &Path) -> f64 {
        let lines: Vec<String> =
            BufReader::new(File::open(file).expect("open the file")).lines().map_while(Result::ok).collect();
        let rows: Vec<&str> = lines[1..].iter().filter_map(|line| Some(line.split_once(',')?.1)).collect();
        let mut halves: Vec<Command> = rows
            .chunks(rows.len().div_ceil(2))
            .enumerate()
            .map(|(nth, rows)| {
                let half = self.scratch.path().join(format!("half-{nth}.csv"));
                std::fs::write(&half, rows.join("\n")).expect("write half of the file");
                let copy = format!("\\copy trade ({COLUMNS}) from '{}' with (format csv)", half.display());
                let mut psql = Command::new("psql");
                psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-c", &copy]).arg(&self.url);
                psql
            })
            .collect();
        let both =
            || std::thread::scope(|scope| halves.iter_mut().for_each(|half| drop(scope.spawn(move || seconds(half)))));
        timed(both).0
    }
}

fn function(s3: &S3Server, url: &str, settings: &[(String, String)], log: Stdio) -> Emulator {
    let mut variables = s3.variables();
    variables.extend_from_slice(settings);
    variables.push(("DATABASE_URL".into(), url.replace("postgres@", "small_etl_ingest@")));
    let program = std::env::var_os("INGEST").unwrap_or_else(|| env!("CARGO_BIN_EXE_ingest").into());
    Emulator::start(Path::new(&program), &variables, log)
}

/// Loads an object with a sandbox. Returns its report.
pub fn invoke(sandbox: &Emulator, key: &str, again: bool) -> Value {
    let answer = sandbox.invoke(&json!({"bucket": BUCKET, "key": key, "again": again}));
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer}");
    answer["loads"][0].clone()
}

/// Measures how long a command takes. It must succeed.
pub fn seconds(command: &mut Command) -> f64 {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let elapsed = started.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

/// Measures how long something takes, in seconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let outcome = work();
    (started.elapsed().as_secs_f64(), outcome)
}

/// What people do without Small ETL: copy to a temporary table and upsert, all in one transaction.
fn psql_script(file: &str) -> String {
    let settings: Vec<String> = COLUMNS
        .split(", ")
        .filter(|column| *column != "traded_id")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "begin;\ncreate temporary table incoming (like trade) on commit drop;\n\
         \\copy incoming (id, {COLUMNS}) from '{file}' with (format csv, header)\n\
         insert into trade ({COLUMNS}) select {COLUMNS} from incoming on conflict (traded_id) do update set {};\ncommit;\n",
        settings.join(", ")
    )
}
