//! The migrations of the schema: compiled in, and applied by one worker at a time.

use std::path::Path;

use refinery::{Migration, Report, Runner};
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use super::grants::grant;
use super::{Database, query_error};
use crate::domain::Datasets;
use crate::error::{Error, ErrorKind, Result};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The number of the last migration that is compiled in.
#[must_use]
pub fn newest_migration() -> i64 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

/// Any number works, as long as it never changes.
const ADVISORY_LOCK: i64 = 7_364_155_201;
/// Postgres takes a second to detect a deadlock, and each running load may be part of one.
const MOST_DEADLOCKS: u32 = 20;

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Applies the missing migrations, then those in the folder `more`, and returns all that it applied. Then grants
    /// the role of ingest what it needs for the ledger and for the tables of `datasets`, and nothing else. It does this
    /// even if no migration is missing.
    ///
    /// A second worker waits for the first, and then finds nothing to apply.
    ///
    /// # Errors
    /// `Connection` if the lock is not free in time; `System` if a migration fails, which is then rolled back;
    /// `Configuration` if the table of a dataset belongs to another role that has not granted what is needed.
    pub async fn migrate(&self, more: Option<&Path>, datasets: &Datasets) -> Result<Vec<AppliedMigration>> {
        let mut runners = vec![embedded::migrations::runner()];
        if let Some(folder) = more {
            let place = format!("migrations.path {}", folder.display());
            let found = refinery::load_sql_migrations(folder).map_err(|error| {
                Error::with_source(ErrorKind::Configuration, format!("{place}: cannot be read"), error)
            })?;
            if let Some((one, other)) = same_number(&found) {
                let message = format!("{place}: {one} and {other} have the same number; give one of them another");
                return Err(Error::configuration(message));
            }
            // These migrations have a history of their own, so that their numbers cannot collide with those of later
            // versions of this program.
            let mut runner = Runner::new(&found);
            runner.set_migration_table_name("own_schema_history");
            runners.push(runner);
        }
        // A connection outside the pool: the lock and the limits of this session must not reach the pool.
        self.login.prepare(&self.config).await?;
        let connected = self.login.apply(&self.config).connect(self.connector.clone()).await;
        let (mut client, connection) = connected.map_err(|error| self.connect_error(error))?;
        let driver = tokio::spawn(connection);
        let outcome = apply_under_lock(&runners, &mut client, datasets).await;
        drop(client);
        driver.await.map_err(|error| Error::system("drive the connection", error))?.ok();
        outcome
    }

    /// Lets the role of ingest log in with tokens of RDS, and then in no other way.
    ///
    /// # Errors
    /// `Connection`; `System` if the server is not RDS, which has a role `rds_iam`.
    pub async fn grant_rds_iam(&self) -> Result<()> {
        let granted = self.connection("grant_rds_iam").await?.batch_execute("grant rds_iam to small_etl_ingest").await;
        granted.map_err(|error| {
            query_error("let small_etl_ingest log in with tokens: the role rds_iam is that of RDS", error)
        })
    }

    /// Refuses a schema that is older than this program, and a database that cannot hold every text.
    pub(super) async fn check_schema(&self) -> Result<()> {
        let needed = embedded::migrations::runner().get_migrations().iter().map(Migration::version).max();
        let statement = "select max(version), getdatabaseencoding()::text, current_database()::text from public.refinery_schema_history";
        let row = self.connection("check_schema").await?.query_one(statement, &[]).await;
        let row = row.map_err(|error| query_error("read the schema's version", error))?;
        check_encoding(row.get(1), row.get(2))?;
        let found: Option<i32> = row.get(0);
        if found < needed {
            return Err(Error::configuration(format!(
                "the schema has version {}, this program needs {}; run `small-etl migrate` or invoke the migrate function",
                found.unwrap_or_default(),
                needed.unwrap_or_default(),
            )));
        }
        Ok(())
    }
}

/// Other encodings lack some characters, and the first such character in a value, a reject or the name of a file would
/// end a load.
fn check_encoding(encoding: &str, database: &str) -> Result<()> {
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "database {database} has the encoding {encoding}, which cannot hold every text; \
         make one by: create database NAME encoding 'UTF8' template template0"
    )))
}

async fn apply_under_lock(
    runners: &[Runner],
    client: &mut Client,
    datasets: &Datasets,
) -> Result<Vec<AppliedMigration>> {
    let failed = |error| query_error("take the migration lock", error);
    client.batch_execute("set timezone = 'UTC'; set lock_timeout = '60s'").await.map_err(failed)?;
    let database = client.query_one("select getdatabaseencoding()::text, current_database()::text", &[]).await;
    let database = database.map_err(|error| query_error("ask for the database's encoding", error))?;
    check_encoding(database.get(0), database.get(1))?;
    client.execute("select pg_advisory_lock($1)", &[&ADVISORY_LOCK]).await.map_err(failed)?;
    let mut applied = Vec::new();
    for runner in runners {
        applied.extend(run(runner, client).await?);
        // After each runner, so that loads of existing tables continue even if one of your own migrations fails.
        grant(client, datasets).await?;
    }
    if !applied.is_empty() {
        let versions: Vec<i64> = applied.iter().map(|migration| migration.version).collect();
        let statement = "insert into etl.audit (action, detail) values ('schema migrated', jsonb_build_object('applied', $1::bigint[]))";
        let noted = client.execute(statement, &[&versions]).await;
        noted.map_err(|error| query_error("note the migration in etl.audit", error))?;
    }
    // The lock is released when the session ends.
    Ok(applied)
}

/// Two migrations with one number, of which only one would be applied.
fn same_number(all: &[Migration]) -> Option<(&Migration, &Migration)> {
    all.iter().enumerate().find_map(|(at, one)| {
        let other = all[at + 1..].iter().find(|other| other.version() == one.version())?;
        Some((one, other))
    })
}

/// Applies the missing migrations. A migration that deadlocks with a load is rolled back and started again.
async fn run(runner: &Runner, client: &mut Client) -> Result<Vec<AppliedMigration>> {
    let (mut applied, mut deadlocks) = (Vec::new(), 0);
    loop {
        let outcome = runner.run_async(client).await;
        let report = outcome.as_ref().map_or_else(refinery::Error::report, Some);
        applied.extend(report.into_iter().flat_map(Report::applied_migrations).map(|migration| AppliedMigration {
            version: i64::from(migration.version()),
            name: migration.name().to_owned(),
        }));
        match outcome {
            Ok(_) => return Ok(applied),
            Err(error) if deadlocks < MOST_DEADLOCKS && is_deadlock(&error) => deadlocks += 1,
            Err(error) => return Err(migration_error(error)),
        }
    }
}

fn is_deadlock(error: &refinery::Error) -> bool {
    server_error(error).is_some_and(|server| *server.code() == SqlState::T_R_DEADLOCK_DETECTED)
}

fn server_error(error: &refinery::Error) -> Option<&DbError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(server) = inner.downcast_ref().and_then(tokio_postgres::Error::as_db_error) {
            return Some(server);
        }
        cause = inner.source();
    }
    None
}

fn migration_error(error: refinery::Error) -> Error {
    if let Some(server) = server_error(&error) {
        // The message of a migration's error is about the schema, not about cells, and the error is useless without it.
        let step = format!("apply the migrations: {} (SQLSTATE {})", server.message(), server.code().code());
        return Error::new(ErrorKind::System, step);
    }
    Error::system("apply the migrations", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_migrations_with_one_number_are_refused() {
        let of = |names: &[&str]| {
            let all: Vec<_> = names.iter().map(|name| Migration::unapplied(name, "select 1").unwrap()).collect();
            same_number(&all).map(|(one, other)| format!("{one} {other}"))
        };
        assert_eq!(of(&["V25__a", "V26__b", "V25__c"]).as_deref(), Some("V25__a V25__c"));
        assert_eq!(of(&["V25__a", "V26__b"]), None);
    }
}
