//! A moto server: S3 with versions of objects and conditional reads, SQS, KMS, secrets, state machines that run, and
//! stacks of `CloudFormation`.

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

/// Any key works.
const ACCESS_KEY: &str = "small-etl";
const SECRET_KEY: &str = "not-a-secret";
const REGION: &str = "eu-central-1";

/// Kills the server when its standard input closes, which also happens when its owner is killed. The server inherits
/// that it ignores polite signals, and has nothing to clean up.
const WATCHDOG: &str = r#"trap '' INT TERM HUP
"$@" < /dev/null & server=$!
cat > /dev/null
kill -KILL $server
wait $server"#;

/// A server without buckets and queues. It ends when this is dropped, and when its process dies in any way.
pub struct Moto {
    pub endpoint: String,
    process: Child,
    scratch: Scratch,
}

impl Moto {
    pub fn start() -> Self {
        Self::run(&["-m", "moto.server"], &[])
    }

    /// Starts a server that can also deploy stacks, as `cloudformation.py` describes. Every call of a function is
    /// answered by `function`, whose log is in the file `log`.
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
            if started.elapsed() > Duration::from_mins(3) {
                drop(process.stdin.take());
                panic!("moto did not start within three minutes:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { endpoint: format!("http://127.0.0.1:{port}"), process, scratch }
    }

    /// Returns what the last change set for a stack (`parameters`, `tags`) or for one of its resources (`properties`).
    pub fn deployed(&self, name: &str) -> Value {
        let output = fs::read_to_string(self.scratch.path().join("output")).expect("read the server's output");
        let mut changes = output.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        changes.find(|change| change["name"] == name).unwrap_or_default()
    }

    /// The configuration with which an AWS client in this process reaches the server.
    pub fn config(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.endpoint)
            .http_client(https())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None)))
            .build()
    }

    /// The variables with which another process reaches the server.
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
        // A destructor can do nothing about a watchdog that is already gone.
        let _ = self.process.wait();
    }
}

pub fn installation() -> PathBuf {
    installed("moto", include_str!("../../.ci/moto-requirements.txt"))
}
