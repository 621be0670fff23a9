//! Validate: SQL generated from the dataset checks the staged text, casts it, and finds every violation of every row.
//!
//! One pass computes the typed columns and whether a row is good. Only the rows that are not go through a second
//! query that says what is wrong with them, so that a clean file pays for one pass alone.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;

use super::analyse::statistic_query;
use super::extract::create_tables;
use super::{Validated, Validator};
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::column::{Column, ColumnType, Constraint, Literal};
use crate::domain::violation::quoted;
use crate::domain::{Dataset, RowRule, Severity};
use crate::error::{Error, Result};

/// `_check` in table `violation` for a row that lost to another with the same key; `_detail` is the winner's line.
pub(super) const UNIQUE: i32 = -2;

/// The part `duckdb`.
pub struct DuckDbValidator;

#[async_trait]
impl Validator for DuckDbValidator {
    async fn check_definition(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()> {
        let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
        blocking(move || check_definition(&dataset, &stage)).await
    }

    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Validated> {
        let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
        blocking(move || validate(&dataset, &stage)).await
    }
}

/// Runs every generated statement on an empty stage: what does not bind there never will.
fn check_definition(dataset: &Dataset, stage: &Stage) -> Result<()> {
    let checks = Check::all(dataset);
    create_tables(dataset, stage)?;
    let statements = [
        check_rows(dataset, &checks),
        explain_rows(dataset, &checks),
        find_duplicates(dataset),
        explain_warnings(dataset),
    ];
    for statement in statements {
        stage.try_statement(&statement).map_err(|message| {
            Error::configuration(format!("dataset {}: a rule or pattern is wrong: {message}", dataset.name))
        })?;
    }
    for statistic in &dataset.statistics {
        stage.try_statement(&statistic_query(statistic)).map_err(|message| {
            Error::configuration(format!("dataset {}: statistic {} is wrong: {message}", dataset.name, statistic.id))
        })?;
    }
    Ok(())
}

fn validate(dataset: &Dataset, stage: &Stage) -> Result<Validated> {
    let checks = Check::all(dataset);
    stage.execute(&check_rows(dataset, &checks))?;
    if count(stage, "select count(*) from checked where not _ok")? > 0 {
        stage.execute(&explain_rows(dataset, &checks))?;
    }
    stage.execute("drop table staged")?;
    stage.execute(&find_duplicates(dataset))?;
    Ok(Validated {
        accepted: count(stage, "select count(*) from checked where _ok")?,
        rejected: count(stage, "select count(distinct _record) from violation")?,
        warnings: count(stage, "select coalesce(sum(_warnings), 0)::bigint from checked where _ok")?,
    })
}

/// The single number that a query returns.
fn count(stage: &Stage, sql: &str) -> Result<i64> {
    let batches = stage.query(sql)?;
    Ok(batches.first().map_or(0, |rows| rows.column(0).as_primitive::<Int64Type>().value(0)))
}

/// One thing that a row can break. Its place in the list is `_check` in table `violation`.
pub(super) struct Check<'a> {
    /// The column that a violation names, or none for the record as a whole.
    pub(super) column: Option<&'a str>,
    severity: Severity,
    /// True where the row breaks it; null counts as false.
    violated: String,
    kind: CheckKind<'a>,
}

enum CheckKind<'a> {
    Unreadable,
    Required,
    Unprintable,
    Type(ColumnType),
    Constraint(&'a Constraint),
    Row(&'a RowRule),
}

impl<'a> Check<'a> {
    /// Every check of a dataset, in the order in which violations are reported.
    pub(super) fn all(dataset: &'a Dataset) -> Vec<Self> {
        let record = Self {
            column: None,
            severity: Severity::Error,
            violated: "not _readable".into(),
            kind: CheckKind::Unreadable,
        };
        let columns = dataset.columns.iter().flat_map(Self::of_column);
        let rules = dataset.rules.iter().map(|rule| Self {
            column: Some(&rule.column),
            severity: rule.severity,
            violated: row_rule_violated(rule, dataset),
            kind: CheckKind::Row(rule),
        });
        std::iter::once(record).chain(columns).chain(rules).collect()
    }

    fn of_column(column: &'a Column) -> Vec<Self> {
        let name = &column.name;
        let error = |violated: String, kind| Self { column: Some(name), severity: Severity::Error, violated, kind };
        let mut checks = Vec::new();
        if column.required {
            checks.push(error(format!("\"{name}.raw\" is null"), CheckKind::Required));
        }
        checks.push(error(unprintable(name), CheckKind::Unprintable));
        if column.kind != ColumnType::Text {
            let no_value = format!("\"{name}.raw\" is not null and \"{name}\" is null and not {}", unprintable(name));
            checks.push(error(no_value, CheckKind::Type(column.kind)));
        }
        for (constraint, severity) in &column.constraints {
            let violated = constraint_violated(column, constraint);
            let kind = CheckKind::Constraint(constraint);
            checks.push(Self { column: Some(name), severity: *severity, violated, kind });
        }
        checks
    }

    /// The rule's id.
    pub(super) fn rule(&self) -> &str {
        match self.kind {
            CheckKind::Required => "required",
            CheckKind::Unprintable | CheckKind::Unreadable => "unprintable",
            CheckKind::Type(kind) => kind.rule(),
            CheckKind::Constraint(constraint) => constraint.rule(),
            CheckKind::Row(rule) => &rule.id,
        }
    }

    /// What is wrong with a cell that breaks it.
    pub(super) fn explain(&self, cell: &str) -> String {
        match self.kind {
            CheckKind::Unreadable => {
                "a column that is not loaded has a NUL or bytes that are not UTF-8; save the file as UTF-8".into()
            }
            CheckKind::Required => "the cell holds no value, but one is required".into(),
            CheckKind::Unprintable => format!(
                "{} has a NUL or bytes that are not UTF-8; save the file as UTF-8",
                quoted(cell).replace("\\\\x", "\\x")
            ),
            CheckKind::Type(kind) => kind.explain(cell),
            CheckKind::Constraint(constraint) => constraint.explain(cell),
            CheckKind::Row(rule) => rule.message.clone(),
        }
    }
}

/// The typed column as it stands in SQL, also where its name is a keyword.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{name}\"")
}

fn unprintable(name: &str) -> String {
    format!("starts_with(\"{name}.raw\", chr(0))")
}

fn literal(value: &Literal) -> String {
    format!("'{}'", value.to_string().replace('\'', "''"))
}

/// The type in which the stage holds a column.
fn stage_type(kind: ColumnType) -> String {
    match kind {
        ColumnType::Text => "varchar".into(),
        ColumnType::Integer => "integer".into(),
        ColumnType::BigInt => "bigint".into(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        ColumnType::Timestamp => "timestamp".into(),
    }
}

/// The typed value of a cell, or null where the text is none. The text is checked first: a cast alone would round,
/// shift and guess.
fn typed(column: &Column) -> String {
    let name = &column.name;
    let raw = format!("\"{name}.raw\"");
    let Some(form) = column.kind.lexical_form() else {
        return format!("case when not {} then {raw} end as \"{name}\"", unprintable(name));
    };
    let kind = stage_type(column.kind);
    if column.kind == ColumnType::Timestamp {
        // The database knows a year 0000, the contract does not.
        return format!(
            "case when regexp_full_match({raw}, '{form}') and not starts_with({raw}, '0000') \
             then try_cast(rtrim({raw}, 'Z') as {kind}) end as \"{name}\""
        );
    }
    format!("case when regexp_full_match({raw}, '{form}') then try_cast({raw} as {kind}) end as \"{name}\"")
}

fn constraint_violated(column: &Column, constraint: &Constraint) -> String {
    let name = quoted_name(&column.name);
    let value = |bound: &Literal| format!("cast({} as {})", literal(bound), stage_type(column.kind));
    match constraint {
        Constraint::MinLength(length) => format!("length({name}) < {length}"),
        Constraint::MaxLength(length) => format!("length({name}) > {length}"),
        Constraint::Min(bound) => format!("{name} < {}", value(bound)),
        Constraint::Above(bound) => format!("{name} <= {}", value(bound)),
        Constraint::Max(bound) => format!("{name} > {}", value(bound)),
        Constraint::Below(bound) => format!("{name} >= {}", value(bound)),
        Constraint::Allowed(values) => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("{name} not in ({})", values.join(", "))
        }
        Constraint::Pattern(pattern) => {
            format!("not regexp_full_match({name}, '{}')", pattern.replace('\'', "''"))
        }
    }
}

/// A row rule runs where every column that it reads is present and valid. There, a null or a raised error (`try`
/// makes it a null) is a violation.
fn row_rule_violated(rule: &RowRule, dataset: &Dataset) -> String {
    let mut valid: Vec<String> = Vec::new();
    for column in dataset.columns.iter().filter(|column| rule.reads.contains(&column.name)) {
        valid.push(format!("{} is not null", quoted_name(&column.name)));
        for (constraint, severity) in &column.constraints {
            if *severity == Severity::Error {
                valid.push(format!("not coalesce({}, false)", constraint_violated(column, constraint)));
            }
        }
    }
    valid.push(match &rule.when {
        None => format!("not coalesce(try({}), false)", rule.check),
        Some(when) => format!(
            "coalesce(try({when}), true) and not coalesce(case when try({when}) then try({}) end, false)",
            rule.check
        ),
    });
    valid.join(" and ")
}

/// `select` list of the staged text and the typed columns.
fn typed_rows(dataset: &Dataset) -> String {
    let columns: Vec<String> = dataset.columns.iter().map(typed).collect();
    format!("select *, {} from staged", columns.join(", "))
}

fn check_rows(dataset: &Dataset, checks: &[Check<'_>]) -> String {
    let of = |severity: Severity, map: fn(&Check<'_>) -> String, joint: &str, none: &str| {
        let parts: Vec<String> = checks.iter().filter(|check| check.severity == severity).map(map).collect();
        if parts.is_empty() { none.to_owned() } else { parts.join(joint) }
    };
    let errors = of(Severity::Error, |check| format!("coalesce({}, false)", check.violated), " or ", "false");
    let warnings = of(Severity::Warning, |check| format!("coalesce({}, false)::integer", check.violated), " + ", "0");
    let columns: Vec<String> = dataset.columns.iter().map(|column| quoted_name(&column.name)).collect();
    format!(
        "create or replace table checked as \
         select _record, _line, _offset, _length, {}, ({warnings})::bigint as _warnings, not ({errors}) as _ok from ({})",
        columns.join(", "),
        typed_rows(dataset)
    )
}

/// Numbers alone: what stood in the cells is read from the record's own bytes when somebody asks.
fn explain_rows(dataset: &Dataset, checks: &[Check<'_>]) -> String {
    let broken: Vec<String> = checks
        .iter()
        .enumerate()
        .filter(|(_, check)| check.severity == Severity::Error)
        .map(|(index, check)| format!("case when {} then {index} end", check.violated))
        .collect();
    format!(
        "insert into violation \
         select _record, _line, _offset, _length, _check, null from ( \
             select _record, _line, _offset, _length, unnest(_checks) as _check from ( \
                 select _record, _line, _offset, _length, [{}] as _checks from ({}) \
                 where _record in (select _record from checked where not _ok))) \
         where _check is not null",
        broken.join(", "),
        typed_rows(dataset)
    )
}

/// What the accepted rows broke that only warns, likewise. It needs no more than the typed columns.
pub(super) fn explain_warnings(dataset: &Dataset) -> String {
    let broken: Vec<String> = Check::all(dataset)
        .iter()
        .enumerate()
        .filter(|(_, check)| check.severity == Severity::Warning)
        .map(|(index, check)| format!("case when {} then {index} end", check.violated))
        .collect();
    format!(
        "create or replace table warning as \
         select _record, _line, _offset, _length, _check::integer as _check, null::bigint as _detail from ( \
             select _record, _line, _offset, _length, unnest([{}]::integer[]) as _check from checked \
             where _ok and _warnings > 0) \
         where _check is not null",
        broken.join(", ")
    )
}

/// Of the good rows with one key the latest version wins, then the later record. The others lose to it.
fn find_duplicates(dataset: &Dataset) -> String {
    let (key, version) = (quoted_name(&dataset.key), quoted_name(&dataset.version));
    format!(
        "create or replace table loser as \
         select _record, _line, _offset, _length, _winner from ( \
             select _record, _line, _offset, _length, \
                 first_value(_line) over _same_key as _winner, row_number() over _same_key as _rank from checked \
             where _ok and {key} in (select {key} from checked where _ok group by {key} having count(*) > 1) \
             window _same_key as (partition by {key} order by {version} desc, _record desc) \
         ) where _rank > 1; \
         insert into violation select _record, _line, _offset, _length, {UNIQUE}, _winner from loser; \
         update checked set _ok = false where _record in (select _record from loser)"
    )
}
