//! What each mode does in the database: one file for each mode of `domain::mode`, and one line in [`STEPS`].

mod append;
mod contract;
mod moved;
mod replace;
mod upsert;

use deadpool_postgres::Transaction;

use self::contract::Steps;
pub(super) use self::replace::overtaken;
use super::Database;
use super::claim::Claim;
use crate::domain::Dataset;
use crate::error::Result;

/// The steps of each mode, by its name.
const STEPS: &[(&str, &dyn Steps)] =
    &[("upsert", &upsert::Upsert), ("append", &append::Append), ("replace", &replace::Replace)];

/// Returns the steps of the mode of a dataset.
pub(super) fn steps(dataset: &Dataset) -> &'static dyn Steps {
    let name = dataset.mode.name();
    STEPS.iter().find(|(mode, _)| *mode == name).map_or(&upsert::Upsert, |(_, steps)| *steps)
}

impl Database {
    /// Ends a load as its mode demands, in the transaction that closes it. Returns how many rows it has taken out of the
    /// table.
    ///
    /// # Errors
    /// `File` if the table refuses that, `Connection`, `System`.
    pub(super) async fn end_mode(
        &self,
        transaction: &Transaction<'_>,
        claim: &Claim,
        dataset: &Dataset,
        read: i64,
    ) -> Result<i64> {
        if !dataset.mode.takes_away() {
            return Ok(0);
        }
        let table = self.table_of_claim(claim, dataset).await?;
        let ended = steps(dataset).end(transaction, claim, dataset, read).await;
        ended.map_err(|error| table.refusal(dataset, "end the load", error))
    }
}

#[cfg(test)]
mod tests {
    use super::STEPS;
    use crate::domain::mode::MODES;

    #[test]
    fn every_mode_has_its_steps() {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, MODES.iter().map(|mode| mode.name()).collect::<Vec<_>>());
    }
}
