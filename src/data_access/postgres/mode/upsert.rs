//! `upsert`: the batches are all that it does.

use super::contract::Steps;

pub(super) struct Upsert;

impl Steps for Upsert {}
