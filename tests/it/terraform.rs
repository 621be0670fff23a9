//! `deploy/terraform` makes the same stack as `template.yaml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::deploy::{Account, printed};
use crate::operate::script;
use crate::support::Scratch;

const MADE: [&str; 4] = ["variables.tf", "rules.tf", "stack.tf", "outputs.tf"];

fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/terraform")
}

#[test]
fn the_module_of_terraform_is_what_make_terraform_writes() {
    let scratch = Scratch::new("terraform");
    let (done, said) = script(".ci/terraform", &[scratch.path().to_str().unwrap()]);
    assert!(done, "{said}");
    for name in MADE {
        let [made, kept] = [scratch.path(), &module()].map(|folder| fs::read_to_string(folder.join(name)).unwrap());
        assert!(made == kept, "deploy/terraform/{name} is not what make terraform writes");
    }
}

#[test]
fn the_module_of_terraform_has_every_resource_property_and_parameter_of_the_template() {
    assert_eq!(script("tests/support/terraform.py", &[]), (true, String::new()));
}

/// A folder with the module, and the program in it. The provider comes from the machine where it has one, else from its registry.
fn terraform(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("terraform");
    command.args(arguments).arg("-no-color").current_dir(folder).stdin(Stdio::null()).env_remove("TF_CLI_CONFIG_FILE");
    command
}

fn copy_module(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in MADE.into_iter().chain(["main.tf"]) {
        fs::copy(module().join(name), to.join(name)).unwrap();
    }
}

fn start(folder: &Path) -> Output {
    let plugins = "/opt/tf-plugins";
    let mut init = terraform(folder, &["init", "-backend=false"]);
    if Path::new(plugins).exists() {
        init.arg(format!("-plugin-dir={plugins}"));
    }
    init.output().unwrap()
}

/// Without Terraform, the test above reads the files with a parser of the language.
#[test]
#[ignore = "needs Terraform and its provider; make check-terraform runs it"]
fn terraform_finds_nothing_wrong_with_its_module() {
    let scratch = Scratch::new("terraform");
    let folder = scratch.path().join("module");
    copy_module(&folder);
    let formatted = terraform(&folder, &["fmt", "-check", "-diff"]).output().unwrap();
    assert!(formatted.status.success(), "{}", printed(&formatted));
    let started = start(&folder);
    assert!(started.status.success(), "{}", printed(&started));
    let valid = terraform(&folder, &["validate"]).output().unwrap();
    assert!(valid.status.success(), "{}", printed(&valid));
}

/// Calls the module with a release, in the account of the emulator.
const ROOT: &str = r#"
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
}
module "small_etl" {
  source      = "./module"
  ingest_zip  = "release.zip"
  migrate_zip = "release.zip"
}
"#;

/// What a file needs to get to ingest: prints what the mapping takes from where, and what the alias names.
const LOOK: &str = r#"
import boto3, json
functions, rules = boto3.client("lambda"), boto3.client("events")
[mapping] = functions.list_event_source_mappings()["EventSourceMappings"]
alias = functions.get_alias(FunctionName="small-etl-dev-Ingest", Name="live")["FunctionVersion"]
targets = rules.list_targets_by_rule(Rule="small-etl-dev-ObjectCreated")["Targets"]
variables = functions.get_function_configuration(FunctionName="small-etl-dev-Ingest")["Environment"]["Variables"]
print(json.dumps([mapping["EventSourceArn"], mapping["State"], alias, targets[0]["Arn"], variables["SMALL_ETL__DATABASE__LOGIN"]]))
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Terraform and its provider, and four minutes; make check-terraform runs it"]
async fn the_module_of_terraform_makes_a_stack_and_migrates_its_database_before_files_are_taken() {
    let account = Account::with_database().await;
    let folder = account.scratch.path().join("root");
    copy_module(&folder.join("module"));
    fs::write(folder.join("main.tf"), ROOT).unwrap();
    let zip = "import zipfile; zipfile.ZipFile('release.zip', 'w').writestr('bootstrap', '')";
    assert!(Command::new("python3").args(["-c", zip]).current_dir(&folder).status().unwrap().success());
    let started = start(&folder);
    assert!(started.status.success(), "{}", printed(&started));
    let run = |arguments: &[&str]| {
        let mut command = terraform(&folder, arguments);
        command.envs(account.cloud.variables()).output().unwrap()
    };
    let applied = run(&["apply", "-auto-approve"]);
    let text = printed(&applied);
    assert!(applied.status.success() && text.contains("Apply complete!"), "{text}");
    let place = |name: &str| {
        text.find(&format!("{name}: Creation complete")).unwrap_or_else(|| panic!("{name} is not in {text}"))
    };
    let migrated = place("aws_lambda_invocation.migrate");
    for later in [
        "aws_lambda_alias.ingest_aliaslive",
        "aws_lambda_event_source_mapping.ingest_queue",
        "aws_scheduler_schedule.nightly",
    ] {
        assert!(place(later) > migrated, "{later} comes before the schema");
    }
    let found = account.command(Path::new("python3")).args(["-c", LOOK]).output().unwrap();
    let queue = "arn:aws:sqs:eu-central-1:123456789012:small-etl-dev-Queue";
    let found: serde_json::Value =
        serde_json::from_slice(&found.stdout).unwrap_or_else(|_| panic!("{}", printed(&found)));
    assert_eq!(found, json!([queue, "Enabled", "1", queue, "iam"]));
}
