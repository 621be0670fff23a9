//! Expressions of row rules and statistics. They are parsed, so that it is known what they read and call.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value, visit_expressions,
    visit_expressions_mut,
};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::parser::Parser;

/// The functions that a row rule may call: pure, deterministic, and without access to anything but their arguments.
pub const SCALARS: &[&str] = &[
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

/// The functions that a statistic may call in addition.
pub const AGGREGATES: &[&str] = &["avg", "count", "max", "median", "min", "stddev_samp", "sum"];

/// Whether an expression is about one row or about all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A boolean over the columns of one row.
    Row,
    /// An aggregate over all rows.
    Aggregate,
}

/// A `DuckDB` expression of a definition. It prints exactly what was parsed: comments and the like are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    sql: String,
    reads: BTreeSet<String>,
    compared: Vec<(String, String)>,
}

impl Expression {
    /// Parses `text` as one expression.
    ///
    /// # Errors
    /// A message that names the unknown column or function, and suggests a known one.
    pub fn parse(text: &str, scope: Scope, columns: &[&str]) -> Result<Self, String> {
        let mut expression = parse(text)?;
        let mut reads = BTreeSet::new();
        let outcome = visit_expressions(&expression, |part| match check(part, scope, columns) {
            Ok(column) => {
                reads.extend(column);
                ControlFlow::Continue(())
            }
            Err(message) => ControlFlow::Break(message),
        });
        if let ControlFlow::Break(message) = outcome {
            return Err(message);
        }
        let _ = visit_expressions_mut(&mut expression, |part| {
            part_operators(part);
            ControlFlow::<()>::Continue(())
        });
        let sql = expression.to_string();
        if parse(&sql).as_ref() != Ok(&expression) {
            return Err(format!("it would be run as {sql}, which is something else; write it in a simpler way"));
        }
        let mut compared = Vec::new();
        let _ = visit_expressions(&expression, |part| {
            let pairs =
                compared_in(part).into_iter().filter(|(one, other)| !is_text_or_null(one) && !is_text_or_null(other));
            compared.extend(pairs.map(|(one, other)| (one.to_string(), other.to_string())));
            ControlFlow::<()>::Continue(())
        });
        Ok(Self { sql, reads, compared })
    }

    /// Parses `text` as one expression over the cells of a file. Any name may be the name of a cell.
    ///
    /// # Errors
    /// A message that names what an expression may not contain.
    pub fn over_cells(text: &str) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        let _ = visit_expressions(&parse(text)?, |part| {
            if let Expr::Identifier(name) = part {
                names.insert(name.value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
        Self::parse(text, Scope::Row, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The parts that are compared with each other, except with texts that stand there. The database compares a text with a number by rounding
    /// it to one of the same type.
    #[must_use]
    pub fn compared(&self) -> &[(String, String)] {
        &self.compared
    }

    /// The columns that the expression reads.
    #[must_use]
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.reads
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser::new(&DuckDbDialect {}).try_with_sql(text).map_err(|error| error.to_string())?;
    let expression = parser.parse_expr().map_err(|error| error.to_string())?;
    let rest = parser.peek_token();
    if rest.token != sqlparser::tokenizer::Token::EOF {
        return Err(format!("unexpected {:?} after the expression", rest.token.to_string()));
    }
    Ok(expression)
}

/// The functions that compare their arguments.
const COMPARING: [&str; 5] = ["coalesce", "contains", "greatest", "least", "nullif"];

fn compared_in(part: &Expr) -> Vec<(&Expr, &Expr)> {
    match part {
        Expr::BinaryOp { left, op, right } if *op == BinaryOperator::Eq || *op == BinaryOperator::NotEq => {
            vec![(left, right)]
        }
        Expr::IsDistinctFrom(left, right)
        | Expr::IsNotDistinctFrom(left, right)
        | Expr::AnyOp { left, right, .. }
        | Expr::AllOp { left, right, .. } => vec![(left, right)],
        Expr::InList { expr, list, .. } => list.iter().map(|one| (&**expr, one)).collect(),
        Expr::Case { operand: Some(operand), conditions, .. } => {
            conditions.iter().map(|when| (&**operand, &when.condition)).collect()
        }
        Expr::Function(function) if COMPARING.contains(&function.name.to_string().to_lowercase().as_str()) => {
            let FunctionArguments::List(list) = &function.args else { return Vec::new() };
            let arguments = list.args.iter().filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument),
                _ => None,
            });
            let arguments: Vec<&Expr> = arguments.collect();
            arguments.windows(2).map(|pair| (pair[0], pair[1])).collect()
        }
        _ => Vec::new(),
    }
}

fn is_text_or_null(part: &Expr) -> bool {
    match part {
        Expr::Nested(inner) => is_text_or_null(inner),
        Expr::Value(value) => matches!(value.value, Value::SingleQuotedString(_) | Value::Null),
        _ => false,
    }
}

/// Puts parentheses between two consecutive operators before an operand. Printed without a space, two minus signs would
/// begin a comment.
fn part_operators(part: &mut Expr) {
    if let Expr::UnaryOp { expr: operand, .. } = part
        && operand.to_string().starts_with(|first: char| "+-*/<>=~!@#%^&|?".contains(first))
    {
        let inner = std::mem::replace(&mut **operand, Expr::value(Value::Null));
        **operand = Expr::Nested(Box::new(inner));
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
        Expr::CompoundIdentifier(_) => Err(format!("{part} is not a column; write its bare name")),
        _ => Ok(None),
    }
}

/// Returns `unknown KIND "NAME"; did you mean "NEAREST"?`, or lists the known names if none is similar.
#[must_use]
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {kind} {name:?}; did you mean {near:?}?"),
        None => format!("unknown {kind} {name:?}; known are {}", known.join(", ")),
    }
}

/// Returns the known name that is most similar to `name`, if any is similar.
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
        Expression::parse(text, Scope::Row, COLUMNS).map(|expression| expression.reads.into_iter().collect())
    }

    fn printed(text: &str) -> String {
        Expression::parse(text, Scope::Row, COLUMNS).unwrap().to_string()
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
        assert!(Expression::parse("sum(cash) / count(*)", Scope::Aggregate, COLUMNS).is_ok());
    }

    #[test]
    fn what_was_only_written_is_not_printed() {
        assert_eq!(printed("cash > 0 -- in whole units"), "cash > 0");
        assert_eq!(printed("/* a ) */ cash > 0 -- ) or true\n and price > 0"), "cash > 0 AND price > 0");
    }

    #[test]
    fn what_is_printed_is_what_was_parsed() {
        for text in [
            "cash > - -5",
            "- - - cash < 0",
            "-(-5)::integer < cash",
            "cash - -5 > 0",
            "'it''s -- no comment' <> 'a\\b' and cash > 0",
            "case when volume in (1, 2) then price > 0 else true end",
            "cast(cash * 1000 as decimal(38, 4)) >= 0",
            "cash::decimal(20, 2) between 0 and 10",
            "coalesce(nullif(trim(both 'x' from left('xy', 1)), ''), 'y') ~ 'y' and cash is not null",
            "date_trunc('day', \"when_made\") = date '2025-12-22'",
            "when_made + interval '1 day' > when_made and cash // 2 = 0 and cash % 2 = 0",
            "not cash > 0 or cash is distinct from price",
        ] {
            let printed = printed(text);
            assert_eq!(parse(&printed).unwrap().to_string(), printed, "{text}");
            assert!(!printed.contains("--") || text.contains("'it''s -- no comment'"), "{printed}");
        }
        assert_eq!(printed("cash > - -5"), "cash > -(-5)");
    }
}
