//! A validator that knows how much an account may trade at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use small_etl::arrow::array::AsArray;
use small_etl::arrow::datatypes::Int64Type;
use small_etl::{
    Dataset, PartSettings, RecordNumber, Result, RowRule, Stage, Validator, async_trait, good_rows, reject,
};

const RULE: &str = "desk_limit";
const ROWS_AT_ONCE: i64 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeskLimits {
    /// The largest volume of one trade, by account.
    most: BTreeMap<String, i64>,
}

pub(crate) fn make(settings: &PartSettings<'_>) -> Result<Arc<dyn Validator>> {
    Ok(Arc::new(settings.options::<DeskLimits>()?))
}

#[async_trait]
impl Validator for DeskLimits {
    fn rules(&self, _: &Dataset) -> Vec<RowRule> {
        vec![RowRule::found(RULE, "traded_volume", "the desk may not trade this much at once; ask for a higher limit")]
    }

    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()> {
        for first in (1..=stage.progress().staged()).step_by(10_000) {
            let range = (RecordNumber(first), RecordNumber(first + ROWS_AT_ONCE - 1));
            let mut beyond = Vec::new();
            for rows in good_rows(dataset, stage, &["account_id", "traded_volume"], range).await? {
                let (records, accounts) =
                    (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_string::<i32>());
                let volumes = rows.column(2).as_primitive::<Int64Type>();
                let is_beyond =
                    |row: &usize| self.most.get(accounts.value(*row)).is_some_and(|most| volumes.value(*row) > *most);
                beyond.extend((0..rows.num_rows()).filter(is_beyond).map(|row| RecordNumber(records.value(row))));
            }
            reject(dataset, stage, RULE, &beyond).await?;
        }
        Ok(())
    }
}
