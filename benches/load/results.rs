//! The results, kept in the checkout by section, so that sections can be measured one at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Line};

/// The results of one run of a section.
#[derive(Deserialize, Serialize)]
pub struct Section {
    pub commit: String,
    pub date: String,
    /// Processor, memory, kernel, compiler, server, and the peers if they were measured.
    pub machine: String,
    pub lines: Vec<Line>,
    pub points: Vec<Point>,
}

/// How long a tool took for this many rows.
#[derive(Deserialize, Serialize)]
pub struct Point {
    pub tool: String,
    pub rows: u64,
    pub seconds: Figures,
}

/// The latest run of each section.
#[derive(Default, Deserialize, Serialize)]
pub struct Results(pub BTreeMap<String, Section>);

impl Results {
    /// Reads the results that are in the checkout.
    pub fn load() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        if text.is_empty() { Self::default() } else { serde_json::from_str(&text).expect("read earlier results") }
    }

    /// Replaces the results of an earlier run of a section.
    pub fn keep(&mut self, name: &str, beside: &str, lines: Vec<Line>, points: Vec<Point>) {
        let commit = output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
        let (date, machine) = (Utc::now().format("%Y-%m-%d").to_string(), machine(beside));
        self.0.insert(name.to_owned(), Section { commit, date, machine, lines, points });
        std::fs::write(path(), serde_json::to_string_pretty(self).expect("write results")).expect("write results");
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results.json")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine(beside: &str) -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, memory {}, Linux {}; {}; {beside}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        output("uname", &["-r"]),
        output("rustc", &["--version"]),
    )
}
