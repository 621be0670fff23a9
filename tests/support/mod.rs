//! Real servers for tests, demo and benchmark. Each has a free port of the loopback, and ends with its owner.

pub mod emulator;
pub mod moto;
pub mod postgres;
pub mod proxy;
pub mod s3;
pub mod stack;
pub mod web;

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed when this is dropped, and when its process dies in any way.
pub struct Scratch {
    folder: PathBuf,
    watchdog: Child,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        Self::ending_with(&std::env::temp_dir(), name, &Command::new("true"))
    }

    /// Creates a folder under `root`, in which a command runs before it is removed.
    pub fn ending_with(root: &Path, name: &str, last: &Command) -> Self {
        let own = tempfile::Builder::new().prefix(&format!("small-etl-{name}-")).tempdir_in(root);
        let folder = own.expect("create a scratch folder").keep();
        let watchdog = Command::new("sh")
            .args([
                "-c",
                r#"trap '' INT TERM HUP; cat > /dev/null; "$@" > /dev/null 2>&1; rm -rf "$SCRATCH""#,
                "watchdog",
            ])
            .arg(last.get_program())
            .args(last.get_args())
            .env("SCRATCH", &folder)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("start the watchdog of a scratch folder");
        Self { folder, watchdog }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // A destructor can do nothing about a watchdog that is already gone.
        let _ = self.watchdog.wait();
    }
}

/// Returns a file or folder that `make setup` puts into the cache.
pub fn cached(name: &str) -> PathBuf {
    let cache = std::env::var_os("SMALL_ETL_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/small-etl"));
    let path = cache.or(home).expect("HOME is set").join(name);
    assert!(path.exists(), "{} is missing; `make test` puts it there", path.display());
    path
}

/// Returns the folder of packages that were installed from a file of requirements, named after the version of the first
/// package.
pub fn installed(name: &str, requirements: &str) -> PathBuf {
    let mut lines = requirements.lines().filter(|line| !line.starts_with('#'));
    let (_, release) = lines.next().and_then(|line| line.split_once("==")).expect("the first package has a version");
    cached(&format!("{name}-{release}"))
}

/// Returns the folder of `sam` and the tools that deploy with it; its commands are in `run`.
pub fn sam() -> PathBuf {
    installed("sam", include_str!("../../.ci/sam-requirements.txt"))
}

/// Returns the folder of taplo, frictionless and the Open Data Contract Standard.
pub fn contract_tools() -> PathBuf {
    installed("contract-tools", include_str!("../../.ci/contract-requirements.txt"))
}

/// Returns `PATH` with further folders at the front.
pub fn path_with(folders: &[PathBuf]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.iter().cloned().chain(std::env::split_paths(&path))).expect("no folder has a colon")
}

/// Returns a free port, each only once in this process. It lies below the range from which the system assigns ports, so that no other
/// program is assigned it before its server listens.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let of_process = std::process::id().wrapping_mul(101);
    loop {
        let number = of_process.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(number).expect("a port is small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
