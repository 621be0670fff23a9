//! Real servers for tests, demo and benchmark: each on a free port of the loopback, gone when its owner is gone.

pub mod emulator;
pub mod moto;
pub mod postgres;
pub mod proxy;
pub mod s3;
pub mod stack;
pub mod web;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder that goes when this is dropped or its process dies in any way.
pub struct Scratch {
    folder: PathBuf,
    watchdog: Child,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        Self::ending_with(name, &Command::new("true"))
    }

    /// The same, but this command runs in the folder before it goes.
    pub fn ending_with(name: &str, last: &Command) -> Self {
        let folder = std::env::temp_dir().join(format!("small-etl-{name}-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(&folder).expect("create a scratch folder");
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
        // Nothing can be done in a destructor about a watchdog that is gone already.
        let _ = self.watchdog.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port of the loopback");
    listener.local_addr().expect("read the bound port").port()
}
