//! What a row of a file can break: the checks of its dataset, and what is wrong with a record before any of them is asked.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::tombstones::{is_checked, is_row};
use crate::domain::column::{Column, Constraint, Literal};
use crate::domain::content::CONTENT_KEY;
use crate::domain::expression::Expression;
use crate::domain::source::row::RowFault;
use crate::domain::violation::{self, quoted};
use crate::domain::{ColumnType, Dataset, RowRule, Severity};

/// What a record breaks. The table `violation` of the stage holds its [number](Breach::number) and its [detail](Breach::detail).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// The record does not have as many fields as the header, but this many.
    FieldCount(i64),
    /// The row has the key of another row, on this line, which wins.
    SameKey(i64),
    /// The record cannot be read at all.
    Record(RowFault),
    /// The row breaks the check with this place in [`Check::all`].
    Check(usize),
}

impl Breach {
    /// A column that is not loaded has bytes that are not text.
    pub(super) const UNREADABLE: Self = Self::Check(0);

    /// The number that the stage holds. The violations of a record are reported in the order of these numbers.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::FieldCount(_) => -1,
            Self::SameKey(_) => -2,
            Self::Record(RowFault::Quoting) => -3,
            Self::Record(RowFault::Encoding) => -4,
            Self::Record(RowFault::AfterEnd) => -5,
            Self::Record(RowFault::NotAnObject) => -6,
            Self::Record(RowFault::Touching) => -7,
            Self::Check(place) => i32::try_from(place).unwrap_or(i32::MAX),
        }
    }

    /// The number of fields, or the line of the row that wins.
    pub(super) fn detail(self) -> Option<i64> {
        match self {
            Self::FieldCount(detail) | Self::SameKey(detail) => Some(detail),
            Self::Record(_) | Self::Check(_) => None,
        }
    }

    /// What has this number and this detail in the stage; `None` if nothing has.
    pub(super) fn of(number: i64, detail: i64) -> Option<Self> {
        let others = [
            Self::FieldCount(detail),
            Self::SameKey(detail),
            Self::Record(RowFault::Quoting),
            Self::Record(RowFault::Encoding),
            Self::Record(RowFault::AfterEnd),
            Self::Record(RowFault::NotAnObject),
            Self::Record(RowFault::Touching),
        ];
        let known = others.into_iter().find(|breach| i64::from(breach.number()) == number);
        known.or_else(|| usize::try_from(number).ok().map(Self::Check))
    }
}

/// A check of a row. Its place in the list is what [`Breach::Check`] has.
pub(super) struct Check<'a> {
    /// The column that a violation names, or none for the record as a whole.
    pub(super) column: Option<&'a str>,
    pub(super) severity: Severity,
    /// True where the row breaks it; null counts as false. None where somebody else finds who does.
    pub(super) violated: Option<String>,
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
        let mut checks: Vec<Self> = std::iter::once(record).chain(columns).chain(given).chain(rules).collect();
        if dataset.tombstone.is_some() {
            let is_row = is_row(dataset);
            for check in checks.iter_mut().filter(|check| check.is_of_rows_alone(dataset)) {
                check.violated = check.violated.take().map(|violated| format!("{is_row} and ({violated})"));
            }
        }
        checks
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
            let is_read = *severity == Severity::Error && lengths(constraint).is_some();
            let violated = (!is_read).then(|| constraint_violated(column, constraint));
            let kind = CheckKind::Constraint(constraint);
            checks.push(Self { column: Some(name), severity: *severity, violated, kind });
        }
        checks
    }

    /// Whether tombstones need not pass it.
    pub(super) fn is_of_rows_alone(&self, dataset: &Dataset) -> bool {
        matches!(self.kind, CheckKind::Row(_)) || self.column.is_some_and(|column| !is_checked(dataset, column))
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

/// What a cell of one column can break before any rule is asked.
pub(super) struct CellChecks {
    /// The cell is not in the form that its source declares.
    pub(super) form: Option<Breach>,
    /// The cell is null.
    pub(super) required: Option<Breach>,
    /// The bytes of the cell are not text.
    pub(super) unprintable: Option<Breach>,
    /// The cell is not a value of the column's type.
    pub(super) kind: Breach,
    /// The cell is a version that is too late.
    pub(super) future: Option<Breach>,
    /// The cell is a content key that is not made of the row's values.
    pub(super) content: Option<Breach>,
    /// The text has another number of characters than these.
    pub(super) lengths: Vec<(RangeInclusive<u32>, Breach)>,
}

impl CellChecks {
    /// Those of each column of a dataset.
    pub(super) fn of(dataset: &Dataset) -> Vec<Self> {
        let checks = Check::all(dataset);
        let breach = |column: &Column, is_it: fn(&CheckKind<'_>) -> bool| {
            let place = checks.iter().position(|check| check.column == Some(&column.name) && is_it(&check.kind));
            place.map(Breach::Check)
        };
        let lengths_of = |column: &Column| {
            let of_column = checks.iter().enumerate().filter(|(_, check)| check.column == Some(&column.name));
            let found = of_column.filter_map(|(place, check)| match check.kind {
                CheckKind::Constraint(constraint) if check.violated.is_none() => {
                    Some((lengths(constraint)?, Breach::Check(place)))
                }
                _ => None,
            });
            found.collect()
        };
        let of_column = |column| Self {
            form: breach(column, |kind| matches!(kind, CheckKind::Form)),
            required: breach(column, |kind| matches!(kind, CheckKind::Required)),
            unprintable: breach(column, |kind| matches!(kind, CheckKind::Unprintable)),
            // There is one for every column.
            kind: breach(column, |kind| matches!(kind, CheckKind::Type(_))).unwrap_or(Breach::UNREADABLE),
            future: breach(column, |kind| matches!(kind, CheckKind::Future)),
            content: breach(column, |kind| matches!(kind, CheckKind::Content)),
            lengths: lengths_of(column),
        };
        dataset.file_columns().iter().map(of_column).collect()
    }

    /// Whether it is not known which value a cell holds that breaks this.
    pub(super) fn leaves_unread(&self, breach: Breach) -> bool {
        let mut of_values = self.lengths.iter().map(|(_, breach)| breach).chain(&self.required);
        of_values.all(|of_a_value| *of_a_value != breach)
    }
}

/// The same dataset for a file that is only checked: what no check and no statistic reads is not staged.
pub(crate) fn only_checked(dataset: &Dataset) -> Dataset {
    let checks = Check::all(dataset);
    let of_checks = checks.iter().filter(|check| check.violated.is_some()).filter_map(|check| check.column);
    let mut read: BTreeSet<&str> = of_checks.collect();
    let names =
        dataset.key.iter().chain(&dataset.version).chain(dataset.tombstone.as_ref().map(|tombstone| &tombstone.column));
    let of_statistics = dataset.statistics.iter();
    let of_statistics = of_statistics.flat_map(|figure| figure.expression.reads().iter().chain(&figure.group_by));
    let of_rules = dataset.rules.iter().flat_map(|rule| &rule.reads);
    read.extend(names.chain(of_statistics).chain(of_rules).map(String::as_str));
    let unread = dataset.file_columns().iter().filter(|column| !read.contains(&*column.name));
    let mut checked = dataset.clone();
    checked.unstaged = unread.map(|column| column.name.clone()).collect();
    checked
}

/// The typed column as it stands in SQL, also where its name is a keyword.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{name}\"")
}

/// The numbers of characters that a constraint allows, if it is about these.
fn lengths(constraint: &Constraint) -> Option<RangeInclusive<u32>> {
    match constraint {
        Constraint::MinLength(least) => Some(*least..=u32::MAX),
        Constraint::MaxLength(most) => Some(0..=*most),
        _ => None,
    }
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

/// A row rule runs where every column that it reads is valid. Where all of them are present, a null or a raised error (`try`
/// makes it a null) is a violation; else only what is false is one, as in a constraint of SQL.
fn row_rule_violated(rule: &RowRule, check: &Expression, dataset: &Dataset) -> String {
    let (mut present, mut missing, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for column in dataset.columns.iter().filter(|column| rule.reads.contains(&column.name)) {
        let name = quoted_name(&column.name);
        present.push(format!("{name} is not null"));
        missing.extend((!column.required).then(|| format!("{name} is null")));
        for (constraint, severity) in &column.constraints {
            if *severity == Severity::Error {
                valid.push(format!("not coalesce({}, false)", constraint_violated(column, constraint)));
            }
        }
    }
    let (always, where_null) = match &rule.when {
        None => (format!("not coalesce(try({check}), false)"), format!("not coalesce(try({check}), true)")),
        Some(when) => (
            format!("coalesce(try({when}), true) and not coalesce(case when try({when}) then try({check}) end, false)"),
            format!("coalesce(try({when}), false) and not coalesce(try({check}), true)"),
        ),
    };
    let all =
        |first: Vec<String>, last: String| first.into_iter().chain(valid.clone()).chain([last]).collect::<Vec<_>>();
    let violated = all(present, always).join(" and ");
    if missing.is_empty() {
        return violated;
    }
    // In a row that is bad already, a null may be a cell that is no value.
    let is_null = vec![format!("({})", missing.join(" or ")), "_ok".to_owned()];
    format!("({violated} or {})", all(is_null, where_null).join(" and "))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::Arc;

    use arrow::array::AsArray as _;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::data_access::duckdb::{StageOptions, Stages};
    use crate::domain::Datasets;

    #[test]
    fn a_rule_over_nulls_is_broken_by_what_is_false_alone() {
        const DEFINITION: &str = r#"
            name = "o"
            table = "o"
            key = "kind"
            version = "arrival"
            files = ["in/**"]
            column = [
                { name = "kind", type = "text", required = true },
                { name = "price", type = "decimal", precision = 10, scale = 2 },
                { name = "bid", type = "decimal", precision = 10, scale = 2, min = 0 },
            ]
            rule = [
                { id = "limit", column = "price", when = "kind = 'LIMIT'", check = "price is not null", message = "m" },
                { id = "one", column = "price", check = "coalesce(price, bid) is not null", message = "m" },
                { id = "order", column = "price", check = "price >= bid", message = "m" },
                { id = "either", column = "price", when = "price > 5 or bid > 5", check = "price < 9", message = "m" },
            ]
        "#;
        let datasets = Datasets::parse([("o.toml", DEFINITION)]).unwrap();
        let dataset = datasets.get("o").unwrap();
        let stage = Stages::new(StageOptions { memory_limit_mb: 64, threads: 1, temp_folder: None })
            .open(Arc::default())
            .unwrap();
        for (kind, price, bid, broken) in [
            ("LIMIT", "null", "null", "limit one"),
            ("LIMIT", "5", "null", ""),
            ("MARKET", "null", "null", "one"),
            ("MARKET", "null", "3", ""),
            ("MARKET", "2", "3", "order"),
            ("MARKET", "null", "6", ""),
            ("MARKET", "9", "null", "either"),
            ("MARKET", "9", "6", "either"),
            // Where a column breaks a rule of its own, no rule over it is asked.
            ("MARKET", "null", "-1", ""),
        ] {
            let row = format!(
                "select true as _ok, '{kind}' as kind, {price}::decimal(10, 2) as price, {bid}::decimal(10, 2) as bid"
            );
            let violated = |rule: &&RowRule| {
                let sql = row_rule_violated(rule, rule.check.as_ref().unwrap(), dataset);
                let rows =
                    stage.query(&format!("select coalesce({sql}, false)::integer::bigint from ({row})")).unwrap();
                rows[0].column(0).as_primitive::<Int64Type>().value(0) == 1
            };
            let found: Vec<&str> = dataset.rules.iter().filter(violated).map(|rule| rule.id.as_str()).collect();
            assert_eq!(found.join(" "), broken, "{row}");
        }
    }

    #[test]
    fn every_breach_is_known_by_its_number() {
        let faults =
            [RowFault::Encoding, RowFault::Quoting, RowFault::AfterEnd, RowFault::NotAnObject, RowFault::Touching]
                .map(Breach::Record);
        let others = [Breach::FieldCount(7), Breach::SameKey(7), Breach::UNREADABLE, Breach::Check(41)];
        for breach in faults.into_iter().chain(others) {
            assert_eq!(Breach::of(breach.number().into(), breach.detail().unwrap_or(7)), Some(breach));
        }
        assert_eq!(Breach::of(-8, 0), None);
    }

    #[test]
    fn a_file_that_is_only_checked_is_staged_without_what_is_not_read_again() {
        let datasets = Datasets::parse([
            ("asset.toml", include_str!("../../datasets/asset.toml")),
            ("trade.toml", include_str!("../../datasets/trade.toml")),
        ])
        .unwrap();
        let of_trades = only_checked(datasets.get("trade").unwrap());
        assert_eq!(of_trades.unstaged, ["account_id", "order_remark", "created_at"]);
        assert_eq!(of_trades.staged_columns().count(), of_trades.columns.len() - 3);
    }

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
