//! Every mode passes the same tests: whatever happens to its files, the table is that of a model in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::mode::MODES;
use small_etl::domain::{LoadStatus, Location};
use small_etl::pipeline::Request;

use crate::killed::lost_worker;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Act, Fault, Which};
use crate::world::World;

const COLUMNS: &str = r#"
[[column]]
name = "account"
type = "integer"
required = true

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "volume"
type = "integer"
required = true
max = 99
"#;

/// A mode, and what a table of it must be.
struct Case {
    mode: &'static str,
    /// What the definition says besides its columns.
    options: &'static str,
    /// The columns of the table besides those of the dataset.
    table: &'static str,
    /// A column of its key, by which it may be partitioned.
    partitioned_by: &'static str,
    /// The rows that are there, where the table keeps others.
    present: &'static str,
    /// The rows of a table after these files, each the latest so far.
    model: fn(&[&File]) -> Vec<Row>,
}

const CASES: &[Case] = &[
    Case {
        mode: "upsert",
        options: "key = [\"account\", \"code\"]\nversion = \"arrival\"",
        table: "unique (account, code)",
        partitioned_by: "account",
        present: "true",
        model: |files| {
            let rows = files.iter().flat_map(|file| file.good());
            let last: BTreeMap<(i64, &str), Row> = rows.map(|row| ((row.0, row.1), row)).collect();
            last.into_values().collect()
        },
    },
    Case {
        mode: "upsert",
        options: "key = [\"account\", \"code\"]\nversion = \"volume\"",
        table: "unique (account, code)",
        partitioned_by: "account",
        present: "true",
        model: |files| {
            let rows = files.iter().flat_map(|file| file.rows.iter().copied()).filter(Row::is_good);
            let mut newest: BTreeMap<(i64, &str), Row> = BTreeMap::new();
            for row in rows {
                let kept = newest.entry((row.0, row.1)).or_insert(row);
                *kept = row.max(*kept);
            }
            newest.into_values().collect()
        },
    },
    Case {
        mode: "upsert",
        options: "key = \"content\"\nversion = \"arrival\"",
        table: "content_key text primary key",
        partitioned_by: "content_key",
        present: "true",
        model: |files| {
            let mut most: BTreeMap<Row, usize> = BTreeMap::new();
            for file in files {
                let mut copies: BTreeMap<Row, usize> = BTreeMap::new();
                for row in file.rows.iter().copied().filter(Row::is_good) {
                    *copies.entry(row).or_default() += 1;
                }
                for (row, copies) in copies {
                    let most = most.entry(row).or_default();
                    *most = copies.max(*most);
                }
            }
            most.into_iter().flat_map(|(row, copies)| std::iter::repeat_n(row, copies)).collect()
        },
    },
    Case {
        mode: "upsert",
        options: "key = [\"account\", \"code\"]\nversion = \"arrival\"\n[tombstone]\ncolumn = \"volume\"\nvalues = [0]",
        table: "unique (account, code)",
        partitioned_by: "account",
        present: "true",
        model: |files| {
            let rows = files.iter().flat_map(|file| file.good());
            let last: BTreeMap<(i64, &str), Row> = rows.map(|row| ((row.0, row.1), row)).collect();
            last.into_values().filter(|row| row.2 > 0).collect()
        },
    },
    Case {
        mode: "append",
        options: "mode = \"append\"",
        table: "load_id bigint, record bigint, primary key (load_id, record)",
        partitioned_by: "record",
        present: "true",
        model: |files| {
            let mut rows: Vec<Row> =
                files.iter().flat_map(|file| file.rows.iter().copied()).filter(Row::is_good).collect();
            rows.sort_unstable();
            rows
        },
    },
    Case {
        mode: "replace",
        options: "mode = \"replace\"\nkey = [\"account\", \"code\"]\nreplace_by = \"account\"",
        table: "unique (account, code)",
        partitioned_by: "account",
        present: "true",
        model: |files| replaced(files, |row| row.0),
    },
    Case {
        mode: "replace",
        options: "mode = \"replace\"\nkey = [\"account\", \"code\"]\ndeleted = \"gone\"",
        table: "gone boolean not null, unique (account, code)",
        partitioned_by: "code",
        present: "not gone",
        model: |files| replaced(files, |_| 0),
    },
    Case {
        mode: "replace",
        options: "mode = \"replace\"\nkey = \"code\"\nreplace_by = \"account\"",
        table: "unique (code)",
        partitioned_by: "code",
        present: "true",
        // A row belongs to the account in which the last file has it, and is gone if a later one of that account lacks it.
        model: |files| {
            let (mut last, mut scopes) = (BTreeMap::new(), BTreeMap::new());
            for (nth, file) in files.iter().enumerate() {
                let good = file.rows.iter().filter(|row| row.is_good()).map(|row| (row.1, *row));
                for row in good.collect::<BTreeMap<_, _>>().into_values() {
                    last.insert(row.1, (nth, row));
                    scopes.insert(row.0, nth);
                }
            }
            let mut rows: Vec<Row> =
                last.into_values().filter(|(nth, row)| scopes[&row.0] == *nth).map(|(_, row)| row).collect();
            rows.sort_unstable();
            rows
        },
    },
];

/// An account, a code and a volume. A volume of more than two digits is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row(i64, &'static str, i64);

impl Row {
    fn is_good(&self) -> bool {
        self.2 < 100
    }
}

struct File {
    name: String,
    at: DateTime<Utc>,
    rows: Vec<Row>,
}

impl File {
    fn text(&self) -> String {
        self.rows.iter().fold("account,code,volume\n".to_owned(), |mut text, Row(account, code, volume)| {
            let _ = writeln!(text, "{account},\"{code}\",{volume}");
            text
        })
    }

    /// The rows that are accepted where they have a key: of those with one key the last good one.
    fn good(&self) -> Vec<Row> {
        let last: BTreeMap<(i64, &str), Row> =
            self.rows.iter().filter(|row| row.is_good()).map(|row| ((row.0, row.1), *row)).collect();
        last.into_values().collect()
    }
}

/// Each scope as the last file with an accepted row of it leaves it. The rows that were there before and are rejected now stay.
fn replaced(files: &[&File], scope: fn(&Row) -> i64) -> Vec<Row> {
    let mut present: BTreeMap<(i64, &str), Row> = BTreeMap::new();
    for file in files {
        let good = file.good();
        present.retain(|key, row| {
            !good.iter().any(|other| scope(other) == scope(row)) || file.rows.iter().any(|row| (row.0, row.1) == *key)
        });
        present.extend(good.iter().map(|row| ((row.0, row.1), *row)));
    }
    present.into_values().collect()
}

/// Files in the order of their times.
fn files(seed: u64) -> Vec<File> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let begin: DateTime<Utc> = "2025-12-22T12:00:00Z".parse().unwrap();
    let file = |number: i64| {
        let rows = (0..14).map(|_| {
            let account = random.random_range(1..4);
            // What a reject leaves alone depends on what came before; `replace` has a test for that.
            if random.random_ratio(1, 8) {
                return Row(account, "bad", 100);
            }
            let code = ["A", "B,", "C\\", "D", "E"][random.random_range(0..5)];
            // Where a dataset has tombstones, 0 is one.
            Row(account, code, random.random_range(0..3))
        });
        File { name: format!("{number}.csv"), at: begin + TimeDelta::seconds(number), rows: rows.collect() }
    };
    (0..4).map(file).collect()
}

async fn world(case: &Case, settings: &[(&str, &str)], files: &[File]) -> (World, Scratch) {
    let folder = Scratch::new("modes");
    let definition = format!(
        "name = \"holding\"\ntable = \"holding\"\nfiles = [\"incoming/holdings/*\"]\n{}\n{COLUMNS}",
        case.options
    );
    std::fs::write(folder.path().join("holding.toml"), definition).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(&format!("create table holding (account integer, code text, volume integer, {})", case.table)).await;
    for file in files {
        world.put(&format!("incoming/holdings/{}", file.name), file.text()).await;
    }
    (world, folder)
}

/// Makes the table anew, with its rows in three partitions.
async fn partition(world: &World, case: &Case) {
    let by = case.partitioned_by;
    let parts = (0..3).map(|nth| {
        format!("create table holding_{nth} partition of holding for values with (modulus 3, remainder {nth});")
    });
    world
        .query(&format!(
            "drop table holding; create table holding (account integer, code text, volume integer, {}) partition by hash ({by}); {}",
            case.table,
            parts.collect::<String>()
        ))
        .await;
}

/// The request of a file, as a listing finds it that says when it was written.
async fn request(world: &World, file: &File) -> Request {
    let key = format!("incoming/holdings/{}", file.name);
    let head = world.s3.head_object().bucket(&world.bucket).key(&key).send().await.unwrap();
    let etag = head.e_tag().map(|etag| etag.trim_matches('"').to_owned());
    let (bucket, modified) = (world.bucket.clone(), Some(file.at));
    Request::new(Location::S3 {
        bucket,
        key: key.into(),
        version_id: None,
        etag,
        size: None,
        sequencer: None,
        modified,
    })
}

async fn load(world: &World, file: &File) -> LoadStatus {
    let report = world.run(&request(world, file).await).await.unwrap();
    if let Some(counts) = report.counts {
        assert!(counts.is_balanced(), "{counts:?}");
    }
    report.status
}

async fn assert_like_model(world: &World, case: &Case, files: &[&File], when: &str) {
    let present = format!(
        "select account, code, volume from holding where {} order by account, code collate \"C\", volume",
        case.present
    );
    let mut expected = String::new();
    for Row(account, code, volume) in (case.model)(files) {
        let _ = writeln!(expected, "{account} | {code} | {volume}");
    }
    assert_eq!(world.query(&present).await, expected.trim_end(), "{} {when}", case.options);
    let found = reconcile(world).await;
    let rest: Vec<_> = found.discrepancies.iter().filter(|found| found.check != "missing").collect();
    assert!(rest.is_empty(), "{} {when}: {rest:?}", case.options);
}

#[test]
fn every_mode_has_a_case_here() {
    for mode in MODES {
        assert!(CASES.iter().any(|case| case.mode == mode.name()), "{}", mode.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_batch_size_in_any_order_and_delivered_three_times_end_as_the_model_says() {
    for case in CASES {
        for (batch_size, order) in [("1", [0, 1, 2, 3]), ("7", [3, 2, 1, 0]), ("10000", [2, 0, 3, 1])] {
            let files = files(batch_size.len() as u64);
            let (world, _folder) = world(case, &[("LOAD__BATCH_SIZE", batch_size)], &files).await;
            for place in order {
                assert_eq!(load(&world, &files[place]).await, LoadStatus::Loaded);
                for _ in 0..2 {
                    assert_eq!(load(&world, &files[place]).await, LoadStatus::Duplicate);
                }
            }
            let all: Vec<&File> = files.iter().collect();
            assert_like_model(&world, case, &all, &format!("in batches of {batch_size}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_overlap_and_are_loaded_at_once_end_as_the_model_says() {
    for case in CASES {
        for seed in 0..3 {
            let files = files(seed);
            let (world, _folder) = world(case, &[("LOAD__BATCH_SIZE", "2"), ("LOAD__CONNECTIONS", "2")], &files).await;
            // Two of them, and each of those twice.
            let all = [0, 1, 1, 0].map(|place| {
                let (world, file) = (&world, &files[place]);
                async move { while load(world, file).await == LoadStatus::InProgress {} }
            });
            futures::future::join_all(all).await;
            assert!(world.overlaps().await > 0, "seed {seed}");
            assert_like_model(&world, case, &[&files[0], &files[1]], &format!("seed {seed}")).await;
        }
    }
}

/// Rows of several partitions may have the same place, and no system column tells there which row was inserted.
#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_ends_as_the_model_says_and_its_rows_are_counted_right() {
    for case in CASES {
        for (batch_size, order) in [("1", [3, 1, 0, 2]), ("10000", [0, 2, 1, 3])] {
            let (files, count) = (files(9), "select count(*) from holding");
            let (world, _folder) = world(case, &[("LOAD__BATCH_SIZE", batch_size)], &files).await;
            partition(&world, case).await;
            for place in order {
                let before: i64 = world.query(count).await.parse().unwrap();
                let report = world.run(&request(&world, &files[place]).await).await.unwrap();
                let counts = report.counts.unwrap();
                let gone = counts.removed + if case.options.contains("gone") { 0 } else { counts.deleted };
                let after: i64 = world.query(count).await.parse().unwrap();
                assert_eq!(before + counts.inserted - gone, after, "{}: {counts:?}", case.options);
            }
            let all: Vec<&File> = files.iter().collect();
            assert_like_model(&world, case, &all, "in partitions").await;
        }
    }
    for case in CASES {
        let files = files(3);
        let (world, _folder) = world(case, &[("LOAD__BATCH_SIZE", "2"), ("LOAD__CONNECTIONS", "2")], &files).await;
        partition(&world, case).await;
        let all = [0, 1, 1, 0].map(|place| {
            let (world, file) = (&world, &files[place]);
            async move { while load(world, file).await == LoadStatus::InProgress {} }
        });
        futures::future::join_all(all).await;
        assert!(world.overlaps().await > 0);
        assert_like_model(&world, case, &[&files[0], &files[1]], "in partitions, two at once").await;
    }
}

/// Cuts a worker off at each of several steps, and lets an older or a newer file come before the next worker continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_killed_and_overtaken_ends_as_the_model_says() {
    assert_eq!(CASES.len(), 8);
    for (case, first) in CASES.iter().zip([1, 2, 3, 4, 3, 4, 2, 3]) {
        let files = files(5);
        // Before and after Postgres has acted on the step.
        for (step, fault) in (first..)
            .step_by(38)
            .flat_map(|step| [(step, Fault::Call as fn(Act) -> Fault), (step, Fault::CallAnswered)])
        {
            let (world, _folder) = world(case, &[("LOAD__BATCH_SIZE", "5"), ("LOAD__CONNECTIONS", "1")], &files).await;
            let request = request(&world, &files[1]).await;
            let was_killed = lost_worker(&world, &request, (Which::Step, step), fault).await;
            let is_older = step.is_multiple_of(4) || step.is_multiple_of(7);
            load(&world, &files[if is_older { 0 } else { 2 }]).await;
            world.end_leases().await;
            load(&world, &files[1]).await;
            let order = if is_older { [&files[0], &files[1]] } else { [&files[1], &files[2]] };
            assert_like_model(&world, case, &order, &format!("killed at step {step}")).await;
            if !was_killed {
                assert!(step > 20, "{step}");
                break;
            }
        }
    }
}
