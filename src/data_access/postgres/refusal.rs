//! Why Postgres refused rows: because of the file, the table, or neither.

use tokio_postgres::Error as PostgresError;

use super::answer::{Answer, query_error};
use super::checked_table::Table;
use super::sql_names::schema_and_table;
use crate::domain::Dataset;
use crate::error::{Error, ErrorKind, Reason};

/// What is at fault.
pub(super) enum Refusal {
    /// A row breaks something that the table requires beyond the dataset: the reason, what is wrong, and what to do.
    /// The file cannot be loaded, however often it is tried.
    Row(Reason, &'static str, &'static str),
    /// The table, or the rights of this role on it, have changed since they were checked.
    Table,
}

impl Refusal {
    /// Returns `None` if neither is at fault: for a lost connection, a conflict, a full disk.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let row = |reason, what, advice| Some(Self::Row(reason, what, advice));
        let violated = |what, advice| row(Reason::ConstraintViolated, what, advice);
        if answer.is_of_ledger() {
            return None;
        }
        match answer.code.as_str() {
            "23502" => violated(
                "a column that takes no null gets one",
                "let the dataset require the column, or the table take a null",
            ),
            "23503" => violated(
                "it breaks a foreign key",
                "declare the reference in the dataset, so that a row waits for the one that it refers to, or load that first",
            ),
            "23505" => violated(
                "another row has the same value under a unique index that is not that of the key",
                "drop the index, mend the file, or make it a constraint that is deferrable initially deferred where rows of a file swap values",
            ),
            "23514" => violated(
                "it breaks a check",
                "make the check a rule of the dataset, so that such rows alone are rejected, or change the table",
            ),
            code => match code.get(..2).unwrap_or_default() {
                "23" => violated("it breaks a constraint", "change the table, or mend the file"),
                "22" | "54" => row(
                    Reason::ValueRefused,
                    "the table or one of its indexes, checks or triggers cannot take a value",
                    "let the dataset reject such values, or change the table",
                ),
                "P0" | "38" | "39" => Some(Self::of_trigger()),
                "42" | "55" | "0A" if code != "55P03" => Some(Self::Table),
                "08" | "25" | "40" | "53" | "57" | "58" | "XX" => None,
                // The author of the trigger chose any other state.
                _ if answer.is_nested => Some(Self::of_trigger()),
                _ => None,
            },
        }
    }

    fn of_trigger() -> Self {
        let advice = "let the dataset reject such rows, or change the trigger";
        Self::Row(Reason::TriggerRefused, "a trigger of the table stops it", advice)
    }
}

impl Table {
    /// Converts the error of a step that writes rows of `dataset`.
    pub(super) fn refusal(&self, dataset: &Dataset, step: &str, error: PostgresError) -> Error {
        let Some(server) = error.as_db_error() else { return query_error(step, error) };
        let (answer, table) = (Answer::of(server), &dataset.table);
        if self.is_contended(dataset, &answer) {
            return Error::with_source(ErrorKind::Conflict, format!("{step}: another load was in the way"), answer);
        }
        // Only where a row is deleted does another table refuse that.
        if let Some(other) =
            answer.table.as_ref().filter(|other| answer.code == "23503" && *other != schema_and_table(table).1)
        {
            let message = format!(
                "table {table} keeps a row that is to be deleted: rows of table {other} refer to it: {answer}; delete those first, \
                 and load the file with --again"
            );
            return Error::file(Reason::ConstraintViolated, message);
        }
        match Refusal::of(&answer) {
            Some(Refusal::Row(reason, what, advice)) => Error::file(
                reason,
                format!("table {table} refuses a row: {what}: {answer}; {advice}, and load the file with --again"),
            ),
            Some(Refusal::Table) => {
                let policies = match &self.policies[..] {
                    [] => String::new(),
                    policies => format!(" (row level security is on: policies {})", policies.join(", ")),
                };
                let message = format!("{step}: table {table} cannot be written to{policies}");
                Error::with_source(ErrorKind::System, message, answer)
            }
            None => query_error(step, error),
        }
    }

    /// Whether a row broke a constraint that only breaks if another load interfered. The name of the constraint is not
    /// enough: a trigger may write to a table whose constraints have the same names.
    fn is_contended(&self, dataset: &Dataset, answer: &Answer) -> bool {
        let (schema, table) = schema_and_table(&dataset.table);
        let place = (answer.schema.as_deref(), answer.table.as_deref());
        answer.code.starts_with("23")
            && place == (Some(schema), Some(table))
            && answer.constraint.as_ref().is_some_and(|name| self.contended.contains(name))
    }

    /// The error if the table took fewer rows than it was given and reported nothing.
    pub(super) fn drops_rows(&self, dataset: &Dataset) -> Error {
        let (table, triggers) = (&dataset.table, self.triggers.join(", "));
        let message = format!(
            "table {table} drops rows without an error, as its triggers may ({triggers}); \
             let the dataset reject such rows, or change the trigger, and load the file with --again"
        );
        Error::file(Reason::TriggerRefused, message)
    }
}
