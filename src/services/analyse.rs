//! Analyse: computes the statistics that a dataset asks for over the accepted rows of a file.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use serde_json::{Map, Value, json};

use super::Extracted;
use super::tombstones::is_row;
use crate::data_access::duckdb::{Stage, blocking, is_out_of_range};
use crate::domain::Dataset;
use crate::domain::dataset::{EXTRA_COLUMNS, Statistic};
use crate::error::Result;

/// The answer of a function has a size limit, and nobody reads more groups than this.
const MOST_GROUPS: usize = 200;

/// Returns the statistics of a validated file, by id. Whole numbers are numbers. Decimals are text, because a program
/// may read a JSON number as a float. Times are RFC 3339 in UTC, and local times have no zone.
///
/// # Errors
/// `System` if the staging database fails.
pub async fn analyse(dataset: &Dataset, stage: &Arc<Stage>, extracted: &Extracted) -> Result<Value> {
    let (dataset, stage, extra) = (dataset.clone(), Arc::clone(stage), extracted.extra_columns.clone());
    blocking(move || {
        let mut figures: Map<String, Value> =
            dataset.statistics.iter().map(|statistic| (statistic.id.clone(), Value::Null)).collect();
        for statistics in by_grouping(&dataset.statistics) {
            for (statistic, figure) in statistics.iter().zip(compute(&dataset, &statistics, &stage)?) {
                figures.insert(statistic.id.clone(), figure);
            }
        }
        figures.insert(EXTRA_COLUMNS.into(), json!(extra));
        Ok(Value::Object(figures))
    })
    .await
}

/// Groups the statistics so that one query computes each group.
fn by_grouping(statistics: &[Statistic]) -> Vec<Vec<&Statistic>> {
    let mut groupings: Vec<Vec<&Statistic>> = Vec::new();
    for statistic in statistics {
        match groupings.iter_mut().find(|others| others[0].group_by == statistic.group_by) {
            Some(others) => others.push(statistic),
            None => groupings.push(vec![statistic]),
        }
    }
    groupings
}

/// Returns the figures of statistics with the same grouping. With a grouping, each is an object with a figure for each
/// group. A figure that overflows its type is reported as such and does not fail the file.
fn compute(dataset: &Dataset, statistics: &[&Statistic], stage: &Stage) -> Result<Vec<Value>> {
    let batches = match stage.query(&statistics_query(dataset, statistics)) {
        Ok(batches) => batches,
        Err(error) if !is_out_of_range(&error) => return Err(error),
        Err(_) if statistics.len() == 1 => return Ok(vec![json!({ "out_of_range": true })]),
        Err(_) => {
            let each = statistics.iter().map(|statistic| Ok(compute(dataset, &[statistic], stage)?.swap_remove(0)));
            return each.collect();
        }
    };
    let grouped = statistics.iter().any(|statistic| statistic.group_by.is_some());
    let mut single = vec![Value::Null; statistics.len()];
    let mut groups = vec![Map::new(); statistics.len()];
    for rows in batches {
        let text = |column: usize, row: usize| {
            let texts = rows.column(column).as_string::<i32>();
            (!texts.is_null(row)).then(|| texts.value(row))
        };
        for row in 0..rows.num_rows() {
            for nth in 0..statistics.len() {
                let kind = text(2 + 2 * nth, row).unwrap_or_default();
                let has_zone = || reads_instants(dataset, statistics[nth]);
                let value = text(1 + 2 * nth, row).map_or(Value::Null, |value| figure(value, kind, has_zone));
                if grouped {
                    groups[nth].insert(text(0, row).map_or_else(|| NULL.to_owned(), group_name), value);
                } else {
                    single[nth] = value;
                }
            }
        }
    }
    if !grouped {
        return Ok(single);
    }
    let few = |groups: &Map<String, Value>| groups.len() <= MOST_GROUPS;
    Ok(groups
        .into_iter()
        .map(|groups| if few(&groups) { groups.into() } else { json!({ "too_many_groups": true }) })
        .collect())
}

/// The query returns the group (or null), then each figure and its type. It has one row for each group, and at most one
/// more than are reported.
pub(super) fn statistics_query(dataset: &Dataset, statistics: &[&Statistic]) -> String {
    let limit = MOST_GROUPS + 1;
    let (group, by) = match statistics.first().and_then(|statistic| statistic.group_by.as_ref()) {
        Some(column) => (format!("\"{column}\""), "group by _group"),
        None => ("null".into(), ""),
    };
    let numbered = || statistics.iter().enumerate();
    let shown = numbered().map(|(nth, _)| format!("cast(_figure_{nth} as varchar), typeof(_figure_{nth})"));
    let computed = numbered().map(|(nth, statistic)| format!("{} as _figure_{nth}", statistic.expression));
    let (shown, computed) = (shown.collect::<Vec<_>>().join(", "), computed.collect::<Vec<_>>().join(", "));
    format!(
        "select cast(_group as varchar), {shown} \
         from (select {group} as _group, {computed} from staged where _ok and {} {by}) order by 1 limit {limit}",
        is_row(dataset)
    )
}

/// Whether an expression reads a column of instants. If so, a time that it returns is in UTC.
fn reads_instants(dataset: &Dataset, statistic: &Statistic) -> bool {
    let mut read = statistic.expression.reads().iter().filter_map(|name| dataset.column(name));
    read.any(|column| column.kind.is_instant())
}

/// The name of the group of rows without a value.
const NULL: &str = "null";

/// Returns the name of a group. A text that could be mistaken for [`NULL`] is quoted, so that no two groups have the
/// same name.
fn group_name(value: &str) -> String {
    if value.trim_matches('"') == NULL { format!("\"{value}\"") } else { value.to_owned() }
}

fn figure(text: &str, kind: &str, has_zone: impl Fn() -> bool) -> Value {
    if (kind.ends_with("INT") || kind == "INTEGER")
        && let Ok(number) = text.parse::<i64>()
    {
        return json!(number);
    }
    if kind.starts_with("TIMESTAMP") {
        return json!(format!("{}{}", text.replacen(' ', "T", 1), if has_zone() { "Z" } else { "" }));
    }
    json!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_groups_have_the_same_name() {
        assert_eq!(["a", "nul", "null", "\"null\""].map(group_name), ["a", "nul", "\"null\"", "\"\"null\"\""]);
    }
}
