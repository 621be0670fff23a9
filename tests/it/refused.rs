//! Rows that a table refuses, and conflicts. A fault that only a row shows fails its file with a reason; a conflict
//! that another load causes is tried again.

use std::time::{Duration, Instant};

use small_etl::domain::LoadStatus;
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::contract::{ASSETS, TRADES};
use crate::tables::{KEY, as_owner};
use crate::world::World;

/// Two accounts with a value that no constraint of the table allows. The value must not be revealed.
const REFUSED: &str = "\
account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
10000000001,5,7261.00,0.00,0.00,7261.00,2025-12-22T15:30:00
10000000002,5,7261.00,0.00,0.00,7261.00,2025-12-22T15:30:00
";

/// Returns a trigger function that does this with a row of that value.
fn trigger(when: &str, body: &str) -> String {
    format!(
        "create function refuse() returns trigger language plpgsql as $$ begin if new.cash = 7261 then {body}; end if; return new; end $$; \
         create {when} on asset for each row execute function refuse()"
    )
}

/// Returns how the table is altered and restored, the reason, and what the error names.
fn refusing() -> Vec<(String, &'static str, &'static str, Vec<&'static str>)> {
    let no_trigger = "drop trigger refuse on asset; drop function refuse";
    let raise = |using: &str| {
        trigger("trigger refuse before insert or update", &format!("raise exception 'cash is %', new.cash{using}"))
    };
    vec![
        (
            "alter table asset add constraint small check (cash <> 7261)".into(),
            "alter table asset drop constraint small",
            "constraint_violated",
            vec!["it breaks a check", "SQLSTATE 23514 on table public.asset, constraint small;", "a rule of the dataset"],
        ),
        (
            "create domain kind as integer check (value < 5); alter table asset alter account_type type kind".into(),
            "alter table asset alter account_type type integer; drop domain kind",
            "constraint_violated",
            vec!["it breaks a check", "SQLSTATE 23514, type kind, constraint kind_check;"],
        ),
        (
            "create unique index one_total on asset (total_asset)".into(),
            "drop index one_total",
            "constraint_violated",
            vec!["under a unique index that is not that of the key", "SQLSTATE 23505 on table public.asset, constraint one_total;"],
        ),
        (
            "alter table asset add constraint apart exclude using btree (total_asset with =)".into(),
            "alter table asset drop constraint apart",
            "constraint_violated",
            vec!["it breaks a constraint", "SQLSTATE 23P01 on table public.asset, constraint apart;"],
        ),
        (
            "create table kind (id integer primary key); insert into kind values (1), (2), (3); \
             alter table asset add constraint known_kind foreign key (account_type) references kind"
                .into(),
            "alter table asset drop constraint known_kind",
            "constraint_violated",
            vec!["it breaks a foreign key", "SQLSTATE 23503 on table public.asset, constraint known_kind;", "declare the reference in the dataset"],
        ),
        (
            "create table kind (id integer primary key); insert into kind values (1), (2), (3); \
             alter table asset add constraint known_kind foreign key (account_type) references kind deferrable initially deferred"
                .into(),
            "alter table asset drop constraint known_kind",
            "constraint_violated",
            vec!["it breaks a foreign key", "constraint known_kind;"],
        ),
        (
            trigger("trigger refuse before insert or update", "new.cash = null"),
            no_trigger,
            "constraint_violated",
            vec!["a column that takes no null gets one", "SQLSTATE 23502 on table public.asset, column cash;"],
        ),
        (
            "create index shares on asset ((total_asset / (cash - 7261)))".into(),
            "drop index shares",
            "value_refused",
            vec!["cannot take a value", "SQLSTATE 22012;"],
        ),
        (
            "create index tiny on asset ((case when cash = 7261 then (cash * 10)::smallint end))".into(),
            "drop index tiny",
            "value_refused",
            vec!["cannot take a value", "SQLSTATE 22003;"],
        ),
        (raise(""), no_trigger, "trigger_refused", vec!["a trigger of the table stops it", "SQLSTATE P0001, function refuse;"]),
        (raise(" using errcode = 'ZX001'"), no_trigger, "trigger_refused", vec!["SQLSTATE ZX001, function refuse;"]),
        (
            raise(" using errcode = 'check_violation'"),
            no_trigger,
            "constraint_violated",
            vec!["SQLSTATE 23514, function refuse;"],
        ),
        (
            trigger("constraint trigger refuse after insert or update", "raise exception 'cash is %', new.cash")
                .replace("on asset for", "on asset deferrable initially deferred for"),
            no_trigger,
            "trigger_refused",
            vec!["SQLSTATE P0001, function refuse;"],
        ),
        (
            trigger("trigger refuse before insert or update", "return null"),
            no_trigger,
            "trigger_refused",
            vec!["table asset drops rows without an error, as its triggers may (refuse);"],
        ),
    ]
}

/// Both ways that a row can take: directly to an empty table, and by SQL if the table already has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_table_refuses_fails_its_file_and_names_what_refuses_it() {
    let world = World::new().await.into_ingest_role();
    for has_rows in [false, true] {
        for (number, (change, back, reason, named)) in refusing().into_iter().enumerate() {
            let key = format!("incoming/assets/{has_rows}-{number}.csv");
            if has_rows {
                world.drop_file(&key, ASSETS).await;
            }
            let before = as_owner(&world, "select * from asset order by id").await;
            as_owner(&world, &change).await;
            let started = Instant::now();
            let report = world.drop_file(&key, REFUSED).await;
            assert_eq!(
                (report.status, report.reason.as_deref()),
                (LoadStatus::Failed, Some(reason)),
                "{change}: {report:?}"
            );
            assert!(started.elapsed() < Duration::from_secs(5), "{change}: nothing is waited for");
            assert_eq!(report.counts.unwrap().withheld, 2, "{change}");
            let error = report.error.unwrap();
            assert!(error.starts_with(&format!("s3://{}/{key}: table asset ", world.bucket)), "{error}");
            for named in named.iter().chain(&["load the file with --again"]) {
                assert!(error.contains(named), "{error} does not say {named}");
            }
            assert!(!error.contains("7261"), "{error}");
            assert_eq!(as_owner(&world, "select * from asset order by id").await, before, "{change}");
            let kept = world.query("select state, reason, error from etl.load order by id desc limit 1").await;
            assert_eq!(kept, format!("failed | {reason} | {error}"));
            assert_eq!(world.load(&key).await.status, LoadStatus::Duplicate);

            as_owner(&world, back).await;
            let again = world.run(&Request { again: true, ..world.request(&key) }).await.unwrap();
            assert_eq!(again.status, LoadStatus::Loaded, "{change}");
            as_owner(&world, "truncate asset cascade; drop table if exists kind").await;
        }
    }
}

/// Batches that are committed before the refused row stay, are counted, and release what waits for them.
#[tokio::test]
async fn batches_before_a_refused_row_stay_and_what_waits_for_them_is_released() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    world.query("alter table asset add constraint small check (account_type <> 3)").await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    let report = world.drop_file(KEY, ASSETS).await;
    let counts = report.counts.unwrap();
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("constraint_violated")));
    assert_eq!((counts.inserted, counts.withheld, counts.released), (2, 2, 3));
    assert!(counts.is_balanced());
}

/// A row that exists when it is looked up and is gone when the foreign key is checked: the batch is tried again.
#[tokio::test]
async fn a_reference_that_goes_meanwhile_is_a_conflict_that_passes() {
    let world = World::new().await;
    world.drop_file(KEY, ASSETS).await;
    world
        .query(
            "create sequence once; create function go() returns trigger language plpgsql security definer as $$ begin \
                 if nextval('once') = 1 then delete from asset; end if; return null; end $$; \
             create trigger go before insert on trade for each statement execute function go()",
        )
        .await;
    let counts = world.drop_file("incoming/trades/1.csv", TRADES).await.counts.unwrap();
    assert_eq!(counts.inserted, 4);
    assert_eq!(world.query("select count(*), (select last_value from once) from asset").await, "4 | 2");
}

/// The rows of a file are written at once: a value that one of them gives up, another may take.
#[tokio::test]
async fn a_value_that_moves_from_one_row_to_another_is_written() {
    let assets = |time: &str, totals: &[(u8, u8)]| {
        let header = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n".to_owned();
        totals.iter().fold(header, |file, (account, total)| {
            file + &format!("1000000000{account},5,{total},0,0,{total},2025-12-22T{time}:00:00\n")
        })
    };
    for (change, before, after) in [
        ("create unique index one_total on asset (total_asset)", vec![(1, 7)], vec![(1, 8), (2, 7)]),
        (
            "alter table asset add unique (total_asset) deferrable initially deferred",
            vec![(1, 7), (2, 8)],
            vec![(1, 8), (2, 7)],
        ),
        (
            // New rows are copied before the rows that they refer to are changed.
            "alter table asset add unique (total_asset), add next numeric(20, 2) references asset (total_asset); \
             create function next() returns trigger language plpgsql as $$ begin new.next := case new.total_asset when 8 then 9 end; return new; end $$; \
             create trigger next before insert or update on asset for each row execute function next()",
            vec![(1, 7)],
            vec![(1, 9), (2, 8)],
        ),
    ] {
        let world = World::new().await;
        world.query(change).await;
        world.drop_file(KEY, assets("14", &before)).await;
        let report = world.drop_file(KEY, assets("15", &after)).await;
        assert_eq!(report.status, LoadStatus::Loaded, "{change}: {report:?}");
        let expected: Vec<String> =
            after.iter().map(|(account, total)| format!("1000000000{account} | {total}.00")).collect();
        assert_eq!(world.query("select account_id, total_asset from asset order by 1").await, expected.join("\n"));
    }
}

/// A trigger stores the old rows in a table that was created after this one and has constraints with the same names.
#[tokio::test]
async fn a_constraint_of_another_table_is_not_that_of_the_key_although_it_has_its_name() {
    let world = World::new().await;
    world
        .query(
            "create schema history; create table history.asset (like asset including all); \
             create function keep() returns trigger language plpgsql security definer as $$ begin insert into history.asset select old.*; return null; end $$; \
             create trigger keep after update on asset for each row execute function keep()",
        )
        .await;
    world.drop_file(KEY, ASSETS).await;
    world.drop_file(KEY, ASSETS.replace("T14:", "T15:")).await;
    let report = world.drop_file(KEY, ASSETS.replace("T14:", "T16:")).await;
    assert_eq!(
        (report.status, report.reason.as_deref()),
        (LoadStatus::Failed, Some("constraint_violated")),
        "{report:?}"
    );
    let error = report.error.unwrap();
    assert!(error.contains("SQLSTATE 23505 on table history.asset, constraint asset_"), "{error}");
}

/// Only the catalog could tell a conflict that passes from one that a trigger causes each time, and it does not say
/// enough.
#[tokio::test]
async fn a_conflict_that_never_passes_counts_against_the_load() {
    let world = World::new().await;
    world.drop_file(KEY, ASSETS).await;
    world
        .query(
            "create function lose() returns trigger language plpgsql as $$ begin new.account_id := 'nobody'; return new; end $$; \
             create trigger lose before insert on trade for each row execute function lose()",
        )
        .await;
    world.put("incoming/trades/1.csv", TRADES).await;
    for _ in 0..2 {
        assert_eq!(world.try_load("incoming/trades/1.csv").await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let report = world.load("incoming/trades/1.csv").await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("no_progress")));
    let error = report.error.unwrap();
    assert!(error.contains("SQLSTATE 23503 on table public.trade, constraint trade_account_id_fkey"), "{error}");
}

/// A conflict is recognized by the name of a constraint, which may have changed since this process read it.
#[tokio::test]
async fn a_constraint_that_is_renamed_meanwhile_condemns_no_file() {
    let world = World::new().await;
    world.drop_file(KEY, ASSETS).await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world
        .query(
            "delete from trade; alter table trade rename constraint trade_account_id_fkey to account; \
             create sequence twice; create function go() returns trigger language plpgsql security definer as $$ begin \
                 if nextval('twice') <= 2 then delete from asset; end if; return null; end $$; \
             create trigger go before insert on trade for each statement execute function go()",
        )
        .await;
    let report = world.drop_file("incoming/trades/2.csv", format!("{TRADES}\n")).await;
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    assert_eq!(world.query("select count(*), (select last_value from twice) from trade").await, "4 | 3");
}
