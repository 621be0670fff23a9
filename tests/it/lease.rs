//! The lease of a load: while its worker works, no other one gets it, however long a step takes.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use small_etl::async_trait;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::{LoadReport, LoadStatus, Location, Sequencer};
use small_etl::error::Result;
use small_etl::pipeline::Request;
use small_etl::services::parts::PartSettings;
use small_etl::services::{LoadWork, Loader, Loading, Parts};
use tokio::sync::Notify;

use crate::contract::ASSETS;
use crate::keys::flows;
use crate::parts::config;
use crate::support::Scratch;
use crate::support::s3::ReadFault;
use crate::world::{World, client};

const KEY: &str = "incoming/assets/1.csv";
const LEASE: (&str, &str) = ("LOAD__LEASE_SECONDS", "3");
/// How long a worker is busy with one step: more than twice its lease.
const LONG: Duration = Duration::from_secs(7);

/// Loads an object while its event comes again and again. After [`LONG`], `end` ends the step that takes so long.
async fn busy(world: &World, request: &Request, end: impl Future<Output = ()>) -> LoadReport {
    let others = async {
        while world.query("select count(*) from etl.load where state = 'loading'").await == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            let other = Request { again: false, ..request.clone() };
            let answer = tokio::time::timeout(LONG, world.run(&other)).await.expect("it is answered at once");
            assert_eq!(answer.unwrap().status, LoadStatus::InProgress, "after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        end.await;
    };
    let (report, ()) = tokio::join!(world.run(request), others);
    let report = report.unwrap();
    assert_eq!(report.attempt, Some(1), "{report:?}");
    report
}

/// Does the same while a lock of the database is taken.
async fn waiting(world: &World, request: &Request, lock: &str) -> LoadReport {
    let (session, _driver) = client(&world.url).await;
    session.batch_execute(&format!("select pg_advisory_lock(hashtextextended('{lock}', 0))")).await.unwrap();
    let give_back = async { session.batch_execute("select pg_advisory_unlock_all()").await.unwrap() };
    busy(world, request, give_back).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_taken_over_while_it_arrives_slowly() {
    let world = World::with_own_s3(&[LEASE]).await;
    world.put(KEY, ASSETS).await;
    // S3 is asked again after a silence of ten seconds.
    world.s3_server.fault_next_reads([ReadFault::StallBody(100)]);
    assert_eq!(busy(&world, &world.request(KEY), ready(())).await.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_taken_over_while_it_waits_for_its_manifest() {
    let folder = Scratch::new("lease");
    let definition = include_str!("../../datasets/asset.toml");
    let rule = "[manifest]\nrequired = true\nwait_seconds = 60\n";
    std::fs::write(folder.path().join("asset.toml"), format!("{definition}\n{rule}")).unwrap();
    let world = World::with(&[LEASE, ("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.put(KEY, ASSETS).await;
    let key = format!("{KEY}.manifest.json");
    let send = world.put(&key, r#"{"row_count": 4}"#);
    assert_eq!(Box::pin(busy(&world, &world.request(KEY), send)).await.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_it_writes_slow_batches() {
    let world = World::with(&[LEASE, ("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    world.slow_down(1.0).await;
    let rows = (0..10).map(|row| format!("A{row},2,1,0,0,1,2025-12-22T14:30:00\n"));
    let header = ASSETS.lines().next().unwrap();
    let header = header.strip_prefix("id,").unwrap_or(header);
    world.put(KEY, format!("{header}\n{}", rows.collect::<String>())).await;
    let report = busy(&world, &world.request(KEY), ready(())).await;
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_load_is_not_taken_over_while_it_waits_for_the_batches_of_others() {
    let world = World::with(&[LEASE]).await;
    let request = |sequencer: &str| {
        let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!("the object is in S3") };
        let (sequencer, version_id, etag) = (Sequencer::of_event(sequencer.to_owned()), None, None);
        Request::new(Location::S3 { bucket, key, version_id, etag, size: None, sequencer, modified: None })
    };
    world.put(KEY, ASSETS).await;
    assert_eq!(world.run(&request("02")).await.unwrap().status, LoadStatus::Loaded);
    world.put(KEY, ASSETS.replace("14:30:00", "14:31:00")).await;
    let report = waiting(&world, &request("01"), "etl.load_batch asset").await;
    assert_eq!((report.status, report.counts.unwrap().updated), (LoadStatus::Loaded, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_its_copies_wait_to_be_numbered() {
    let (world, _folder) = crate::keys::world(&[LEASE]).await;
    let key = "incoming/flows/1.csv";
    world.drop_file(key, flows(&["01,5,fee", "01,5,fee"])).await;
    let again = Request { again: true, ..world.request(key) };
    let report = waiting(&world, &again, "etl.content_copy flow").await;
    assert_eq!((report.status, report.counts.unwrap().unchanged), (LoadStatus::Loaded, 2));
}

/// A loader that is done when it is notified.
struct Slow(Arc<Notify>);

#[async_trait]
impl Loader for Slow {
    async fn load(&self, _: &Database, _: &LoadWork) -> Result<Loading> {
        self.0.notified().await;
        Ok(Loading::Done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_a_loader_is_slow() {
    let (scratch, done) = (Scratch::new("lease"), Arc::new(Notify::new()));
    let mut world = World::with(&[LEASE]).await;
    let loaders = ["postgresql", "slow"].map(|name| format!("[[pipeline.asset.loader]]\ntype = \"{name}\"\n"));
    world.config = Some(config(&scratch, &loaders.concat()));
    let told = Arc::clone(&done);
    let slow = move |_: &PartSettings<'_>| Ok(Arc::new(Slow(Arc::clone(&told))) as Arc<dyn Loader>);
    let settings = Settings::from_variables(world.variables()).unwrap();
    let store = Arc::new(ObjectStore::with_config(&world.s3_server.config()));
    let parts = Parts::default().with_loader("slow", slow);
    world.context = small_etl::start::context_on(&settings, &parts, store).unwrap();
    world.put(KEY, ASSETS).await;
    let tell = async { done.notify_one() };
    assert_eq!(busy(&world, &world.request(KEY), tell).await.status, LoadStatus::Loaded);
    assert_eq!(world.query("select loader, rows from etl.delivery").await, "slow | 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_its_rejects_are_stored_slowly() {
    let world = World::with(&[LEASE, ("LOAD__MAX_REJECTS", "0")]).await;
    world
        .query(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(10); return null; end $$; \
             create trigger slow after insert on etl.reject for each statement execute function slow()",
        )
        .await;
    world.put(KEY, ASSETS.replace("305000.00", "305000.001")).await;
    let report = busy(&world, &world.request(KEY), ready(())).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_rejects")));
}
