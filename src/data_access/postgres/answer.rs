//! What an error of the server means, and which parts of it may be shown.

use tokio_postgres::error::DbError;

use crate::error::{Error, ErrorKind};

/// Converts a Postgres error. This is the only place where such an error gets its kind.
pub(super) fn query_error(step: &str, error: tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else { return client_error(step, error) };
    let answer = Answer::of(server);
    let (kind, what) = match answer.code.as_str() {
        "40001" | "40P01" => (ErrorKind::Conflict, ""),
        // A commit whose answer was lost, and which this worker repeats, may still be running.
        "23505" if answer.is_of_ledger() => (ErrorKind::Conflict, ""),
        "25006" => (ErrorKind::Connection, ": the server takes no writes; DATABASE_URL must name the primary"),
        "53300" | "55P03" | "25P03" => (ErrorKind::Connection, ""),
        code if code.starts_with("08") || code.starts_with("57P0") => (ErrorKind::Connection, ""),
        code if code.starts_with("28") || code.starts_with("3D") => {
            return Error::with_source(ErrorKind::Configuration, step, answer);
        }
        "42P01" | "3F000" => (ErrorKind::Configuration, ": the schema is missing; run `small-etl migrate` first"),
        "42501" => (ErrorKind::System, ": the role of this login lacks a right; grant it"),
        _ => (ErrorKind::System, ""),
    };
    Error::with_source(kind, format!("{step}{what}"), answer)
}

/// Converts an error of the driver or of the connection.
fn client_error(step: &str, error: tokio_postgres::Error) -> Error {
    // The driver has kinds of its own, such as a password or a host that is missing.
    if error.to_string().starts_with("invalid configuration") {
        return Error::with_source(ErrorKind::Configuration, format!("{step}: DATABASE_URL is incomplete"), error);
    }
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if inner.is::<native_tls::Error>() && !is_cut_off(inner) {
            let advice = format!("{step}: TLS failed; check database.root_certificates and the host's name");
            return Error::with_source(ErrorKind::Configuration, advice, error);
        }
        cause = inner.source();
    }
    Error::with_source(ErrorKind::Connection, step, error)
}

/// Whether the server went away during a handshake, as a restarting server does.
fn is_cut_off(tls: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(tls.source(), |error| error.source()).any(<dyn std::error::Error>::is::<std::io::Error>)
        || tls.to_string().to_lowercase().contains("unexpected eof")
}

/// Classes of SQLSTATE whose messages name things of the schema and the server, and never values: features, states,
/// names and rights, logins, resources, limits. Code 22001 is the only one of class 22 here: its message names a type.
const WITHOUT_VALUES: [&str; 12] = ["0A", "25", "28", "3D", "3F", "42", "53", "54", "55", "57", "58", "22001"];

/// The parts of a server's error that may be shown. Its details and its context contain cells, and so do some messages.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) code: String,
    pub(super) schema: Option<String>,
    pub(super) table: Option<String>,
    pub(super) column: Option<String>,
    pub(super) constraint: Option<String>,
    /// The type, if the constraint belongs to a domain.
    pub(super) data_type: Option<String>,
    /// Whether code of the schema's owner may have caused the error, such as a trigger.
    pub(super) is_nested: bool,
    /// The function that ran at the time, if the server names it in English.
    pub(super) function: Option<String>,
    /// The message, if it contains no value.
    pub(super) message: Option<String>,
}

impl Answer {
    pub(super) fn of(server: &DbError) -> Self {
        let code = server.code().code().to_owned();
        let function = server.where_().and_then(function_in).map(String::from);
        let is_nested = is_nested(server.where_());
        // The author of a function wrote its message and may have put a cell into it.
        let is_plain = !is_nested && WITHOUT_VALUES.iter().any(|class| code.starts_with(class));
        Self {
            schema: server.schema().map(String::from),
            table: server.table().map(String::from),
            column: server.column().map(String::from),
            constraint: server.constraint().map(String::from),
            data_type: server.datatype().map(String::from),
            message: is_plain.then(|| server.message().to_owned()),
            is_nested,
            function,
            code,
        }
    }

    /// Whether the ledger refused the statement.
    pub(super) fn is_of_ledger(&self) -> bool {
        self.schema.as_deref() == Some("etl")
    }
}

/// Whether a context shows that more than the statement itself was running. Servers translate contexts. Only a context
/// that begins like a line of COPY, in whichever language, counts as the statement itself: when in doubt, a message is
/// withheld.
fn is_nested(context: Option<&str>) -> bool {
    context.is_some_and(|context| !context.starts_with("COPY ") || context.contains('\n'))
}

/// Returns the function that the statement called directly: the one in the last line of the context that names one, as
/// in `PL/pgSQL function refuse_cash() line 3 at RAISE`, `PL/Python function "refuse_cash"`, `SQL function
/// "refuse_cash" statement 1`.
fn function_in(context: &str) -> Option<&str> {
    context.lines().rev().find_map(|line| {
        let (language, rest) = line.split_once(" function ")?;
        let is_language = language == "SQL" || language.starts_with("PL/") && !language.contains(' ');
        let name = rest.trim_start_matches('"').split(['(', '"', ' ']).next()?;
        (is_language && !name.is_empty()).then_some(name)
    })
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres answered SQLSTATE {}", self.code)?;
        if let Some(table) = &self.table {
            let schema = self.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            write!(f, " on table {schema}{table}")?;
        }
        for (kind, name) in [
            ("column", &self.column),
            ("type", &self.data_type),
            ("constraint", &self.constraint),
            ("function", &self.function),
        ] {
            if let Some(name) = name {
                write!(f, ", {kind} {name}")?;
            }
        }
        self.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl std::error::Error for Answer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_any_language_only_a_line_of_a_copy_is_the_statement_itself() {
        for (context, expected) in [
            (None, false),
            (Some("COPY asset, line 2, column cash: \"a function of x\""), false),
            (Some("COPY asset, Zeile 2, Spalte cash: »x«"), false),
            (Some("PL/pgSQL function deny() line 1 at RAISE"), true),
            (Some("PL/pgSQL-Funktion deny() Zeile 1 bei RAISE"), true),
            (Some("在RAISE的第1行的PL/pgSQL函数deny()"), true),
            (Some("PL/pgSQL関数deny()の1行目 - RAISE\nassetのCOPY、行 1"), true),
            (Some("COPY asset, line 2\nPL/pgSQL function deny() line 1 at SQL statement"), true),
        ] {
            assert_eq!(is_nested(context), expected, "{context:?}");
        }
    }

    #[test]
    fn a_context_names_the_function_that_the_statement_ran() {
        for (context, expected) in [
            ("PL/pgSQL function refuse_cash() line 3 at RAISE", Some("refuse_cash")),
            (
                "PL/pgSQL function inner(text) line 1 at RAISE\nSQL statement \"select inner(new.x)\"\nPL/pgSQL function s.outer() line 2 at PERFORM\nCOPY asset, line 3",
                Some("s.outer"),
            ),
            ("PL/Python function \"refuse_cash\"", Some("refuse_cash")),
            ("SQL function \"refuse_cash\" statement 1", Some("refuse_cash")),
            ("COPY asset, line 2, column cash: \"a function of x\"", None),
            ("SQL statement \"select 1 from only asset x\"", None),
        ] {
            assert_eq!(function_in(context), expected, "{context}");
        }
    }
}
