//! Validate: SQL generated from the dataset finds every violation of every row whose cells are values of their types.
//!
//! One pass looks which rows break a rule at all, and only of those it is asked which, so that a clean file pays for one
//! pass alone.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;

use super::analyse::statistics_query;
use super::content::{ANY_COPY, number_copies};
use super::sent_expressions::Expressions;
use super::staging::create_tables;
use super::{Validated, Validator};
use crate::data_access::duckdb::{Stage, blocking};
use crate::domain::column::{Column, Constraint, Literal};
use crate::domain::dataset::CONTENT_KEY;
use crate::domain::expression::Expression;
use crate::domain::violation::{self, quoted};
use crate::domain::{ColumnType, Dataset, RowRule, Severity};
use crate::error::{Error, Result};

/// `_check` in table `violation` for a row that lost to another with the same key; `_detail` is the winner's line.
pub(super) const UNIQUE: i32 = -2;
/// `_check` for a record in which a column that is not loaded is no text: the first of [`Check::all`].
pub(super) const UNREADABLE: i32 = 0;

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
        for statement in Expressions::of(source).statements() {
            stage.try_statement(&statement).map_err(|message| {
                let (dataset, source) = (&dataset.name, &source.name);
                Error::configuration(format!("dataset {dataset}: source {source}: an expression is wrong: {message}"))
            })?;
        }
    }
    for statistic in &dataset.statistics {
        stage.try_statement(&statistics_query(&[statistic])).map_err(|message| {
            Error::configuration(format!("dataset {}: statistic {} is wrong: {message}", dataset.name, statistic.id))
        })?;
    }
    Ok(())
}

/// What has a violation is not good.
const MARK: &str = "update staged set _ok = false where _ok and _record in (select _record from violation)";

/// In a smaller file every row is asked at once what it breaks: the statement is half as long, and to read it takes longer than
/// to run it.
const MANY_ROWS: i64 = 10_000;

fn validate(dataset: &Dataset, stage: &Stage) -> Result<()> {
    let checks = Check::all(dataset);
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
        stage.create_table("loser", &format!("as {}", find_losers(dataset)))?;
        stage.execute(&format!(
            "insert into violation select _record, _line, _offset, _length, {UNIQUE}, _winner from loser"
        ))?;
        stage.execute("update staged set _ok = false where _record in (select _record from loser)")?;
    }
    if let Some(statement) = count_warnings(&Check::all(dataset)) {
        stage.execute(&statement)?;
    }
    let counts = stage.query(
        "select count(*) filter (where _ok), (select count(distinct _record) from violation), \
             coalesce(sum(_warnings) filter (where _ok), 0)::bigint from staged",
    )?;
    let number = |at: usize| counts.first().map_or(0, |row| row.column(at).as_primitive::<Int64Type>().value(0));
    Ok(Validated { accepted: number(0), rejected: number(1), warnings: number(2) })
}

/// One thing that a row can break. Its place in the list is `_check` in table `violation`.
pub(super) struct Check<'a> {
    /// The column that a violation names, or none for the record as a whole.
    pub(super) column: Option<&'a str>,
    severity: Severity,
    /// True where the row breaks it; null counts as false. None where somebody else finds who does.
    violated: Option<String>,
    kind: CheckKind<'a>,
}

enum CheckKind<'a> {
    Unreadable,
    /// The cell is not in the form that its source declares.
    Form,
    Required,
    Unprintable,
    Type(&'a ColumnType),
    Future,
    Content,
    Constraint(&'a Constraint),
    Row(&'a RowRule),
}

impl<'a> Check<'a> {
    /// Every check of a dataset, in the order in which violations are reported.
    pub(super) fn all(dataset: &'a Dataset) -> Vec<Self> {
        let record = Self { column: None, severity: Severity::Error, violated: None, kind: CheckKind::Unreadable };
        let sent = !dataset.sources.is_empty();
        let is_version = |column: &Column| Some(&column.name) == dataset.version.as_ref();
        let columns = dataset.file_columns().iter().flat_map(move |column| {
            let form = sent.then(|| Self {
                column: Some(&column.name),
                severity: Severity::Error,
                violated: None,
                kind: CheckKind::Form,
            });
            form.into_iter().chain(Self::of_column(column, is_version(column)))
        });
        let given = dataset.content.iter().filter(|content| content.is_given);
        let given = given.map(|_| Self {
            column: Some(CONTENT_KEY),
            severity: Severity::Error,
            violated: None,
            kind: CheckKind::Content,
        });
        let rules = dataset.rules.iter().map(|rule| Self {
            column: Some(&rule.column),
            severity: rule.severity,
            violated: rule.check.as_ref().map(|check| row_rule_violated(rule, check, dataset)),
            kind: CheckKind::Row(rule),
        });
        std::iter::once(record).chain(columns).chain(given).chain(rules).collect()
    }

    fn of_column(column: &'a Column, is_version: bool) -> Vec<Self> {
        let name = &column.name;
        let found = |kind| Self { column: Some(name), severity: Severity::Error, violated: None, kind };
        let mut checks = Vec::new();
        if column.required {
            checks.push(found(CheckKind::Required));
        }
        checks.push(found(CheckKind::Unprintable));
        checks.push(found(CheckKind::Type(&column.kind)));
        if is_version {
            checks.push(found(CheckKind::Future));
        }
        for (constraint, severity) in &column.constraints {
            let violated = Some(constraint_violated(column, constraint));
            let kind = CheckKind::Constraint(constraint);
            checks.push(Self { column: Some(name), severity: *severity, violated, kind });
        }
        checks
    }

    /// Whether it is that a cell is not in the form that its source declares: the source then says why.
    pub(super) fn is_form(&self) -> bool {
        matches!(self.kind, CheckKind::Form)
    }

    /// Whether a validator of the pipeline finds who breaks it.
    pub(super) fn is_found(&self) -> bool {
        matches!(self.kind, CheckKind::Row(rule) if rule.check.is_none())
    }

    /// The rule's id.
    pub(super) fn rule(&self) -> &str {
        match self.kind {
            CheckKind::Form => violation::FORM,
            CheckKind::Required => violation::REQUIRED,
            CheckKind::Unprintable | CheckKind::Unreadable => violation::UNPRINTABLE,
            CheckKind::Type(kind) => kind.rule(),
            CheckKind::Future => violation::FUTURE,
            CheckKind::Content => violation::CONTENT,
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
            CheckKind::Form => format!("{} is not in the form that its source declares", quoted(cell)),
            CheckKind::Required => "the cell holds no value, but one is required".into(),
            CheckKind::Unprintable => format!(
                "{} has a NUL or bytes that are not UTF-8; save the file as UTF-8",
                quoted(cell).replace("\\\\x", "\\x")
            ),
            CheckKind::Type(kind) => kind.explain(cell),
            CheckKind::Future => format!(
                "{} lies further in the future than load.max_future_seconds allows, and would make every later row of this key \
                 stale; correct it at its source",
                quoted(cell)
            ),
            CheckKind::Content => {
                "the key is not made of the row's values, which somebody has changed; bring the row back, or delete it"
                    .into()
            }
            CheckKind::Constraint(constraint) => constraint.explain(cell),
            CheckKind::Row(rule) => rule.message.clone(),
        }
    }
}

/// The places in [`Check::all`] of what a cell of one column can break before any rule is asked.
pub(super) struct CellChecks {
    /// It is not in the form that its source declares.
    pub(super) form: Option<i32>,
    /// It is null.
    pub(super) required: Option<i32>,
    /// Its bytes are no text.
    pub(super) unprintable: Option<i32>,
    /// It is not a value of the column's type.
    pub(super) kind: i32,
    /// It is a version that is too late.
    pub(super) future: Option<i32>,
    /// It is a content key that is not made of the row's values.
    pub(super) content: Option<i32>,
}

impl CellChecks {
    /// Those of each column of a dataset.
    pub(super) fn of(dataset: &Dataset) -> Vec<Self> {
        let checks = Check::all(dataset);
        let place = |column: &Column, is_it: fn(&CheckKind<'_>) -> bool| {
            let place = checks.iter().position(|check| check.column == Some(&column.name) && is_it(&check.kind));
            place.and_then(|place| i32::try_from(place).ok())
        };
        let of_column = |column| Self {
            form: place(column, |kind| matches!(kind, CheckKind::Form)),
            required: place(column, |kind| matches!(kind, CheckKind::Required)),
            unprintable: place(column, |kind| matches!(kind, CheckKind::Unprintable)),
            // There is one for every column.
            kind: place(column, |kind| matches!(kind, CheckKind::Type(_))).unwrap_or(UNREADABLE),
            future: place(column, |kind| matches!(kind, CheckKind::Future)),
            content: place(column, |kind| matches!(kind, CheckKind::Content)),
        };
        dataset.file_columns().iter().map(of_column).collect()
    }
}

/// The typed column as it stands in SQL, also where its name is a keyword.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{name}\"")
}

fn constraint_violated(column: &Column, constraint: &Constraint) -> String {
    let name = quoted_name(&column.name);
    // A definition with a bound that is not a value of the column's type was refused.
    let value = |bound: &Literal| column.kind.literal(&bound.to_string()).unwrap_or_else(|| "null".to_owned());
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
fn row_rule_violated(rule: &RowRule, check: &Expression, dataset: &Dataset) -> String {
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
        None => format!("not coalesce(try({check}), false)"),
        Some(when) => {
            format!("coalesce(try({when}), true) and not coalesce(case when try({when}) then try({check}) end, false)")
        }
    });
    valid.join(" and ")
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

/// A row where two good rows have one key.
fn any_duplicate(dataset: &Dataset) -> String {
    let key = key_list(dataset);
    format!("select 1 from staged where _ok group by {key} having count(*) > 1 limit 1")
}

/// Of the good rows with one key the latest version wins, if there is a version, then the later record. The others lose to it.
fn find_losers(dataset: &Dataset) -> String {
    let key = key_list(dataset);
    let newest =
        dataset.version.as_ref().map_or_else(String::new, |version| format!("{} desc, ", quoted_name(version)));
    format!(
        "select _record, _line, _offset, _length, _winner from ( \
             select _record, _line, _offset, _length, \
                 first_value(_line) over _same_key as _winner, row_number() over _same_key as _rank from staged \
             where _ok and ({key}) in (select {key} from staged where _ok group by {key} having count(*) > 1) \
             window _same_key as (partition by {key} order by {newest}_record desc) \
         ) where _rank > 1"
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::domain::Datasets;

    #[test]
    fn no_rule_of_a_definition_can_be_taken_for_one_that_its_columns_imply() {
        let mut text =
            String::from("name = \"all\"\ntable = \"all\"\nkey = \"key\"\nversion = \"at\"\nfiles = [\"*\"]\n");
        let bounds = "min = 1\nabove = 1\nmax = 2\nbelow = 2\nallowed = [1]\n";
        for (name, kind, more) in [
            ("key", "text", "min_length = 1\nmax_length = 9\npattern = \".\"\n"),
            ("at", "timestamp", ""),
            ("amount", "decimal", "precision = 9\nscale = 2\n"),
            ("small", "integer", bounds),
            ("large", "bigint", bounds),
        ] {
            write!(text, "[[column]]\nname = \"{name}\"\ntype = \"{kind}\"\nrequired = true\n{more}").unwrap();
        }
        let datasets = Datasets::parse([("all.toml", text.as_str())]).unwrap();
        let dataset = datasets.get("all").unwrap();
        let implied: Vec<String> = Check::all(dataset).iter().map(|check| check.rule().to_owned()).collect();
        assert!(implied.len() > 20);
        for rule in implied {
            let rule =
                format!("[[rule]]\nid = \"{rule}\"\ncolumn = \"small\"\ncheck = \"small > 0\"\nmessage = \"m\"\n");
            let refused = Datasets::parse([("all.toml", format!("{text}{rule}").as_str())]).unwrap_err();
            assert!(refused.contains("in use by the program"), "{refused}");
        }
    }
}
