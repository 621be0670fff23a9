//! Analyse: the figures that a dataset asks for over the accepted rows of a file.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use serde_json::{Map, Value, json};

use super::Extracted;
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::Dataset;
use crate::domain::dataset::Statistic;
use crate::error::Result;

/// The answer of a function has a limit, and a person does not read more.
const MOST_GROUPS: usize = 200;

/// The statistics of a validated file, by id. Whole numbers are numbers; decimals are text, since a JSON number may be
/// read as a float; times are RFC 3339 in UTC.
///
/// # Errors
/// `System` when the staging database fails.
pub async fn analyse(dataset: &Dataset, stage: &Arc<Stage>, extracted: &Extracted) -> Result<Value> {
    let (dataset, stage, extra) = (dataset.clone(), Arc::clone(stage), extracted.extra_columns.clone());
    blocking(move || {
        let mut statistics = Map::new();
        for statistic in &dataset.statistics {
            let mut groups = Map::new();
            let mut single = Value::Null;
            for rows in stage.query(&statistic_query(statistic))? {
                let text = |column: usize| rows.column(column).as_string::<i32>();
                let (names, values, types) = (text(0), text(1), text(2));
                for row in 0..rows.num_rows() {
                    let text = (!values.is_null(row)).then(|| values.value(row));
                    let value = text.map_or(Value::Null, |text| figure(text, types.value(row)));
                    if statistic.group_by.is_some() {
                        let name = if names.is_null(row) { "null" } else { names.value(row) };
                        groups.insert(name.to_owned(), value);
                    } else {
                        single = value;
                    }
                }
            }
            if groups.len() > MOST_GROUPS {
                groups.clear();
                groups.insert("too_many_groups".into(), json!(true));
            }
            statistics.insert(
                statistic.id.clone(),
                if statistic.group_by.is_some() { Value::Object(groups) } else { single },
            );
        }
        statistics.insert("extra_columns".into(), json!(extra));
        Ok(Value::Object(statistics))
    })
    .await
}

/// Group (or null), figure and its type, one row for each group, at most one more than are reported.
pub(super) fn statistic_query(statistic: &Statistic) -> String {
    let limit = MOST_GROUPS + 1;
    let (group, by) = match &statistic.group_by {
        Some(column) => (format!("\"{column}\""), "group by _group"),
        None => ("null".into(), ""),
    };
    format!(
        "select cast(_group as varchar), cast(_figure as varchar), typeof(_figure) \
         from (select {group} as _group, {} as _figure from staged where _ok {by}) order by 1 limit {limit}",
        statistic.expression
    )
}

fn figure(text: &str, kind: &str) -> Value {
    if (kind.ends_with("INT") || kind == "INTEGER")
        && let Ok(number) = text.parse::<i64>()
    {
        return json!(number);
    }
    if kind.starts_with("TIMESTAMP") {
        return json!(format!("{}Z", text.replacen(' ', "T", 1)));
    }
    json!(text)
}
