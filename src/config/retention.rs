//! The settings of what does not stay for ever, and of the night in which it goes.

use schemars::JsonSchema;
use serde::Deserialize;

/// Section `parked`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ParkedSettings {
    /// How many days a row waits for the row that it refers to before the nightly run makes it a reject; by default it waits for ever.
    #[schemars(range(min = 1, max = 36_500))]
    pub expire_days: Option<u32>,
}

/// Section `ledger`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LedgerSettings {
    /// How many days after the end of a load the nightly run prunes it from the ledger; 0 keeps everything for ever.
    #[serde(default = "two_years")]
    #[schemars(range(max = 36_500))]
    pub retention_days: u32,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { retention_days: two_years() }
    }
}

/// The default if a `default.toml` from elsewhere does not set it.
fn two_years() -> u32 {
    730
}

/// Section `reconcile`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReconcileSettings {
    /// Over how many nights the check of all rows of a large table is spread; a table of up to a million rows is checked every night.
    #[schemars(range(min = 1, max = 3_650))]
    pub full_days: u32,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self { full_days: 30 }
    }
}
