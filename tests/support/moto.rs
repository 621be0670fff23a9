//! A moto server: S3 with versions of objects and conditions on reads, SQS, KMS, secrets, and state machines that run.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use small_etl::data_access::aws::https;

use super::Scratch;

/// Any key will do.
const ACCESS_KEY: &str = "small-etl";
const SECRET_KEY: &str = "not-a-secret";
const REGION: &str = "eu-central-1";

/// What `make setup` installs; the version is in the name of the folder.
const REQUIREMENTS: &str = include_str!("../../.ci/moto-requirements.txt");

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
    _scratch: Scratch,
}

impl Moto {
    pub fn start() -> Self {
        let (scratch, port) = (Scratch::new("moto"), super::free_port());
        let log = scratch.path().join("log");
        let mut process = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", "python3", "-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .env_remove("MOTO_PORT")
            .env("PYTHONPATH", installation())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
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
        Self { endpoint: format!("http://127.0.0.1:{port}"), process, _scratch: scratch }
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
    let release = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("moto==")).expect("moto has a version");
    let cache = std::env::var_os("SMALL_ETL_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/small-etl"));
    let path = cache.or(home).expect("HOME is set").join(format!("moto-{release}"));
    assert!(path.exists(), "{} is missing; `make setup` puts moto there", path.display());
    path
}
