//! The sections of the benchmark: what the project promises to be fast at, and what it is compared with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::Sizes;
use crate::figures::{Figures, Line};
use crate::guess;
use crate::results::Point;
use crate::support::emulator::Emulator;
use crate::world::{World, invoke, seconds, timed};

const PEERS: [&str; 3] = ["sling", "pgloader", "dlt"];
const POINTS: [u64; 3] = [10_000, 50_000, 200_000];

fn point(tool: &str, rows: u64, seconds: Figures) -> Point {
    Point { tool: tool.to_owned(), rows, seconds }
}

fn columns(pairs: &[(f64, f64)]) -> (Figures, Figures) {
    (pairs.iter().map(|pair| pair.0).collect(), pairs.iter().map(|pair| pair.1).collect())
}

/// How much longer the first call of a sandbox takes than the second, with an event that needs neither S3 nor Postgres.
/// The emulator starts the function with the first call, and its `Init Duration` does not include that.
pub fn init(world: &World) -> Line {
    let event = json!({"Event": "s3:TestEvent"});
    let figures: Figures = (0..10)
        .map(|_| {
            let sandbox = world.another();
            let call = || timed(|| assert_eq!(sandbox.invoke(&event)["loads"][0]["status"], "skipped")).0 * 1000.0;
            call() - call()
        })
        .collect();
    let own = format!("{figures:.0} ms");
    Line::at_most("init under the emulator, 10 sandboxes", own, "-".into(), (&figures, " ms"), 150.0)
}

/// Files of four rows, one after another, and many small files at once.
pub async fn small_files(world: &World) -> Vec<Line> {
    world.empty().await;
    let four = world.trades(4, 0);
    let mut figures = Figures::default();
    for call in 0..60 {
        let key = format!("incoming/trades/four-{call}.csv");
        world.put(&key, &four).await;
        let (elapsed, _) = timed(|| world.ingest(&key, false));
        if call >= 10 {
            figures.push(elapsed * 1000.0);
        }
    }
    let warm = Line::at_most(
        "a file of 4 rows, warm, from the emulator to the answer, 50 files",
        format!("{figures:.0} ms"),
        "-".into(),
        (&figures, " ms"),
        40.0,
    );
    let hundred = world.trades(100, 0);
    let keys: Vec<String> = (0..200).map(|file| format!("incoming/trades/small-{file}.csv")).collect();
    for key in &keys {
        world.put(key, &hundred).await;
    }
    let sandboxes: Vec<Emulator> = (0..4).map(|_| world.another()).collect();
    for (nth, sandbox) in sandboxes.iter().enumerate() {
        let key = format!("incoming/trades/warm-{nth}.csv");
        world.put(&key, &hundred).await;
        invoke(sandbox, &key, false);
    }
    let (mut most, runtime) = (0, tokio::runtime::Handle::current());
    let (elapsed, ()) = tokio::task::block_in_place(|| {
        timed(|| {
            std::thread::scope(|scope| {
                let working: Vec<_> = sandboxes
                    .iter()
                    .enumerate()
                    .map(|(nth, sandbox)| {
                        let share = keys.iter().skip(nth).step_by(sandboxes.len());
                        scope.spawn(move || share.for_each(|key| drop(invoke(sandbox, key, false))))
                    })
                    .collect();
                while working.iter().any(|thread| !thread.is_finished()) {
                    let query = "select count(*) from pg_stat_activity where usename = 'small_etl_ingest'";
                    most = runtime.block_on(world.number(query)).max(most);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
        })
    });
    let figures: Figures = [200.0 / elapsed].into_iter().collect();
    let many = Line::at_least(
        "200 files of 100 rows, 4 sandboxes",
        format!("{elapsed:.2} s"),
        "-".into(),
        (&figures, " files/s"),
        60.0,
    );
    let connections: Figures = [most as f64].into_iter().collect();
    let own = format!("{connections:.0}");
    let open = Line::at_most("the same, connections at once", own, "-".into(), (&connections, ""), 10.0);
    vec![warm, many, open]
}

/// A large file that is new, one that was loaded before, and one that has partly changed, compared with `psql`.
pub async fn load(world: &World, sizes: &Sizes, points: &mut Vec<Point>) -> Vec<Line> {
    let file = world.trades(sizes.rows, 0);
    let changed = world.changed(&file, 20);
    world.put("incoming/trades/large.csv", &file).await;
    world.put("incoming/trades/changed.csv", &changed).await;
    let (mut new, mut bare, mut same, mut part) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..=sizes.runs {
        world.empty().await;
        let copy = world.copy(&file);
        world.empty().await;
        let (own_new, report) = timed(|| world.ingest("incoming/trades/large.csv", true));
        assert_eq!(report["inserted"], sizes.rows);
        world.settle().await;
        let versions = "select sum(xmin::text::bigint)::bigint from trade";
        let before = world.number(versions).await;
        let (own_same, report) = timed(|| world.ingest("incoming/trades/large.csv", true));
        assert_eq!((&report["unchanged"], world.number(versions).await), (&json!(sizes.rows), before));
        world.settle().await;
        let (own_part, report) = timed(|| world.ingest("incoming/trades/changed.csv", true));
        assert_eq!(report["updated"], sizes.rows.div_ceil(20));

        world.empty().await;
        let psql_new = world.psql(&file);
        world.settle().await;
        let psql_same = world.psql(&file);
        world.settle().await;
        let psql_part = world.psql(&changed);
        println!(
            "run {run}: {own_new:.2} / {psql_new:.2} / copy {copy:.2}, {own_same:.2} / {psql_same:.2}, {own_part:.2} / {psql_part:.2} s"
        );
        if run > 0 {
            new.push((own_new, psql_new));
            bare.push((own_new, copy));
            same.push((own_same, psql_same));
            part.push((own_part, psql_part));
        }
    }
    let (own, psql) = columns(&new);
    points.extend([point("small-etl", sizes.rows, own), point("psql", sizes.rows, psql)]);
    let line = |work: &str, pairs: &[(f64, f64)], bound| {
        let (own, psql) = columns(pairs);
        let work = format!("{} {work}", sizes.rows);
        Line::at_most(&work, format!("{own} s"), format!("psql {psql} s"), (&Figures::ratios(pairs), " x"), bound)
    };
    vec![
        line("new trades from S3", &new, 0.85),
        beside_copy(sizes.rows, &bare),
        line("trades again, none changed and none rewritten", &same, 0.25),
        line("trades again, 5% changed", &part, 0.33),
    ]
}

/// How much longer a load of new trades takes than filling the table with nothing checked.
fn beside_copy(rows: u64, pairs: &[(f64, f64)]) -> Line {
    let (own, copy) = columns(pairs);
    let work = format!("{rows} new trades beside `copy`");
    Line::at_most(&work, format!("{own} s"), format!("copy {copy} s"), (&Figures::ratios(pairs), " x"), 1.25)
}

/// A file with one bad row in a hundred, compared with one without bad rows.
pub async fn rejects(world: &World, sizes: &Sizes) -> Line {
    world.put("incoming/trades/good.csv", &world.trades(sizes.rows, 0)).await;
    world.put("incoming/trades/bad.csv", &world.trades(sizes.rows, 100)).await;
    let mut pairs = Vec::new();
    for run in 0..=sizes.runs {
        world.empty().await;
        let (good, _) = timed(|| world.ingest("incoming/trades/good.csv", true));
        world.empty().await;
        let (bad, report) = timed(|| world.ingest("incoming/trades/bad.csv", true));
        assert!(report["rejected"].as_u64() >= Some(sizes.rows / 125), "{report}");
        if run > 0 {
            pairs.push((bad, good));
        }
    }
    let (bad, good) = columns(&pairs);
    let work = format!("{} new trades, 1% of them bad", sizes.rows);
    Line::at_most(&work, format!("{bad} s"), format!("none bad {good} s"), (&Figures::ratios(&pairs), " x"), 1.15)
}

/// The command line on a file on this machine, without any database, and `DuckDB` itself, which reads the same file into a table of the
/// same types and asks for the rows that break a rule and for keys that come twice.
pub fn validate(world: &World, sizes: &Sizes) -> Vec<Line> {
    let file = world.trades(sizes.rows, 0);
    let (readers, _) = guess::installed();
    let mut pairs = Vec::new();
    for run in 0..=sizes.runs {
        let program = env!("CARGO_BIN_EXE_small-etl");
        let own = seconds(Command::new(program).args(["validate", "--dataset", "trade"]).arg(&file));
        let of_duckdb = Command::new(readers.join("bin/python")).arg(script("duckdb-check")).arg(&file).output();
        let of_duckdb =
            String::from_utf8_lossy(&of_duckdb.expect("run DuckDB").stdout).trim().parse().expect("seconds");
        println!("run {run}: {own:.2}, DuckDB {of_duckdb:.2} s");
        if run > 0 {
            pairs.push((own, of_duckdb));
        }
    }
    let (own, of_duckdb) = columns(&pairs);
    let rate: Figures = pairs.iter().map(|pair| (sizes.rows as f64 / pair.0).round()).collect();
    let work = format!("`small-etl validate` of {} trades", sizes.rows);
    let beside = Figures::ratios(&pairs);
    vec![
        Line::at_least(&work, format!("{own} s"), "-".into(), (&rate, " rows/s"), 400_000.0),
        Line::at_most(
            "the same beside DuckDB",
            format!("{own} s"),
            format!("DuckDB {of_duckdb} s"),
            (&beside, " x"),
            1.3,
        ),
    ]
}

/// The tools that people use today, each with its own kind of upsert.
pub async fn peers(world: &World, sizes: &Sizes, points: &mut Vec<Point>) -> Vec<Line> {
    let folder = installed();
    let mut lines = Vec::new();
    let mut rows: Vec<u64> = POINTS.into_iter().filter(|rows| *rows < sizes.peer_rows).collect();
    rows.push(sizes.peer_rows);
    for rows in rows {
        let file = world.trades(rows, 0);
        world.put("incoming/trades/peers.csv", &file).await;
        let (mut own, mut psql, mut others) = (Vec::new(), Figures::default(), vec![Vec::new(); PEERS.len()]);
        let mut copy = Vec::new();
        for run in 0..=sizes.runs {
            world.empty().await;
            let (elapsed, report) = timed(|| world.ingest("incoming/trades/peers.csv", true));
            assert_eq!(report["inserted"], rows);
            world.empty().await;
            let of_psql = world.psql(&file);
            world.empty().await;
            let of_copy = world.copy(&file);
            let mut of_peers = Vec::new();
            for peer in PEERS {
                world.empty().await;
                world
                    .admin
                    .batch_execute("drop schema if exists bench cascade")
                    .await
                    .expect("empty the tables of dlt");
                of_peers.push(seconds(Command::new(script(peer)).arg(&folder).arg(&file).arg(&world.url)));
            }
            println!(
                "run {run}, {rows} rows: {elapsed:.2}, psql {of_psql:.2}, copy {of_copy:.2}, {PEERS:?} {of_peers:.2?} s"
            );
            if run > 0 {
                own.push(elapsed);
                psql.push(of_psql);
                copy.push(of_copy);
                others.iter_mut().zip(of_peers).for_each(|(figures, figure)| figures.push(figure));
            }
        }
        let faster = |figures: &[f64], than: &[f64]| -> Figures {
            Figures::ratios(&figures.iter().copied().zip(than.iter().copied()).collect::<Vec<_>>())
        };
        let all = |figures: &[f64]| -> Figures { figures.iter().copied().collect() };
        for (peer, figures) in PEERS.into_iter().zip(&others) {
            if rows == sizes.peer_rows {
                let beside = format!("{peer} {} s", all(figures));
                let ratios = faster(figures, &own);
                let work = format!("{rows} new trades against {peer}");
                let line =
                    Line::at_least(&work, format!("{} s", all(&own)), beside.clone(), (&ratios, " x as fast"), 3.0);
                let ratios = faster(figures, &copy);
                let work = format!("`copy` of the same against {peer}");
                let bare = Line::reported(&work, format!("copy {} s", all(&copy)), beside, (&ratios, " x as fast"));
                lines.extend([line, bare]);
            }
            points.push(point(peer, rows, all(figures)));
        }
        if rows == sizes.peer_rows {
            lines.push(beside_copy(rows, &own.iter().copied().zip(copy.iter().copied()).collect::<Vec<_>>()));
        }
        points.extend([
            point("small-etl", rows, all(&own)),
            point("psql", rows, psql),
            point("copy", rows, all(&copy)),
        ]);
    }
    lines
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

/// Returns the folder of the peers, after installing those that are missing.
fn installed() -> PathBuf {
    let cache = std::env::var_os("SMALL_ETL_CACHE").expect("SMALL_ETL_CACHE is set by make");
    let folder = PathBuf::from(cache).join("peers");
    let status = Command::new(script("install")).arg(&folder).status().expect("install the peers");
    assert!(status.success(), "the peers could not be installed");
    folder
}

/// Returns name and version of each peer.
pub fn versions() -> String {
    let output = Command::new(script("versions")).arg(installed()).output().expect("ask the peers for their versions");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How much memory a large file takes, and whether a row takes longer than in a smaller file, as it does with `copy`.
pub async fn memory(world: &World, sizes: &Sizes) -> Vec<Line> {
    let gigabyte = sizes.large_rows / 3;
    let (mut peaks, mut bare) = (Vec::new(), Vec::new());
    for rows in [sizes.rows, gigabyte, sizes.large_rows] {
        let file = world.trades(rows, 0);
        world.put("incoming/trades/memory.csv", &file).await;
        let size = std::fs::metadata(&file).expect("look at the file").len();
        world.empty().await;
        bare.push(world.copy(&file));
        std::fs::remove_file(&file).expect("remove the file");
        world.empty().await;
        let log = world.scratch.path().join("memory.log");
        let sandbox = world.logged(File::create(&log).expect("create a log").into());
        let (elapsed, report) = timed(|| invoke(&sandbox, "incoming/trades/memory.csv", true));
        assert_eq!(report["inserted"], rows);
        drop(sandbox);
        let peak = metric(&log, "PeakMemory");
        println!("{rows} rows, {size} bytes: {elapsed:.1} s, {peak:.0} MB; copy {:.1} s", bare[bare.len() - 1]);
        peaks.push((rows, elapsed, peak));
    }
    let one = |figure: f64| -> Figures { [figure].into_iter().collect() };
    let line = |(rows, elapsed, peak): (u64, f64, f64)| {
        let own = format!("{elapsed:.0} s");
        Line::at_most(
            &format!("peak memory of `ingest`, {rows} new trades, one run"),
            own,
            "-".into(),
            (&one(peak.round()), " MB"),
            512.0,
        )
    };
    // The time for a row in the large file and in the small one, and the ratio.
    let growth = |small: f64, large: f64| {
        let (small, large) = (small * 1e6 / sizes.rows as f64, large * 1e6 / sizes.large_rows as f64);
        (format!("{large:.2} us"), format!("{} rows {small:.2} us", sizes.rows), one(large / small))
    };
    let work = format!("time for a row, {} new trades, one run", sizes.large_rows);
    let (own, other, ratio) = growth(peaks[0].1, peaks[2].1);
    let ours = Line::at_most(&work, own, other, (&ratio, " x"), 1.3);
    let (own, other, ratio) = growth(bare[0], bare[2]);
    let of_copy = Line::reported("the same of `copy`", own, other, (&ratio, " x"));
    let beside = beside_copy(sizes.large_rows, &[(peaks[2].1, bare[2])]);
    peaks.into_iter().map(line).chain([ours, of_copy, beside]).collect()
}

/// Returns the last value of a metric that a function printed.
fn metric(log: &Path, name: &str) -> f64 {
    let text = std::fs::read_to_string(log).expect("read the log");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line.get(name)?.as_f64()).next_back().unwrap_or_else(|| panic!("no {name} in {text}"))
}
