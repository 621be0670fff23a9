//! Micro-benchmarks of the parts of a load that only compute: `cargo bench --profile dev --bench parts`.

#![allow(clippy::expect_used, missing_docs, unreachable_pub)]

mod work;

use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use work::Parts;

const ROWS: u64 = 100_000;
static PARTS: LazyLock<Parts> = LazyLock::new(|| Parts::new(ROWS));

fn main() {
    divan::main();
}

#[divan::bench]
fn split(bencher: Bencher) {
    bencher.counter(ItemsCount::new(ROWS)).bench(|| PARTS.split());
}

#[divan::bench(sample_count = 20)]
fn stage(bencher: Bencher) {
    bencher.counter(ItemsCount::new(ROWS)).bench(|| PARTS.stage());
}

#[divan::bench(sample_count = 20)]
fn validate(bencher: Bencher) {
    bencher.counter(ItemsCount::new(ROWS)).with_inputs(|| PARTS.stage()).bench_refs(|stage| PARTS.validate(stage));
}

#[divan::bench(sample_count = 20)]
fn read_back(bencher: Bencher) {
    let stage = PARTS.stage();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| PARTS.read(&stage));
}

#[divan::bench(sample_count = 20)]
fn encode(bencher: Bencher) {
    let rows = PARTS.read(&PARTS.stage());
    bencher.counter(ItemsCount::new(ROWS)).bench(|| PARTS.encode(&rows));
}
