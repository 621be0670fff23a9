//! Without a column that tells which of two rows is newer: rows that mend rejects come with the file that brought them first, and parts of an
//! object keep their order.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{Counts, LoadReport, LoadStatus};
use small_etl::pipeline::Request;

use crate::keys::{HOLDING, HOLDING_TABLES, OWNER, put_holdings, seconds_after_noon, world, written};
use crate::killed::lost_worker;
use crate::nightly::reconcile;
use crate::object_parts::archive;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

/// Loads a file that was written so many seconds after noon.
async fn load(world: &World, name: &str, seconds: i64, rows: &[&str]) -> LoadReport {
    let text = rows.iter().fold("code,volume,owner\n".to_owned(), |text, row| format!("{text}{row},\n"));
    put_holdings(world, name, text).await;
    world.run(&written(world, name, seconds_after_noon(seconds)).await).await.unwrap()
}

/// Loads a file of rejects, each given as its load, its record, and the bad volume with the mended one.
async fn mend(world: &World, name: &str, seconds: i64, rows: &[(i64, i64, &str, &str)]) -> Counts {
    let mut text = String::new();
    for (load, record, bad, good) in rows {
        let rejects = world.get(&world.bucket, &format!("rejects/holding/{load}.csv")).await;
        let (header, lines) = rejects.split_once('\n').unwrap();
        let row = lines.lines().find(|row| row.starts_with(&format!("{load},{record},"))).unwrap();
        if text.is_empty() {
            text = format!("{header}\n");
        }
        text.push_str(&row.replace(&format!(",{bad},"), &format!(",{good},")));
        text.push('\n');
    }
    put_holdings(world, name, text).await;
    let report = world.run(&written(world, name, seconds_after_noon(seconds)).await).await.unwrap();
    report.counts.unwrap()
}

const PRESENT: &str = "select string_agg(code || volume, ' ' order by code) from holding";

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_of_an_older_file_overwrites_no_row_of_a_newer_one() {
    let (world, _folder) = world(&[]).await;
    load(&world, "1", 0, &["A,x", "B,x", "C,x"]).await;
    load(&world, "2", 20, &["A,2"]).await;
    let counts = mend(&world, "m", 100, &[(1, 1, "x", "1"), (1, 2, "x", "1")]).await;
    assert_eq!((counts.inserted, counts.updated, counts.stale), (1, 0, 1));
    assert_eq!(world.query(PRESENT).await, "A2 B1");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "1", "what is stale is settled");
    // A file that was written before it and comes later replaces nothing either, and one in between does.
    assert_eq!(load(&world, "3", -5, &["B,0"]).await.counts.unwrap().stale, 1);
    assert_eq!(load(&world, "4", 10, &["B,4"]).await.counts.unwrap().updated, 1);
    // A row of a file of rejects that mends none has come with this file.
    let rejects = world.get(&world.bucket, "rejects/holding/1.csv").await;
    let new = rejects.lines().next().unwrap().to_owned() + "\n,,,,A,9,\n";
    put_holdings(&world, "new", new).await;
    let request = written(&world, "new", seconds_after_noon(100)).await;
    assert_eq!(world.run(&request).await.unwrap().counts.unwrap().updated, 1);
    assert_eq!(world.query(PRESENT).await, "A9 B4");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_file_of_rejects_ranks_with_its_own_reject() {
    let (world, _folder) = world(&[]).await;
    load(&world, "1", 0, &["A,x", "B,y"]).await;
    load(&world, "2", 10, &["A,2", "B,2"]).await;
    load(&world, "3", 20, &["A,x"]).await;
    let counts = mend(&world, "m", 100, &[(3, 1, "x", "3"), (1, 2, "y", "1")]).await;
    assert_eq!((counts.updated, counts.stale), (1, 1));
    assert_eq!(world.query(PRESENT).await, "A3 B2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_wins_over_its_own_file_and_the_later_of_two_over_the_earlier() {
    let (world, _folder) = world(&[]).await;
    load(&world, "1", 0, &["A,1", "A,x"]).await;
    assert_eq!(mend(&world, "m2", 200, &[(1, 2, "x", "3")]).await.updated, 1);
    assert_eq!(mend(&world, "m1", 100, &[(1, 2, "x", "2")]).await.stale, 1);
    assert_eq!(mend(&world, "m3", 300, &[(1, 2, "x", "4")]).await.updated, 1);
    let again = Request { again: true, ..written(&world, "m2", seconds_after_noon(200)).await };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().stale, 1);
    assert_eq!(world.query(PRESENT).await, "A4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_mended_in_two_steps_comes_with_the_first_file() {
    let (world, _folder) = world(&[]).await;
    load(&world, "1", 0, &["A,x"]).await;
    load(&world, "2", 20, &["A,2"]).await;
    assert_eq!(mend(&world, "m1", 100, &[(1, 1, "x", "y")]).await.rejected, 1);
    assert_eq!(mend(&world, "m2", 200, &[(3, 1, "y", "1")]).await.stale, 1);
    assert_eq!(world.query(PRESENT).await, "A2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_that_waits_ranks_with_the_file_that_brought_it() {
    let (world, _folder) = world(&[]).await;
    let held = |text: &str| text.replace(",1,\n", ",1,O1\n");
    for (name, seconds, bad) in [("1", 0, "A,x"), ("2", 20, "B,x")] {
        load(&world, name, seconds, &[bad]).await;
        let rejects = world.get(&world.bucket, &format!("rejects/holding/{name}.csv")).await;
        put_holdings(&world, &format!("m{name}"), held(&rejects.replace(",x,", ",1,"))).await;
    }
    for name in ["m1", "m2"] {
        let request = written(&world, name, seconds_after_noon(100)).await;
        assert_eq!(world.run(&request).await.unwrap().counts.unwrap().parked, 1);
    }
    load(&world, "3", 10, &["A,3", "B,3"]).await;
    assert_eq!(world.drop_file("incoming/owners/1.csv", "owner_id,revision\nO1,1\n").await.counts.unwrap().released, 2);
    assert_eq!(world.query(PRESENT).await, "A3 B1");
    assert_eq!(world.query("select outcome from etl.parked order by key").await, "stale\nupdated");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_key_an_older_file_that_comes_late_settles_no_reject_of_a_newer_one() {
    const OPEN: &str =
        "select string_agg(key || load_id || coalesce(value, ''), ' ' order by key, load_id) from etl.open_reject";
    let (world, _folder) = world(&[]).await;
    load(&world, "2", 20, &["A,x", "B,x", "C,x"]).await;
    load(&world, "1", 0, &["A,1", "B,y"]).await;
    assert_eq!(world.query(OPEN).await, "A1x B1x B2y C1x");
    load(&world, "3", 30, &["A,3", "B,z"]).await;
    assert_eq!(
        world.query(OPEN).await,
        "B2y B3z C1x",
        "one that was written later continues the newest, and settles all"
    );
    load(&world, "4", 40, &["B,4"]).await;
    assert_eq!(world.query(OPEN).await, "C1x");
    assert_eq!(world.query(PRESENT).await, "A3 B4");
}

/// Files in a random order, some at once, some with bad rows that are mended in between, some left and taken up again: the end is that of
/// the same files without a bad row, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn whenever_rows_are_mended_the_last_file_of_each_key_stays() {
    let mut deaths = 0;
    for seed in 0..3 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let batch_size = ["1", "2", "7"][usize::try_from(seed % 3).unwrap()];
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size), ("LOAD__CONNECTIONS", "2")]).await;
        let (mut last, mut files) = (BTreeMap::new(), Vec::new());
        for number in 0..8_i64 {
            let mut text = "code,volume,owner\n".to_owned();
            for code in ["A", "B", "C", "D", "E", "F"] {
                if random.random_ratio(1, 2) {
                    let (volume, is_bad) = (random.random_range(0..3), random.random_ratio(1, 3));
                    let mark = if is_bad { "x" } else { "" };
                    text.extend([code, ",", mark, &volume.to_string(), ",\n"]);
                    last.insert(code, volume);
                }
            }
            put_holdings(&world, &number.to_string(), text).await;
            files.push((number.to_string(), number));
        }
        files.shuffle(&mut random);
        let (mut bad, mut seen): (Vec<String>, BTreeSet<String>) = Default::default();
        let mut mended = 0;
        while !files.is_empty() || !bad.is_empty() {
            let mut requests = Vec::new();
            for (name, seconds) in files.split_off(files.len().saturating_sub(2)) {
                requests.push(written(&world, &name, seconds_after_noon(seconds)).await);
            }
            bad.shuffle(&mut random);
            let most = if files.is_empty() { bad.len() } else { bad.len() / 2 };
            // Of two rows with one key in one file the first would be rejected.
            let mut codes = BTreeSet::new();
            let (some, left): (Vec<String>, Vec<String>) = bad
                .into_iter()
                .partition(|row| codes.len() < most && codes.insert(row.split(',').nth(4).map(str::to_owned)));
            bad = left;
            if !some.is_empty() {
                mended += 1;
                let header = "_load_id,_record,_line,_errors,code,volume,owner\n";
                let rows = some.concat().replace(",x", ",");
                put_holdings(&world, &format!("m{mended}"), format!("{header}{rows}")).await;
                requests.push(written(&world, &format!("m{mended}"), seconds_after_noon(100 + mended)).await);
            }
            requests.shuffle(&mut random);
            deaths += i32::from(lost_worker(&world, &requests[0], (Which::Commit, 2), Fault::Call).await);
            world.end_leases().await;
            let all = requests
                .iter()
                .map(|request| async { while world.run(request).await.unwrap().status == LoadStatus::InProgress {} });
            futures::future::join_all(all).await;
            // Also those of which another file has brought a good row with the same key: it may be an older one.
            let found = "select load_id || ',' || record || ',' || line || ',,' || convert_from(raw, 'UTF8') from etl.rejected_record";
            for row in world.query(found).await.lines().map(|row| format!("{row}\n")) {
                if seen.insert(row.clone()) {
                    bad.push(row);
                }
            }
        }
        let expected: Vec<String> = last.iter().map(|(code, volume)| format!("{code}{volume}")).collect();
        assert_eq!(world.query(PRESENT).await, expected.join(" "), "seed {seed}");
        assert!(mended > 0);
        assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    }
    assert!(deaths > 3, "{deaths}");
}

const MEMBERS: &str = r#"
[[source]]
name = "days"
files = ["incoming/days/*.zip"]
member = "*.csv"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_parts_with_one_row_the_later_part_wins_in_whatever_order_they_come() {
    let folder = Scratch::new("arrival");
    std::fs::write(folder.path().join("holding.toml"), format!("{HOLDING}{MEMBERS}")).unwrap();
    std::fs::write(folder.path().join("owner.toml"), OWNER).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path)]).await;
    world.query(HOLDING_TABLES).await;
    let texts = [("a.csv", "code,volume,owner\nA,1,\nB,1,\n"), ("b.csv", "code,volume,owner\nA,2,\nC,2,\n")];
    for order in
        [&["a.csv", "b.csv"][..], &["b.csv", "a.csv"], &["a.csv", "b.csv", "a.csv"], &["b.csv", "a.csv", "b.csv"]]
    {
        world.query("truncate holding, etl.load restart identity cascade").await;
        world.put("incoming/days/1.zip", archive(&texts)).await;
        for (nth, name) in order.iter().enumerate() {
            let request = world.request("incoming/days/1.zip");
            world.run(&Request { parts: vec![(*name).to_owned()], again: nth > 1, ..request }).await.unwrap();
        }
        assert_eq!(world.query(PRESENT).await, "A2 B1 C2", "{order:?}");
        let changed = [texts[0], ("b.csv", "code,volume,owner\nC,3,\n")];
        world.put("incoming/days/1.zip", archive(&changed)).await;
        world.load_parts("incoming/days/1.zip").await;
        assert_eq!(world.query(PRESENT).await, "A1 B1 C3", "a later version wins: {order:?}");
    }
}
