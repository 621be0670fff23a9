//! Bad rows and mended ones in any order, checked against a model.

use std::collections::BTreeSet;

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::torment::Trials;
use crate::undo_order::Case;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const SECONDS_WITHIN_ALL_TESTS: f64 = 6.0;

/// A bad row, with all that came instead of it and was bad as well.
struct Chain {
    key: &'static str,
    is_open: bool,
}

/// What a load says of a key.
#[derive(Clone, Copy, Debug)]
struct Row {
    key: &'static str,
    is_good: bool,
    /// The bad row that it mends, if it says so; or the one that it is, once it has been loaded.
    chain: Option<usize>,
}

/// A load, and the rows of its file.
struct Run {
    load: i64,
    name: String,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Model(Vec<Chain>);

impl Model {
    /// A good row mends the bad row that it names, or all with its key. A bad row continues the one that it names, or an open one with its key.
    fn load(&mut self, rows: &mut [Row], is_again: bool) {
        for row in rows {
            match (row.is_good, row.chain) {
                (true, Some(chain)) => self.0[chain].is_open = false,
                (true, None) => {
                    self.0.iter_mut().filter(|chain| chain.key == row.key).for_each(|chain| chain.is_open = false);
                }
                // The same row of the same file is no news.
                (false, Some(_)) if is_again => {}
                (false, Some(chain)) => self.0[chain].is_open = true,
                (false, None) => {
                    let open = self.0.iter().position(|chain| chain.key == row.key && chain.is_open);
                    row.chain = Some(open.unwrap_or(self.0.len()));
                    if open.is_none() {
                        self.0.push(Chain { key: row.key, is_open: true });
                    }
                }
            }
        }
    }

    fn open(&self) -> Vec<&'static str> {
        let open: BTreeSet<&str> = self.0.iter().filter(|chain| chain.is_open).map(|chain| chain.key).collect();
        open.into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_in_whatever_order_the_rejects_that_nobody_has_mended_are_open() {
    let (mut again, mut mended, mut trials) = (0, 0, 0);
    for seed in Trials::start(SECONDS_WITHIN_ALL_TESTS) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let case = Case::new().await;
        let (mut model, mut runs, mut said) = (Model::default(), Vec::<Run>::new(), Vec::new());
        for load in 1..random.random_range(4..12) {
            let with_rejects: Vec<&Run> = runs.iter().filter(|run| run.rows.iter().any(|row| !row.is_good)).collect();
            let (mut name, mut is_again) = (load.to_string(), false);
            let mut rows = match random.random_range(0..6) {
                0..=2 if !with_rejects.is_empty() => {
                    let of = with_rejects.choose(&mut random).unwrap();
                    let rejects = case.world.get(&case.world.bucket, &format!("rejects/dated/{}.csv", of.load)).await;
                    let mut text = format!("{}\n", rejects.lines().next().unwrap());
                    let mut rows = Vec::new();
                    for (line, row) in rejects.lines().skip(1).zip(of.rows.iter().filter(|row| !row.is_good)) {
                        assert!(line.contains(&format!(",I,{},", row.key)), "{rejects}");
                        let is_good = random.random_ratio(1, 2);
                        if random.random_ratio(2, 3) {
                            text.push_str(&if is_good { line.replace(",9,", ",3,") } else { line.to_owned() });
                            text.push('\n');
                            rows.push(Row { is_good, ..*row });
                        }
                    }
                    if rows.is_empty() {
                        text = "op,k,t,v,p\nI,z,1,1,\n".to_owned();
                    }
                    mended += rows.len();
                    case.load_text("dated", &name, load, text, false).await;
                    said.push(format!("{load}: mends {}: {rows:?}", of.load));
                    rows
                }
                3 if !runs.is_empty() => {
                    let of = runs.choose(&mut random).unwrap();
                    (name, is_again) = (of.name.clone(), true);
                    again += 1;
                    case.again("dated", &name, name.parse().unwrap()).await;
                    said.push(format!("{load}: file {name} again"));
                    of.rows.clone()
                }
                _ => {
                    let mut rows = Vec::new();
                    for key in KEYS {
                        if random.random_ratio(2, 3) {
                            rows.push(Row { key, is_good: random.random_ratio(1, 2), chain: None });
                        }
                    }
                    let text =
                        rows.iter().map(|row| format!("I,{},{load},{},", row.key, if row.is_good { 3 } else { 9 }));
                    case.load("dated", &name, load, &text.chain(["I,z,1,1,".to_owned()]).collect::<Vec<_>>().join(" "))
                        .await;
                    said.push(format!("{load}: {rows:?}"));
                    rows
                }
            };
            model.load(&mut rows, is_again);
            runs.push(Run { load, name, rows });
            let open = case.world.query("select distinct key from etl.open_reject order by 1").await;
            assert_eq!(open, model.open().join("\n"), "seed {seed}:\n{}", said.join("\n"));
        }
        case.is_clean().await;
        trials += 1;
    }
    // One trial of few loads may have none of them.
    assert!(trials < 4 || again > 0 && mended > 0, "{again} runs again, {mended} rows mended in {trials} trials");
}
