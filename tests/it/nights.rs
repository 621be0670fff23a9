//! Nights whose time is not enough: each goes on where the last one was cut off, until all is done.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use small_etl::error::Result;
use small_etl::pipeline::{self, LoadHere};
use small_etl::services::Deadline;
use small_etl::services::reconciliation::{FoundFile, Receiver, Reconciliation, Scope};

use crate::contract::{ASSETS, TRADES};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::world::{World, client};

/// A run that is asked to stop as soon as the answer to this question changes.
async fn night_until(world: &World, question: &str) -> Reconciliation {
    let (deadline, (session, _driver)) = (Deadline::default(), client(&world.url).await);
    let answer =
        async || session.query_opt(question, &[]).await.unwrap().and_then(|row| row.get::<_, Option<String>>(0));
    let before = answer().await;
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let scope = Scope { bucket: Some(world.bucket.clone()), prefix: None };
    let run = Box::pin(pipeline::reconcile(&world.context, &world.database, &scope, &receiver, &deadline));
    let watch = async {
        loop {
            if answer().await != before {
                deadline.interrupt();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! { done = run => done.expect("the system works"), () = watch => unreachable!("it watches for ever") }
}

const NOTE: &str = "name = \"note\"\ntable = \"note\"\nkey = \"id\"\nversion = \"at\"\nfiles = [\"notes/*\"]\n\
    [[column]]\nname = \"id\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"at\"\ntype = \"timestamp\"\nrequired = true\n";

async fn world_with_notes() -> (World, Scratch) {
    let folder = Scratch::new("notes");
    fs::write(folder.path().join("note.toml"), NOTE).unwrap();
    let mut world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.context.nightly.rows_at_once = 1;
    world.query("create table note (id text unique, at timestamptz not null)").await;
    (world, folder)
}

const NOTES_DONE: &str = "select cursor from etl.reconciliation_step where step = 'table' and part = 'note'";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_several_nights_is_checked_to_its_end() {
    let (world, _folder) = world_with_notes().await;
    // The last one by its key is not a timestamp of the contract, and one has no key at all.
    world
        .query(
            "insert into note select k, '2025-12-22' from unnest(array['a''b', E'a\\\\b', 'A', 'a', ' ', '日本', '\"', E'\\t', '%', '0']) k; \
             insert into note values (E'\\U0010FFFF', '0044-03-15 BC'), (null, '2025-12-22')",
        )
        .await;
    let (mut nights, mut rows, mut found) = (0, 0, Vec::new());
    loop {
        let night = night_until(&world, NOTES_DONE).await;
        nights += 1;
        rows += night.rows_checked;
        found.extend(
            night.discrepancies.iter().filter(|found| found.check != "row_count").map(|found| found.message.clone()),
        );
        let state = world.query("select state from etl.reconciliation order by id desc limit 1").await;
        assert_eq!(state, if night.out_of_time { "interrupted" } else { "done" });
        if !night.unfinished.contains(&"table note".to_owned()) {
            break;
        }
        assert!(nights < 14, "it never ends");
    }
    assert!(nights > 2, "each night was to be cut off");
    assert_eq!(rows, 12, "each row once");
    found.sort();
    assert_eq!(
        found,
        [
            "table note row : column id breaks rule required",
            "table note row \u{10ffff}: column at breaks rule timestamp"
        ]
    );
    // The next night begins at the first row.
    assert_eq!(night_until(&world, "select ''").await.rows_checked, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_that_is_cut_off_has_done_the_steps_that_it_has_done() {
    let (world, _folder) = world_with_notes().await;
    world.query("insert into note select n::text, '2025-12-22' from generate_series(1, 9) n").await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let night = night_until(&world, NOTES_DONE).await;
    assert!(night.out_of_time && night.loads_checked == 1, "{night:?}");
    world.query("update etl.load set finished_at = finished_at - interval '1 day'").await;
    let night = night_until(&world, NOTES_DONE).await;
    assert_eq!((night.out_of_time, night.loads_checked), (true, 0), "it was checked last night");
}

/// What a table has to be is asked of all its rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_begins_anew() {
    let (world, folder) = world_with_notes().await;
    world.query("insert into note select n::text, '2025-12-22' from generate_series(1, 9) n").await;
    assert!(night_until(&world, NOTES_DONE).await.rows_checked < 9);
    fs::write(
        folder.path().join("note.toml"),
        format!("{NOTE}pattern = \"[2-9]\"\n").replace(
            "required = true\npattern",
            "required = true\n[[column]]\nname = \"more\"\ntype = \"text\"\npattern",
        ),
    )
    .unwrap();
    world.query("alter table note add column more text; update note set more = id").await;
    let world = world.under(&[]);
    world.migrate(None).await;
    let night = night_until(&world, "select ''").await;
    assert_eq!((night.rows_checked, night.out_of_time), (9, false));
    assert!(
        night.discrepancies.iter().any(|found| found.message == "table note row 1: column more breaks rule pattern"),
        "{night:?}"
    );
}

/// Takes what it is given, and has no time for more.
struct OneTake {
    taken: Mutex<Vec<String>>,
    deadline: Deadline,
    left: u64,
}

#[async_trait(?Send)]
impl Receiver for OneTake {
    async fn take(&self, files: &[FoundFile]) -> Result<u64> {
        self.taken.lock().unwrap().extend(files.iter().map(|file| file.file.clone()));
        self.deadline.interrupt();
        Ok(self.left)
    }
}

async fn night_of_one_take(world: &World, scope: &Scope, left: u64) -> (Reconciliation, Vec<String>) {
    let deadline = Deadline::default();
    let receiver = OneTake { taken: Mutex::default(), deadline: deadline.clone(), left };
    let done = pipeline::reconcile(&world.context, &world.database, scope, &receiver, &deadline).await.unwrap();
    (done, receiver.taken.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_takes_several_nights_is_compared_to_its_end() {
    let world = World::with_own_s3(&[]).await;
    for number in 0..2_100 {
        world.s3_server.place(&world.bucket, &format!("incoming/assets/{number:04}.csv"), "");
    }
    let everything = Scope { bucket: Some(world.bucket.clone()), prefix: None };
    // What could not be sent for want of time is found again.
    let (first, unsent) = night_of_one_take(&world, &everything, 7).await;
    assert_eq!(first.not_sent, 7);
    let part = format!("compare s3://{}/incoming/assets/", world.bucket);
    let mut seen = Vec::new();
    loop {
        let (night, taken) = night_of_one_take(&world, &everything, 0).await;
        assert!(taken.len() <= 1_000, "{}", taken.len());
        assert!(!seen.is_empty() || taken == unsent);
        seen.extend(taken);
        if !night.unfinished.contains(&part) {
            break;
        }
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (2_100, 2_100), "each key once");
    // So does a part of it, but not for ever: who asks for it later wants to know all of it.
    let part = Scope { prefix: Some("incoming/assets/".into()), ..everything };
    let (_, first) = night_of_one_take(&world, &part, 0).await;
    let (_, next) = night_of_one_take(&world, &part, 0).await;
    assert!(first[0] < next[0]);
    world.query("update etl.reconciliation_step set began_at = began_at - interval '25 hours'").await;
    let (_, anew) = night_of_one_take(&world, &part, 0).await;
    assert_eq!(anew, first);
}

#[tokio::test]
async fn versions_are_listed_after_a_key() {
    let world = World::on_moto(&[]).await;
    for key in ["a", "b", "b", "b/c", "ba", "c"] {
        world.put(&format!("incoming/assets/{key}"), "x").await;
    }
    let mut listing = world.context.nightly.store.list(&world.bucket, "incoming/", Some("incoming/assets/b"));
    let keys = listing.next_keys().await.unwrap().unwrap();
    let keys: Vec<_> = keys.iter().map(|versions| versions[0].key.as_str()).collect();
    assert_eq!(keys, ["incoming/assets/b/c", "incoming/assets/ba", "incoming/assets/c"]);
}

/// One table that a person must mend keeps no other from being compared, and its own files wait.
#[tokio::test]
async fn a_table_that_is_not_fit_is_told_and_stops_no_other_dataset() {
    let world = World::new().await;
    world.drop_file("incoming/assets/0.csv", ASSETS.replace("1000000000", "2000000000")).await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/1.csv", TRADES).await;
    for change in [
        "alter table trade rename to gone",
        "alter table gone rename to trade; alter table trade rename order_remark to note",
    ] {
        world.query(change).await;
        let done = reconcile(&world).await;
        let [told] = &done.discrepancies[..] else { panic!("{:?}", done.discrepancies) };
        assert_eq!((told.dataset.as_deref(), told.check.as_str()), (Some("trade"), "unfit"));
        assert!(told.message.contains("table trade"), "{}", told.message);
        assert_eq!((done.not_sent, done.rows_checked), (0, 8));
        assert!(!done.is_clean());
    }
    assert_eq!(
        world.query("select key, state from etl.load order by id").await,
        "incoming/assets/0.csv | loaded\nincoming/assets/1.csv | loaded"
    );
    world.query("alter table trade rename note to order_remark").await;
    let done = reconcile(&world).await;
    assert_eq!((done.sent, world.query("select count(*) from trade").await), (1, "4".into()), "{done:?}");
    // A ledger that is too old for this program is another matter.
    world.query("delete from refinery_schema_history").await;
    let (deadline, everything) = (Deadline::default(), Scope { bucket: Some(world.bucket.clone()), prefix: None });
    let world = world.under(&[]);
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let run = pipeline::reconcile(&world.context, &world.database, &everything, &receiver, &deadline);
    assert!(run.await.unwrap_err().to_string().contains("the schema has version 0"));
}

/// What a night has to do with a ledger does not depend on its other tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_keeps_no_other_from_being_done() {
    let world = World::with(&[("REJECTS__RETENTION_DAYS", "30")]).await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.query("update etl.load set finished_at = finished_at - interval '31 days' where rejected > 0").await;
    world.query("delete from trade where traded_id = 'T20251222000004'").await;
    world.put("incoming/assets/lost.csv", ASSETS.replace("1000000000", "2000000000")).await;
    world
        .query(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$; \
             create trigger refuse before delete on etl.reject for each row execute function refuse()",
        )
        .await;
    let night = async || {
        let (deadline, everything) = (Deadline::default(), Scope { bucket: Some(world.bucket.clone()), prefix: None });
        let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
        pipeline::reconcile(&world.context, &world.database, &everything, &receiver, &deadline).await
    };
    let error = night().await.unwrap_err().chain();
    assert!(error.starts_with("retention 30 days: delete rejects"), "{error}");
    let last = "select state, sent, discrepancies, report -> 'rows_checked', report -> 'loads_checked', report -> 'failed' -> 0 ->> 'step' \
        from etl.reconciliation order by id desc limit 1";
    assert_eq!(world.query(last).await, "failed | 1 | 1 | 10 | 3 | retention 30 days");
    let place = world.query("select report_key from etl.reconciliation").await;
    let page = world.get(&world.bucket, &place).await;
    assert!(page.contains("Steps that failed; the others were done") && page.contains("retention 30 days"), "{page}");
    world.query("drop trigger refuse on etl.reject").await;
    let done = night().await.unwrap();
    assert_eq!((done.tidied.rejects_deleted, done.sent, done.failed.len()), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_checked_a_part_each_night_until_every_row_had_its_turn() {
    let (mut world, _folder) = world_with_notes().await;
    (world.context.nightly.rows_a_night, world.context.nightly.full_days) = (3, 3);
    world.query("insert into note select n::text, '2025-12-22' from generate_series(1, 8) n").await;
    world.query("insert into note values ('9', '0044-03-15 BC')").await;
    world.query("analyze note").await;
    let mut nights = Vec::new();
    for _ in 0..4 {
        let night = night_until(&world, "select ''").await;
        assert_eq!((night.out_of_time, night.unfinished.len()), (false, 0), "{night:?}");
        nights
            .push((night.rows_checked, night.discrepancies.iter().filter(|found| found.check == "timestamp").count()));
    }
    assert_eq!(nights, [(4, 0), (4, 0), (1, 1), (4, 0)]);
    // Somebody who wants to know of every row tonight says so.
    world.context.nightly.full_days = 1;
    let night = night_until(&world, "select ''").await;
    assert_eq!(
        (night.rows_checked, night.discrepancies.len()),
        (5, 2),
        "the rest of it, and its number of rows: {night:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_are_counted_in_turns() {
    let (mut world, _folder) = world_with_notes().await;
    world.context.nightly.rows_a_night = 3;
    world.query("insert into note select n::text, '2025-12-22' from generate_series(1, 9) n").await;
    world
        .query(
            "insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) \
        select 'A' || n, 2, 1, 0, 0, 1, '2020-01-01' from generate_series(1, 7) n",
        )
        .await;
    world.query("analyze note; analyze asset").await;
    let counted = async || {
        let night = night_until(&world, "select ''").await;
        let counted = night.discrepancies.iter().filter(|found| found.check == "row_count");
        counted.map(|found| found.dataset.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(counted().await, ["asset"]);
    assert_eq!(counted().await, ["note"]);
    assert!(counted().await.is_empty(), "both were counted");
    world.query("update etl.reconciliation_step set since = since - interval '30 days' where part = 'asset'").await;
    assert_eq!(counted().await, ["asset"]);
}
