//! `replace`: a file is the whole truth for its scope, and of all files of a scope that of the object that arrived last is.

use super::contract::Mode;

/// The options of a definition in this mode.
const OPTIONS: [&str; 4] = ["replace_by", "deleted", "max_delete_rate", "empty"];

#[derive(Debug)]
pub(super) struct Replace;

impl Mode for Replace {
    fn name(&self) -> &'static str {
        "replace"
    }

    fn options(&self) -> &'static [&'static str] {
        &OPTIONS
    }

    fn is_by_arrival(&self) -> bool {
        true
    }

    fn takes_away(&self) -> bool {
        true
    }
}
