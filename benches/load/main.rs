//! `make bench`: what the project promises to be fast at, each beside its peer, in turn in one session, so that a machine
//! that slows down slows both. It writes `BENCHMARKS.md` and its plot.
//!
//! `RUNS` says how often (5), `ROWS`, `PEER_ROWS` and `LARGE_ROWS` how much, `ONLY` which sections (and then nothing is
//! written): `init`, `small`, `load`, `rejects`, `peers`, `validate`, `memory`. `INGEST` names another build of the function.

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

mod figures;
mod report;
mod sections;
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;
mod world;

use figures::{Figures, Line};
use world::World;

/// How much of everything.
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
    let (mut lines, mut points): (Vec<Line>, Vec<(&str, u64, Figures)>) = (Vec::new(), Vec::new());
    if wanted("init") {
        lines.push(sections::init(&world));
    }
    if wanted("small") {
        lines.extend(sections::small_files(&world).await);
    }
    if wanted("load") {
        lines.extend(sections::load(&world, &sizes, &mut points).await);
    }
    if wanted("rejects") {
        lines.push(sections::rejects(&world, &sizes).await);
    }
    if wanted("validate") {
        lines.push(sections::validate(&world, &sizes));
    }
    if wanted("peers") {
        lines.extend(sections::peers(&world, &sizes, &mut points).await);
    }
    if wanted("memory") {
        lines.extend(sections::memory(&world, &sizes).await);
    }
    if only.is_none() {
        report::write(&world, &sizes, &lines, &points).await;
    }
}
