//! Nothing grows for ever: old loads are pruned, rows that wait too long become rejects, and a file may be refused that would leave too many waiting.

use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::pipeline::Request;
use small_etl::services::reconciliation::Reconciliation;

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES, head};
use crate::keys::{self, put_holdings, seconds_after_noon, written};
use crate::migrations::undo_scripts;
use crate::nightly::{found, reconcile};
use crate::support::Scratch;
use crate::tombstones::{QUOTE, QUOTE_TABLE};
use crate::undo::undo;
use crate::undo_order::Case;
use crate::world::{World, client, query};

/// Makes loads as old as if they had been loaded so many years earlier.
pub async fn age(world: &World, which: &str, years: i32) {
    let past = format!("- interval '{years} years'");
    query(
        &world.admin_url(),
        &format!(
            "alter table etl.audit disable trigger append_only; \
             update etl.audit set at = at {past} where load_id in (select id from etl.load where {which}); \
             update etl.load_batch set committed_at = committed_at {past} where load_id in (select id from etl.load where {which}); \
             update etl.parked set parked_at = parked_at {past}, released_at = released_at {past} where load_id in (select id from etl.load where {which}); \
             update etl.load set started_at = started_at {past}, finished_at = finished_at {past} where {which}; \
             alter table etl.audit enable trigger append_only"
        ),
    )
    .await;
}

async fn prune(world: &World) -> Reconciliation {
    let done = reconcile(world).await;
    assert!(done.discrepancies.is_empty(), "{done:?}");
    done
}

fn again(request: Request) -> Request {
    Request { again: true, ..request }
}

/// What the ledger has of loads, without the loads themselves.
const TRACES: &str = "select (select count(*) from etl.load_batch), (select count(*) from etl.lineage), (select count(*) from etl.parked), \
    (select count(*) from etl.audit where action like 'load load%')";

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_ended_long_ago_are_pruned_and_their_versions_stay_duplicates() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/assets/broken.csv", "account_id\n").await;
    world.drop_file("incoming/assets/2.csv", ASSETS.replace("T14:30:00", "T15:30:00")).await;
    let rows = world.query("select * from trade order by traded_id; select * from asset order by account_id").await;
    age(&world, "id < 4", 3).await;
    let done = prune(&world).await;
    assert_eq!((done.tidied.loads_pruned, done.sent), (3, 0));
    assert_eq!(world.query("select id from etl.load").await, "4");
    assert_eq!(world.query(TRACES).await, "1 | 1 | 0 | 2");
    assert_eq!(
        query(&world.admin_url(), "select detail ->> 'loads' from etl.audit where action = 'loads pruned'").await,
        "3"
    );
    for (key, load, reason) in [
        ("incoming/trades/1.csv", 1, None),
        ("incoming/assets/1.csv", 2, None),
        ("incoming/assets/broken.csv", 3, Some("missing_column")),
    ] {
        let report = world.load(key).await;
        assert_eq!((report.status, report.load_id.map(|id| id.0)), (LoadStatus::Duplicate, Some(load)), "{report:?}");
        assert_eq!(report.reason.as_deref(), reason);
    }
    // The rows are counted as before, and nothing is loaded again.
    let next = prune(&world).await;
    assert_eq!((next.compared, next.sent, next.tidied.loads_pruned), (4, 0, 0));
    assert!(next.is_clean(), "{next:?}");
    assert_eq!(
        world.query("select * from trade order by traded_id; select * from asset order by account_id").await,
        rows
    );
    // A person may still load such a version again, and it counts as its next run.
    let report = world.run(&again(world.request("incoming/assets/1.csv"))).await.unwrap();
    assert_eq!(report.counts.unwrap().stale + report.counts.unwrap().unchanged, 4);
    assert_eq!(world.query("select run from etl.load where key like '%assets/1.csv'").await, "1");
    assert_eq!(world.load("incoming/assets/1.csv").await.status, LoadStatus::Duplicate);
    assert!(prune(&world).await.is_clean());
}

/// A step that fails is noted; the rest of the run goes on, and the next night begins where this one stopped.
#[tokio::test(flavor = "multi_thread")]
async fn pruning_takes_small_transactions_fails_alone_and_goes_on_where_it_was() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let many = "insert into etl.load (bucket, key, version, dataset, dataset_version, state, lease_token, lease_expires_at, batch_size, finished_at, \
            read, unchanged) \
        select bucket, 'incoming/assets/gone' || n, md5(n::text), dataset, dataset_version, 'loaded', 0, now(), 1, now(), 1, 1 \
        from etl.load, generate_series(1, 450) n; \
        insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, warnings) \
        select id, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0 from etl.load where id > 1";
    world.query(many).await;
    age(&world, "true", 3).await;
    world
        .query(
            "create function stop() returns trigger language plpgsql as $$ begin raise exception 'the power failed'; end $$; \
             create trigger stop before delete on etl.load for each row when (old.id = 300) execute function stop()",
        )
        .await;
    let done = reconcile(&world).await;
    let failed: Vec<_> = done.discrepancies.iter().map(|found| found.check.as_str()).collect();
    assert_eq!((failed, done.tidied.loads_pruned), (vec!["retention"], 200));
    assert_eq!((done.rows_checked, done.out_of_time), (4, false), "the tables are checked after that: {done:?}");
    assert_eq!(world.query("select state from etl.reconciliation").await, "done");
    assert_eq!(world.query("select min(id), count(*) from etl.load").await, "201 | 251");
    assert_eq!(world.query("select cursor from etl.reconciliation_step where step = 'prune'").await, "200");
    world.query("drop trigger stop on etl.load").await;
    let done = prune(&world).await;
    assert_eq!((done.tidied.loads_pruned, done.tidied.settled_forgotten), (251, 251), "{done:?}");
    assert_eq!(world.query("select loads, rows from etl.pruned").await, "451 | 4");
    // What does not lie in the bucket need not be remembered.
    assert_eq!(world.query("select key from etl.settled").await, "incoming/assets/1.csv");
    world.s3.delete_object().bucket(&world.bucket).key("incoming/assets/1.csv").send().await.unwrap();
    assert_eq!(prune(&world).await.tidied.settled_forgotten, 1);
    assert_eq!(world.query("select count(*) from etl.settled").await, "0");
    // The same content is a new file then.
    assert_eq!(world.drop_file("incoming/assets/1.csv", ASSETS).await.counts.unwrap().unchanged, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_undo_and_replay_say_what_is_pruned() {
    let (world, scratch) = (World::new().await, Scratch::new("pruned"));
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    age(&world, "true", 3).await;
    world.drop_file("incoming/assets/2.csv", ASSETS.replace("T14:30:00", "T15:30:00")).await;
    prune(&world).await;
    let before = world.query("select to_char(pruned_before at time zone 'UTC', 'YYYY-MM-DD') from etl.retention").await;
    let run = |arguments: &[&str]| text(&small_etl(&scratch, &world.variables(), arguments));
    let old = run(&["explain", "asset", "10000000002"]);
    // The second file has brought the row as it was, and so did not write it.
    let expected = format!(
        "asset 10000000002: in the table; a load wrote it before {before}, pruned from the ledger, or another program did"
    );
    assert!(old.contains(&expected) && old.contains("line 3: unchanged"), "{old}");
    assert!(old.contains(&format!("what loads brought that ended before {before} is pruned")), "{old}");
    let new = run(&["explain", "asset", "10000000001"]);
    assert!(new.contains("its present values come from\n  load 2 ") && !new.contains("a later load"), "{new}");
    let json = run(&["explain", "asset", "10000000002", "--json"]);
    assert!(json.contains(&format!("\"pruned_before\":\"{before}T00:00:00Z\"")), "{json}");
    let report = run(&["report", "1", "--html", "-"]);
    assert!(report.contains(&format!("there is no load 1; loads that ended before {before} are pruned")), "{report}");
    std::fs::write(scratch.path().join("new.toml"), include_str!("../../datasets/asset.toml")).unwrap();
    let replayed = run(&["replay", "--dataset", "asset", "--definition", "new.toml", "--since", "2020-01-01"]);
    assert!(replayed.contains(&format!("take --since {before}")), "{replayed}");
    let replayed = run(&["replay", "--dataset", "asset", "--definition", "new.toml", "--since", &before]);
    assert!(replayed.contains("1 files with 4 records"), "{replayed}");
}

/// The functions run as the owner, and a role that calls them by hand can name any moment.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_ingest_cannot_erase_what_is_younger_than_the_retention() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/assets/2.csv", ASSETS.replace("T14:30:00", "T15:30:00")).await;
    age(&world, "id = 1", 3).await;
    let everything = "select * from etl.load order by id; select * from etl.lineage; select * from etl.load_batch; select * from etl.audit order by id";
    let before = query(&world.admin_url(), everything).await;
    let (session, _driver) = client(&world.login).await;
    for statement in [
        "select etl.prune_loads(now(), 0, 1000)",
        "select etl.prune_loads('infinity', 0, 1000)",
        "select etl.prune_loads(null, 0, 1000)",
        "select etl.prune_loads(now() - interval '729 days', 0, 1000)",
        "select etl.prune_records(now() - interval '729 days', 1000)",
        "update etl.retention set days = 1",
        "update etl.retention set pruned_before = now()",
        "insert into etl.retention (days) values (1)",
        "delete from etl.retention",
        "delete from etl.load where id = 1",
        "delete from etl.lineage",
        "delete from etl.load_batch",
        "delete from etl.audit",
        "update etl.load set started_at = '2000-01-01'",
        "insert into etl.settled (bucket, key, version, part, run) values ('', '', '', '', 0)",
        "update etl.pruned set rows = 0",
    ] {
        let error = session.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
    assert_eq!(query(&world.admin_url(), everything).await, before);
    // Times that the role may change do not make a load old.
    session.batch_execute("update etl.load set finished_at = '2000-01-01'").await.unwrap();
    query(&world.admin_url(), "update etl.load set started_at = now() - interval '900 days' where id = 2").await;
    session.batch_execute("select etl.prune_loads(now() - interval '731 days', 0, 1000)").await.unwrap();
    assert_eq!(world.query("select id from etl.load").await, "2", "the audit trail knows when it was loaded");
    // Nor does the owner take young lines out of the audit trail.
    let (owner, _driver) = client(&world.admin_url()).await;
    let error = owner.batch_execute("delete from etl.audit where load_id = 2").await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("append-only"), "{error:?}");

    // A setting that is shorter than what `migrate` has recorded prunes nothing.
    let world = world.under(&[("LEDGER__RETENTION_DAYS", "10")]);
    age(&world, "true", 1).await;
    let done = reconcile(&world).await;
    let message = &done.discrepancies.iter().find(|found| found.check == "retention").unwrap().message;
    assert!(
        message.contains("ledger.retention_days is 10, but the ledger says that it is kept for 730 days"),
        "{message}"
    );
    let scratch = Scratch::new("retention");
    let mut variables = world.variables();
    variables.push(("DATABASE_URL".into(), world.admin_url()));
    let migrated = text(&small_etl(&scratch, &variables, &["migrate"]));
    assert!(migrated.starts_with("exit 0"), "{migrated}");
    assert_eq!(prune(&world).await.tidied.loads_pruned, 1);
    // And 0 keeps everything.
    variables.push(("SMALL_ETL__LEDGER__RETENTION_DAYS".into(), "0".into()));
    small_etl(&scratch, &variables, &["migrate"]);
    assert_eq!(world.query("select days from etl.retention").await, "-");
    let error = session.batch_execute("select etl.prune_loads('2000-01-01', 0, 1)").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_with_rejects_or_rows_that_wait_stays_until_they_are_gone() {
    let world = World::new().await;
    let bad = TRADES.replace(",15500.00,", ",15500.01,");
    world.drop_file("incoming/trades/bad.csv", bad.replace("T2025", "B2025")).await;
    world.drop_file("incoming/trades/good.csv", TRADES).await;
    age(&world, "true", 3).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 0, "rows wait, and one is rejected");
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(world.query("select parked, released from etl.load order by id").await, "3 | 0\n4 | 0\n0 | 7");
    assert_eq!(prune(&world).await.tidied.loads_pruned, 0, "the load that released them counts them");
    assert_eq!(world.query("select count(*) from etl.parked where content <> '{}'").await, "0", "what waits no more");
    let released = "update etl.parked set released_at = now()";
    world.query(&format!("{released} - interval '3 years'")).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 0, "so does it if only the load is young");
    world.query(released).await;
    age(&world, "id = 3", 3).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 1, "and they were released only now");
    world.query(&format!("{released} - interval '3 years'")).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 1);
    assert_eq!(world.query("select key from etl.load").await, "incoming/trades/bad.csv");
    assert_eq!(world.query("select rule from etl.open_reject").await, "amount_is_price_times_volume");
    assert_eq!(world.query("select released_by from etl.parked group by 1").await, "3", "its number stays");
    let world = world.under(&[("REJECTS__RETENTION_DAYS", "900")]);
    let done = prune(&world).await;
    assert_eq!((done.tidied.rejects_deleted, done.tidied.loads_pruned), (1, 1));
    assert!(prune(&world).await.is_clean());
}

fn status(report: &LoadReport) -> (i64, i64, i64) {
    let counts = report.counts.unwrap();
    (counts.inserted, counts.updated, counts.stale)
}

/// Which load wrote a row is not known any more. What arrived before a pruned load does not get its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_older_than_a_pruned_one_overwrites_no_row() {
    let (world, _folder) = keys::world(&[]).await;
    let load = async |name: &str, seconds: i64, rows: &[&str]| {
        let text = rows.iter().fold("code,volume,owner\n".to_owned(), |text, row| format!("{text}{row},\n"));
        put_holdings(&world, name, text).await;
        world.run(&written(&world, name, seconds_after_noon(seconds)).await).await.unwrap()
    };
    load("new", 20, &["A,2"]).await;
    load("newest", 30, &["B,3"]).await;
    age(&world, "true", 3).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 2);
    assert_eq!(status(&load("old", 0, &["A,0", "B,0", "C,0"]).await), (1, 0, 2));
    assert_eq!(status(&load("after", 40, &["A,4", "C,4"]).await), (0, 2, 0));
    assert_eq!(status(&load("between", 10, &["A,1", "B,1", "C,1"]).await), (0, 0, 3));
    // Older than one of them alone: which of them wrote a row is not known.
    assert_eq!(status(&load("among", 25, &["B,5"]).await), (0, 0, 1));
    let present = "select string_agg(code || volume, ' ' order by code) from holding";
    assert_eq!(world.query(present).await, "A4 B3 C4");
    assert!(prune(&world).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_outlives_its_load() {
    let folder = Scratch::new("graves");
    std::fs::write(folder.path().join("quote.toml"), QUOTE).unwrap();
    let world = World::with(&[("DATASETS__PATH", &folder.path().display().to_string())]).await;
    world.query(QUOTE_TABLE).await;
    let load = async |name: &str, rows: &str| {
        world.drop_file(&format!("incoming/quotes/{name}.csv"), format!("op,code,revision,bid\n{rows}\n")).await
    };
    load("1", "I,A,1,1").await;
    load("2", "D,A,5,").await;
    age(&world, "true", 3).await;
    assert_eq!(prune(&world).await.tidied.loads_pruned, 2);
    assert_eq!(status(&load("3", "I,A,4,1").await), (0, 0, 1));
    assert_eq!(status(&load("4", "I,A,5,1").await), (1, 0, 0), "the later file");
    assert!(prune(&world).await.is_clean());
}

/// Without a version column, only the rank of its load says how old a tombstone is.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_brings_nothing_back_that_a_pruned_one_has_deleted() {
    let case = Case::new().await;
    case.load("late", "1", 20, "D,a,,,").await;
    age(&case.world, "true", 3).await;
    assert_eq!(prune(&case.world).await.tidied.loads_pruned, 1);
    assert_eq!(case.load("late", "2", 10, "I,a,,1, I,b,,1,").await.stale, 1);
    assert_eq!(case.rows("late").await, "b1");
    assert_eq!(case.load("late", "3", 30, "I,a,,3,").await.inserted, 1);
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_outlives_the_load_that_replaced_it() {
    for dataset in ["place", "flagged"] {
        let case = Case::new().await;
        case.load(dataset, "2", 20, "A,a,,2, A,b,,2,").await;
        age(&case.world, "true", 3).await;
        assert_eq!(prune(&case.world).await.tidied.loads_pruned, 1);
        let counts = case.load(dataset, "1", 10, "A,a,,1, A,c,,1, B,a,,1,").await;
        assert_eq!((counts.stale, counts.inserted, counts.deleted), (2, 1, 0), "{dataset}");
        assert_eq!(case.load(dataset, "3", 30, "A,a,,3,").await.deleted, 1);
        assert_eq!(case.rows(dataset).await, "Aa3 Ba1", "{dataset}");
        // The scope goes back to a load that is pruned.
        case.undo(3);
        assert_eq!(case.rows(dataset).await, "Aa2 Ab2 Ba1", "{dataset}");
        assert_eq!(case.load(dataset, "4", 15, "A,a,,4, A,d,,4,").await.stale, 2);
        case.load(dataset, "5", 40, "A,a,,5,").await;
        assert_eq!(case.rows(dataset).await, "Aa5 Ba1", "{dataset}");
        case.is_clean().await;
    }
}

/// Prunes all loads that there are.
async fn prune_all(case: &Case) {
    age(&case.world, "true", 3).await;
    // An undo goes after the load that it undid.
    prune(&case.world).await;
    prune(&case.world).await;
    assert_eq!(case.world.query("select count(*) from etl.load").await, "0");
    assert_eq!(case.world.query("select count(*) from etl.settled where bucket = 'undo://'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_undo_took_away_stays_gone_when_both_are_pruned() {
    for (dataset, rows) in [("late", "I,a,,"), ("dated", "I,a,1,"), ("place", "A,a,,"), ("flagged", "A,a,,")] {
        let case = Case::new().await;
        case.load(dataset, "1", 10, &format!("{rows}1,")).await;
        case.load(dataset, "2", 20, &format!("{rows}2,")).await;
        case.undo(1);
        case.undo(2);
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        prune_all(&case).await;
        case.load(dataset, "3", 30, &format!("{rows}3,")).await;
        let said = case.undo(5);
        assert_eq!(case.rows(dataset).await, "-", "{dataset}: {said}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_undo_gives_back_of_a_pruned_load_ranks_with_it() {
    let case = Case::new().await;
    case.load("late", "1", 20, "I,a,,1, I,b,,1,").await;
    prune_all(&case).await;
    case.load("late", "2", 30, "I,a,,2, D,b,,,").await;
    case.undo(2);
    assert_eq!(case.rows("late").await, "a1 b1");
    assert_eq!(case.load("late", "3", 15, "I,a,,3, I,b,,3,").await.stale, 2);
    assert_eq!(case.load("late", "4", 25, "I,a,,4, I,b,,4,").await.updated, 2);
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_pruned_load_does_not_come_back_into_a_scope_that_was_replaced_without_it() {
    for dataset in ["place", "flagged"] {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,x,,1, B,x,,1,").await;
        prune_all(&case).await;
        case.load(dataset, "2", 20, "A,a,,1, B,y,,1,").await;
        case.load(dataset, "3", 30, "A,a,,1, A,c,,1,").await;
        let said = case.undo(2);
        assert!(said.contains("A,x: load 3 has replaced its scope without it"), "{said}");
        assert_eq!(case.rows(dataset).await, "Aa1 Ac1 Bx1", "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_tombstones_that_of_a_pruned_load_may_be_the_newest() {
    let case = Case::new().await;
    case.load("late", "1", 20, "D,a,,,").await;
    prune_all(&case).await;
    case.load("late", "2", 10, "D,a,,,").await;
    case.load("late", "3", 30, "D,a,,,").await;
    case.undo(3);
    assert_eq!(case.load("late", "4", 15, "I,a,,1,").await.stale, 1);
    assert_eq!(case.load("late", "5", 25, "I,a,,1,").await.inserted, 1);
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_and_a_file_of_them_each_keep_their_load() {
    let case = Case::new().await;
    case.load("late", "1", 10, "I,b,,9,").await;
    age(&case.world, "true", 3).await;
    for (change, pruned) in [
        ("update etl.load set rejects_key = null", "0"),
        ("update etl.load set rejects_key = 'x'; delete from etl.reject", "0"),
        ("update etl.load set rejects_key = null", "1"),
    ] {
        case.world.query(change).await;
        let prune = "select pruned from etl.prune_loads(now() - interval '731 days', 0, 10)";
        assert_eq!(case.world.query(prune).await, pruned, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stays_as_long_as_another_one_needs_it() {
    // An undo says that the rows of a load do not count.
    let case = Case::new().await;
    case.load("late", "1", 10, "I,a,,1, I,b,,9,").await;
    case.undo(1);
    age(&case.world, "true", 3).await;
    assert_eq!(prune(&case.world).await.tidied.loads_pruned, 0, "the load has a reject");
    // A mended row ranks with the file in which it was bad.
    let mut case = Case::new().await;
    case.load("late", "1", 10, "I,b,,9,").await;
    case.mend("late", 1, 40, ",9,", ",3,").await;
    age(&case.world, "id = 1", 3).await;
    case.world.query("update etl.reject set resolved_at = resolved_at - interval '3 years'").await;
    case.world = case.world.under(&[("REJECTS__RETENTION_DAYS", "900")]);
    let done = prune(&case.world).await.tidied;
    assert_eq!((done.rejects_deleted, done.loads_pruned), (1, 0));
    assert_eq!(case.load("late", "2", 20, "I,b,,2,").await.updated, 1, "it is newer than the mended row");
    age(&case.world, "id = 2", 3).await;
    assert_eq!(prune(&case.world).await.tidied.loads_pruned, 1);
    assert_eq!(prune(&case.world).await.tidied.loads_pruned, 1);
    assert_eq!(case.world.query("select id from etl.load").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_from_a_time_that_is_pruned_is_not_undone() {
    let case = Case::new().await;
    case.load("dated", "1", 1, "I,a,1,1, I,b,1,9,").await;
    case.load("dated", "2", 2, "U,a,2,2,").await;
    age(&case.world, "true", 3).await;
    assert_eq!(prune(&case.world).await.tidied.loads_pruned, 1, "the first has a reject");
    for (load, message) in [
        ("1", "and other loads of dataset dated from then are pruned"),
        ("2", "there is no load 2; loads that ended before"),
    ] {
        let said = undo(&case.world, &case.scratch, &[load]);
        assert!(said.starts_with("exit 3") && said.contains(message), "{said}");
    }
    // What is kept is not taken for the last word.
    let explained = text(&small_etl(&case.scratch, &case.world.variables(), &["explain", "dated", "a"]));
    assert!(
        explained.contains("load 1 ") && explained.contains("but a later load may have written it before"),
        "{explained}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_too_long_become_rejects_and_the_sums_hold() {
    let world = World::with(&[("PARKED__EXPIRE_DAYS", "30")]).await.into_ingest_role();
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.drop_file("incoming/trades/2.csv", head(TRADES, 2).replace("T2025", "Y2025")).await;
    let owner = world.admin_url();
    query(&owner, "update etl.parked set parked_at = parked_at - interval '31 days' where load_id = 1").await;
    let done = prune(&world).await;
    assert_eq!(done.tidied.parked_expired, 4);
    assert_eq!(
        world
            .query(
                "select load_id, parked, released, expired, still_parked, open_rejects from etl.load_history order by 1"
            )
            .await,
        "1 | 4 | 0 | 4 | 0 | 4\n2 | 1 | 0 | 0 | 1 | 0"
    );
    assert_eq!(
        world
            .query(
                "select distinct load_id, rule, \"column\", message from etl.open_reject where key = 'T20251222000001'"
            )
            .await,
        "1 | reference | account_id | refers to asset 10000000001, which has not come within 30 days"
    );
    let scratch = Scratch::new("expired");
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "trade", "T20251222000001"]));
    assert!(explained.contains("expired 20") && explained.contains("after it had waited since"), "{explained}");
    // A full check of all loads.
    query(&owner, "update etl.reconciliation_step set since = null").await;
    assert_eq!(prune(&world).await.loads_checked, 2);

    // They are not loaded when the account comes, and are resolved when they are sent again.
    assert_eq!(world.drop_file("incoming/assets/1.csv", ASSETS).await.counts.unwrap().released, 1);
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "4");
    let report = world.run(&again(world.request("incoming/trades/1.csv"))).await.unwrap();
    assert_eq!(report.counts.unwrap().inserted, 4);
    assert_eq!(
        world.query("select count(*), min(resolved_by) from etl.reject where state = 'resolved'").await,
        "4 | 4"
    );
    query(&owner, "update etl.reconciliation_step set since = null").await;
    assert!(prune(&world).await.is_clean());
}

/// The row was sent again before the first one expired.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_file_has_brought_is_no_open_reject_when_it_expires() {
    let world = World::with(&[("PARKED__EXPIRE_DAYS", "30")]).await;
    world.drop_file("incoming/trades/1.csv", head(TRADES, 2).replace("10000000001", "19999999999")).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/2.csv", head(TRADES, 2)).await;
    world.query("update etl.parked set parked_at = parked_at - interval '31 days'").await;
    assert_eq!(prune(&world).await.tidied.parked_expired, 1);
    assert_eq!(world.query("select state, resolved_by from etl.reject").await, "resolved | 3");
    // And the retention of rejects counts from when it expired.
    age(&world, "true", 3).await;
    world.query("update etl.parked set released_at = now() where outcome = 'expired'").await;
    let world = world.under(&[("REJECTS__RETENTION_DAYS", "90")]);
    assert_eq!(prune(&world).await.tidied.rejects_deleted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_would_leave_too_many_rows_waiting_fails_before_anything_is_written() {
    let folder = Scratch::new("waiting");
    let define = |most: i64| {
        let text = format!("{}\n[load]\nmax_parked = {most}\n", include_str!("../../datasets/trade.toml"));
        std::fs::write(folder.path().join("trade.toml"), text).unwrap();
    };
    define(1);
    let world =
        World::with(&[("DATASETS__PATH", &folder.path().display().to_string()), ("LOAD__BATCH_SIZE", "1")]).await;
    world.drop_file("incoming/assets/1.csv", head(ASSETS, 2)).await;
    let report = world.drop_file("incoming/trades/1.csv", TRADES).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_parked")), "{report:?}");
    let message = report.error.unwrap();
    assert!(
        message.contains("2 of 4 records refer to rows of asset that are not there, more than load.max_parked = 1"),
        "{message}"
    );
    assert_eq!(world.query("select count(*) from trade; select count(*) from etl.parked; select withheld from etl.load where id = 2").await, "0\n0\n4");
    define(2);
    let world = world.under(&[]);
    let report = world.run(&again(world.request("incoming/trades/1.csv"))).await.unwrap();
    assert_eq!((report.counts.unwrap().inserted, report.counts.unwrap().parked), (2, 2));
}

/// A ledger from before has what it had, and is pruned like a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_there_is_upgraded_and_pruned() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/assets/2.csv", ASSETS.replace("T14:30:00", "T15:30:00")).await;
    let state = "select * from etl.lineage order by 1; select id, state, read, parked, released from etl.load order by 1; select count(*) from etl.parked";
    let before = world.query(state).await;
    for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 21) {
        world.query(undo).await;
    }
    world.migrate(None).await;
    assert_eq!(world.query(state).await, before);
    age(&world, "id < 3", 3).await;
    let done = prune(&world).await;
    assert_eq!((done.tidied.loads_pruned, found(&done).len()), (2, 0));
    assert_eq!(world.load("incoming/trades/1.csv").await.status, LoadStatus::Duplicate);
}
