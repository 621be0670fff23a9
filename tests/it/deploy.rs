//! What `make deploy` does: the real `.ci/deploy` and the real `sam`, on an emulator of `CloudFormation`, with the real `migrate` on
//! a real Postgres. Of the tools the compiler alone is a stand-in, since it would take an hour.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::contract::ASSETS;
use crate::support::emulator::Emulator;
use crate::support::moto::{Moto, installation};
use crate::support::postgres::Postgres;
use crate::support::{Scratch, path_with, sam};
use crate::world::query;

/// What `cargo lambda build … --bin PROGRAM` leaves, but for the program: what it was called with.
const CARGO_LAMBDA: &str = r#"#!/bin/sh
[ -z "$BUILD_FAILS" ] || { echo "error: could not compile" >&2; exit 101; }
for program; do :; done
mkdir -p "$CARGO_TARGET_DIR/lambda/$program"
echo "$*" > "$CARGO_TARGET_DIR/lambda/$program/bootstrap"
"#;

/// What somebody had in the account before: prints where.
const BEFORE: &str = r#"
import boto3, json
ec2, s3, sqs = boto3.client("ec2"), boto3.client("s3"), boto3.client("sqs")
vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/24")["Subnet"]["SubnetId"] for n in range(2)]
routes = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
group = ec2.create_security_group(GroupName="database", Description="-", VpcId=vpc)["GroupId"]
s3.create_bucket(Bucket="my-files", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
queue = sqs.create_queue(QueueName="theirs")["QueueUrl"]
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
theirs = {"QueueConfigurations": [{"Id": "theirs", "QueueArn": arn, "Events": ["s3:ObjectRemoved:*"]}]}
s3.put_bucket_notification_configuration(Bucket="my-files", NotificationConfiguration=theirs)
print(json.dumps({"vpc": vpc, "subnets": ",".join(subnets), "routes": routes, "group": group}))
"#;

/// An account, in which nothing is deployed, and a machine that deploys.
pub struct Account {
    pub cloud: Moto,
    pub postgres: Postgres,
    pub scratch: Scratch,
    _migrate: Emulator,
}

impl Account {
    /// `migrate` finds no database yet.
    fn new() -> Self {
        let (postgres, scratch) = (Postgres::start(&["fsync=off"], |_| {}), Scratch::new("deploy"));
        let (folder, log) = (scratch.path(), scratch.path().join("migrate.log"));
        let url = ("DATABASE_URL".to_owned(), postgres.url("small_etl"));
        let migrate =
            Emulator::start(Path::new(env!("CARGO_BIN_EXE_migrate")), &[url], File::create(&log).unwrap().into());
        let cloud = Moto::with_cloudformation(&migrate, &log);
        fs::create_dir(folder.join("bin")).unwrap();
        // The machine's own sam is not asked where there is one of the right version.
        for (name, program) in [("cargo-lambda", CARGO_LAMBDA), ("sam", "#!/bin/sh\nexit 9\n")] {
            write_program(&folder.join("bin").join(name), program);
        }
        fs::write(folder.join("rds.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        symlink(sam(), folder.join(sam().file_name().unwrap())).unwrap();
        Self { cloud, postgres, scratch, _migrate: migrate }
    }

    pub async fn with_database() -> Self {
        let account = Self::new();
        account.make_database().await;
        account
    }

    async fn make_database(&self) {
        query(&self.postgres.url("postgres"), "create database small_etl").await;
    }

    pub fn deploy(&self, arguments: &[&str]) -> Output {
        self.deploy_under(arguments, &[])
    }

    pub fn deploy_under(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.run("deploy", arguments, variables)
    }

    /// Runs a script of `.ci`.
    pub fn run(&self, script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let folder = self.scratch.path();
        self.command(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci").join(script))
            .args(arguments)
            .stdin(Stdio::null())
            // Each finds its packages by itself.
            .env_remove("PYTHONPATH")
            .env("PATH", path_with(&[folder.join("bin"), sam().join("run")]))
            .env("SMALL_ETL_CACHE", folder)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("SAM_CLI_POLL_DELAY", "0.1")
            // A file goes through the stack only where ingest runs.
            .env("SMOKE", "no")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// A program that reaches the account.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .envs(self.cloud.variables())
            .env("PYTHONPATH", installation())
            .env("AWS_DEFAULT_REGION", "eu-central-1");
        command.env_remove("AWS_PROFILE").env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// A property of a resource, by its path.
    pub fn property(&self, resource: &str, path: &str) -> Value {
        self.cloud.deployed(resource).pointer(&format!("/properties/{path}")).cloned().unwrap_or_default()
    }

    fn parameter(&self, stack: &str, name: &str) -> Value {
        self.cloud.deployed(stack)["parameters"][name].clone()
    }

    /// The names in the package that a function was deployed with, and the text of its program.
    pub async fn package(&self, function: &str) -> (Vec<String>, String) {
        let place = |path: &str| self.property(function, path).as_str().unwrap().to_owned();
        let object =
            self.cloud.s3().get_object().bucket(place("Code/S3Bucket")).key(place("Code/S3Key")).send().await.unwrap();
        let path = self.scratch.path().join("package.zip");
        fs::write(&path, object.body.collect().await.unwrap().into_bytes()).unwrap();
        let python = "import json, sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(json.dumps([z.namelist(), z.read('bootstrap').decode()]))";
        let output = Command::new("python3").args(["-c", python]).arg(path).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A function as it was deployed, but with a database and a role that are there.
    pub fn function(&self, name: &str, resource: &str, role: &str) -> Emulator {
        let program = Path::new(env!("CARGO_BIN_EXE_migrate")).with_file_name(name);
        self.function_of(&program, resource, role)
    }

    /// The same of another program.
    pub fn function_of(&self, program: &Path, resource: &str, role: &str) -> Emulator {
        let deployed = self.property(resource, "Environment/Variables");
        let deployed = deployed.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value)));
        let log = program.with_extension("log").file_name().map(|name| self.scratch.path().join(name)).unwrap();
        Emulator::start(program, &self.reaching(deployed, role), File::create(log).unwrap().into())
    }

    /// The variables of a program as it was deployed, but with a database and a role that are there.
    pub fn reaching(&self, deployed: impl Iterator<Item = (String, String)>, role: &str) -> Vec<(String, String)> {
        let mut variables: Vec<(String, String)> = deployed.chain(self.cloud.variables()).collect();
        let url = self.postgres.url("small_etl").replace("postgres@", &format!("{role}@"));
        for (name, value) in [
            ("DATABASE_URL", url.as_str()),
            ("SMALL_ETL__DATABASE__LOGIN", "password"),
            ("SMALL_ETL__DATABASE__TLS", "disable"),
            ("SMALL_ETL__DATABASE__ROOT_CERTIFICATES", ""),
        ] {
            variables.push((name.into(), value.into()));
        }
        variables
    }
}

pub fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A string as it is, anything else as JSON.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[track_caller]
pub fn assert_ready(output: &Output, stack: &str) {
    let text = printed(output);
    assert!(output.status.success() && text.contains(&format!("==> {stack} is ready")), "{text}");
}

#[track_caller]
pub fn assert_stopped(output: &Output, reasons: &[&str]) {
    let text = printed(output);
    assert!(!output.status.success() && !text.contains("is ready"), "{text}");
    for reason in reasons {
        assert!(text.contains(reason), "{reason} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_takes_events_only_after_the_schema_is_current() {
    let account = Account::new();
    let stopped = account.deploy(&["dev", "VpcId=vpc-0", "SubnetIds=subnet-0,subnet-1", "CreateVpcEndpoints=no"]);
    assert_stopped(&stopped, &["CREATE_FAILED", "nothing is deployed: there is no stack small-etl-dev"]);

    let more = [("INCLUDE", "datasets")];
    let given = ["dev", "FetchSchedule=rate(1 hour)", "AlarmEmail=a+b@example.org", "KmsKeyArn="];
    let stopped = account.deploy_under(&given, &more);
    assert_stopped(&stopped, &["migrate failed; files wait in the queue", "database \\\"small_etl\\\" does not exist"]);
    assert_eq!(account.property("IngestQueue", "Enabled"), false);
    assert_eq!(account.property("Nightly", "State"), "DISABLED");

    account.make_database().await;
    let done = account.deploy_under(&["dev"], &more);
    assert_ready(&done, "small-etl-dev");
    for said in ["No changes to deploy", "until its schema is current, files wait in the queue"] {
        assert!(printed(&done).contains(said), "{said} is not in {}", printed(&done));
    }
    assert_eq!(account.property("IngestQueue", "Enabled"), true);
    assert_eq!(account.property("Nightly", "State"), "ENABLED");
    let remembered = ["FetchSchedule", "AlarmEmail", "KmsKeyArn"].map(|name| account.parameter("small-etl-dev", name));
    assert_eq!(remembered, ["rate(1 hour)", "a+b@example.org", ""]);
    assert_eq!(
        account.cloud.deployed("small-etl-dev")["tags"],
        json!({"Application": "small-etl", "Environment": "dev"})
    );
    for (function, program) in [("Ingest", "ingest"), ("Migrate", "migrate")] {
        let (names, built) = account.package(function).await;
        for name in ["rds.pem", "datasets/trade.toml"] {
            assert!(names.iter().any(|packed| packed == name), "{name} is not in {names:?}");
        }
        assert_eq!(built.trim(), format!("lambda build --release --arm64 --bin {program}"));
    }

    let bucket = account.property("ObjectCreated", "EventPattern/detail/bucket/name/0");
    let again = account.deploy_under(&["dev"], &more);
    assert_ready(&again, "small-etl-dev");
    for said in ["no migration is pending, so ingest takes files meanwhile", r#"{"applied":[]}"#] {
        assert!(printed(&again).contains(said), "{said} is not in {}", printed(&again));
    }
    assert_eq!(account.property("IngestQueue", "Enabled"), true);
    assert_eq!(account.property("ObjectCreated", "EventPattern/detail/bucket/name/0"), bucket);
    load_a_file(&account, bucket.as_str().unwrap()).await;
    account.deploy_the_code_alone();
    account.assert_dead_letters_come_back();
}

/// The functions start with the variables that the template gives them, and load what lies in the bucket of the stack.
async fn load_a_file(account: &Account, bucket: &str) {
    query(&account.postgres.url("postgres"), "create role rds_iam").await;
    let migrate = account.function("migrate", "Migrate", "postgres");
    assert_eq!(migrate.invoke(&json!({})), json!({"applied": []}));
    let put = account
        .cloud
        .s3()
        .put_object()
        .bucket(bucket)
        .key("incoming/assets/1.csv")
        .body(ASSETS.as_bytes().to_vec().into());
    put.send().await.unwrap();
    let event = json!({"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": bucket}, "object": {"key": "incoming/assets/1.csv"}}});
    let answer = account.function("ingest", "Ingest", "small_etl_ingest").invoke(&event);
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_built() {
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "x86_64" };
    for (arguments, variables, reason) in [
        (&["production"][..], &[][..], "deploy needs an environment"),
        (&["dev", "ExistngBucket=my-files"], &[], "template.yaml has no parameter ExistngBucket"),
        (&["dev", "AlarmEmail=a\"b"], &[], "sam cannot pass on a value with"),
        (&["dev", "AlarmEmail=a\\b"], &[], "sam cannot pass on a value with"),
        (&["dev", "AcceptEvents=true"], &[], "AcceptEvents cannot be given"),
        (&["dev", "SchemaVersion=1"], &[], "SchemaVersion cannot be given"),
        (&["dev", "Release=1"], &[], "Release cannot be given"),
        (&["dev", "Architecture=mips"], &[], "the architecture is arm64 or x86_64"),
        (&["dev"], &[("PACKAGE", "image"), ("ARCH", other)], "an image is built for this machine's own processor"),
        (&["dev"], &[("INCLUDE", "nowhere")], "INCLUDE names a path that does not exist"),
        (&["dev"], &[("FROM", "/var/empty")], "/var/empty has no template for arm64"),
    ] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/deploy");
        let refused = Command::new(script).args(arguments).envs(variables.iter().copied()).output().unwrap();
        assert_stopped(&refused, &[reason]);
        assert!(refused.stdout.is_empty(), "{}", printed(&refused));
    }
}

#[test]
fn nothing_is_deployed_where_the_build_fails() {
    let account = Account::new();
    let stopped = account.deploy_under(&["dev"], &[("BUILD_FAILS", "1")]);
    assert_stopped(&stopped, &["could not compile", "the build failed; nothing was deployed"]);
    assert_eq!(account.cloud.deployed("small-etl-dev"), Value::Null);
}

/// Parameters that belong together, and what is made of them: a resource, the path of one of its properties, and its value; or
/// that it is not made, or has a text somewhere. The first set is tried with every run of the tests, all by `make check-deploy`.
pub const SETS: [(&str, &str, &str); 6] = [
    (
        "dev",
        "ExistingBucket=my-files
         VpcId=<vpc>
         SubnetIds=<subnets>
         CreateVpcEndpoints=no
         DatabaseHost=db.example
         DatabaseName=orders
         DatabaseSecretArn=<secret>owner
         DatabaseSecurityGroupId=<group>
         DatabaseResourceId=db-ABC123",
        "Bucket is not made
         Vpc is not made
         SqsEndpoint is not made
         Database is not made
         ObjectCreated EventPattern/detail/bucket/name/0 my-files
         Backfill DefinitionSubstitutions/Bucket my-files
         BackfillRole has states:RedriveExecution
         Ingest Environment/Variables/DATABASE_URL postgres://small_etl_ingest@db.example:5432/orders
         Ingest Environment/Variables/SMALL_ETL__DATABASE__LOGIN iam
         LoadingFiles has dbuser:db-ABC123/small_etl_ingest
         LargeFilesQueue is not made
         LargeFilesJob is not made
         IngestQueue ScalingConfig/MaximumConcurrency 3
         Migrate Environment/Variables/SMALL_ETL__DATABASE__SECRET_ARN <secret>owner
         Migrate Environment/Variables/SMALL_ETL__MIGRATIONS__RDS_IAM true
         DatabaseFromFunctions GroupId <group>",
    ),
    (
        "prod",
        "EventBusName=default
         AvailabilityZones=eu-central-1b,eu-central-1c
         LakePrefix=lake/
         OldVersionsDays=400
         KmsKeyArn=<key>1
         ReservedConcurrency=4
         LogRetentionDays=365",
        "SubnetA AvailabilityZone eu-central-1b
         SubnetB AvailabilityZone eu-central-1c
         Bucket LifecycleConfiguration/Rules/1/ExpiredObjectDeleteMarker true
         Bucket LifecycleConfiguration/Rules/2/NoncurrentVersionExpiration/NoncurrentDays 400
         Database MultiAZ true
         Database DeletionProtection true
         Database BackupRetentionPeriod 35
         KmsEndpoint ServiceName com.amazonaws.eu-central-1.kms
         EventBridgeEndpoint ServiceName com.amazonaws.eu-central-1.events
         Ingest ReservedConcurrentExecutions 4
         Ingest Environment/Variables/SMALL_ETL_ENV prod
         Ingest Environment/Variables/SMALL_ETL__EVENTS__BUS default
         Ingest Environment/Variables/SMALL_ETL__ENCRYPTION__KMS_KEY <key>1
         LoadingFiles has /lake/*
         IngestLog RetentionInDays 365
         FailedFile EventBusName default",
    ),
    (
        "test",
        "VpcId=<vpc>
         SubnetIds=<subnets>
         RouteTableIds=<routes>
         VpcCidr=10.1.0.0/16
         DatabaseHost=db.example
         DatabasePort=6432
         DatabaseSecretArn=<secret>owner
         IngestSecretArn=<secret>ingest
         ExistingKeyArns=<key>1,<key>2",
        "Ingest Environment/Variables/DATABASE_URL postgres://small_etl_ingest@db.example:6432/small_etl
         Ingest Environment/Variables/SMALL_ETL__DATABASE__LOGIN secret
         Ingest Environment/Variables/SMALL_ETL__DATABASE__SECRET_ARN <secret>ingest
         LoadingFiles has <key>2
         MigrateRole has <key>2
         Migrate Environment/Variables/SMALL_ETL__MIGRATIONS__RDS_IAM false
         FunctionsToDatabase CidrIp 0.0.0.0/0
         S3Endpoint RouteTableIds/0 <routes>
         EndpointsFromVpc CidrIp 10.1.0.0/16",
    ),
    (
        "dev",
        "VpcId=<vpc>
         SubnetIds=<subnets>
         CreateVpcEndpoints=no
         DatabaseClass=db.t4g.micro
         BackupRetentionDays=1
         LandingPrefix=incoming/http/
         ReservedConcurrency=4
         FetchUrl=https://broker.example/v1/trades.csv?a=1&b=2
         FetchSchedule=cron(0 18 ? * MON-FRI *)
         FetchSecretArn=<secret>headers",
        r#"Fetch State ENABLED
         Fetch ScheduleExpression cron(0 18 ? * MON-FRI *)
         Fetch Target/Input {"url": "https://broker.example/v1/trades.csv?a=1&b=2", "dataset": "trade"}
         IngestRole has /incoming/http/*
         IngestRole has <secret>headers
         Database DBInstanceClass db.t4g.micro
         Database BackupRetentionPeriod 1
         Database MultiAZ false"#,
    ),
    (
        "dev",
        "VpcId=<vpc>
         SubnetIds=<subnets>
         CreateVpcEndpoints=no
         LandingPrefix=incoming/kafka/
         ReservedConcurrency=4
         KafkaClusterArn=arn:aws:kafka:eu-central-1:123456789012:cluster/mine/abc-1
         KafkaTopic=trades
         KafkaLag=5000",
        r#"Stream Enabled true
         Stream has :small-etl-dev-FailedRuns-
         Stream has :live
         StreamLag Threshold 5000
         Stream EventSourceArn arn:aws:kafka:eu-central-1:123456789012:cluster/mine/abc-1
         Stream Topics ["trades"]
         IngestRole has :topic/mine/abc-1/trades"#,
    ),
    (
        "dev",
        "LargeFiles=fargate
         LargeFilesImage=123456789012.dkr.ecr.eu-central-1.amazonaws.com/small-etl:1
         LargeFilesDisk=100
         LargeFilesMemory=16384
         ReservedConcurrency=3",
        "IngestQueue ScalingConfig/MaximumConcurrency 2
         IngestRole has -LargeFilesQueue-
         LargeFilesPipe DesiredState RUNNING
         LargeFilesPipe has -LargeFilesQueue-
         LargeFilesMachine ComputeResources/MaxvCpus 2
         LargeFilesJob ContainerProperties/Image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/small-etl:1
         LargeFilesJob ContainerProperties/EphemeralStorage/SizeInGiB 100
         LargeFilesJob ContainerProperties/ResourceRequirements/1/Value 16384
         LargeFilesJob ContainerProperties/RuntimePlatform/CpuArchitecture ARM64
         LargeFilesJob has 8192
         LogsEndpoint ServiceName com.amazonaws.eu-central-1.logs
         ImagesEndpoint ServiceName com.amazonaws.eu-central-1.ecr.dkr
         RegistryEndpoint ServiceName com.amazonaws.eu-central-1.ecr.api
         S3Endpoint has starport-layer-bucket
         SqsEndpoint has -LargeFilesQueue-
         FailedRunsPolicy has FailedLargeFile",
    ),
];

impl Account {
    /// Makes what somebody had before, and returns a text with its names and those of secrets and keys in place of `<name>`.
    fn before(&self) -> impl Fn(&str) -> String {
        let output = self.command(Path::new("python3")).args(["-c", BEFORE]).output().unwrap();
        let mut names: BTreeMap<String, String> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output)));
        names.insert("secret".into(), "arn:aws:secretsmanager:eu-central-1:123456789012:secret:".into());
        names.insert("key".into(), "arn:aws:kms:eu-central-1:123456789012:key/".into());
        move |text| names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
    }

    /// Compares a resource with a line of a set.
    fn assert_made(&self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let [resource, path, expected] = [(); 3].map(|()| words.next().unwrap());
        let properties = &self.cloud.deployed(resource)["properties"];
        match path {
            "is" => assert_eq!(*properties, Value::Null, "{line}"),
            "has" => assert!(properties.to_string().contains(expected), "{line}: {properties}"),
            _ => {
                let found = properties.pointer(&format!("/{path}")).unwrap_or(&Value::Null);
                assert_eq!(text(found), expected, "{line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_set_of_parameters_is_deployed_as_it_was_given() {
    let all = std::env::var("DEPLOY_SETS").is_ok_and(|sets| sets == "all");
    for (environment, parameters, made) in SETS.into_iter().take(if all { SETS.len() } else { 1 }) {
        let account = Account::with_database().await;
        let named = account.before();
        let parameters = named(parameters);
        let arguments: Vec<&str> = [environment].into_iter().chain(parameters.lines().map(str::trim)).collect();
        assert_ready(&account.deploy(&arguments), &format!("small-etl-{environment}"));
        named(made).lines().for_each(|line| account.assert_made(line.trim()));
        let dashboard = account.property("Dashboard", "DashboardBody");
        let dashboard: Value = serde_json::from_str(dashboard.as_str().unwrap()).unwrap();
        let of_database = dashboard.to_string().contains("AWS/RDS");
        assert_ne!(of_database, parameters.contains("DatabaseHost="), "{dashboard}");
    }
    if all {
        what_changes_later_is_changed().await;
    }
}

/// A stack gets a bus and loses it, is given what it cannot have, and is deployed while S3 is away.
async fn what_changes_later_is_changed() {
    let account = Account::with_database().await;
    let bus = "Environment/Variables/SMALL_ETL__EVENTS__BUS";
    for (parameter, expected) in [("EventBusName=default", json!("default")), ("EventBusName=", Value::Null)] {
        assert_ready(&account.deploy(&["dev", parameter]), "small-etl-dev");
        assert_eq!(account.property("Ingest", bus), expected);
    }
    let stopped = account.deploy(&["dev", "VpcId=vpc-0", "SubnetIds=subnet-0,subnet-1", "CreateVpcEndpoints=no"]);
    assert_stopped(&stopped, &["UPDATE_FAILED", "it was rolled back: small-etl-dev is as it was before"]);
    let stopped = account.deploy(&["dev", "VpcId=vpc-0", "SubnetIds="]);
    assert_stopped(&stopped, &["VpcId needs SubnetIds", "these parameters do not fit; nothing was built or deployed"]);
    let away = [("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")];
    let stopped = account.deploy_under(&["dev"], &away);
    assert_stopped(&stopped, &["Unable to upload artifact", "nothing was changed: small-etl-dev is as it was before"]);
}

/// Docker's socket, where a push succeeds at once: its registry would be that of an account.
fn docker_without_a_registry(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || pass_to_docker(&client.unwrap()));
        }
    });
}

fn pass_to_docker(mut client: &UnixStream) {
    let (mut reader, mut head) = (BufReader::new(client), String::new());
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let Some(target) = head.split(' ').nth(1) else { return };
    if target.contains("/push") || target.ends_with("/auth") {
        let lengths =
            head.lines().filter_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<u64>().ok());
        std::io::copy(&mut reader.take(lengths.sum()), &mut std::io::sink()).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        return;
    }
    let docker = UnixStream::connect("/var/run/docker.sock").unwrap();
    // One request for each connection, so that what follows needs no reading.
    (&docker).write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Either side may go first.
            let _ = std::io::copy(&mut &docker, &mut { client });
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut reader, &mut &docker);
    });
}

/// In the image that `tests/images/check` makes in place of that of Rust.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker; make check-images runs it"]
async fn images_are_deployed_in_place_of_zips() {
    let account = Account::with_database().await;
    let socket = account.scratch.path().join("docker.sock");
    docker_without_a_registry(&socket);
    let socket = format!("unix://{}", socket.display());
    let architecture = if cfg!(target_arch = "x86_64") { "x86_64" } else { "arm64" };
    let variables = [
        ("PACKAGE", "image"),
        ("ARCH", architecture),
        ("BUILDER", "small-etl-builder:local"),
        ("DOCKER_HOST", socket.as_str()),
    ];
    let done = account.deploy_under(&["dev"], &variables);
    assert_ready(&done, "small-etl-dev");
    for (function, program) in [("Ingest", "ingest"), ("Migrate", "migrate")] {
        let property = |path| text(&account.property(function, path));
        assert_eq!(property("PackageType"), "Image");
        assert_eq!(property("Runtime"), "null");
        assert_eq!(property("ImageConfig/EntryPoint/0"), format!("/usr/local/bin/{program}"));
        let image = property("Code/ImageUri");
        assert!(image.contains(".dkr.ecr.eu-central-1.amazonaws.com/"), "{image}");
        let inspect = ["image", "inspect", "--format", "{{.Architecture}} {{.Config.User}}", &image];
        let inspected = Command::new("docker").args(inspect).output().unwrap();
        assert!(printed(&inspected).ends_with("65532:65532\n"), "{}", printed(&inspected));
    }
}

#[test]
fn a_bucket_that_exists_keeps_its_notifications() {
    let account = Account::new();
    let _ = account.before();
    for said in ["its 1 other notifications are as they were", "already reports to EventBridge; nothing changed"] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/enable-eventbridge");
        let output = account.command(&script).arg("my-files").output().unwrap();
        assert!(printed(&output).contains(said), "{}", printed(&output));
    }
    let look = "import boto3, json; print(json.dumps(boto3.client('s3').get_bucket_notification_configuration(Bucket='my-files')))";
    let output = account.command(Path::new("python3")).args(["-c", look]).output().unwrap();
    let now: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(now["QueueConfigurations"][0]["Id"], "theirs", "{now}");
    assert_eq!(now["QueueConfigurations"][0]["Events"], json!(["s3:ObjectRemoved:*"]), "{now}");
    assert_eq!(now["EventBridgeConfiguration"], json!({}), "{now}");
}
