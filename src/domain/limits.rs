//! What a dataset says of its loads instead of the settings of section `load`.

use std::str::FromStr;

use rust_decimal::Decimal;
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

/// Whether a part is a greater share of a whole than `most`, as its decimals say: 29 of 100 are not more than 0.29.
#[must_use]
pub fn is_more(part: i64, most: f64, whole: i64) -> bool {
    match Decimal::from_str(&most.to_string()).ok().and_then(|most| most.checked_mul(whole.into())) {
        Some(limit) => Decimal::from(part) > limit,
        // With more digits than a decimal has.
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        None => part as f64 > most * whole as f64,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_share_is_no_more_than_itself(percent in 0_i64..=100, hundreds in 1_i64..1_000_000) {
            let (most, part, whole) = (format!("0.{percent:02}").replace("0.100", "1.0").parse::<f64>().unwrap(), percent * hundreds, 100 * hundreds);
            assert!(!is_more(part, most, whole) && is_more(part + 1, most, whole), "{part} of {whole}, {most}");
        }
    }

    #[test]
    fn nothing_of_nothing_is_no_more_than_any_share() {
        assert!(!is_more(0, 0.0, 0) && is_more(1, 0.0, 1) && !is_more(i64::MAX, 1.0, i64::MAX));
    }
}
