//! `make smoke`: the real script, the real functions and a real Postgres. The emulator passes on what happens in the bucket.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::deploy::{Account, assert_ready, assert_stopped, printed};
use crate::support::emulator::Emulator;
use crate::world::query;

/// Lets the bucket of the stack report new objects and keep versions: the emulator ignores what the template says of both. Prints its name.
const REPORT: &str = r#"
import boto3
stack = boto3.client("cloudformation").describe_stacks(StackName="small-etl-dev")["Stacks"][0]
[bucket] = [each["OutputValue"] for each in stack["Outputs"] if each["OutputKey"] == "BucketName"]
s3 = boto3.client("s3")
s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
print(bucket)
"#;

const TABLES: &str = "select oid::regclass from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text \
    not in ('pg_catalog', 'pg_toast', 'information_schema') order by oid::regclass::text";

impl Account {
    /// Everything that a test must leave as it was: all that the databases hold, and every version in the bucket.
    async fn contents(&self, bucket: &str) -> String {
        let databases = query(&self.postgres.url("postgres"), "select datname from pg_database order by datname").await;
        let (url, mut rows) = (self.postgres.url("small_etl"), String::new());
        for table in query(&url, TABLES).await.lines() {
            rows += &query(&url, &format!("select each::text from {table} each order by 1")).await;
        }
        let versions = self.cloud.s3().list_object_versions().bucket(bucket).send().await.unwrap();
        format!("{databases}\n{rows}\n{:?} {:?}", versions.versions(), versions.delete_markers())
    }

    /// Starts ingest, to which the queue of the stack hands its messages from now on.
    fn start_ingest(&self) -> Emulator {
        let ingest = self.function("ingest", "Ingest", "small_etl_ingest");
        fs::write(self.scratch.path().join("ingest.address"), ingest.url()).unwrap();
        ingest
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_from_the_bucket_to_a_ledger_of_its_own_and_nothing_of_it_stays() {
    let account = Account::with_database().await;
    assert_ready(&account.deploy(&["dev"]), "small-etl-dev");
    let output = account.command(Path::new("python3")).args(["-c", REPORT]).output().unwrap();
    let bucket = printed(&output).trim().to_owned();
    let before = account.contents(&bucket).await;

    // Nobody takes messages to the program ingest yet.
    let stuck = account.run("smoke", &["dev"], &[("SECONDS_TO_WAIT", "2")]);
    let reasons =
        ["no file has reached the ledger in 2 seconds", "0 messages wait in the queue", "/small-etl-dev/ingest"];
    assert_stopped(&stuck, &reasons);
    assert_eq!(account.contents(&bucket).await, before);

    let ingest = account.start_ingest();
    for _ in 0..2 {
        let done = account.run("smoke", &["dev"], &[]);
        let text = printed(&done);
        assert!(done.status.success(), "{text}");
        for hop in
            ["small_etl_smoke", "put s3://", "until ingest has it", "committed", "closed", "together", "take away"]
        {
            assert!(text.contains(hop), "{hop} is not in {text}");
        }
        assert_eq!(account.contents(&bucket).await, before);
    }
    // What is put when no test is under way is skipped, as every hidden file is.
    let key = "incoming/.small-etl-smoke-1-0.csv";
    account.cloud.s3().put_object().bucket(&bucket).key(key).body(b"id\n".to_vec().into()).send().await.unwrap();
    let answer = ingest.invoke(&json!({"bucket": bucket, "key": key}));
    assert_eq!(answer["loads"][0]["status"], "skipped", "{answer}");
    account.cloud.s3().delete_object().bucket(&bucket).key(key).send().await.unwrap();

    let deployed = account.deploy_under(&["dev"], &[("SMOKE", "yes")]);
    assert_ready(&deployed, "small-etl-dev");
    assert!(printed(&deployed).contains("from the bucket to the ledger"), "{}", printed(&deployed));
    fs::remove_file(account.scratch.path().join("ingest.address")).unwrap();
    let stuck = account.deploy_under(&["dev"], &[("SMOKE", "yes"), ("SECONDS_TO_WAIT", "2")]);
    assert!(!stuck.status.success(), "{}", printed(&stuck));
    assert!(printed(&stuck).contains("is deployed and takes files, but the file of the test did not get through"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smoke_test_touches_no_database_that_is_not_its_own_and_says_when_it_cannot_make_one() {
    let account = Account::with_database().await;
    assert_ready(&account.deploy(&["dev"]), "small-etl-dev");
    let migrate = account.function("migrate", "Migrate", "postgres");
    query(&account.postgres.url("postgres"), "create database small_etl_smoke").await;
    query(&account.postgres.url("small_etl_smoke"), "create table theirs (id integer)").await;
    for step in ["begin", "end"] {
        let answer = migrate.invoke(&json!({ "smoke": step }));
        let said = answer["errorMessage"].as_str().unwrap_or_default();
        assert!(
            said.contains("database small_etl_smoke has the name of a smoke test's database and is not one"),
            "{answer}"
        );
    }
    query(&account.postgres.url("small_etl_smoke"), "select * from theirs").await;
    assert_stopped(&account.run("smoke", &["dev"], &[]), &["migrate says", "is not one; drop or rename it"]);
    query(&account.postgres.url("postgres"), "drop database small_etl_smoke").await;

    let unable = account.function("migrate", "Migrate", "small_etl_ingest");
    let answer = unable.invoke(&json!({"smoke": "begin"}));
    assert!(
        answer["smoke"]["refused"].as_str().is_some_and(|said| said.contains("may not create databases")),
        "{answer}"
    );
    let answer = migrate.invoke(&json!({"smoke": "stop"}));
    assert!(
        answer["errorMessage"].as_str().is_some_and(|said| said.contains("\"begin\", \"look\" or \"end\"")),
        "{answer}"
    );
}
