//! The lease of a load: while its worker works, no other one gets it, however long a step takes.

use std::sync::Arc;
use std::time::Duration;

use small_etl::async_trait;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::{LoadReport, LoadStatus, Location};
use small_etl::error::Result;
use small_etl::pipeline::Request;
use small_etl::services::parts::PartSettings;
use small_etl::services::{LoadWork, Loader, Loading, Parts};

use crate::contract::ASSETS;
use crate::keys::flows;
use crate::parts::config;
use crate::support::Scratch;
use crate::support::s3::ReadFault;
use crate::world::{World, client};

const KEY: &str = "incoming/assets/1.csv";
/// A step that is slow takes more than twice as long.
const LEASE: (&str, &str) = ("LOAD__LEASE_SECONDS", "2");
const LONG: Duration = Duration::from_secs(5);

/// Loads an object whose worker is busy for [`LONG`] at least, while its event comes again and again.
async fn busy(world: &World, request: &Request) -> LoadReport {
    let claimed = "select count(*) from etl.load where state = 'loading'";
    let others = async {
        while world.query(claimed).await == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = std::time::Instant::now();
        while begun.elapsed() < LONG {
            let other = world.run(&Request { again: false, ..request.clone() }).await.unwrap();
            assert_eq!(other.status, LoadStatus::InProgress, "after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (report, ()) = tokio::join!(world.run(request), others);
    let report = report.unwrap();
    assert_eq!(report.attempt, Some(1), "{report:?}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_taken_over_while_it_arrives_slowly() {
    let world = World::with_own_s3(&[LEASE]).await;
    world.put(KEY, ASSETS).await;
    // S3 is asked again after a silence of ten seconds.
    world.s3_server.fault_next_reads([ReadFault::StallBody(100)]);
    assert_eq!(busy(&world, &world.request(KEY)).await.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_taken_over_while_it_waits_for_its_manifest() {
    let folder = Scratch::new("lease");
    let definition = include_str!("../../datasets/asset.toml");
    let rule = "[manifest]\nrequired = true\nwait_seconds = 60\n";
    std::fs::write(folder.path().join("asset.toml"), format!("{definition}\n{rule}")).unwrap();
    let world = World::with(&[LEASE, ("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.put(KEY, ASSETS).await;
    let sent = async {
        tokio::time::sleep(LONG + Duration::from_secs(1)).await;
        world.put(&format!("{KEY}.manifest.json"), r#"{"row_count": 4}"#).await;
    };
    let request = world.request(KEY);
    let (report, ()) = tokio::join!(busy(&world, &request), sent);
    assert_eq!(report.status, LoadStatus::Loaded);
}

/// Runs `work` while a lock of the database is taken, which is given back after a while.
async fn while_locked<T>(world: &World, lock: &str, work: impl Future<Output = T>) -> T {
    let (session, _driver) = client(&world.url).await;
    session.batch_execute(&format!("select pg_advisory_lock(hashtextextended('{lock}', 0))")).await.unwrap();
    let given_back = async {
        tokio::time::sleep(LONG + Duration::from_secs(1)).await;
        session.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    };
    tokio::join!(work, given_back).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_load_is_not_taken_over_while_it_waits_for_the_batches_of_others() {
    let world = World::with(&[LEASE]).await;
    let request = |sequencer: &str| {
        let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!("the object is in S3") };
        let (sequencer, version_id, etag) = (Some(sequencer.to_owned()), None, None);
        Request::new(Location::S3 { bucket, key, version_id, etag, size: None, sequencer, modified: None })
    };
    world.put(KEY, ASSETS).await;
    assert_eq!(world.run(&request("02")).await.unwrap().status, LoadStatus::Loaded);
    world.put(KEY, ASSETS.replace("14:30:00", "14:31:00")).await;
    let report = while_locked(&world, "etl.load_batch asset", busy(&world, &request("01"))).await;
    assert_eq!((report.status, report.counts.unwrap().updated), (LoadStatus::Loaded, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_its_copies_wait_to_be_numbered() {
    let (world, _folder) = crate::keys::world(&[LEASE]).await;
    let key = "incoming/flows/1.csv";
    world.drop_file(key, flows(&["01,5,fee", "01,5,fee"])).await;
    let again = Request { again: true, ..world.request(key) };
    let report = while_locked(&world, "etl.content_copy flow", busy(&world, &again)).await;
    assert_eq!((report.status, report.counts.unwrap().unchanged), (LoadStatus::Loaded, 2));
}

/// Takes its time.
struct Slow;

#[async_trait]
impl Loader for Slow {
    async fn load(&self, _: &Database, _: &LoadWork) -> Result<Loading> {
        tokio::time::sleep(LONG + Duration::from_secs(1)).await;
        Ok(Loading::Done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_a_loader_is_slow() {
    let scratch = Scratch::new("lease");
    let mut world = World::with(&[LEASE]).await;
    let loaders = ["postgresql", "slow"].map(|name| format!("[[pipeline.asset.loader]]\ntype = \"{name}\"\n"));
    world.config = Some(config(&scratch, &loaders.concat()));
    let parts = Parts::default().with_loader("slow", |_: &PartSettings<'_>| Ok(Arc::new(Slow) as Arc<dyn Loader>));
    let settings = Settings::from_variables(world.variables()).unwrap();
    let store = Arc::new(ObjectStore::with_config(&world.s3_server.config()));
    world.context = small_etl::context::context_on(&settings, &parts, store).unwrap();
    world.put(KEY, ASSETS).await;
    assert_eq!(busy(&world, &world.request(KEY)).await.status, LoadStatus::Loaded);
    assert_eq!(world.query("select loader, rows from etl.delivery").await, "slow | 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_not_taken_over_while_its_rejects_are_stored_slowly() {
    let world = World::with(&[LEASE, ("LOAD__MAX_REJECTS", "0")]).await;
    world
        .query(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(6); return null; end $$; \
             create trigger slow after insert on etl.reject for each statement execute function slow()",
        )
        .await;
    world.put(KEY, ASSETS.replace("305000.00", "305000.001")).await;
    let report = busy(&world, &world.request(KEY)).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_rejects")));
}
