//! What comes before and after a deployment: what it costs, who may do it, and how it goes away again.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::deploy::{Account, SETS, assert_ready, assert_stopped, printed, write_program};
use crate::support::{Scratch, path_with, sam};

/// Makes a user with the policies of `docs/deployer`, from whom on nobody may do what no policy allows; prints the user's keys. The
/// emulator knows no resources and conditions of a statement, and calls what sam does with `migrate` by another name.
const DEPLOYER: &str = r#"
import boto3, glob, json, os, sys, urllib.request
iam = boto3.client("iam")
iam.create_user(UserName="deployer")
for path in glob.glob(sys.argv[1] + "/docs/deployer/*.json"):
    statements = [{**each, "Resource": "*"} for each in json.load(open(path))["Statement"]]
    for statement in statements:
        statement.pop("Condition", None)
        if "lambda:InvokeFunction" in statement["Action"]:
            statement["Action"].append("lambda:Invoke")
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="deployer", PolicyName=os.path.basename(path), PolicyDocument=policy)
key = iam.create_access_key(UserName="deployer")["AccessKey"]
address = os.environ["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth"
urllib.request.urlopen(urllib.request.Request(address, b"0", {"Content-Type": "text/plain"}))
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// Puts something of somebody else's into the network of the stack (`add`), or takes it out again.
const SUBNET: &str = r#"
import boto3, sys
ec2 = boto3.client("ec2")
[vpc] = [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]
if sys.argv[1] == "add":
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.128/26")
else:
    [subnet] = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"] if each["CidrBlock"] == "10.0.0.128/26"]
    ec2.delete_subnet(SubnetId=subnet)
"#;

/// Files whose events died: of the queue, of the rule, and one that nobody knows. The mapping is paused, so that what is sent stays in
/// the queue.
const DEAD: &str = r#"
import boto3, json, sys
stack = boto3.client("cloudformation").describe_stacks(StackName="small-etl-dev")["Stacks"][0]
outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
functions = boto3.client("lambda")
for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
created = json.load(open(sys.argv[1] + "/events/eventbridge-object-created.json"))
bodies = [json.dumps(created), json.dumps(json.load(open(sys.argv[1] + "/events/s3-put.json"))), "no json"]
bodies += [json.dumps({"large_file": json.dumps({"bucket": "b", "key": "incoming/large.csv"})})]
bodies += [json.dumps({"bucket": "b", "key": f"incoming/{number}.csv"}) for number in range(20)]
sqs = boto3.client("sqs")
"#;
const DIE: &str = r#"
for body in bodies:
    sqs.send_message(QueueUrl=outputs["DeadLettersUrl"], MessageBody=body)
"#;
const BACK: &str = r#"
def all_of(name):
    found = []
    while messages := sqs.receive_message(QueueUrl=outputs[name], MaxNumberOfMessages=10).get("Messages"):
        found += [each["Body"] for each in messages]
    return sorted(found)
assert all_of("QueueUrl") == sorted(bodies), "they are not in the queue as they were"
assert all_of("DeadLettersUrl") == [], "they are dead letters as well"
"#;

impl Account {
    /// Of the stack small-etl-dev.
    pub fn assert_dead_letters_come_back(&self) {
        self.python(&format!("{DEAD}{DIE}"), env!("CARGO_MANIFEST_DIR"), &[]);
        for said in ["24 sent", "there are none"] {
            let output = self.run("redrive", &["dev"], &[]);
            let text = printed(&output);
            assert!(output.status.success() && text.contains(said), "{text}");
            for shown in ["incoming/trades/a+b%20c.csv", "incoming/large.csv", "unknown shape"] {
                assert!(said != "24 sent" || text.contains(shown), "{text}");
            }
        }
        self.python(&format!("{DEAD}{BACK}"), env!("CARGO_MANIFEST_DIR"), &[]);
    }

    fn python(&self, program: &str, argument: &str, variables: &[(&str, &str)]) -> String {
        let mut command = self.command(Path::new("python3"));
        let output = command.args(["-c", program, argument]).envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_with_the_policies_of_the_docs_makes_a_stack_and_deletes_all_but_files_and_a_snapshot() {
    let account = Account::with_database().await;
    let keys = account.python(DEPLOYER, env!("CARGO_MANIFEST_DIR"), &[]);
    let (id, secret) = keys.trim().split_once(' ').unwrap();
    let deployer = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    let stopped = account.run("destroy", &["prod"], &[]);
    assert_stopped(&stopped, &["InvalidClientTokenId"]);
    assert_ready(&account.deploy_under(&["prod"], &deployer), "small-etl-prod");

    let unanswered = account.run("destroy", &["prod"], &deployer);
    assert_stopped(
        &unanswered,
        &["These will stay", "0 versions of objects", "at most 20 GB, $1.90", "nothing was deleted"],
    );
    let wrong = account.run("destroy", &["prod"], &[deployer[0], deployer[1], ("YES", "yes")]);
    assert_stopped(&wrong, &["nothing was deleted, since the answer was not small-etl-prod"]);
    let yes = [deployer[0], deployer[1], ("YES", "small-etl-prod")];
    account.python(SUBNET, "add", &deployer);
    let stopped = account.run("destroy", &["prod"], &yes);
    let reasons = ["taking the protection off the database", "small-etl-prod is DELETE_FAILED", "has dependencies"];
    assert_stopped(&stopped, &reasons);
    account.python(SUBNET, "remove", &deployer);
    for said in ["small-etl-prod is deleted", "there is no stack small-etl-prod"] {
        let output = account.run("destroy", &["prod"], &yes);
        let text = printed(&output);
        assert!(output.status.success() && text.contains(said), "{text}");
        let (_, stayed) = text.split_once("this has stayed").unwrap();
        assert!(stayed.contains("the bucket small-etl-prod-bucket-"), "{text}");
        assert!(stayed.contains("the snapshot small-etl-prod-snapshot-database-"), "{text}");
        assert!(!stayed.contains("log group"), "{text}");
    }
}

/// Prints the name of the function `ingest`.
const INGEST: &str = r#"
import boto3
print(*[each["FunctionName"] for each in boto3.client("lambda").list_functions()["Functions"] if "-Ingest-" in each["FunctionName"]])
"#;

impl Account {
    /// What the docs say of the code alone, with the real `cargo lambda` and a program that is built already.
    pub fn deploy_the_code_alone(&self) {
        let command = "cargo lambda deploy --binary-name ingest --alias live --include rds.pem";
        let docs =
            ["README.md", "docs/aws.md"].map(|name| fs::read_to_string(project().join(name)).unwrap_or_default());
        assert!(docs.concat().contains(command), "the docs do not say {command}");
        let (folder, name) = (self.scratch.path(), self.python(INGEST, "", &[]));
        fs::copy("/bin/true", folder.join("target/lambda/ingest/bootstrap")).unwrap();
        let mut words = command.split(' ');
        let output = self
            .command(Path::new(words.next().unwrap()))
            .args(words)
            .arg("--manifest-path")
            .arg(project().join("Cargo.toml"))
            .arg(name.trim())
            .current_dir(folder)
            .env("PATH", path_with(&[sam().join("run")]))
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        let deployed = self.cloud.deployed(name.trim());
        let mut names: Vec<&str> =
            deployed["names"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["bootstrap", "rds.pem"], "{deployed}");
        let published = self.versions();
        assert!(published.starts_with("2: 1 365, 2 365"), "{published}");
    }

    /// Which version of ingest the alias names, and of each version how many days it keeps rejects.
    fn versions(&self) -> String {
        self.python(VERSIONS, "", &[])
    }
}

const VERSIONS: &str = r#"
import boto3
functions = boto3.client("lambda")
[name] = [each["FunctionName"] for each in functions.list_functions()["Functions"] if "-Ingest-" in each["FunctionName"]]
versions = functions.list_versions_by_function(FunctionName=name)["Versions"][1:]
days = [f'{each["Version"]} {each["Environment"]["Variables"]["SMALL_ETL__REJECTS__RETENTION_DAYS"]}' for each in versions]
print(functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"] + ":", ", ".join(days))
"#;

/// The emulator asks the alias once, when it makes the mapping; that the mapping and the schedules name it is in their properties.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_back_code_and_settings_and_the_next_deployment_undoes_it() {
    let account = Account::with_database().await;
    assert_ready(&account.deploy(&["dev"]), "small-etl-dev");
    assert_ready(&account.deploy(&["dev", "RejectsRetentionDays=7"]), "small-etl-dev");
    assert_eq!(account.versions().trim(), "2: 1 365, 2 7", "new settings alone are a version");
    for (resource, path) in [("IngestQueue", "FunctionName"), ("Nightly", "Target/Arn")] {
        let named = account.property(resource, path);
        assert!(named.as_str().unwrap().ends_with(":live"), "{resource} calls {named}");
    }
    let back = account.run("rollback", &["dev"], &[]);
    assert!(back.status.success() && printed(&back).contains("files go to version 1, with its code and its settings"));
    assert_eq!(account.versions().trim(), "1: 1 365, 2 7");
    for (version, reason) in [(None, "there is no version before 1"), (Some("9"), "there is no version 9")] {
        let arguments: Vec<&str> = ["dev"].into_iter().chain(version).collect();
        assert_stopped(&account.run("rollback", &arguments, &[]), &[reason]);
    }
    let again = account.deploy(&["dev"]);
    assert_ready(&again, "small-etl-dev");
    for said in ["No changes to deploy", "files go to version 2 of ingest again, and no longer to 1"] {
        assert!(printed(&again).contains(said), "{said} is not in {}", printed(&again));
    }
    assert_ready(&account.deploy(&["dev", "ReservedConcurrency=4"]), "small-etl-dev");
    assert_eq!(account.versions().trim(), "3: 1 365, 2 7, 3 7");
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn another_sam_is_taken_only_if_it_is_new_enough() {
    let scratch = Scratch::new("sam");
    let folder = scratch.path();
    write_program(&folder.join("sam"), "#!/bin/sh\necho SAM CLI, version 1.99.0\n");
    let mut command = Command::new(project().join(".ci/deploy"));
    command.arg("dev").env("SMALL_ETL_CACHE", folder).env("PATH", path_with(&[folder.to_owned()]));
    let stopped = command.output().unwrap();
    assert_stopped(&stopped, &["is of version 1.99.0, older than 1.170.0", "install-sam"]);
}

#[test]
fn a_region_of_another_partition_is_refused() {
    for region in ["cn-north-1", "us-gov-west-1"] {
        let mut command = Command::new(project().join(".ci/deploy"));
        let cache = sam().parent().unwrap().to_owned();
        command.arg("dev").env("SMALL_ETL_CACHE", cache).env("AWS_REGION", region);
        command.env("PATH", path_with(&[sam().join("run")]));
        assert_stopped(
            &command.output().unwrap(),
            &["this region belongs to China, to GovCloud or to another partition"],
        );
    }
}

/// Parameters that do not fit, and what is said of them; where nothing is, they fit.
const REFUSED: &[(&str, &str)] = &[
    ("VpcId=vpc-1 CreateVpcEndpoints=no", "VpcId needs SubnetIds"),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 VpcCidr=10.0.0.0/16",
        "endpoints in an existing VPC need RouteTableIds; or set CreateVpcEndpoints=no",
    ),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 RouteTableIds=rtb-1",
        "endpoints in an existing VPC need VpcCidr; or set CreateVpcEndpoints=no",
    ),
    ("VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 RouteTableIds=rtb-1 VpcCidr=10.0.0.0/16", ""),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no AvailabilityZones=a,b",
        "AvailabilityZones are those of a new VPC; the zones of one that exists are those of SubnetIds",
    ),
    ("AvailabilityZones=eu-central-1a,eu-central-1c", ""),
    ("AvailabilityZones=eu-central-1a", "AvailabilityZones two zones, with a comma and no spaces: eu-central-1a"),
    (
        "DatabaseHost=db DatabaseSecretArn=<secret> DatabaseResourceId=db-1",
        "an existing database cannot be reached from a new VPC; set VpcId and SubnetIds",
    ),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no DatabaseHost=db DatabaseResourceId=db-1",
        "DatabaseHost needs DatabaseSecretArn, which migrate logs in with",
    ),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no DatabaseHost=db DatabaseSecretArn=<secret>",
        "DatabaseHost needs DatabaseResourceId (IAM login) or IngestSecretArn, which ingest logs in with",
    ),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no DatabaseHost=db DatabaseSecretArn=<secret> IngestSecretArn=<secret>",
        "",
    ),
    (
        "VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no DatabaseHost=db DatabaseSecretArn=<secret> DatabaseResourceId=db-1 BackupRetentionDays=7",
        "BackupRetentionDays is for a new database; the one at DatabaseHost has backups of its own",
    ),
    ("OldVersionsDays=400", ""),
    (
        "ExistingBucket=my-files OldVersionsDays=400",
        "OldVersionsDays is for a new bucket; one that exists has lifecycle rules of its own",
    ),
    ("BackupRetentionDays=35", ""),
    ("BackupRetentionDays=0", "BackupRetentionDays is 1 to 35, or empty: 0"),
    (
        "IngestSecretArn=<secret>",
        "a new database creates its own secret; DatabaseSecretArn and IngestSecretArn need DatabaseHost",
    ),
    ("KafkaClusterArn=<cluster> LandingPrefix=a/ ReservedConcurrency=4", "KafkaClusterArn needs KafkaTopic"),
    (
        "KafkaClusterArn=<cluster> KafkaTopic=t ReservedConcurrency=4",
        "KafkaClusterArn needs LandingPrefix, where records are landed",
    ),
    (
        "KafkaClusterArn=<cluster> KafkaTopic=t LandingPrefix=a/",
        "partitions are read in parallel; set ReservedConcurrency=4 to stay within the connections",
    ),
    (
        "FetchUrl=https://a.example/b VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no ReservedConcurrency=4",
        "FetchUrl needs LandingPrefix, where files are landed",
    ),
    (
        "FetchUrl=https://a.example/b LandingPrefix=a/ ReservedConcurrency=4",
        "a new VPC has no route to the internet; FetchUrl needs VpcId and SubnetIds that have one",
    ),
    (
        "FetchUrl=https://a.example/b VpcId=vpc-1 SubnetIds=subnet-1,subnet-2 CreateVpcEndpoints=no LandingPrefix=a/",
        "a fetch does not go through the queue; set ReservedConcurrency=4 to stay within the connections",
    ),
    ("LargeFiles=fargate", "LargeFiles=fargate needs LargeFilesImage, the image that it runs"),
    (
        "LargeFiles=fargate LargeFilesImage=small-etl:1",
        "LargeFilesImage is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG: small-etl:1",
    ),
    (
        "LargeFiles=fargate LargeFilesImage=111122223333.dkr.ecr.eu-central-1.amazonaws.com/a:1 ReservedConcurrency=4",
        "a large file takes two of the nine connections; with LargeFiles=fargate ReservedConcurrency is 0, 2 or 3",
    ),
    ("LargeFiles=fargate LargeFilesImage=111122223333.dkr.ecr.eu-central-1.amazonaws.com/a/b@sha256:<hash>", ""),
    ("LargeFilesDisk=201", "LargeFilesDisk is outside of its bounds: 201"),
    ("RejectsRetentionDays=0", "RejectsRetentionDays is outside of its bounds: 0"),
    ("LogRetentionDays=8", "LogRetentionDays is one of 1, 3, 5"),
];

#[test]
fn parameters_that_do_not_fit_are_named_and_those_that_fit_are_let_through() {
    let arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:";
    let names = [
        ("<vpc>", "vpc-1"),
        ("<subnets>", "subnet-1,subnet-2"),
        ("<routes>", "rtb-1"),
        ("<group>", "sg-1"),
        ("<secret>", arn),
        ("<key>", "arn:aws:kms:eu-central-1:111122223333:key/"),
        ("<hash>", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ("<cluster>", "arn:aws:kafka:eu-central-1:111122223333:cluster/mine/abc-1"),
    ];
    let filled_in = |text: &str| names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    for (environment, parameters, _) in SETS {
        let parameters = filled_in(parameters);
        let given: Vec<&str> = [environment].into_iter().chain(parameters.lines().map(str::trim)).collect();
        assert_eq!(script(".ci/check-parameters", &given), (true, String::new()), "{given:?}");
    }
    for (parameters, reason) in REFUSED {
        let parameters = filled_in(&parameters.replace("<secret>", "<secret>owner"));
        let given: Vec<&str> = ["dev"].into_iter().chain(parameters.split(' ')).collect();
        let (fit, said) = script(".ci/check-parameters", &given);
        assert!(fit == reason.is_empty() && said.contains(reason) && said.lines().count() <= 1, "{given:?}: {said}");
    }
    // Of every rule there is a set that breaks it alone.
    for line in include_str!("../../template.yaml").lines() {
        if let Some((_, description)) = line.split_once("AssertDescription: ") {
            assert!(REFUSED.iter().any(|(_, reason)| *reason == description), "no set breaks the rule: {description}");
        }
    }
}

/// A Python script beside the tests, or one of `.ci`, without an account.
pub fn script(path: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).args(arguments);
    for name in ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "PYTHONPATH", "DATABASE_PRICE", "FILES", "ROWS"] {
        command.env_remove(name);
    }
    let cache = sam().parent().unwrap().to_owned();
    let output = command
        .env("SMALL_ETL_CACHE", cache)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    (output.status.success(), printed(&output))
}

#[test]
fn the_policies_of_a_deployer_are_true_and_cover_every_resource_of_the_template() {
    assert_eq!(script("tests/support/policies.py", &[]), (true, String::new()));
}

#[test]
fn the_serverless_application_repository_is_told_what_cargo_toml_says() {
    let text = include_str!("../../template.yaml");
    for line in [
        format!("    Name: {}\n", env!("CARGO_PKG_NAME")),
        format!("    Description: \"{}\"\n", env!("CARGO_PKG_DESCRIPTION")),
        format!("    SpdxLicenseId: {}\n", env!("CARGO_PKG_LICENSE")),
        format!("    SemanticVersion: {}\n", env!("CARGO_PKG_VERSION")),
        format!("    ReadmeUrl: {}\n", env!("CARGO_PKG_README")),
    ] {
        assert!(text.contains(&line), "template.yaml lacks {line}");
    }
}

#[test]
fn the_docs_have_the_costs_that_are_computed_from_the_template() {
    let (done, tables) = script(".ci/cost", &["tables"]);
    assert!(done && tables.contains("| **sum** |"), "{tables}");
    assert!(include_str!("../../docs/scaling.md").contains(tables.trim()), "docs/scaling.md lacks:\n{tables}");
}

#[test]
fn a_bill_follows_its_parameters() {
    let cost = |arguments: &[&str]| script(".ci/cost", arguments);
    let (_, own) = cost(&["dev"]);
    assert!(own.contains("db.t4g.small 0.032 an hour") && own.contains("together"), "{own}");
    let image = "LargeFilesImage=111122223333.dkr.ecr.eu-central-1.amazonaws.com/a:1";
    let (_, large) = cost(&["dev", "LargeFiles=fargate", image]);
    let (paid, extra) =
        (["2 endpoints in one zone", "empty receives 0.26"], ["5 endpoints in one zone", "empty receives 0.53"]);
    assert!(
        paid.iter().all(|line| own.contains(line)) && extra.iter().all(|line| large.contains(line)),
        "{own}{large}"
    );
    let theirs =
        ["prod", "VpcId=vpc-1", "SubnetIds=subnet-1,subnet-2", "CreateVpcEndpoints=no", "DatabaseHost=db.example"];
    let secret = "DatabaseSecretArn=arn:aws:secretsmanager:eu-central-1:111122223333:secret:owner";
    let (_, theirs) = cost(&[&theirs[..], &[secret, "DatabaseResourceId=db-1"]].concat());
    assert!(theirs.contains("together") && !theirs.contains("db.t4g") && !theirs.contains("endpoints"), "{theirs}");
    for (arguments, reason) in [
        (&["dev", "DatabaseClass=db.x9"][..], "the price of db.x9 is not known here"),
        (&["dev", "VpcId=vpc-1"], "VpcId needs SubnetIds"),
        (&["dev", "Colour=red"], "template.yaml has no parameter Colour"),
        (&["production"], "cost needs an environment"),
    ] {
        let (done, said) = cost(arguments);
        assert!(!done && said.contains(reason), "{said}");
    }
}
