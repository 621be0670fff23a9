//! `upsert`: it only writes batches.

use super::contract::Steps;

pub(super) struct Upsert;

impl Steps for Upsert {}
