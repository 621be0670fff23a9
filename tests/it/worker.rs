//! Processes that load files.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A process that loads a file.
pub struct Worker(Child);

impl Worker {
    pub fn start(program: &Path, arguments: &[&str], variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let process = Command::new(program)
            .args(arguments)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(process.expect("start a worker"))
    }

    /// Returns the number of the process, with which another thread can send it signals.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end. Returns what it says about its file, or what went wrong; `None` if it was killed.
    pub async fn finish(self) -> Option<Result<Value, String>> {
        tokio::task::spawn_blocking(|| self.finish_blocking()).await.expect("wait for a worker")
    }

    pub fn finish_blocking(self) -> Option<Result<Value, String>> {
        let output = self.0.wait_with_output().expect("wait for a worker");
        output.status.code()?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Some(answer["loads"].get(0).cloned().ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
