//! What it costs if the database is elsewhere: a line between the function and Postgres delays everything by a millisecond in each
//! direction, so that a round trip takes two.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Sizes;
use crate::figures::{Figures, Line};
use crate::support::emulator::Emulator;
use crate::world::{World, invoke, timed};

const DELAY: Duration = Duration::from_millis(1);
const ROUND_TRIP_MS: f64 = 2.0;
const FILES: usize = 50;
const WARM_UP: usize = 10;

/// A small file, a large one, and the end of its load, with the database near and far, in turn.
pub async fn distance(world: &World, sizes: &Sizes) -> Vec<Line> {
    let far = far(world);
    let near = world.another();
    let four = world.trades(4, 0);
    let large = world.trades(sizes.peer_rows, 0);
    world.empty().await;
    let mut small = Vec::new();
    for file in 0..WARM_UP + FILES {
        let (there, here) =
            (small_file(world, &far, "far", file, &four).await, small_file(world, &near, "near", file, &four).await);
        if file >= WARM_UP {
            small.push((there, here));
        }
    }
    let (mut loads, mut ends) = (Vec::new(), Vec::new());
    for run in 0..=sizes.runs {
        let (there, here) = (load(world, &far, sizes, &large).await, load(world, &near, sizes, &large).await);
        println!("run {run}: load {:.2} / {:.2} s, its end {:.1} / {:.1} ms", there.0, here.0, there.1, here.1);
        if run > 0 {
            loads.push((there.0, here.0));
            ends.push((there.1, here.1));
        }
    }
    let of = |pairs: &[(f64, f64)], nth: fn(&(f64, f64)) -> f64| -> Figures { pairs.iter().map(nth).collect() };
    let round_trips = |work: &str, pairs: &[(f64, f64)]| {
        let (there, here) = (of(pairs, |pair| pair.0), of(pairs, |pair| pair.1));
        let trips: Figures = [(there.median() - here.median()) / ROUND_TRIP_MS].into_iter().collect();
        Line::reported(work, format!("{there:.1} ms"), format!("near {here:.1} ms"), (&trips, " round trips"))
    };
    let work = format!("{} new trades, the database a millisecond away", sizes.peer_rows);
    let (there, here) = (of(&loads, |pair| pair.0), of(&loads, |pair| pair.1));
    vec![
        round_trips("a file of 4 rows, warm, the database a millisecond away, 50 files", &small),
        Line::reported(&work, format!("{there} s"), format!("near {here} s"), (&Figures::ratios(&loads), " x")),
        round_trips("the same from the last batch to the end of the load", &ends),
    ]
}

/// Loads a file of four rows, and returns the milliseconds.
async fn small_file(world: &World, sandbox: &Emulator, name: &str, nth: usize, file: &std::path::Path) -> f64 {
    let key = format!("incoming/trades/{name}-{nth}.csv");
    world.put(&key, file).await;
    timed(|| invoke(sandbox, &key, false)).0 * 1000.0
}

/// Loads a large file into an empty table. Returns the seconds, and the milliseconds from its last batch to its end.
async fn load(world: &World, sandbox: &Emulator, sizes: &Sizes, file: &std::path::Path) -> (f64, f64) {
    const END: &str = "select (extract(epoch from max(l.finished_at) - max(b.committed_at)) * 1000000)::bigint \
        from etl.load l join etl.load_batch b on b.load_id = l.id where l.id = (select max(id) from etl.load)";
    world.empty().await;
    world.put("incoming/trades/distant.csv", file).await;
    let (elapsed, report) = timed(|| invoke(sandbox, "incoming/trades/distant.csv", true));
    assert_eq!(report["inserted"], sizes.peer_rows);
    (elapsed, world.number(END).await as f64 / 1000.0)
}

/// Starts a sandbox of the function behind a line that delays.
fn far(world: &World) -> Emulator {
    let (host, rest) = world.url.split_once('@').map_or(("", world.url.as_str()), |(user, rest)| (user, rest));
    let (place, path) = rest.split_once('/').expect("the address names a database");
    let line = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = line.local_addr().expect("the address of the line").port();
    let target = place.to_owned();
    std::thread::spawn(move || {
        for near in line.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&target).expect("connect to Postgres");
            for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                delay(from.expect("clone a socket"), to.expect("clone a socket"));
            }
        }
    });
    world.at(&format!("{host}@127.0.0.1:{port}/{path}"), Stdio::null())
}

/// Passes on what comes, a millisecond later and in its order.
fn delay(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    for socket in [&from, &to] {
        socket.set_nodelay(true).expect("send at once");
    }
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        // A side that is gone ends the line.
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + DELAY, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
