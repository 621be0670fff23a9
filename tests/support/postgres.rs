//! A Postgres server in a scratch folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that stops, and whose folder is removed, when this is dropped or its process dies in any way.
pub struct Postgres {
    pub port: u16,
    pub folder: PathBuf,
    watchdog: Child,
}

/// Ends the server once its standard input closes: that happens even when its owner is killed.
const WATCHDOG: &str = r#"trap '' INT TERM HUP
"$@" & server=$!
cat > /dev/null
kill -INT $server 2> /dev/null
wait $server
rm -rf "$SCRATCH""#;

impl Postgres {
    /// Starts a server with further lines of `postgresql.conf`; `prepare` may put files into its data folder first.
    pub fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let binaries = binaries();
        let folder =
            std::env::temp_dir().join(format!("small-etl-postgres-{}-{}", std::process::id(), super::free_port()));
        fs::create_dir_all(&folder).expect("create the scratch folder");
        let data = folder.join("data");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        run(as_server_user(&binaries.join("initdb"))
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--no-instructions",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .stdout(Stdio::null()));
        prepare(&data);
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(&folder));
        }
        let port = super::free_port();
        let log = fs::File::create(folder.join("log")).expect("create the server's log");
        let mut server = vec![binaries.join("postgres").display().to_string(), "-D".into(), data.display().to_string()];
        let port_setting = format!("port={port}");
        let socket_setting = format!("unix_socket_directories={}", folder.display());
        for setting in [port_setting.as_str(), &socket_setting, "listen_addresses=127.0.0.1"].iter().chain(settings) {
            server.extend(["-c".into(), (*setting).to_owned()]);
        }
        if is_root() {
            let drop_root = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
            server.splice(0..0, drop_root.map(String::from));
        }
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args(server)
            .env("SCRATCH", &folder)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start the watchdog of the server");
        let server = Self { port, folder, watchdog };
        server.wait_until_ready(&binaries);
        server
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&self, binaries: &Path) {
        let started = Instant::now();
        let port = self.port.to_string();
        while !Command::new(binaries.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port])
            .status()
            .is_ok_and(|status| status.success())
        {
            if started.elapsed() > Duration::from_secs(30) {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("Postgres did not start within 30 seconds:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Nothing can be done in a destructor about a watchdog that is gone already.
        let _ = self.watchdog.wait();
    }
}

/// Makes a private key readable for the server alone, as the server demands.
pub fn make_private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set the permissions of a key");
}

/// The folder of the newest server that is installed.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort_by_key(|folder| {
        let version = folder.parent().and_then(|version| version.file_name()).unwrap_or_default();
        version.to_string_lossy().parse::<u32>().unwrap_or(0)
    });
    let on_path = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        folder.join("initdb").exists().then_some(folder)
    };
    found.pop().or_else(on_path).expect("a Postgres server is installed; `make setup` installs one")
}

/// Postgres refuses to run as root.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
