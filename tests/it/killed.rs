//! Workers and commands that are killed on their way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use small_etl::pipeline::{self, Request};

use crate::support::proxy::{Act, Fault, Moment};
use crate::world::{World, behind, signal};

/// Runs the program as the owner of the tables, and kills it at a message to the server. Returns its exit code, if it has ended before.
pub async fn killed_as_owner(
    world: &World,
    arguments: &[&str],
    folder: &Path,
    moment: impl Into<Moment>,
    fault: fn(Act) -> Fault,
) -> Option<i32> {
    let (proxy, pid) = (world.proxy(), Arc::new(Mutex::new(0)));
    let target = Arc::clone(&pid);
    let act = Box::new(move || signal(*target.lock().expect("nobody panicked with it"), "KILL"));
    proxy.at_moment(moment.into(), fault(act));
    let url = behind(&world.admin_url(), &proxy);
    let mut process = {
        // The kill waits until it is known which process it is for.
        let mut number = pid.lock().expect("nobody panicked with it");
        let process = Command::new(&world.program)
            .args(arguments)
            .current_dir(folder)
            .envs(world.variables_of_owner())
            .env("DATABASE_URL", url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the program");
        *number = process.id();
        process
    };
    let ended = tokio::task::spawn_blocking(move || process.wait().expect("wait for the program").code());
    ended.await.expect("nobody panics there")
}

/// Loads a file with a worker that is gone for good at one of its messages to Postgres, as if it had been killed. Returns whether it was.
pub async fn lost_worker(world: &World, request: &Request, moment: impl Into<Moment>, fault: fn(Act) -> Fault) -> bool {
    let proxy = world.proxy();
    let (context, database) = world.another(&proxy);
    let (kill, death) = tokio::sync::oneshot::channel::<()>();
    let act = Box::new(move || {
        let _ = kill.send(());
    });
    proxy.at_moment(moment.into(), fault(act));
    tokio::select! {
        _ = pipeline::run(&context, &database, request) => false,
        death = death => death.is_ok(),
    }
}
