//! Files that are larger than the disk or the time of `ingest`: it leaves them to a larger machine, under the same load.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_sdk_sqs::Client as Sqs;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::deadline::{deliver, next_event};
use crate::deploy::{Account, assert_ready, printed, text, write_program};
use crate::functions::INGEST;
use crate::object_parts::{archive, rows, world as with_parts};
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::web::{WebServer, response};
use crate::world::{World, query};

const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";
const SMALL_ETL: &str = env!("CARGO_BIN_EXE_small-etl");
/// So many rows have more bytes than the disk.
const ROWS: usize = 24_000;
const DISK: usize = 1024 * 1024;

fn assets(letter: char) -> String {
    let mut file = format!("{HEADER}\n");
    for row in 0..ROWS {
        writeln!(file, "{letter}{row},2,1.00,0.00,0.00,1.00,2025-12-22T14:30:00").unwrap();
    }
    assert!(file.len() > DISK + DISK / 20);
    file
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// `ingest` with a temporary folder on a disk of its own, which is small.
fn on_a_small_disk(folder: &Path) -> PathBuf {
    let path = folder.join("ingest");
    let folder = folder.display();
    let program = format!(
        "#!/bin/sh\nexec bwrap --bind / / --dev /dev --proc /proc --size {DISK} --tmpfs /tmp --bind {folder} {folder} --unsetenv TMPDIR {INGEST}\n"
    );
    write_program(&path, &program);
    path
}

/// What the machine runs that a stack starts for a message.
fn load(message: &str) -> Command {
    let mut command = Command::new(SMALL_ETL);
    command.args(["load", "--json", "--message", message]).stdin(Stdio::null());
    command
}

/// A world with the queue of `ingest` and that of large files.
async fn with_queues(world: World) -> (World, Sqs, [String; 2]) {
    let (sqs, queue) = world.queue().await;
    let large = sqs.create_queue().queue_name(format!("{}-large", world.bucket)).send().await.unwrap();
    let large = large.queue_url.unwrap();
    (world.under(&[("QUEUE__URL", &queue), ("QUEUE__LARGE_URL", &large)]), sqs, [queue, large])
}

/// Takes all messages of the queue of large files, and returns what is in them for `small-etl load`.
async fn left(sqs: &Sqs, large: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((message, _)) = next_event(sqs, large).await {
        sqs.delete_message().queue_url(large).receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
        let body: Value = serde_json::from_str(&message.body.unwrap()).unwrap();
        found.push(body["large_file"].as_str().unwrap().to_owned());
    }
    found
}

/// Runs the jobs of these messages at once.
fn run(messages: &[String], variables: &[(String, String)]) -> Vec<Output> {
    let start = |message: &String| {
        let mut command = load(message);
        command.envs(variables.iter().cloned()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let jobs: Vec<_> = messages.iter().map(start).collect();
    jobs.into_iter().map(|job| job.wait_with_output().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_the_disk_is_left_to_a_larger_machine_and_is_one_load_however_often_that_is_started() {
    let (world, sqs, [queue, large]) = with_queues(World::on_moto(&[]).await).await;
    let scratch = Scratch::new("small-disk");
    let log = || fs::read_to_string(scratch.path().join("log")).unwrap();
    let ingest = on_a_small_disk(scratch.path());
    let ingest =
        Emulator::start(&ingest, &world.variables(), fs::File::create(scratch.path().join("log")).unwrap().into());
    // The size of the second shows only when it is unpacked.
    for (key, content) in [
        ("incoming/assets/plain.csv", assets('A').into_bytes()),
        ("incoming/assets/packed.csv.gz", packed(&assets('B'))),
    ] {
        world.put(key, content).await;
        let request = json!({"bucket": world.bucket, "key": key});
        sqs.send_message().queue_url(&queue).message_body(request.to_string()).send().await.unwrap();
        let answer = deliver(&sqs, &queue, &ingest).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}), "{}", log());
        assert!(next_event(&sqs, &queue).await.is_none(), "ingest is done with it");
        let ledger = |columns: &str| format!("select {columns} from etl.load where key = '{key}'");
        assert_eq!(world.query(&ledger("state, attempt, stalled")).await, "interrupted | 1 | 0", "{}", log());
        let answer = ingest.invoke(&request);
        assert_eq!(answer["loads"][0]["reason"], "handed_over", "{answer}");

        let messages = left(&sqs, &large).await;
        assert_eq!(messages.len(), 2, "one for each event");
        let jobs = run(&messages, &world.variables());
        let said: String = jobs.iter().map(printed).collect();
        // One finds the load held, or done.
        let codes: Vec<i32> = jobs.iter().map(|job| job.status.code().unwrap()).collect();
        assert!(codes.contains(&0) && codes.iter().all(|code| [0, 3].contains(code)), "{codes:?} {said}");
        assert_eq!(said.matches(r#""status":"loaded""#).count(), 1, "{said}");
        let whole = format!("loaded | {ROWS} | {ROWS} | -");
        assert_eq!(world.query(&ledger("state, read, inserted, reason")).await, whole);
        assert_eq!(ingest.invoke(&request)["loads"][0]["status"], "duplicate");
    }
    assert_eq!(world.query("select count(*) from asset").await, (2 * ROWS).to_string());
    let history = "select distinct string_agg(action, ', ' order by id) from etl.audit where load_id is not null group by load_id";
    assert_eq!(
        world.query(history).await,
        "load loading, load interrupted, load loading, load interrupted, load loading, load loaded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_larger_than_the_disk_is_left_to_a_larger_machine_before_its_parts_are_known() {
    let (world, folder) = with_parts().await;
    let (world, sqs, [_, large]) = with_queues(world.keeping_versions().await).await;
    let scratch = Scratch::new("small-disk");
    let mut variables = world.variables();
    // The definitions must be where the function sees them.
    let datasets = scratch.path().join("datasets");
    fs::create_dir(&datasets).unwrap();
    for name in ["fill.toml", "stock.toml"] {
        fs::copy(folder.path().join(name), datasets.join(name)).unwrap();
    }
    variables.push(("SMALL_ETL__DATASETS__PATH".into(), datasets.display().to_string()));
    let ingest = on_a_small_disk(scratch.path());
    let ingest = Emulator::start(&ingest, &variables, Stdio::null());
    let key = "incoming/days/1.zip";
    // What no source reads takes room, too.
    let mut seed = 1_u64;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    });
    let noise: String = noise.take(DISK / 6).collect();
    let members = [("fills_1.csv", &*rows(&["f1", "f2"])), ("stocks_1.csv", &*rows(&["s1"])), ("notes.txt", &*noise)];
    let object = archive(&members);
    assert!(object.len() > DISK);
    world.put(key, object).await;

    let answer = ingest.invoke(&json!({"bucket": world.bucket, "key": key, "again": true}));
    assert_eq!(answer["loads"][0]["reason"], "handed_over", "{answer}");
    assert_eq!(world.query("select count(*) from etl.load").await, "0", "nothing was claimed");
    let messages = left(&sqs, &large).await;
    let jobs = run(&messages, &world.variables());
    assert!(messages.len() == 1 && jobs[0].status.success(), "{messages:?} {}", printed(&jobs[0]));
    assert_eq!(
        world.query("select part, state, inserted from etl.load order by part").await,
        "fills_1.csv | loaded | 2\nstocks_1.csv | loaded | 1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_needs_more_than_one_call_is_left_to_a_larger_machine_which_goes_on_where_the_call_stopped() {
    let world = World::on_moto(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")]).await;
    let (world, sqs, [queue, large]) = with_queues(world).await;
    let mut file = format!("{HEADER}\n");
    for row in 0..200 {
        writeln!(file, "A{row},2,1,0,0,1,2025-12-22T14:30:00").unwrap();
    }
    let key = "incoming/assets/1.csv";
    world.put(key, file).await;
    world.slow_down(0.7).await;
    let mut variables = world.variables();
    variables.push(("AWS_LAMBDA_FUNCTION_TIMEOUT".into(), "14".into()));
    variables.push(("SMALL_ETL__LOAD__DEADLINE_MARGIN_SECONDS".into(), "7".into()));
    let ingest = Emulator::start(Path::new(INGEST), &variables, Stdio::null());
    let body = json!({"bucket": world.bucket, "key": key}).to_string();
    sqs.send_message().queue_url(&queue).message_body(body).send().await.unwrap();
    assert_eq!(deliver(&sqs, &queue, &ingest).await.unwrap(), json!({"batchItemFailures": []}));
    assert!(next_event(&sqs, &queue).await.is_none(), "no other call goes on with it");
    let batches = world.query("select count(*) from etl.load_batch").await.parse::<usize>().unwrap();
    assert!((1..20).contains(&batches), "{batches} batches");

    let jobs = run(&left(&sqs, &large).await, &world.variables());
    assert!(jobs.len() == 1 && jobs[0].status.success(), "{}", jobs.iter().map(printed).collect::<String>());
    assert_eq!(world.query("select state, inserted, attempt from etl.load").await, "loaded | 200 | 2");
    assert_eq!(world.query("select count(*), count(distinct batch) from etl.load_batch").await, "20 | 20");
    assert_eq!(world.query("select count(*) from asset").await, "200");
}

const IMAGE: &str = "LargeFilesImage=123456789012.dkr.ecr.eu-central-1.amazonaws.com/small-etl:1";

/// Tells the bus of the account how two jobs of a queue ended, and prints what then is among the failed runs.
const ENDED: &str = r#"
import boto3, json, sys
events, sqs = boto3.client("events"), boto3.client("sqs")
for status in ("SUCCEEDED", "FAILED"):
    detail = json.dumps({"status": status, "jobQueue": sys.argv[1], "jobName": "small-etl-dev-large-file"})
    events.put_events(Entries=[{"Source": "aws.batch", "DetailType": "Batch Job State Change", "Detail": detail}])
[url] = [url for url in sqs.list_queues()["QueueUrls"] if "-FailedRuns-" in url]
messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
print(*[json.loads(each["Body"])["detail"]["status"] for each in messages])
"#;

impl Account {
    /// The words of the job that the pipe of the stack starts for a message, as AWS describes pipes and jobs: a parameter of the pipe picks
    /// a member of the message, and a word of the job names a parameter.
    fn job_for(&self, body: &str) -> Vec<String> {
        let body: Value = serde_json::from_str(body).unwrap();
        let parameters = self.property("LargeFilesPipe", "TargetParameters/BatchJobParameters/Parameters");
        let command = self.property("LargeFilesJob", "ContainerProperties/Command");
        let word = |word: &Value| match word.as_str().unwrap().strip_prefix("Ref::") {
            Some(parameter) => {
                let member = parameters[parameter].as_str().unwrap().strip_prefix("$.body.").unwrap();
                body[member].as_str().expect("the parameter of a job is a text").to_owned()
            }
            None => text(word),
        };
        command.as_array().unwrap().iter().map(word).collect()
    }
}

/// From the event of the bucket to the ledger, with what was deployed: the function, its queue, the pipe, the job and its variables. The
/// job runs in `program`.
async fn a_large_file_goes_through_the_stack(program: &Path) {
    let account = Account::with_database().await;
    assert_ready(&account.deploy(&["dev", "LargeFiles=fargate", IMAGE]), "small-etl-dev");
    let bucket = text(&account.property("ObjectCreated", "EventPattern/detail/bucket/name/0"));
    let key = "incoming/assets/large.csv";
    let put = account.cloud.s3().put_object().bucket(&bucket).key(key).body(assets('A').into_bytes().into());
    put.send().await.unwrap();
    let ingest = account.function_of(&on_a_small_disk(account.scratch.path()), "Ingest", "small_etl_ingest");
    let created = json!({"source": "aws.s3", "detail-type": "Object Created", "time": "2025-12-22T14:30:00Z", "detail": {
        "bucket": {"name": bucket}, "object": {"key": key, "sequencer": "0055AED6DCD9"}}});
    let message = json!({"eventSource": "aws:sqs", "messageId": "1", "body": created.to_string(), "attributes": {}, "messageAttributes": {}});
    let log = || fs::read_to_string(account.scratch.path().join("ingest.log")).unwrap();
    assert_eq!(ingest.invoke(&json!({"Records": [message]})), json!({"batchItemFailures": []}), "{}", log());

    let of_ingest = account.property("Ingest", "Environment/Variables");
    let large = text(&of_ingest["SMALL_ETL__QUEUE__LARGE_URL"]);
    let source = text(&account.property("LargeFilesPipe", "Source"));
    assert_eq!(source.rsplit(':').next(), large.rsplit('/').next(), "the pipe takes from where ingest puts");
    let sqs = account.cloud.sqs();
    let (message, _) = next_event(&sqs, &large).await.unwrap_or_else(|| panic!("no message: {}", log()));
    let words = account.job_for(&message.body.unwrap());
    let environment = account.property("LargeFilesJob", "ContainerProperties/Environment");
    let environment = environment.as_array().unwrap().iter().map(|each| (text(&each["Name"]), text(&each["Value"])));
    let environment: Vec<(String, String)> = environment.filter(|(_, value)| !value.is_empty()).collect();
    // The job has every setting of ingest except those that it does not need, and no daemon that takes traces.
    for (name, value) in of_ingest.as_object().unwrap() {
        let same = environment.iter().any(|(other, its)| name == other && text(value) == *its);
        assert_eq!(same, !["QUEUE", "RETENTION_DAYS", "OTEL"].iter().any(|part| name.contains(part)), "{name}");
    }
    // A task gets the keys of its role from an address.
    let keys = json!({"AccessKeyId": "of-the-role", "SecretAccessKey": "not-a-secret", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"});
    let keys = WebServer::start(move |_, _| response(200, &[("Content-Type", "application/json")], &keys.to_string()));
    let mut variables = account.reaching(environment.into_iter(), "small_etl_ingest");
    variables.retain(|(name, _)| !["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&name.as_str()));
    variables.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI".into(), format!("{}/keys", keys.origin)));
    let job = Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(job.status.success() && printed(&job).contains(r#""status":"loaded""#), "{}", printed(&job));
    assert!(!keys.asked().is_empty(), "the job has the rights of its role");
    let jobs = text(&account.property("FailedLargeFile", "EventPattern/detail/jobQueue/0"));
    assert_eq!(jobs, text(&account.property("LargeFilesPipe", "Target")));
    let ended = account.command(Path::new("python3")).args(["-c", ENDED, &jobs]).output().unwrap();
    assert_eq!(printed(&ended), "FAILED\n", "a job that failed is where an alarm sees it");
    let url = account.postgres.url("small_etl");
    let ledger = "select state, attempt, read, inserted, sequencer from etl.load";
    assert_eq!(query(&url, ledger).await, format!("loaded | 2 | {ROWS} | {ROWS} | 0055AED6DCD9"));
    assert_eq!(query(&url, "select count(*) from asset").await, ROWS.to_string());
    let history = "select string_agg(action, ', ' order by id) from etl.audit where load_id is not null";
    assert_eq!(query(&url, history).await, "load loading, load interrupted, load loading, load loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_too_large_for_ingest_is_loaded_by_the_job_that_the_stack_starts_for_it() {
    a_large_file_goes_through_the_stack(Path::new(SMALL_ETL)).await;
}

/// The same in the image that `tests/images/check` makes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker; make check-images runs it"]
async fn a_large_file_is_loaded_in_the_image_of_the_command_line() {
    let scratch = Scratch::new("image");
    let program = scratch.path().join("small-etl");
    let script = r#"#!/bin/bash
variables=($(compgen -e | grep -E '^(AWS_|SMALL_ETL|DATABASE_URL|RUST_LOG)' | sed 's/^/--env=/'))
exec docker run --rm --network host --cap-drop all --security-opt no-new-privileges "${variables[@]}" small-etl-cli:local "$@"
"#;
    write_program(&program, script);
    a_large_file_goes_through_the_stack(&program).await;
}
