//! `upsert`: of all rows with one key the newest is in the table.

use super::contract::Mode;

#[derive(Debug)]
pub(super) struct Upsert;

impl Mode for Upsert {
    fn name(&self) -> &'static str {
        "upsert"
    }
}
