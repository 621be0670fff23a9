//! Loads and undos in any order, checked against a model: what counts is what the loads say that are not undone, each with its rank.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::torment::Trials;
use crate::undo_order::Case;

const KEYS: [&str; 3] = ["a", "b", "c"];
const SCOPES: [&str; 2] = ["A", "B"];
const SECONDS_WITHIN_ALL_TESTS: f64 = 8.0;

/// What a file says of a key; `None` is a tombstone.
#[derive(Clone, Debug)]
struct Row {
    scope: &'static str,
    key: &'static str,
    version: i64,
    value: Option<i64>,
}

#[derive(Clone, Debug)]
struct File {
    /// Another run of the same file has the same.
    name: String,
    at: i64,
    rows: Vec<Row>,
    is_undone: bool,
}

impl File {
    fn random(random: &mut ChaCha8Rng, dataset: &str, taken: &[File]) -> Self {
        let at =
            std::iter::repeat_with(|| random.random_range(1..60)).find(|at| taken.iter().all(|file| file.at != *at));
        let replaces = is_replacing(dataset);
        let scopes = if replaces { &SCOPES[..random.random_range(1..3)] } else { &SCOPES[..1] };
        let mut rows = Vec::new();
        for scope in scopes {
            for key in KEYS {
                if random.random_ratio(1, 3) {
                    continue;
                }
                let is_tombstone = !replaces && random.random_ratio(1, 3);
                let (version, value) = (random.random_range(1..4), random.random_range(1..3));
                rows.push(Row { scope, key, version, value: (!is_tombstone).then_some(value) });
            }
        }
        Self { name: taken.len().to_string(), at: at.expect("the iterator has no end"), rows, is_undone: false }
    }

    fn text(&self, dataset: &str) -> String {
        let row = |row: &Row| {
            let (op, value) = (
                if row.value.is_some() { "I" } else { "D" },
                row.value.map_or(String::new(), |value| value.to_string()),
            );
            let first = if is_replacing(dataset) { row.scope } else { op };
            format!("{first},{},{},{value},", row.key, row.version)
        };
        self.rows.iter().map(row).collect::<Vec<_>>().join(" ")
    }
}

fn is_replacing(dataset: &str) -> bool {
    matches!(dataset, "place" | "flagged")
}

/// What the table has if only these files have come.
fn model(dataset: &str, files: &[File]) -> String {
    type Ranked = ((i64, i64), Option<i64>);
    let mut best: BTreeMap<(&str, &str), Ranked> = BTreeMap::new();
    let counted = || files.iter().enumerate().filter(|(_, file)| !file.is_undone);
    let in_scope = |scope| {
        counted().filter(move |(_, file)| file.rows.iter().any(|row| row.scope == scope)).map(|(_, file)| file.at).max()
    };
    for (place, file) in counted() {
        for row in &file.rows {
            let rank = match dataset {
                // Files are in the order in which they came, if no one else says one.
                "dated" => (row.version, i64::try_from(place).unwrap()),
                "place" | "flagged" if in_scope(row.scope) != Some(file.at) => continue,
                _ => (0, file.at),
            };
            let present = best.entry((row.scope, row.key)).or_insert((rank, row.value));
            if rank >= present.0 {
                *present = (rank, row.value);
            }
        }
    }
    let shown = |((scope, key), (_, value)): (&(&str, &str), &Ranked)| {
        Some(format!("{}{key}{}", if is_replacing(dataset) { scope } else { "" }, (*value)?))
    };
    let rows: Vec<String> = best.iter().filter_map(shown).collect();
    if rows.is_empty() { "-".to_owned() } else { rows.join(" ") }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_undone_in_whatever_order_the_others_count_as_if_it_had_never_come() {
    let (mut again, mut undone, mut trials) = (0, 0, 0);
    for seed in Trials::start(SECONDS_WITHIN_ALL_TESTS) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let dataset = *["late", "dated", "place", "flagged"].choose(&mut random).unwrap();
        let case = Case::new().await;
        // Each run of a file with the number of its load.
        let mut runs: Vec<(File, i64)> = Vec::new();
        let (mut said, mut lost) = (Vec::new(), BTreeSet::new());
        for load in 1..random.random_range(5..12) {
            let counted: Vec<usize> = (0..runs.len()).filter(|run| !runs[*run].0.is_undone).collect();
            match counted.choose(&mut random) {
                Some(run) if runs.len() > 2 && random.random_ratio(1, 2) => {
                    let (file, load) = &mut runs[*run];
                    file.is_undone = true;
                    undone += 1;
                    let told = case.undo(*load);
                    if let Some((_, loads)) = told.split_once("are not loaded now: ") {
                        let loads = loads.split_once(';').unwrap().0;
                        lost.extend(loads.split(", ").map(|load| load.parse::<i64>().unwrap()));
                    }
                    said.push(told);
                }
                Some(run) if random.random_ratio(1, 5) => {
                    let file = runs[*run].0.clone();
                    again += 1;
                    case.again(dataset, &file.name, file.at).await;
                    said.push(format!("load {load}: file {} again", file.name));
                    runs.push((file, load));
                }
                _ => {
                    let files: Vec<File> = runs.iter().map(|(file, _)| file.clone()).collect();
                    let file = std::iter::repeat_with(|| File::random(&mut random, dataset, &files));
                    let file = file.into_iter().find(|file| !file.rows.is_empty()).unwrap();
                    case.load(dataset, &file.name, file.at, &file.text(dataset)).await;
                    said.push(format!("load {load}: file {} of {}: {}", file.name, file.at, file.text(dataset)));
                    runs.push((file, load));
                }
            }
        }
        // What was stale because of a load that is undone has to be loaded again.
        for (file, load) in runs.clone().into_iter().filter(|(file, load)| !file.is_undone && lost.contains(load)) {
            case.again(dataset, &file.name, file.at).await;
            said.push(format!("file {} again", file.name));
            runs.push((file, load));
        }
        let files: Vec<File> = runs.into_iter().map(|(file, _)| file).collect();
        assert_eq!(case.rows(dataset).await, model(dataset, &files), "seed {seed}, {dataset}:\n{}", said.join("\n"));
        case.is_clean().await;
        trials += 1;
    }
    // One trial of few loads may have none of them.
    assert!(trials < 6 || again > 0 && undone > 0, "{again} runs again, {undone} loads undone in {trials} trials");
}
