//! A Postgres server in a scratch folder.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Scratch;

/// A server that is stopped, and whose folder is removed, when this is dropped and when its process dies in any way.
pub struct Postgres {
    pub port: u16,
    pub folder: PathBuf,
    language: &'static str,
    _scratch: Scratch,
}

impl Postgres {
    /// Starts a server with additional settings such as `fsync=off`. `prepare` may first put files into its data
    /// folder.
    pub fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::speaking("en", settings, prepare)
    }

    /// Starts a server that keeps its data in memory, if there is plenty: a database is made in a third of the time there.
    pub fn in_memory(settings: &[&str]) -> Self {
        let (memory, disk) = (Path::new("/dev/shm"), std::env::temp_dir());
        let is_plenty = fs4::available_space(memory).is_ok_and(|bytes| bytes > 4 << 30);
        Self::within(if is_plenty { memory } else { &disk }, "en", settings, |_| {})
    }

    /// Starts a server whose messages are in a language such as `de`.
    pub fn speaking(language: &'static str, settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::within(&std::env::temp_dir(), language, settings, prepare)
    }

    fn within(root: &Path, language: &'static str, settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        // The watchdog is started before the server, so that the server is never without one.
        let mut stop = server_command("pg_ctl");
        let scratch = Scratch::ending_with(root, "postgres", stop.args(["-D", "data", "-m", "immediate", "stop"]));
        let folder = scratch.path().to_owned();
        let server = Self { port: super::free_port(), folder, language, _scratch: scratch };
        let data = server.folder.join("data");
        give_to_server(&server.folder);
        run(server_command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"])
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null()));
        server.configure(settings);
        prepare(&data);
        give_to_server(&server.folder);
        server.start_again();
        server
    }

    /// Returns the URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Stops the server at once, as if the power had failed: connections break, and the next start recovers from the
    /// log.
    pub fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts the server on the same port with the same data, and returns when it accepts connections.
    pub fn start_again(&self) {
        self.control(&["-l", "log", "-t", "30", "start"]);
    }

    fn configure(&self, settings: &[&str]) {
        let port = format!("port={}", self.port);
        let sockets = format!("unix_socket_directories={}", self.folder.display());
        let own = [port.as_str(), &sockets, "listen_addresses=127.0.0.1"];
        let path = self.folder.join("data/postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("open the server's settings");
        for setting in own.iter().chain(settings) {
            let (name, value) = setting.split_once('=').expect("a setting is a name, `=` and a value");
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("write the server's settings");
        }
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = server_command("pg_ctl");
        command
            .args(["-D", "data", "-s", "-w"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("LANGUAGE", self.language);
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if !status.success() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{command:?} ended with {status}:\n{log}");
        }
    }
}

/// Makes a private key readable only for the server, as the server demands.
pub fn make_private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set the permissions of a key");
}

/// Returns the folder of the newest installed server.
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

/// Whether this process runs as root, which Postgres refuses to do.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn server_command(name: &str) -> Command {
    let program = binaries().join(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

fn give_to_server(folder: &Path) {
    if is_root() {
        run(Command::new("chown").arg("-R").arg("postgres").arg(folder));
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
