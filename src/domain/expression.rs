//! Expressions of row rules and statistics: parsed once, so that what they read and call is known.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, visit_expressions};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::parser::Parser;

/// Functions that a row rule may call: pure, deterministic, and without access to anything but their arguments.
const SCALARS: &[&str] = &[
    "abs",
    "ceil",
    "coalesce",
    "contains",
    "date_part",
    "date_trunc",
    "ends_with",
    "floor",
    "greatest",
    "least",
    "left",
    "length",
    "lower",
    "mod",
    "nullif",
    "regexp_full_match",
    "regexp_matches",
    "right",
    "round",
    "sign",
    "starts_with",
    "strlen",
    "substring",
    "trim",
    "upper",
];

/// Functions that a statistic may call besides those.
const AGGREGATES: &[&str] = &["avg", "count", "max", "median", "min", "stddev_samp", "sum"];

/// Whether an expression stands for one row or for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A boolean over the columns of one row.
    Row,
    /// An aggregate over all rows.
    Aggregate,
}

/// Parses `text` as one `DuckDB` expression and returns the columns that it reads.
///
/// # Errors
/// A message that names the unknown column or function, with the columns or functions there are.
pub fn columns_read(text: &str, scope: Scope, columns: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut parser = Parser::new(&DuckDbDialect {}).try_with_sql(text).map_err(|error| error.to_string())?;
    let expression = parser.parse_expr().map_err(|error| error.to_string())?;
    let rest = parser.peek_token();
    if rest.token != sqlparser::tokenizer::Token::EOF {
        return Err(format!("unexpected {:?} after the expression", rest.token.to_string()));
    }
    let mut read = BTreeSet::new();
    let outcome = visit_expressions(&expression, |part| match check(part, scope, columns) {
        Ok(Some(column)) => {
            read.insert(column);
            ControlFlow::Continue(())
        }
        Ok(None) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(message),
    });
    match outcome {
        ControlFlow::Break(message) => Err(message),
        ControlFlow::Continue(()) => Ok(read),
    }
}

fn check(part: &Expr, scope: Scope, columns: &[&str]) -> Result<Option<String>, String> {
    match part {
        Expr::Identifier(name) if columns.contains(&name.value.as_str()) => Ok(Some(name.value.clone())),
        Expr::Identifier(name) => Err(unknown("column", &name.value, columns)),
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            let aggregate = scope == Scope::Aggregate && AGGREGATES.contains(&name.as_str());
            if aggregate || SCALARS.contains(&name.as_str()) {
                return Ok(None);
            }
            let mut known = SCALARS.to_vec();
            if scope == Scope::Aggregate {
                known.extend(AGGREGATES);
            }
            Err(unknown("function", &name, &known))
        }
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
            Err("a rule reads the columns of its own row and no table; use a reference instead".into())
        }
        Expr::CompoundIdentifier(_) => Err(format!("{part} is no column; write its bare name")),
        _ => Ok(None),
    }
}

/// `unknown KIND "NAME"; the nearest is "…"`.
#[must_use]
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {kind} {name:?}; did you mean {near:?}?"),
        None => format!("unknown {kind} {name:?}; known are {}", known.join(", ")),
    }
}

/// The known name that looks most like `name`, if any does.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    const ALIKE: f64 = 0.7;
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["cash", "volume", "price", "when_made"];

    fn read(text: &str) -> Result<Vec<String>, String> {
        columns_read(text, Scope::Row, COLUMNS).map(|read| read.into_iter().collect())
    }

    #[test]
    fn the_tutorial_lists_what_may_be_called() {
        let tutorial = include_str!("../../docs/add-a-dataset.md");
        let missing = |name: &&&str| !tutorial.contains(&format!("`{name}`"));
        assert_eq!(SCALARS.iter().chain(AGGREGATES).find(missing), None);
    }

    #[test]
    fn the_columns_that_a_rule_reads_are_found() {
        assert_eq!(read("price * volume = abs(cash)").unwrap(), ["cash", "price", "volume"]);
        assert_eq!(read("case when volume in (1, 2) then price > 0 else true end").unwrap(), ["price", "volume"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        assert_eq!(read("cahs > 0").unwrap_err(), r#"unknown column "cahs"; did you mean "cash"?"#);
        assert_eq!(read("flor(cash) > 0").unwrap_err(), r#"unknown function "flor"; did you mean "floor"?"#);
    }

    #[test]
    fn a_rule_reaches_nothing_but_its_row() {
        assert!(read("(select count(*) from secrets) > 0").is_err());
        assert!(read("read_text('/etc/passwd') = ''").is_err());
        assert!(read("getenv('HOME') = ''").is_err());
        assert!(read("sum(cash) > 0").is_err());
        assert!(read("cash > 0; drop table staged").is_err());
    }

    #[test]
    fn a_statistic_may_aggregate() {
        assert!(columns_read("sum(cash) / count(*)", Scope::Aggregate, COLUMNS).is_ok());
    }
}
