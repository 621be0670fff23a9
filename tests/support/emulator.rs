//! A Lambda function under the runtime emulator that ships with the SAM command line. One request at a time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Ends the emulator when its standard input closes, which also happens when its owner is killed. The emulator ends the
/// function if it is asked to end, but not if it is killed. The output of the function goes to the log of the emulator.
const WATCHDOG: &str = r#"trap '' INT TERM HUP
"$@" < /dev/null >&2 & emulator=$!
cat > /dev/null
kill $emulator
wait $emulator"#;

/// A function that can be invoked. It ends when this is dropped.
pub struct Emulator {
    port: u16,
    process: Child,
}

impl Emulator {
    /// Starts `function` with these variables; its log goes to `log`.
    pub fn start(function: &Path, variables: &[(String, String)], log: Stdio) -> Self {
        let emulator = super::cached("aws-lambda-rie");
        let (port, api) = (super::free_port(), super::free_port());
        let process = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&emulator)
            .args(["--log-level", "error"])
            .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
            .args(["--runtime-api-address", &format!("127.0.0.1:{api}")])
            .arg(function)
            .env("AWS_LAMBDA_FUNCTION_NAME", function.file_name().unwrap_or_default())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "900")
            .envs(variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", emulator.display()));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the Lambda emulator did not start within 10 seconds");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, process }
    }

    /// Returns the address that takes events.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/2015-03-31/functions/function/invocations", self.port)
    }

    /// Sends an event and waits for the answer. An error of the function is an answer with `errorType`.
    pub fn invoke(&self, event: &Value) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.post(self.url()).send(event.to_string()).expect("the emulator answers");
        let text = answer.body_mut().read_to_string().expect("the answer is text");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the answer is not JSON ({error}): {text}"))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // A destructor can do nothing about a watchdog that is already gone.
        let _ = self.process.wait();
    }
}
