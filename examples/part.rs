//! `part NAME`: runs the computing parts of a load up to this one, once, so that `make check-instructions` can count
//! the instructions of each.

#![allow(clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "../benches/parts/work.rs"]
mod work;

use work::Parts;

const NAMES: [&str; 5] = ["nothing", "split", "stage", "validate", "encode"];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let last = NAMES
        .iter()
        .position(|known| *known == name)
        .expect("the argument is nothing, split, stage, validate or encode");
    let parts = Parts::new(20_000);
    if last >= 1 {
        std::hint::black_box(parts.split());
    }
    if last >= 2 {
        let stage = parts.stage();
        if last >= 3 {
            std::hint::black_box(parts.validate(&stage));
        }
        if last >= 4 {
            std::hint::black_box(parts.encode(&parts.read(&stage)));
        }
    }
}
