//! How much of the formats in `tests/formats` is read right without a person, and how long `guess` takes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::{Figures, Line};
use crate::world::{World, timed};

const BYTES_OF_A_ROW: u64 = 170;
/// What is compared, and how a tool that guesses may fare with a format.
const PEERS: [&str; 2] = ["DuckDB", "CleverCSV"];
const VERDICTS: [&str; 4] = ["right", "asked", "refused", "wrong"];

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// Returns the folder of the readers, after installing them, and their names and versions.
pub fn installed() -> (PathBuf, String) {
    let cache = std::env::var_os("SMALL_ETL_CACHE").expect("SMALL_ETL_CACHE is set by make");
    let folder = PathBuf::from(cache).join("readers");
    let output = Command::new(peers().join("install-readers")).arg(&folder).output().expect("install the readers");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns name and version of each reader.
pub fn versions() -> String {
    installed().1
}

/// What is guessed of each format, beside what other readers make of it, and the time for small and large files.
pub fn guess(world: &World) -> Vec<Line> {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut judge = Command::new(peers().join("readers"));
    judge.arg(installed().0).arg(env!("CARGO_BIN_EXE_small-etl")).arg(&world.url).arg(&formats);
    let output = judge.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("compare the readers");
    assert!(output.status.success(), "the readers cannot be compared");
    let results: Value = serde_json::from_slice(&output.stdout).expect("read what was compared");
    let mut lines = quality(&results);
    lines.extend([(10, 2.0), (1000, 5.0)].map(|(megabytes, bound)| duration(world, megabytes, bound)));
    lines
}

/// How often a tool fared so.
fn count(results: &Value, tool: &str, verdict: &str) -> u64 {
    let of_tool = results[tool].as_object().expect("a tool");
    of_tool.values().filter(|outcome| outcome[0] == verdict).count() as u64
}

fn quality(results: &Value) -> Vec<Line> {
    let all = results["small-etl"].as_object().expect("the formats");
    for (format, outcome) in all {
        let others: Vec<String> = PEERS.iter().map(|peer| format!("{peer} {}", results[peer][format][0])).collect();
        let why = outcome[1].as_str().map_or(String::new(), |why| format!(" ({why})"));
        println!("{format}: {}{why}; {}", outcome[0], others.join(", "));
    }
    let told = |tool: &str| VERDICTS.map(|verdict| format!("{} {verdict}", count(results, tool, verdict))).join(", ");
    let own = told("small-etl");
    let others = PEERS.map(|peer| format!("{peer}: {}", told(peer))).join("; ");
    let right = (count(results, "small-etl", "right") + count(results, "small-etl", "asked")) as f64;
    let wrong = count(results, "small-etl", "wrong") as f64;
    let one = |figure: f64| -> Figures { [figure].into_iter().collect::<Figures>().rounded() };
    let of = format!("`guess` on {} formats, right with the answers to what no file tells", all.len());
    vec![
        Line::at_least(&of, own.clone(), others.clone(), (&one(right), " formats"), 30.0),
        Line::at_most("the same, wrong without a word", own, others, (&one(wrong), " formats"), 0.0),
    ]
}

/// How long it takes until the files are written, and until the whole file is checked.
fn duration(world: &World, megabytes: u64, bound: f64) -> Line {
    let rows = megabytes * 1_000_000 / BYTES_OF_A_ROW;
    let file = world.trades(rows, 0);
    let size = std::fs::metadata(&file).expect("look at the file").len() / 1_000_000;
    let out = world.scratch.path().join(format!("guess-{megabytes}"));
    let definition = out.join("datasets/guessed.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    command.args(["guess", "--name", "guessed", "--json", "--out"]).arg(&out).arg(&file);
    let (all, written) = timed(|| {
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("run guess");
        let mut written = None;
        while child.try_wait().expect("wait for guess").is_none() {
            if written.is_none() && definition.exists() {
                written = Some(started.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        written.unwrap_or_else(|| started.elapsed().as_secs_f64())
    });
    std::fs::remove_file(&file).expect("remove the file");
    let own = format!("{all:.2} s with the check of the whole file");
    let (what, figure) = if megabytes < 100 { ("all of it", all) } else { ("until the files are written", written) };
    let figures: Figures = [figure].into_iter().collect();
    Line::at_most(&format!("`guess` on {size} MB, {what}"), own, "-".into(), (&figures, " s"), bound)
}
