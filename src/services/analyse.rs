//! Analyse: the figures that a dataset asks for over the accepted rows of a file.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use serde_json::{Map, Value, json};

use super::Extracted;
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::Dataset;
use crate::error::Result;

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
            let group = statistic.group_by.as_deref();
            let sql = format!(
                "select cast({} as varchar), cast(x as varchar), typeof(x) \
                 from (select {}{} as x from checked where _ok {}) order by 1",
                if group.is_some() { "g" } else { "null" },
                group.map_or(String::new(), |column| format!("\"{column}\" as g, ")),
                statistic.expression,
                if group.is_some() { "group by g" } else { "" },
            );
            let mut groups = Map::new();
            let mut single = Value::Null;
            for rows in stage.query(&sql)? {
                let text = |column: usize| rows.column(column).as_string::<i32>();
                let (names, values, types) = (text(0), text(1), text(2));
                for row in 0..rows.num_rows() {
                    let text = (!values.is_null(row)).then(|| values.value(row));
                    let value = text.map_or(Value::Null, |text| figure(text, types.value(row)));
                    if group.is_some() {
                        let name = if names.is_null(row) { "null" } else { names.value(row) };
                        groups.insert(name.to_owned(), value);
                    } else {
                        single = value;
                    }
                }
            }
            statistics.insert(statistic.id.clone(), if group.is_some() { Value::Object(groups) } else { single });
        }
        statistics.insert("extra_columns".into(), json!(extra));
        Ok(Value::Object(statistics))
    })
    .await
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
