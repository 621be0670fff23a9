//! Contents that come back after another one, and versions that come late, in buckets without versions and on disks.

use std::time::{Duration, SystemTime};

use serde_json::json;
use small_etl::domain::{LoadStatus, Location, Sequencer};
use small_etl::event::{self, Asked, Event};
use small_etl::pipeline::Request;
use small_etl::services::Deadline;

use crate::contract::ASSETS;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::s3::ReadFault;
use crate::world::World;

const KEY: &str = "incoming/assets/1.csv";
const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";

/// One account with so much cash, always of the same time: only which load is the later one tells which row is right.
pub fn cash(amount: u32) -> String {
    format!("{HEADER}\nA1,2,{amount}.00,0.00,0.00,{amount}.00,2025-12-22T14:30:00\n")
}

/// Puts a content, as whose event S3 then sends this request.
async fn put_and_tell(world: &World, content: String, sequencer: &str) -> Request {
    let body = content.into_bytes().into();
    let put = world.s3.put_object().bucket(&world.bucket).key(KEY).body(body).send().await.unwrap();
    let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!() };
    let etag = Some(put.e_tag.unwrap().trim_matches('"').to_owned());
    let (sequencer, size, modified) = (Sequencer::of_event(sequencer.to_owned()), None, None);
    Request::new(Location::S3 { bucket, key, version_id: None, etag, size, sequencer, modified })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_comes_back_after_another_one_is_loaded_anew() {
    let world = World::new().await;
    let present = "select cash from asset";
    let one = put_and_tell(&world, cash(1), "01").await;
    assert_eq!(world.run(&one).await.unwrap().status, LoadStatus::Loaded);
    let again = put_and_tell(&world, cash(1), "02").await;
    assert_eq!(world.run(&again).await.unwrap().status, LoadStatus::Duplicate, "nothing else was there in between");
    let two = put_and_tell(&world, cash(2), "03").await;
    assert_eq!(world.run(&two).await.unwrap().counts.unwrap().updated, 1);
    let back = put_and_tell(&world, cash(1), "04").await;
    assert_eq!(world.run(&back).await.unwrap().counts.unwrap().updated, 1);
    assert_eq!(world.query(present).await, "1.00");
    // Whatever S3 sends once more is a duplicate, and so is the same content once more.
    let once_more = put_and_tell(&world, cash(1), "05").await;
    for (name, event) in [("1", one), ("2", again), ("3", two.clone()), ("4", back), ("5", once_more)] {
        assert_eq!(world.run(&event).await.unwrap().status, LoadStatus::Duplicate, "{name}");
    }
    assert_eq!(world.query("select count(*) from etl.load").await, "3");
    // The one in the middle may come back as well.
    let second = put_and_tell(&world, cash(2), "06").await;
    assert_eq!(world.run(&second).await.unwrap().counts.unwrap().updated, 1);
    assert_eq!(world.query(present).await, "2.00");
}

/// The event of an object that was gone when it was to be read is answered, and that of the same bytes, put once more, is a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_could_not_be_read_is_loaded_when_it_is_put_once_more() {
    let folder = Scratch::new("returned");
    let source = "\n[[source]]\nname = \"sent\"\nzone = \"UTC\"\nfiles = [\"incoming/assets/*\"]\n";
    let section = format!("{source}section = \"Assets\"\n");
    for (around, status, reason) in
        [("", 404, "not_found"), ("", 403, "forbidden"), (source, 404, "not_found"), (&section, 404, "not_found")]
    {
        let definition = include_str!("../../datasets/asset.toml");
        std::fs::write(folder.path().join("asset.toml"), format!("{definition}{around}")).unwrap();
        let world = World::with_own_s3(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
        let content = |amount| if around == section { format!("Assets\n{}", cash(amount)) } else { cash(amount) };
        let one = put_and_tell(&world, content(1), "01").await;
        world.s3_server.fault_next_reads([ReadFault::Status(status)]);
        let failed = world.run(&one).await.unwrap();
        assert_eq!((failed.status, failed.reason.as_deref()), (LoadStatus::Failed, Some(reason)), "{around}");
        assert_eq!(world.run(&one).await.unwrap().status, LoadStatus::Duplicate, "{around}");
        let again = put_and_tell(&world, content(1), "02").await;
        assert_eq!(world.run(&again).await.unwrap().counts.unwrap().inserted, 1, "{around}");
        for event in [&one, &again] {
            assert_eq!(world.run(event).await.unwrap().status, LoadStatus::Duplicate, "{around}");
        }
        assert_eq!(world.query("select cash from asset").await, "1.00");
        assert!(reconcile(&world).await.is_clean());
    }
}

/// Without an event that orders them, the times tell at which the contents were written.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_comes_back_is_known_by_its_time_where_it_is_asked_for_by_name() {
    let world = World::new().await;
    let later = async || tokio::time::sleep(Duration::from_millis(1100)).await;
    world.run(&put_and_tell(&world, cash(1), "01").await).await.unwrap();
    later().await;
    world.run(&put_and_tell(&world, cash(2), "03").await).await.unwrap();
    later().await;
    let back = put_and_tell(&world, cash(1), "04").await;
    assert_eq!(world.load(KEY).await.counts.unwrap().updated, 1);
    assert_eq!(world.query("select run, late from etl.load order by id").await, "0 | f\n0 | f\n1 | f");
    // Its event comes after that, and tells its place.
    assert_eq!(world.run(&back).await.unwrap().status, LoadStatus::Duplicate);
    assert_eq!(world.load(KEY).await.status, LoadStatus::Duplicate);
    let sequencers = "select string_agg(sequencer, ' ' order by id) from etl.load";
    assert_eq!(world.query(sequencers).await, "01 03 04");
    let between = put_and_tell(&world, cash(3), "02").await;
    assert_eq!(world.run(&between).await.unwrap().counts.unwrap().stale, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_this_machine_that_comes_back_to_a_content_is_loaded_anew() {
    let contents = [
        (1, LoadStatus::Loaded),
        (1, LoadStatus::Duplicate),
        (2, LoadStatus::Loaded),
        (1, LoadStatus::Loaded),
        (1, LoadStatus::Duplicate),
    ];
    // When the file says that it was written: a copy may keep the time of another one.
    for seconds in [[0, 0, 1, 2, 2], [10, 10, 0, 20, 20], [0, 0, 0, 0, 0], [20, 20, 10, 0, 0]] {
        let (world, scratch) = (World::new().await, Scratch::new("objects"));
        let path = scratch.path().join("assets.csv");
        let request = Request { dataset: Some("asset".into()), ..Request::new(Location::File(path.clone())) };
        for ((amount, status), second) in contents.iter().zip(seconds) {
            std::fs::write(&path, cash(*amount)).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_766_400_000 + second);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
            assert_eq!(world.run(&request).await.unwrap().status, *status, "{amount} {seconds:?}");
            assert_eq!(world.query("select cash from asset").await, format!("{amount}.00"), "{seconds:?}");
        }
    }
}

/// Nothing else would ever end it: no event asks for it, and no listing has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_load_of_a_file_on_this_machine_that_was_replaced_ends_and_its_rejects_can_be_mended() {
    let settings = [("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")];
    for state in ["loading", "interrupted"] {
        let (world, scratch) = (World::with(&settings).await, Scratch::new("objects"));
        let path = scratch.path().join("assets.csv");
        let request = |name: &str| Request {
            dataset: Some("asset".into()),
            ..Request::new(Location::File(scratch.path().join(name)))
        };
        let row = |name: &str, cash: &str| format!("{name},2,{cash},0,0,{cash},2025-12-22T14:30:00\n");
        std::fs::write(&path, format!("{HEADER}\n{}{}{}", row("A1", "1,0"), row("A2", "2"), row("A3", "3"))).unwrap();
        // Time for one batch, wherever a slow machine begins it.
        world.slow_down(3.0).await;
        let deadline = Deadline::before(SystemTime::now() + Duration::from_secs(5), Duration::ZERO);
        let left = world.run(&Request { deadline, ..request("assets.csv") }).await.unwrap();
        assert_eq!(left.status, LoadStatus::Interrupted);
        world.query("drop trigger slow on etl.load_batch").await;
        // A worker that was killed left it so.
        world.query(&format!("update etl.load set state = '{state}'")).await;
        std::fs::write(&path, format!("{HEADER}\n{}", row("A4", "4"))).unwrap();
        assert_eq!(world.run(&request("assets.csv")).await.unwrap().status, LoadStatus::Loaded);
        let ended = "select state, reason, rejected, finished_at is not null, withheld > 0 from etl.load order by id";
        assert_eq!(world.query(ended).await, "superseded | superseded | 1 | t | t\nloaded | - | 0 | t | f", "{state}");
        let mended = format!("_load_id,_record,_line,_errors,{HEADER}\n1,1,2,,{}", row("A1", "1"));
        std::fs::write(scratch.path().join("mended.csv"), mended).unwrap();
        assert_eq!(world.run(&request("mended.csv")).await.unwrap().counts.unwrap().inserted, 1);
        assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    }
}

/// The load of the first content is not done when the second comes, and goes on when the first is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_comes_back_while_its_load_is_interrupted_wins_over_the_one_in_between() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "2")]).await;
    let (ones, twos) = (ASSETS.to_owned(), ASSETS.to_owned());
    let twos = twos
        .replace("001,2,", "001,5,")
        .replace("002,2,", "002,5,")
        .replace("003,3,", "003,5,")
        .replace("004,1,", "004,5,");
    let first = put_and_tell(&world, ones.clone(), "01").await;
    world.run(&first).await.unwrap();
    // As a worker has it that dies after its first batch, and whose lease lasts a while.
    world
        .query(
            "update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '1 hour'; \
             delete from etl.load_batch where batch = 1; delete from asset where account_id in ('10000000003', '10000000004')",
        )
        .await;
    world.run(&put_and_tell(&world, twos, "02").await).await.unwrap();
    world.end_leases().await;
    let types = "select string_agg(account_type::text, ' ' order by account_id) from asset";
    assert_eq!(world.query(types).await, "5 5 5 5");
    let back = put_and_tell(&world, ones, "03").await;
    let report = world.run(&back).await.unwrap();
    assert_eq!((report.status, report.counts.unwrap().updated), (LoadStatus::Loaded, 4));
    assert_eq!(world.query(types).await, "2 2 3 1");
    assert_eq!(
        world.query("select state, run, sequencer, stale from etl.load order by id").await,
        "loaded | 0 | 01 | 2\nloaded | 0 | 02 | 0\nloaded | 1 | 03 | 0"
    );
}

/// Without events only the times tell. The first run may not take over the time at which its content came back.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_content_that_comes_back_without_an_event_wins_over_the_one_in_between() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "2")]).await;
    let later = async || tokio::time::sleep(Duration::from_millis(1100)).await;
    let ones = ASSETS.replace("10000000004,1,", "10000000004,x,");
    let twos = ASSETS.replace("001,2,", "001,5,").replace("002,2,", "002,5,");
    world.put(KEY, ones.clone()).await;
    world.load(KEY).await;
    // As a worker has it that dies after its first batch, and whose lease lasts a while.
    world
        .query(
            "update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '1 hour', rejects_key = null; \
             delete from etl.load_batch where batch = 1; delete from asset where account_id = '10000000003'",
        )
        .await;
    later().await;
    world.put(KEY, twos).await;
    world.load(KEY).await;
    world.end_leases().await;
    later().await;
    world.put(KEY, ones).await;
    let report = world.load(KEY).await;
    assert_eq!((report.status, report.counts.unwrap().updated), (LoadStatus::Loaded, 2));
    let types = "select string_agg(account_type::text, ' ' order by account_id) from asset";
    assert_eq!(world.query(types).await, "2 2 3 1");
    assert_eq!(
        world.query("select run, state, rejected, rejects_key is not null from etl.load order by id").await,
        "0 | loaded | 1 | t\n0 | loaded | 0 | f\n1 | loaded | 1 | t"
    );
}

/// The sequencer of an event says nothing about a version that a listing found, but its time does.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_comes_back_after_one_that_a_listing_found_is_loaded_anew() {
    let world = World::new().await;
    let told = async |content, sequencer| {
        let request = put_and_tell(&world, content, sequencer).await;
        let head = world.s3.head_object().bucket(&world.bucket).key(KEY).send().await.unwrap();
        let written = head.last_modified().and_then(|time| chrono::DateTime::from_timestamp(time.secs(), 0)).unwrap();
        let Location::S3 { key, etag, .. } = &request.location else { panic!() };
        let event = json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": written,
            "awsRegion": "eu-central-1", "userIdentity": {}, "requestParameters": {}, "responseElements": {},
            "s3": {"bucket": {"name": world.bucket},
                "object": {"key": key.as_str(), "size": 1, "eTag": etag, "sequencer": sequencer}}
        }]});
        let Event::Files(asked) = event::parse(event).unwrap() else { panic!() };
        let [Asked::Load { location, .. }] = &asked[..] else { panic!() };
        Request::new(location.clone())
    };
    let later = async || tokio::time::sleep(Duration::from_millis(1100)).await;
    world.run(&told(cash(1), "01").await).await.unwrap();
    later().await;
    world.put(KEY, cash(2)).await;
    assert_eq!(reconcile(&world).await.sent, 1);
    assert_eq!(world.query("select cash from asset").await, "2.00");
    later().await;
    let back = told(cash(1), "03").await;
    assert_eq!(world.run(&back).await.unwrap().counts.unwrap().updated, 1);
    assert_eq!(world.run(&back).await.unwrap().status, LoadStatus::Duplicate);
    assert_eq!(world.query("select cash from asset").await, "1.00");
}

/// A late load waits for the batches that do not know of it, and nobody waits for the late load.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_claim_holds_no_other_claim_up() {
    let world = World::with(&[("LOAD__CONNECTIONS", "8")]).await;
    world.run(&put_and_tell(&world, cash(2), "05").await).await.unwrap();
    let late = put_and_tell(&world, cash(1), "03").await;
    world.put("incoming/assets/slow.csv", cash(3).replace("A1", "A2")).await;
    world.put("incoming/assets/next.csv", cash(3).replace("A1", "A3")).await;
    world.slow_down(3.0).await;
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    let meanwhile = async {
        while world.query(sleeping).await == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let late = world.run(&late);
        let next = async {
            while world.query("select count(*) from etl.load").await != "3" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let claimed = async {
                while world.query("select count(*) from etl.load").await != "4" {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                world.query("select count(*) from etl.load_batch").await
            };
            let key = "incoming/assets/next.csv";
            tokio::join!(world.load(key), claimed).1
        };
        tokio::join!(late, next)
    };
    let (slow, (late, batches)) = tokio::join!(world.load("incoming/assets/slow.csv"), meanwhile);
    assert_eq!(batches, "1", "the next file is claimed while the batch of the slow one is under way");
    assert_eq!((slow.counts.unwrap().inserted, late.unwrap().counts.unwrap().stale), (1, 1));
    assert_eq!(world.query("select cash from asset order by account_id").await, "2.00\n3.00\n3.00");
}
