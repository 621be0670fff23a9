//! One bad row in several attempts to mend it: which rejects belong to that row, and what closes them.

use std::fmt::Write as _;

use insta::assert_snapshot;
use small_etl::domain::LoadStatus;
use small_etl::pipeline::Request;
use small_etl::services::tidy::Tidied;

use crate::contract::ASSETS;
use crate::mend::tidy;
use crate::support::Scratch;
use crate::world::World;

const STATES: &str = "select distinct load_id, record, key, state, resolved_by, first_load_id, first_record \
    from etl.reject order by load_id, record";
const OPEN: &str = "select distinct load_id, record, key from etl.open_reject order by load_id, record";

/// Returns a file of assets, with a row for each pair of a key and whether the row is good.
fn assets(rows: &[(&str, bool)]) -> String {
    let mut file = String::from(ASSETS.lines().next().unwrap());
    for (key, good) in rows {
        let sum = if *good { 1 } else { 2 };
        write!(file, "\n1,{key},2,1,0,0,{sum},2025-12-22T14:30:00").unwrap();
    }
    file + "\n"
}

async fn drop_assets(world: &World, name: &str, rows: &[(&str, bool)]) -> LoadStatus {
    world.drop_file(&format!("incoming/assets/{name}.csv"), assets(rows)).await.status
}

/// Changes the rejects file of a load and puts it among the incoming files.
async fn drop_rejects(world: &World, load: i64, name: &str, change: fn(&str) -> String) -> LoadStatus {
    let file = world.get(&world.bucket, &format!("rejects/asset/{load}.csv")).await;
    world.drop_file(&format!("incoming/assets/{name}.csv"), change(&file)).await.status
}

#[tokio::test]
async fn whoever_mends_the_last_attempt_by_its_key_has_mended_the_row() {
    let world = World::new().await;
    let cut = assets(&[("A1", false)]).replace(",2025-12-22T14:30:00", "");
    world.drop_file("incoming/assets/1.csv", cut).await;
    drop_rejects(&world, 1, "2", |file| file.replace(",2\n", ",2,2025-12-22T14:30:00\n")).await;
    drop_assets(&world, "3", &[("A1", true)]).await;
    assert_snapshot!(world.query(STATES).await, @"
    1 | 1 | - | resolved | 3 | 1 | 1
    2 | 1 | A1 | resolved | 3 | 1 | 1
    ");
    // A key that a later attempt has corrected is not taken for that attempt's.
    drop_assets(&world, "4", &[("A9", false)]).await;
    drop_rejects(&world, 4, "5", |file| file.replace(",A9,", ",A7,")).await;
    drop_assets(&world, "6", &[("A9", true)]).await;
    assert_eq!(world.query(OPEN).await, "5 | 1 | A7");
    drop_assets(&world, "7", &[("A7", true)]).await;
    assert_eq!(world.query(OPEN).await, "");
}

#[tokio::test]
async fn a_bad_row_beside_one_that_names_its_reject_continues_the_one_with_its_key() {
    let world = World::new().await;
    drop_assets(&world, "1", &[("A1", false), ("A2", false)]).await;
    // Both are still bad, and the second one no longer says which reject it was.
    drop_rejects(&world, 1, "2", |file| file.replace("\n1,2,", "\n,,")).await;
    assert_eq!(world.query("select record from etl.resubmission").await, "1");
    assert_snapshot!(world.query(STATES).await, @"
    1 | 1 | A1 | open | - | 1 | 1
    1 | 2 | A2 | open | - | 1 | 2
    2 | 1 | A1 | open | - | 1 | 1
    2 | 2 | A2 | open | - | 1 | 2
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_loads_that_end_at_once_the_second_sees_the_first() {
    let world = World::new().await;
    drop_assets(&world, "0", &[("A0", false)]).await;
    let (client, driver) = crate::world::client(&world.url).await;
    client.batch_execute("begin; select from etl.reject for update").await.unwrap();
    world.put("incoming/assets/1.csv", assets(&[("A0", true), ("A1", false)])).await;
    world.put("incoming/assets/2.csv", assets(&[("A1", true)])).await;
    tokio::join!(world.load("incoming/assets/1.csv"), async {
        // This load ends and has already looked for the rejects that it mends.
        world.wait_for_lock_waiters(1).await;
        tokio::join!(world.load("incoming/assets/2.csv"), async {
            world.wait_for_lock_waiters(2).await;
            client.batch_execute("commit").await.unwrap();
        });
    });
    drop(client);
    driver.await.unwrap();
    assert_eq!(world.query(STATES).await, "1 | 1 | A0 | resolved | 2 | 1 | 1\n2 | 2 | A1 | resolved | 3 | 2 | 2");
}

#[tokio::test]
async fn a_row_that_is_closed_by_hand_stays_closed() {
    let world = World::new().await;
    drop_assets(&world, "1", &[("A1", false)]).await;
    drop_rejects(&world, 1, "2", str::to_owned).await;
    assert_eq!(world.query(OPEN).await, "2 | 1 | A1");
    assert_eq!(world.query("select load_id, open_rejects from etl.load_history order by 1").await, "1 | 0\n2 | 1");
    world.query("update etl.reject set state = 'resolved', resolved_at = now() where load_id = 2").await;
    assert_eq!(world.query(OPEN).await, "");
}

#[tokio::test]
async fn bad_rows_with_one_key_remain_as_many_as_they_are() {
    let world = World::new().await;
    drop_assets(&world, "1", &[("A1", false), ("A1", false)]).await;
    drop_assets(&world, "2", &[("A1", true), ("A1", false), ("A1", false)]).await;
    assert_snapshot!(world.query(STATES).await, @"
    1 | 1 | A1 | open | - | 1 | 1
    1 | 2 | A1 | open | - | 1 | 2
    2 | 2 | A1 | open | - | 1 | 1
    2 | 3 | A1 | open | - | 1 | 2
    ");
    assert_eq!(world.query(OPEN).await, "2 | 2 | A1\n2 | 3 | A1");
    // One of them is mended by its number.
    drop_rejects(&world, 2, "3", |file| file.lines().take(2).collect::<Vec<_>>().join("\n").replace(",0,2,", ",0,1,"))
        .await;
    assert_eq!(world.query(OPEN).await, "2 | 3 | A1");
    drop_assets(&world, "4", &[("A1", true)]).await;
    assert_eq!(world.query(OPEN).await, "");
}

#[tokio::test]
async fn an_attempt_that_failed_as_a_whole_is_mended_line_by_line() {
    let world = World::with(&[("LOAD__MAX_REJECT_RATE", "0.5")]).await;
    drop_assets(&world, "1", &[("A1", false), ("A2", true), ("A3", true)]).await;
    assert_eq!(drop_rejects(&world, 1, "2", str::to_owned).await, LoadStatus::Failed);
    assert_eq!(world.query(OPEN).await, "2 | 1 | A1");
    assert_eq!(drop_rejects(&world, 2, "3", |file| file.replace(",0,2,", ",0,1,")).await, LoadStatus::Loaded);
    assert_eq!(world.query("select distinct state, resolved_by from etl.reject").await, "resolved | 3");
}

#[tokio::test]
async fn a_version_that_is_loaded_once_more_does_not_open_what_was_mended() {
    let world = World::new().await;
    drop_assets(&world, "1", &[("A1", false), ("A2", false)]).await;
    drop_assets(&world, "2", &[("A1", true)]).await;
    let again = Request { again: true, ..world.request("incoming/assets/1.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().rejected, 2);
    assert_eq!(world.query(OPEN).await, "3 | 2 | A2");
    assert_eq!(world.query("select resolved_by from etl.reject where load_id = 3 and record = 1").await, "2");
}

#[tokio::test]
async fn a_key_of_the_greatest_length_is_mended_and_explained() {
    let scratch = Scratch::new("chain");
    let definition = include_str!("../../datasets/asset.toml").replace("max_length = 20\n", "");
    std::fs::write(scratch.path().join("asset.toml"), definition).unwrap();
    let path = scratch.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path)]).await;
    world
        .query("alter table trade drop constraint trade_account_id_fkey; alter table asset alter account_id type text")
        .await;
    // The keys are random; otherwise Postgres would compress them.
    let key = |seed: u32| -> String {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'A' + u8::try_from((state >> 16) % 58).unwrap())
        };
        (0..2600).map(next).filter(char::is_ascii_alphabetic).take(660).collect()
    };
    let (one, two) = (key(1), key(2));
    assert_eq!(drop_assets(&world, "1", &[(&one, true), (&two, false)]).await, LoadStatus::Loaded);
    assert_eq!(drop_assets(&world, "2", &[(&two, true)]).await, LoadStatus::Loaded);
    assert_eq!(world.query("select state, resolved_by from etl.reject").await, "resolved | 2");
    let datasets = &world.context.datasets;
    let attempts = world.database.row_attempts(datasets.get("asset").unwrap(), &two).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].line), (1, Some(2)));
}

#[tokio::test]
async fn a_rejects_file_that_was_written_and_not_noted_goes_as_well_when_its_time_is_over() {
    let world = World::new().await;
    drop_assets(&world, "1", &[("A1", false)]).await;
    world.query("update etl.load set rejects_key = null, finished_at = finished_at - interval '31 days'").await;
    let expected = Tidied { rejects_deleted: 1, open_rejects_deleted: 1, ..Tidied::default() };
    assert_eq!(tidy(&world, Some(30)).await, expected);
    let listed = world.s3.list_objects_v2().bucket(&world.bucket).prefix("rejects/").send().await.unwrap();
    assert!(listed.contents().is_empty(), "{listed:?}");
}

/// A load reads its rows a part at a time when it ends, and so does one that was overtaken with the rows of later loads.
#[tokio::test]
async fn rows_of_every_batch_mend_what_was_bad() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    // From the first batch on, each part is one batch: a batch might have that many rows.
    world
        .query(
            "create function grow() returns trigger language plpgsql security definer as $$ begin \
                 update etl.load set batch_size = 1000000000 where id = new.load_id; return null; end $$; \
             create trigger grow after insert on etl.load_batch for each row execute function grow()",
        )
        .await;
    let bad = [("A1", false), ("A2", false), ("A3", false), ("A4", false), ("A0", true)];
    drop_assets(&world, "1", &bad).await;
    drop_assets(&world, "2", &[("A1", true), ("A5", true), ("A3", true)]).await;
    assert_eq!(world.query(OPEN).await, "1 | 2 | A2\n1 | 4 | A4");
    // It ends once more, after two others. The second of them has the rows.
    drop_assets(&world, "3", &[("A6", true), ("A7", true)]).await;
    drop_assets(&world, "4", &[("A8", true), ("A2", true), ("A4", true)]).await;
    assert_eq!(world.query(OPEN).await, "");
    world
        .query(
            "update etl.reject set state = 'open', resolved_by = null, resolved_at = null; \
             update etl.load set state = 'loading', finished_at = null, lease_expires_at = now() where id = 1",
        )
        .await;
    world.load("incoming/assets/1.csv").await;
    assert_snapshot!(world.query(STATES).await, @"
    1 | 1 | A1 | resolved | 2 | 1 | 1
    1 | 2 | A2 | resolved | 4 | 1 | 2
    1 | 3 | A3 | resolved | 2 | 1 | 3
    1 | 4 | A4 | resolved | 4 | 1 | 4
    ");
}
