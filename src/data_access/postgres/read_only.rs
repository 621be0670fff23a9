//! Why a server does not accept writes.

use tokio_postgres::error::SqlState;

use super::Database;
use super::answer::{Answer, query_error};
use super::connection::Connection;
use crate::error::{Error, ErrorKind};

impl Database {
    /// Returns the error of the first step that writes. After a failover, a replica may soon be the primary, so the
    /// step is worth another attempt. A database that its settings make read-only stays so until a person changes them.
    pub(super) async fn first_write_error(
        &self,
        connection: Connection,
        step: &str,
        error: tokio_postgres::Error,
    ) -> Error {
        let Some(server) = error.as_db_error().filter(|server| *server.code() == SqlState::READ_ONLY_SQL_TRANSACTION)
        else {
            return query_error(step, error);
        };
        // The connection does not go back to the pool: after a failover, the name of the server leads elsewhere.
        let connection = connection.take();
        let statement = "select pg_is_in_recovery(), current_database()::text, \
            (select source from pg_settings where name = 'default_transaction_read_only')";
        let Ok(row) = connection.query_one(statement, &[]).await else { return query_error(step, error) };
        let (is_replica, database, source): (bool, String, String) = (row.get(0), row.get(1), row.get(2));
        if is_replica {
            let message = format!(
                "{step}: Postgres at {} is a replica and takes no writes; in a failover that passes, otherwise let DATABASE_URL name the primary",
                self.host()
            );
            return Error::with_source(ErrorKind::Connection, message, Answer::of(server));
        }
        let message = format!(
            "{step}: database {database} takes no writes, since default_transaction_read_only is on there (set by: {source}); \
             set it to off, and look whether the disk is full, for which some providers set it"
        );
        Error::with_source(ErrorKind::Configuration, message, Answer::of(server))
    }
}
