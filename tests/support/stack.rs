//! Everything that is needed to answer the events in `events/` on one machine: a migrated Postgres, an S3 server with
//! the objects that the events name, and the functions under the emulator.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};

use super::emulator::Emulator;
use super::postgres::Postgres;
use super::s3::S3Server;
use super::web::{WebServer, response};
use super::{Scratch, path_with, sam};

/// The bucket of the events.
pub const BUCKET: &str = "small-etl-demo";

/// The servers. They end when this is dropped, and when its process dies in any way.
pub struct Stack {
    address: String,
    postgres: Postgres,
    pub s3: S3Server,
    web: WebServer,
    binaries: PathBuf,
    scratch: Scratch,
}

impl Stack {
    /// Starts all servers, with the functions in the folder `binaries`, and puts the objects of `events/objects` into
    /// the bucket.
    pub async fn start(binaries: &Path) -> Self {
        Self::start_on("127.0.0.1", binaries).await
    }

    /// Starts all servers on an address that containers can reach.
    pub async fn start_for_containers(binaries: &Path) -> Self {
        Self::start_on(&bridge(), binaries).await
    }

    async fn start_on(address: &str, binaries: &Path) -> Self {
        let postgres = Postgres::start(&["fsync=off", &format!("listen_addresses={address}")], |data| {
            let mut file = OpenOptions::new().append(true).open(data.join("pg_hba.conf")).expect("open who may log in");
            writeln!(file, "host all all samenet trust").expect("let the own network in");
        });
        let s3 = S3Server::start_on(address);
        let client = s3.client();
        client.create_bucket().bucket(BUCKET).send().await.expect("create the bucket");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/objects");
        let mut open = vec![root.clone()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(
                    fs::read_dir(&path).expect("list a folder").map(|entry| entry.expect("list a folder").path()),
                );
                continue;
            }
            let key = path.strip_prefix(&root).expect("it lies under the root").to_str().expect("a key is UTF-8");
            let body = ByteStream::from(fs::read(&path).expect("read an object"));
            client.put_object().bucket(BUCKET).key(key).body(body).send().await.expect("put an object");
        }
        let trades = fs::read_to_string(root.join("incoming/trades/交易 1+1.csv")).expect("read an object");
        let web = WebServer::start_on(address, move |_, _| response(200, &[("ETag", "\"1\"")], &trades));
        let (address, binaries) = (address.to_owned(), binaries.to_owned());
        let stack = Self { address, postgres, s3, web, binaries, scratch: Scratch::new("stack") };
        fs::write(stack.scratch.path().join("dev.toml"), stack.sources()).expect("write the settings");
        let migrated = stack.function("migrate", "postgres").invoke(&json!({}));
        assert!(migrated["applied"].is_array(), "migrate answers {migrated}");
        stack
    }

    /// Starts a function that logs in with this role.
    pub fn function(&self, name: &str, role: &str) -> Emulator {
        let log = File::create(self.log(name)).expect("create a log");
        Emulator::start(&self.binaries.join(name), &self.variables(role), Stdio::from(log))
    }

    /// Sends an event to `ingest` in a container, with `sam local invoke`. The log is that of the function.
    pub fn sam_invoke(&self, event: &Value) -> Value {
        let path = self.scratch.path().join("event.json");
        fs::write(&path, event.to_string()).expect("write the event");
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sam-local/invoke"))
            .arg(path)
            .envs(self.variables("small_etl_ingest"))
            .env("BINARY", self.binaries.join("ingest"))
            .env("PATH", path_with(&[sam().join("run")]))
            .output()
            .expect("run tests/sam-local/invoke");
        fs::write(self.log("ingest"), &output.stderr).expect("write the log");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sam local invoke ended with {}:\n{log}", output.status);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("the answer is not JSON ({error}):\n{log}"))
    }

    /// Returns the path of the log of a function.
    pub fn log(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.log"))
    }

    /// The variables with which a program uses these servers.
    pub fn variables(&self, role: &str) -> Vec<(String, String)> {
        let mut variables = self.s3.variables();
        let url = format!("postgres://{role}@{}:{}/postgres", self.address, self.postgres.port);
        variables.extend([("DATABASE_URL".into(), url), ("SMALL_ETL_ENV".into(), "dev".into())]);
        variables.push(("SMALL_ETL__DATABASE__TLS".into(), "disable".into()));
        variables.push(("SMALL_ETL__SOURCE__BUCKET".into(), BUCKET.into()));
        variables.push(("SMALL_ETL_CONFIG".into(), self.scratch.path().display().to_string()));
        variables
    }

    /// Returns host and port of the server that its events name.
    pub fn host(&self) -> String {
        self.web.origin.replace("http://", "")
    }

    /// The settings for the server and the topic of the events.
    fn sources(&self) -> String {
        format!(
            r#"
            [[pipeline.trade.extractor]]
            type = "http"
            origins = ["{}"]
            private_addresses = true
            prefix = "incoming/trades/http/"
            [[pipeline.trade.extractor]]
            type = "kafka"
            topics = ["trades"]
            form = "json_lines"
            prefix = "incoming/trades/kafka/"
            [[pipeline.trade.extractor]]
            type = "s3_csv"
            "#,
            self.web.origin
        )
    }

    /// Reads an event from a file. The server that it names is replaced with one on this machine.
    pub fn event(&self, path: &Path) -> Value {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = text.replace("https://broker.example", &self.web.origin);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Returns the address of this machine on Docker's own network, which only containers can reach: the address from which
/// packets would be sent there.
fn bridge() -> String {
    let arguments = ["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"];
    let output = Command::new("docker").args(arguments).output().expect("run docker");
    let subnet = String::from_utf8_lossy(&output.stdout).into_owned();
    let network: Ipv4Addr = subnet.split('/').next().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        panic!("docker names no network: {subnet}{}", String::from_utf8_lossy(&output.stderr));
    });
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind a port");
    socket.connect((Ipv4Addr::from_bits(network.to_bits() + 2), 9)).expect("find the way to a container");
    socket.local_addr().expect("read the bound address").ip().to_string()
}
