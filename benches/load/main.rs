//! `make bench`: measures what the project promises to be fast at. Each figure is measured in turn with its peer, in
//! one session, so that a machine that slows down slows both. It writes `BENCHMARKS.md` and its plot.
//!
//! `ONLY` chooses sections: `init`, `small`, `load`, `rejects`, `validate`, `modes`, `sources`, `peers`, `distance`, `memory`, `guess`; for the
//! others, earlier results are kept (`benches/results.json`). `RUNS` sets how often to measure (5), `ROWS`, `PEER_ROWS` and
//! `LARGE_ROWS` set the sizes, and `INGEST` names another build of the function. If one of these is set, nothing is
//! kept and nothing is written.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub
)]

mod distance;
mod figures;
mod guess;
mod modes;
mod report;
mod results;
mod sections;
mod sources;
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;
mod world;

use results::Results;
use world::World;

/// How much of everything to measure.
pub struct Sizes {
    pub runs: usize,
    pub rows: u64,
    pub peer_rows: u64,
    pub large_rows: u64,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let sizes = Sizes {
        runs: number("RUNS", 5).max(1) as usize,
        rows: number("ROWS", 1_000_000),
        peer_rows: number("PEER_ROWS", 200_000),
        large_rows: number("LARGE_ROWS", 20_000_000),
    };
    let only = std::env::var("ONLY").ok();
    let wanted = |section: &str| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == section));
    let world = World::start().await;
    let mut results = Results::load();
    let as_promised =
        ["RUNS", "ROWS", "PEER_ROWS", "LARGE_ROWS", "INGEST"].iter().all(|name| std::env::var_os(name).is_none());
    for section in report::SECTIONS.into_iter().filter(|section| wanted(section)) {
        let mut points = Vec::new();
        let lines = match section {
            "init" => vec![sections::init(&world)],
            "small" => sections::small_files(&world).await,
            "load" => sections::load(&world, &sizes, &mut points).await,
            "rejects" => vec![sections::rejects(&world, &sizes).await],
            "validate" => sections::validate(&world, &sizes),
            "modes" => modes::modes(&world, &sizes).await,
            "sources" => vec![sources::sources(&world, &sizes)],
            "distance" => distance::distance(&world, &sizes).await,
            "guess" => guess::guess(&world),
            "peers" => sections::peers(&world, &sizes, &mut points).await,
            _ => sections::memory(&world, &sizes).await,
        };
        if as_promised {
            let peers = match section {
                "peers" => sections::versions(),
                "guess" | "validate" => guess::versions(),
                _ => String::new(),
            };
            let server = format!("Postgres {}", world.server().await);
            let beside: Vec<&str> = std::iter::once(server.as_str()).chain(peers.lines()).collect();
            results.keep(section, &beside.join(", "), lines, points);
        }
    }
    if as_promised {
        report::write(&results);
    }
}
