//! Validate: SQL generated from the dataset checks the staged text, casts it, and finds every violation of every row.
//!
//! One pass computes the typed columns and whether a row is good. Only the rows that are not go through a second
//! query that says what is wrong with them, so that a clean file pays for one pass alone.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use async_trait::async_trait;

use super::extract::FIELD_COUNT;
use super::{Extracted, Validated, Validator};
use crate::data_access::duckdb::{Spool, Stage, blocking};
use crate::domain::column::{Column, ColumnType, Constraint, Literal, UNPRINTABLE};
use crate::domain::violation::quoted;
use crate::domain::{Dataset, LineNumber, RecordNumber, RowRule, Severity, Violation};
use crate::error::Result;

/// `_check` in table `violation` for a row that lost to another with the same key; `_detail` is the winner's line.
const UNIQUE: i32 = -2;

/// The part `duckdb`.
pub struct DuckDbValidator;

#[async_trait]
impl Validator for DuckDbValidator {
    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Validated> {
        let (dataset, stage) = (dataset.clone(), Arc::clone(stage));
        blocking(move || validate(&dataset, &stage)).await
    }
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
pub(super) fn count(stage: &Stage, sql: &str) -> Result<i64> {
    let batches = stage.query(sql)?;
    Ok(batches.first().map_or(0, |rows| rows.column(0).as_primitive::<Int64Type>().value(0)))
}

/// One thing that a row can break. Its place in the list is `_check` in table `violation`.
struct Check<'a> {
    column: &'a str,
    severity: Severity,
    /// True where the row breaks it; null counts as false.
    violated: String,
    kind: CheckKind<'a>,
}

enum CheckKind<'a> {
    Required,
    Unprintable,
    Type(ColumnType),
    Constraint(&'a Constraint),
    Row(&'a RowRule),
}

impl<'a> Check<'a> {
    fn all(dataset: &'a Dataset) -> Vec<Self> {
        let columns = dataset.columns.iter().flat_map(Self::of_column);
        let rules = dataset.rules.iter().map(|rule| Self {
            column: &rule.column,
            severity: rule.severity,
            violated: row_rule_violated(rule, dataset),
            kind: CheckKind::Row(rule),
        });
        columns.chain(rules).collect()
    }

    fn of_column(column: &'a Column) -> Vec<Self> {
        let name = &column.name;
        let error = |violated: String, kind| Self { column: name, severity: Severity::Error, violated, kind };
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
            checks.push(Self { column: name, severity: *severity, violated, kind: CheckKind::Constraint(constraint) });
        }
        checks
    }

    fn rule(&self) -> &str {
        match self.kind {
            CheckKind::Required => "required",
            CheckKind::Unprintable => "unprintable",
            CheckKind::Type(kind) => kind.rule(),
            CheckKind::Constraint(constraint) => constraint.rule(),
            CheckKind::Row(rule) => &rule.id,
        }
    }

    fn explain(&self, cell: &str) -> String {
        match self.kind {
            CheckKind::Required => "the cell is empty, but a value is required".into(),
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

fn explain_rows(dataset: &Dataset, checks: &[Check<'_>]) -> String {
    let errors = || checks.iter().enumerate().filter(|(_, check)| check.severity == Severity::Error);
    let broken: Vec<String> =
        errors().map(|(index, check)| format!("case when {} then {index} end", check.violated)).collect();
    let values: Vec<String> =
        errors().map(|(index, check)| format!("when {index} then \"{}.raw\"", check.column)).collect();
    format!(
        "insert into violation \
         select _record, _line, _offset, _length, _check, case _check {} end, null from ( \
             select *, unnest([{}]) as _check from ({}) where _record in (select _record from checked where not _ok) \
         ) where _check is not null",
        values.join(" "),
        broken.join(", "),
        typed_rows(dataset)
    )
}

/// Of the good rows with one key the latest version wins, then the later record. The others lose to it.
fn find_duplicates(dataset: &Dataset) -> String {
    let (key, version) = (quoted_name(&dataset.key), quoted_name(&dataset.version));
    format!(
        "create or replace table loser as \
         select _record, _line, _offset, _length, {key}, winner from ( \
             select *, first_value(_line) over same_key as winner, row_number() over same_key as rank from checked \
             where _ok and {key} in (select {key} from checked where _ok group by {key} having count(*) > 1) \
             window same_key as (partition by {key} order by {version} desc, _record desc) \
         ) where rank > 1; \
         insert into violation select _record, _line, _offset, _length, {UNIQUE}, {key}::varchar, winner from loser; \
         update checked set _ok = false where _record in (select _record from loser)"
    )
}

/// The violations of the records `first` to `last`, in the order of the file.
pub(super) fn violations(
    dataset: &Dataset,
    stage: &Stage,
    extracted: &Extracted,
    first: i64,
    last: i64,
) -> Result<Vec<Violation>> {
    let sql = format!(
        "select _record, _line, _offset, _length, _check, _value, _detail from violation \
         where _record between {first} and {last} order by _record, _check"
    );
    let batches = stage.query(&sql)?;
    if batches.iter().all(|rows| rows.num_rows() == 0) {
        return Ok(Vec::new());
    }
    let checks = Check::all(dataset);
    let mut spool = stage.open_spool()?;
    let mut violations: Vec<Violation> = Vec::new();
    for rows in &batches {
        let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>();
        let (records, lines, offsets, lengths, details) = (numbers(0), numbers(1), numbers(2), numbers(3), numbers(6));
        let (check_numbers, values) = (rows.column(4).as_primitive::<Int32Type>(), rows.column(5).as_string::<i32>());
        for row in 0..rows.num_rows() {
            let value = (!values.is_null(row)).then(|| values.value(row));
            let check = usize::try_from(check_numbers.value(row)).ok().map(|index| &checks[index]);
            let (column, rule, message) = match (check, check_numbers.value(row)) {
                (Some(check), _) => {
                    let cell = value.unwrap_or_default().trim_start_matches(UNPRINTABLE);
                    (Some(check.column), check.rule(), check.explain(cell))
                }
                (None, FIELD_COUNT) => {
                    let message = format!(
                        "the record has {} fields, the header {}; quote fields that hold a comma",
                        details.value(row),
                        extracted.width
                    );
                    (None, "field_count", message)
                }
                (None, _) => {
                    let shown = quoted(value.unwrap_or_default());
                    let message = format!(
                        "{shown} stands again in line {}, which wins as the newer or later; keep one",
                        details.value(row)
                    );
                    (Some(dataset.key.as_str()), "unique", message)
                }
            };
            let raw =
                raw_record(&mut spool, violations.last(), records.value(row), offsets.value(row), lengths.value(row))?;
            violations.push(Violation {
                record: RecordNumber(records.value(row)),
                line: LineNumber(lines.value(row)),
                column: column.map(String::from),
                rule: rule.to_owned(),
                message,
                value: value.map(|value| value.trim_start_matches(UNPRINTABLE).to_owned()),
                raw,
            });
        }
    }
    Ok(violations)
}

/// The bytes of a record; those of the violation before, if it is of the same one.
fn raw_record(spool: &mut Spool, before: Option<&Violation>, record: i64, offset: i64, length: i64) -> Result<Vec<u8>> {
    match before {
        Some(violation) if violation.record.0 == record => Ok(violation.raw.clone()),
        _ => spool.cut(offset, length),
    }
}
