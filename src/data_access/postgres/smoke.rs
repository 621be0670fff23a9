//! A database of its own for a smoke test, beside that of the loads: nothing of the test is ever in theirs.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_postgres::Config;
use tokio_postgres::error::SqlState;

use super::sql_names::quoted;
use super::{Database, DatabaseOptions, query_error};
use crate::domain::Datasets;
use crate::error::{Error, Result};

/// The comment that marks such a database. A database without it is left alone.
const MARK: &str = "of a smoke test of small-etl; it may be dropped";
const LONGEST_NAME: usize = 63;
/// The table of the dataset `smoke`.
const TABLE: &str =
    "create table public.smoke (id integer primary key, at timestamptz not null, amount numeric(20, 2) not null)";
/// How long a worker waits until the server has noticed that its sessions are over. A sandbox may be frozen afterwards, and
/// a session that is left open would keep the database from being dropped.
const GOODBYE: Duration = Duration::from_secs(5);

/// What has become of a file of a smoke test. All times are counted back from now by the clock of the server.
#[derive(Debug, Serialize)]
pub struct SmokeLoad {
    /// The key of the file.
    pub key: String,
    /// The state of its load.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Seconds since it was claimed.
    pub claimed_ago: f64,
    /// Seconds since its rows were committed.
    pub committed_ago: Option<f64>,
    /// Seconds since the load ended.
    pub ended_ago: Option<f64>,
    /// How many rows its dataset has.
    pub rows: i64,
}

/// Returns the name of the database for smoke tests beside that of `config`.
fn name_beside(config: &Config) -> String {
    let name = config.get_dbname().or_else(|| config.get_user()).unwrap_or("postgres");
    let end = name.floor_char_boundary(LONGEST_NAME - "_smoke".len());
    format!("{}_smoke", &name[..end])
}

impl Database {
    /// Prepares access to the database of a smoke test, on the same server, with the same login and one connection.
    ///
    /// # Errors
    /// The same as those of [`Database::new`].
    pub fn of_smoke_test(options: &DatabaseOptions) -> Result<Self> {
        let options = DatabaseOptions { connections: 1, events: false, kms_key: None, ..options.clone() };
        Self::prepare(&options, |config| {
            let name = name_beside(config);
            config.dbname(name);
        })
    }

    /// Whether a smoke test is under way beside this database.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn has_smoke_test(&self) -> Result<bool> {
        self.smoke_mark().await.map(|mark| mark.is_some_and(|is_ours| is_ours))
    }

    /// Whether the database of a smoke test has its mark; `None` if there is no such database.
    async fn smoke_mark(&self) -> Result<Option<bool>> {
        let statement =
            "select shobj_description(oid, 'pg_database') is not distinct from $2 from pg_database where datname = $1";
        let row = self.connection("smoke_mark").await?.query_opt(statement, &[&name_beside(&self.config), &MARK]).await;
        row.map(|row| row.map(|row| row.get(0)))
            .map_err(|error| query_error("look for the database of a smoke test", error))
    }

    /// Creates the database of a smoke test, empty, after dropping what an earlier test has left. Returns its name, or the
    /// reason why this login cannot create any.
    ///
    /// # Errors
    /// `Configuration` if a database of that name is not that of a smoke test; `Connection` or `System`.
    pub async fn create_smoke_database(&self) -> Result<Result<String, String>> {
        self.drop_smoke_database().await?;
        let (name, connection) = (name_beside(&self.config), self.connection("create_smoke_database").await?);
        let created =
            format!("create database {} encoding 'UTF8' template template0 lc_collate 'C' lc_ctype 'C'", in_sql(&name));
        if let Err(error) = connection.batch_execute(&created).await {
            if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                return Ok(Err(
                    "the owner of the schema may not create databases; run `alter role … createdb` if it may".into(),
                ));
            }
            return Err(query_error("create the database of a smoke test", error));
        }
        let marked = format!("comment on database {} is '{MARK}'", in_sql(&name));
        connection
            .batch_execute(&marked)
            .await
            .map_err(|error| query_error("mark the database of a smoke test", error))?;
        Ok(Ok(name))
    }

    /// Brings the database of a smoke test, which this is, to the current schema, and creates the table of its dataset.
    ///
    /// # Errors
    /// The same as those of [`Database::migrate`].
    pub async fn prepare_smoke_test(&self, datasets: &Datasets) -> Result<()> {
        let created = self.connection("prepare_smoke_test").await?.batch_execute(TABLE).await;
        created.map_err(|error| query_error("create the table of a smoke test", error))?;
        // After the table, which it grants rights on.
        self.migrate(None, datasets).await.map(|_| ())
    }

    /// Returns the loads in the database of a smoke test, which this is.
    ///
    /// # Errors
    /// `Configuration` if there is no such database; `Connection` or `System`.
    pub async fn smoke_loads(&self) -> Result<Vec<SmokeLoad>> {
        let statement = "select key, state, error, (select count(*) from public.smoke) as rows, \
                extract(epoch from clock_timestamp() - started_at)::float8 as claimed_ago, \
                extract(epoch from clock_timestamp() - (select max(committed_at) from etl.load_batch where load_id = id))::float8 as committed_ago, \
                extract(epoch from clock_timestamp() - finished_at)::float8 as ended_ago \
            from etl.load order by id";
        let rows = self.connection("smoke_loads").await?.query(statement, &[]).await;
        let rows = rows.map_err(|error| query_error("read the ledger of a smoke test", error))?;
        let loads = rows.iter().map(|row| SmokeLoad {
            key: row.get("key"),
            state: row.get("state"),
            error: row.get("error"),
            claimed_ago: row.get("claimed_ago"),
            committed_ago: row.get("committed_ago"),
            ended_ago: row.get("ended_ago"),
            rows: row.get("rows"),
        });
        Ok(loads.collect())
    }

    /// Drops the database of a smoke test, if there is one.
    ///
    /// # Errors
    /// `Configuration` if the database of that name is not that of a smoke test; `Connection` or `System`.
    pub async fn drop_smoke_database(&self) -> Result<()> {
        let name = name_beside(&self.config);
        match self.smoke_mark().await? {
            None => return Ok(()),
            Some(true) => {}
            Some(false) => {
                return Err(Error::configuration(format!(
                    "database {name} has the name of a smoke test's database and is not one; drop or rename it"
                )));
            }
        }
        let (dropped, connection) =
            (format!("drop database {}", in_sql(&name)), self.connection("drop_smoke_database").await?);
        let failed = |error| query_error("drop the database of a smoke test", error);
        match connection.batch_execute(&dropped).await {
            // The server has waited five seconds for the sessions of others to end.
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                connection.batch_execute(&format!("{dropped} with (force)")).await.map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    /// Ends the sessions that this login has in the database of a smoke test, and waits some seconds until the server has
    /// noticed. `beside` is the only access to it in this process.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn leave_smoke_test(&self, beside: Self) -> Result<()> {
        beside.pool.close();
        drop(beside);
        let (connection, name) = (self.connection("leave_smoke_test").await?, name_beside(&self.config));
        let gone = async {
            let statement =
                "select not exists (select from pg_stat_activity where datname = $1 and usename = current_user)";
            while !connection.query_one(statement, &[&name]).await?.get::<_, bool>(0) {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        // A session that stays is that of another process, which is at work there.
        let left: Result<(), tokio_postgres::Error> = timeout(GOODBYE, gone).await.unwrap_or(Ok(()));
        left.map_err(|error| query_error("leave the database of a smoke test", error))
    }
}

/// Quotes any name.
fn in_sql(name: &str) -> String {
    quoted(&name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_smoke_test_has_a_name_that_the_server_does_not_cut() {
        let named = |url: &str| name_beside(&url.parse().unwrap());
        assert_eq!(named("postgres://owner@db/small_etl"), "small_etl_smoke");
        assert_eq!(named("postgres://owner@db"), "owner_smoke");
        let long = named(&format!("postgres://db/{}", "%C3%A4".repeat(31)));
        assert!(long.len() <= 63 && long.ends_with("ä_smoke"), "{long}");
    }
}
