//! `etl.reconciliation_step`: how far each step of the nightly run got, so that the next run continues where the last
//! one was cut off.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Database, query_error};
use crate::domain::LoadId;
use crate::error::Result;

/// A pass over one part of a step, which may take several runs.
#[derive(Clone, Debug)]
pub struct Pass {
    step: &'static str,
    part: String,
    began_at: DateTime<Utc>,
    /// Where to continue; `None` at the beginning.
    pub cursor: Option<String>,
    /// When the last completed pass began.
    pub since: Option<DateTime<Utc>>,
}

impl Pass {
    /// The name of the part.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }

    /// The name of the step and of the part.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.step, self.part).trim_end().to_owned()
    }

    /// The load after which to continue, if the cursor is the number of a load.
    #[must_use]
    pub fn load(&self) -> LoadId {
        LoadId(self.cursor.as_ref().and_then(|cursor| cursor.parse().ok()).unwrap_or_default())
    }
}

impl Database {
    /// Returns the parts of a step in the order in which to do them: those that no run has worked on for the longest time come first.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn parts_in_order(&self, step: &str, parts: &[String]) -> Result<Vec<String>> {
        let statement = "select p.part from unnest($2::text[]) with ordinality as p (part, place) \
            left join etl.reconciliation_step s on s.step = $1 and s.part = p.part \
            order by s.touched_at nulls first, p.place";
        let rows = self.connection("parts_in_order").await?.query(statement, &[&step, &parts]).await;
        rows.map(|rows| rows.iter().map(|row| row.get(0)).collect())
            .map_err(|error| query_error("look where the nightly run stands", error))
    }

    /// Begins a pass, or continues one that was cut off, if it began under the same definitions and at most `longest`
    /// ago.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn begin_pass(
        &self,
        step: &'static str,
        part: &str,
        dataset_version: &str,
        longest: Option<Duration>,
    ) -> Result<Pass> {
        let statement = "insert into etl.reconciliation_step as s (step, part, dataset_version, began_at, touched_at) \
            values ($1, $2, $3, clock_timestamp(), clock_timestamp()) \
            on conflict (step, part) do update set dataset_version = $3, touched_at = excluded.touched_at, \
                (cursor, began_at) = (select case when goes_on then s.cursor end, case when goes_on then s.began_at else excluded.began_at end \
                    from (values (coalesce(s.dataset_version = $3 \
                        and s.began_at > excluded.began_at - make_interval(secs => $4), false))) as o (goes_on)) \
            returning began_at, cursor, since";
        let longest = longest.map_or(f64::from(u32::MAX), |longest| longest.as_secs_f64());
        let row = self
            .connection("begin_pass")
            .await?
            .query_one(statement, &[&step, &part, &dataset_version, &longest])
            .await;
        let row = row.map_err(|error| query_error("begin a step of the nightly run", error))?;
        Ok(Pass {
            step,
            part: part.to_owned(),
            began_at: row.get("began_at"),
            cursor: row.get("cursor"),
            since: row.get("since"),
        })
    }

    /// Records how far a pass got. A pass that another run has ended meanwhile stays ended.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn advance_pass(&self, pass: &Pass, cursor: &impl ToString) -> Result<()> {
        self.update_pass(pass, "cursor = $4", Some(cursor.to_string())).await
    }

    /// Ends a pass. The next one begins at the start.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn end_pass(&self, pass: &Pass) -> Result<()> {
        self.update_pass(pass, "cursor = $4, began_at = null, since = began_at", None).await
    }

    /// Ends a pass that counts for nothing, because it was not needed or something of it must be done again. The next one looks at what this
    /// one should have done, too.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn drop_pass(&self, pass: &Pass) -> Result<()> {
        self.update_pass(pass, "cursor = $4, began_at = null", None).await
    }

    async fn update_pass(&self, pass: &Pass, change: &str, cursor: Option<String>) -> Result<()> {
        let statement =
            format!("update etl.reconciliation_step set {change} where step = $1 and part = $2 and began_at = $3");
        let noted = self
            .connection("update_pass")
            .await?
            .execute(&statement, &[&pass.step, &pass.part, &pass.began_at, &cursor])
            .await;
        noted.map(|_| ()).map_err(|error| query_error("note how far the nightly run is", error))
    }
}
