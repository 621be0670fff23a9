//! What a dataset says of its loads instead of the settings of section `load`.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[load]` in a definition. What it does not say the settings do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadLimits {
    /// Records in one transaction.
    #[schemars(range(min = 1))]
    pub batch_size: Option<i32>,
    /// More rejects than this fail the file.
    #[schemars(range(min = 0))]
    pub max_rejects: Option<i64>,
    /// A greater share of rejects than this fails the file.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_reject_rate: Option<f64>,
    /// If more rows of a file than this would wait for the rows that they refer to, the file fails before anything is written; by default
    /// there is no limit.
    #[schemars(range(min = 0))]
    pub max_parked: Option<i64>,
}

impl LoadLimits {
    /// Checks that a file of a dataset that refers to another one, or does not, can be loaded under these limits.
    ///
    /// # Errors
    /// A message that names the limit and what it may be.
    pub fn check(&self, refers: bool) -> Result<(), String> {
        if self.max_parked.is_some() && !refers {
            return Err("max_parked needs a [reference], because nothing else parks rows".to_owned());
        }
        let rules = [
            ("max_parked", self.max_parked.is_none_or(|most| most >= 0), "at least 0"),
            ("batch_size", self.batch_size.is_none_or(|size| size >= 1), "at least 1"),
            ("max_rejects", self.max_rejects.is_none_or(|most| most >= 0), "at least 0"),
            ("max_reject_rate", self.max_reject_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), "0 to 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((name, _, bounds)) => Err(format!("{name} must be {bounds}")),
        }
    }
}
