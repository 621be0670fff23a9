//! A moto server: S3 with versions of objects and conditions on reads, SQS, KMS, secrets, state machines that run, and stacks of
//! `CloudFormation`.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use serde_json::Value;
use small_etl::data_access::aws::https;

use super::emulator::Emulator;
use super::{Scratch, installed};

/// Any key will do.
const ACCESS_KEY: &str = "small-etl";
const SECRET_KEY: &str = "not-a-secret";
const REGION: &str = "eu-central-1";

/// Kills the server once its standard input closes: that happens even when its owner is killed. The server inherits
/// that polite signals are ignored, and has nothing to clean up.
const WATCHDOG: &str = r#"trap '' INT TERM HUP
"$@" < /dev/null & server=$!
cat > /dev/null
kill -KILL $server
wait $server"#;

/// A server without buckets and queues; it ends when this is dropped or its process dies in any way.
pub struct Moto {
    pub endpoint: String,
    process: Child,
    scratch: Scratch,
}

impl Moto {
    pub fn start() -> Self {
        Self::run(&["-m", "moto.server"], &[])
    }

    /// A server that deploys stacks, too: `cloudformation.py` says how. Whatever function is invoked, this one answers, whose log
    /// lies in a file.
    pub fn with_cloudformation(function: &Emulator, log: &Path) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cloudformation.py");
        let log = log.display().to_string();
        let variables = [("FUNCTION", function.url()), ("FUNCTION_LOG", log), ("AWS_DEFAULT_REGION", REGION.into())];
        Self::run(&[&program.display().to_string()], &variables)
    }

    fn run(program: &[&str], variables: &[(&str, String)]) -> Self {
        let (scratch, port) = (Scratch::new("moto"), super::free_port());
        let log = scratch.path().join("log");
        let mut process = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", "python3"])
            .args(program)
            .args(["-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .env_remove("MOTO_PORT")
            .env("PYTHONPATH", installation())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(File::create(scratch.path().join("output")).expect("create a file for the server's output"))
            .stderr(File::create(&log).expect("create the server's log"))
            .spawn()
            .expect("start the watchdog of moto");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > Duration::from_secs(30) {
                drop(process.stdin.take());
                panic!("moto did not start within 30 seconds:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { endpoint: format!("http://127.0.0.1:{port}"), process, scratch }
    }

    /// What the last change made of a stack (`parameters`, `tags`) or of one of its resources (`properties`).
    pub fn deployed(&self, name: &str) -> Value {
        let output = fs::read_to_string(self.scratch.path().join("output")).expect("read the server's output");
        let mut changes = output.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        changes.find(|change| change["name"] == name).unwrap_or_default()
    }

    /// What an AWS client in this process needs to reach the server.
    pub fn config(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.endpoint)
            .http_client(https())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None)))
            .build()
    }

    /// The same for another process.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config()).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config())
    }

    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config())
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Nothing can be done in a destructor about a watchdog that is gone already.
        let _ = self.process.wait();
    }
}

pub fn installation() -> PathBuf {
    installed("moto", include_str!("../../.ci/moto-requirements.txt"))
}
