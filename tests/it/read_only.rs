//! Servers that do not accept writes: a replica that may become the primary, and a database that a person must look
//! after.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use small_etl::domain::LoadStatus;
use small_etl::error::ErrorKind;
use small_etl::pipeline::{self, LoadHere};
use small_etl::services::Deadline;
use small_etl::services::reconciliation::Scope;

use crate::contract::ASSETS;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::world::World;

const KEY: &str = "incoming/assets/1.csv";

/// Starts a migrated server that has become a replica, and puts a file.
async fn replica() -> (Postgres, World) {
    let postgres = Postgres::start(&["fsync=off"], |_| {});
    let world = World::on_servers(&postgres, Arc::new(S3Server::start()), &[]).await;
    world.put(KEY, ASSETS).await;
    postgres.stop();
    fs::write(postgres.folder.join("data/standby.signal"), "").unwrap();
    postgres.start_again();
    (postgres, world)
}

/// Runs the command line as a person does.
fn small_etl(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    let output = command.args(arguments).envs(world.variables()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_named_while_it_is_waited_for_and_one_that_is_promoted_takes_the_file() {
    let (_postgres, world) = replica().await;
    let address = format!("s3://{}/{KEY}", world.bucket);
    let (code, said) = small_etl(&world, &["load", &address]);
    let expected = "take a fencing token: Postgres at 127.0.0.1 is a replica and takes no writes; \
        in a failover that passes, otherwise let DATABASE_URL name the primary: Postgres answered SQLSTATE 25006: \
        cannot execute nextval() in a read-only transaction";
    assert_eq!((code, said.lines().filter(|line| line.contains("trying again")).count()), (Some(3), 3), "{said}");
    assert!(said.contains(&format!("error: {expected}")), "{said}");
    assert!(
        said.lines().all(|line| line.contains("is a replica and takes no writes") || line.starts_with("  ")),
        "{said}"
    );
    // Commands that only read work there.
    let (code, said) = small_etl(&world, &["status"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));

    let promoted = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.query("select pg_promote()").await
    };
    let (report, promoted) = tokio::join!(world.load(KEY), promoted);
    assert_eq!((report.status, report.attempt, promoted.as_str()), (LoadStatus::Loaded, Some(1), "t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_by_its_settings_is_said_so_at_once() {
    let world = World::new().await;
    world.put(KEY, ASSETS).await;
    world
        .query("do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$")
        .await;
    let started = Instant::now();
    let error = world.try_load(KEY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let expected = "takes no writes, since default_transaction_read_only is on there (set by: database); set it to off";
    assert!(error.to_string().contains(expected), "{error}");
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let run = pipeline::reconcile(&world.context, &world.database, &Scope::default(), &receiver, &deadline).await;
    assert!(run.unwrap_err().to_string().contains(expected));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}
