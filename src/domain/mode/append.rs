//! `append`: each accepted row of each file is in the table, once.

use super::contract::Mode;

#[derive(Debug)]
pub(super) struct Append;

impl Mode for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn has_key(&self) -> bool {
        false
    }

    /// Those of a file that is loaded again and has fewer records than before.
    fn takes_away(&self) -> bool {
        true
    }
}
