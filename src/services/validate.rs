//! Validate: SQL generated from the dataset finds every violation of every row whose cells are values of their types.
//!
//! One pass looks which rows break a rule at all, and only of those it is asked which, so that a clean file pays for one
//! pass alone.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::analyse::statistics_query;
use super::checks::{Breach, Check, quoted_name};
use super::content::{ANY_COPY, number_copies};
use super::sent_expressions::Expressions;
use super::staging::{VIOLATION_COLUMNS, create_tables};
use super::tombstones::forgive;
use super::{Validated, Validator};
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::expression::Expression;
use crate::domain::{Dataset, Severity};
use crate::error::{Error, Result};

/// The part `duckdb`.
pub struct DuckDbValidator;

#[async_trait]
impl Validator for DuckDbValidator {
    async fn check_definition(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()> {
        let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
        blocking(move || check_definition(&dataset, &stage)).await
    }

    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()> {
        let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
        blocking(move || validate(&dataset, &stage)).await
    }
}

/// Decides between good rows with one key, counts warnings, and says how the rows fared: once every validator has run.
///
/// # Errors
/// `System` when the staging database fails.
pub(super) async fn settle(dataset: &Dataset, stage: &Arc<Stage>) -> Result<Validated> {
    let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
    blocking(move || settle_staged(&dataset, &stage)).await
}

/// Runs every generated statement on an empty stage: what does not bind there never will.
fn check_definition(dataset: &Dataset, stage: &Stage) -> Result<()> {
    create_tables(dataset, stage)?;
    let statements = [find_violations(&Check::all(dataset), true), count_warnings(&Check::all(dataset))];
    let fixed = [MARK.to_owned(), explain_warnings(dataset)];
    let keyed = (!dataset.is_known_by_place()).then(|| [any_duplicate(dataset), find_losers(dataset)]);
    let numbered = dataset.content.is_some().then(number_copies);
    for statement in statements.into_iter().flatten().chain(fixed).chain(keyed.into_iter().flatten()).chain(numbered) {
        stage.try_statement(&statement).map_err(|message| {
            Error::configuration(format!("dataset {}: a rule or pattern is wrong: {message}", dataset.name))
        })?;
    }
    for source in &dataset.sources {
        for (expression, row) in Expressions::of(source).with_rows() {
            let bound = stage.try_statement(&format!("select ({expression})::varchar from {row}"));
            bound.and_then(|()| check_types([expression], &row, stage)).map_err(|message| {
                let (dataset, source) = (&dataset.name, &source.name);
                Error::configuration(format!("dataset {dataset}: source {source}: an expression is wrong: {message}"))
            })?;
        }
    }
    let rules = dataset.rules.iter().flat_map(|rule| rule.when.iter().chain(&rule.check));
    check_types(rules, ROW, stage)
        .map_err(|message| Error::configuration(format!("dataset {}: a rule is wrong: {message}", dataset.name)))?;
    for statistic in &dataset.statistics {
        let bound = stage.try_statement(&statistics_query(dataset, &[statistic]));
        bound.and_then(|()| check_types([&statistic.expression], ROW, stage)).map_err(|message| {
            Error::configuration(format!("dataset {}: statistic {} is wrong: {message}", dataset.name, statistic.id))
        })?;
    }
    Ok(())
}

/// A row of the stage, also where it has none.
const ROW: &str = "(select 1 as \"_ one\") left join staged on true";

/// Refuses to compare a text with a number: `'2.5' = 3` would be true. All comparisons are asked for at once, because each process does it when
/// it starts.
fn check_types<'e>(
    expressions: impl IntoIterator<Item = &'e Expression>,
    row: &str,
    stage: &Stage,
) -> std::result::Result<(), String> {
    let compared: Vec<[&str; 2]> =
        expressions.into_iter().flat_map(Expression::compared).map(|(one, other)| [one.as_str(), other]).collect();
    if compared.is_empty() {
        return Ok(());
    }
    let types: Vec<String> = compared.iter().flatten().map(|part| format!("typeof({part})")).collect();
    let found = stage.query(&format!("select {} from {row}", types.join(", "))).map_err(|error| error.chain())?;
    let types: Vec<&str> =
        found.iter().flat_map(RecordBatch::columns).map(|column| column.as_string::<i32>().value(0)).collect();
    let is_number = |name: &str| NUMBERS.iter().any(|number| name.starts_with(number));
    for ([one, other], types) in compared.iter().zip(types.chunks(2)) {
        let (text, number) = match types {
            ["VARCHAR", kind] if is_number(kind) => (one, other),
            [kind, "VARCHAR"] if is_number(kind) => (other, one),
            _ => continue,
        };
        return Err(format!(
            "{text} is text and {number} is a number, to which the text would be rounded; compare \
             cast({text} as decimal(38, 10)), or write the number in quotes"
        ));
    }
    Ok(())
}

/// What the names of the types of numbers begin with.
const NUMBERS: [&str; 7] = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "DOUBLE"];

/// What has a violation is not good.
const MARK: &str = "update staged set _ok = false where _ok and _record in (select _record from violation)";

/// In a smaller file every row is asked at once what it breaks: the statement is half as long, and to read it takes longer than
/// to run it.
const MANY_ROWS: i64 = 10_000;

fn validate(dataset: &Dataset, stage: &Stage) -> Result<()> {
    let checks = Check::all(dataset);
    let forgiven = (0_i32..).zip(&checks).filter(|(_, check)| check.is_of_rows_alone(dataset)).map(|(place, _)| place);
    forgive(dataset, &forgiven.collect::<Vec<_>>(), stage)?;
    if let Some(statement) = find_violations(&checks, stage.progress().staged() > MANY_ROWS)
        && stage.execute(&statement)? > 0
    {
        stage.execute(MARK)?;
    }
    Ok(())
}

fn settle_staged(dataset: &Dataset, stage: &Stage) -> Result<Validated> {
    let is_there_any = |query: &str| Ok::<_, Error>(stage.query(query)?.iter().any(|rows| rows.num_rows() > 0));
    if dataset.content.as_ref().is_some_and(|content| !content.is_given) {
        if is_there_any(ANY_COPY)? {
            stage.execute(&number_copies())?;
        }
    } else if !dataset.is_known_by_place() && is_there_any(&any_duplicate(dataset))? {
        stage.create_table("loser", VIOLATION_COLUMNS)?;
        stage.execute(&format!("insert into loser {}", find_losers(dataset)))?;
        stage.execute("insert into violation from loser")?;
        stage.execute("update staged set _ok = false where _record in (select _record from loser)")?;
    }
    if let Some(statement) = count_warnings(&Check::all(dataset)) {
        stage.execute(&statement)?;
    }
    let counts = stage.query(
        "select count(*) filter (where _ok), (select count(distinct _record) from violation), \
             coalesce(sum(_warnings) filter (where _ok), 0)::bigint, coalesce(max(_length) filter (where _ok), 0) from staged",
    )?;
    let number = |at: usize| counts.first().map_or(0, |row| row.column(at).as_primitive::<Int64Type>().value(0));
    Ok(Validated { accepted: number(0), rejected: number(1), warnings: number(2), longest: number(3) })
}

/// Those of one severity that are found here, with their places.
fn by_rule<'a>(checks: &'a [Check<'a>], severity: Severity) -> impl Iterator<Item = (usize, &'a str)> {
    checks
        .iter()
        .enumerate()
        .filter(move |(_, check)| check.severity == severity)
        .filter_map(|(index, check)| Some((index, check.violated.as_deref()?)))
}

/// Numbers alone: what stood in the cells is read from the record's own bytes when somebody asks.
fn broken<'a>(checks: impl Iterator<Item = (usize, &'a str)>) -> String {
    let broken: Vec<String> =
        checks.map(|(index, violated)| format!("case when {violated} then {index} end")).collect();
    format!("[{}]::integer[]", broken.join(", "))
}

/// With `select_first` only rows that break anything are asked what.
fn find_violations(checks: &[Check<'_>], select_first: bool) -> Option<String> {
    let any: Vec<&str> = by_rule(checks, Severity::Error).map(|(_, violated)| violated).collect();
    let which = if select_first { format!("where ({})", any.join(") or (")) } else { String::new() };
    (!any.is_empty()).then(|| {
        format!(
            "insert into violation \
             select _record, _line, _offset, _length, _check, null from ( \
                 select _record, _line, _offset, _length, unnest({}) as _check from staged {which}) \
             where _check is not null",
            broken(by_rule(checks, Severity::Error)),
        )
    })
}

fn count_warnings(checks: &[Check<'_>]) -> Option<String> {
    let warned = by_rule(checks, Severity::Warning).map(|(_, violated)| format!("coalesce({violated}, false)::bigint"));
    let sum = warned.collect::<Vec<_>>().join(" + ");
    (!sum.is_empty()).then(|| format!("update staged set _warnings = {sum} where _ok and {sum} > 0"))
}

/// What the accepted rows broke that only warns, likewise.
pub(super) fn explain_warnings(dataset: &Dataset) -> String {
    format!(
        "select _record, _line, _offset, _length, _check, null::bigint as _detail from ( \
             select _record, _line, _offset, _length, unnest({}) as _check from staged where _ok and _warnings > 0) \
         where _check is not null",
        broken(by_rule(&Check::all(dataset), Severity::Warning))
    )
}

fn key_list(dataset: &Dataset) -> String {
    dataset.key.iter().map(|name| quoted_name(name)).collect::<Vec<_>>().join(", ")
}

/// A row where two good rows have one key, or, which hardly ever happens, two keys with the same hash.
fn any_duplicate(dataset: &Dataset) -> String {
    let key = key_list(dataset);
    format!("select 1 from staged where _ok group by hash({key}) having count(*) > 1 limit 1")
}

/// Of the good rows with one key the latest version wins, if there is a version, then the later record. The others lose to it.
fn find_losers(dataset: &Dataset) -> String {
    let key = key_list(dataset);
    let newest =
        dataset.version.as_ref().map_or_else(String::new, |version| format!("{} desc, ", quoted_name(version)));
    format!(
        "select _record, _line, _offset, _length, {}, _winner from ( \
             select _record, _line, _offset, _length, \
                 first_value(_line) over _same_key as _winner, row_number() over _same_key as _rank from staged \
             where _ok and ({key}) in (select {key} from staged where _ok group by {key} having count(*) > 1) \
             window _same_key as (partition by {key} order by {newest}_record desc) \
         ) where _rank > 1",
        Breach::SameKey(0).number()
    )
}
