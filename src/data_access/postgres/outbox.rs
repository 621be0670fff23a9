//! `etl.outbox`: what others may want to hear of, until it is sent.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Database, query_error};
use crate::error::Result;

/// `EventBridge` takes no more at once.
const AT_ONCE: i64 = 10;
/// So long sent events are kept.
const KEPT: &str = "30 days";

/// Something that has happened.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    /// By which whoever gets it twice tells.
    pub id: String,
    /// `FileLoaded`, `FileFailed`, `RowsRejected`, `RowsReleased` or `ReconciliationFinished`.
    pub kind: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// More of it; the shapes are in `events/schemas`.
    pub detail: Value,
}

impl Database {
    /// Hands events that are not sent, the oldest first and a few at once, to `send`, until none is left or one was not taken.
    /// `send` says of each whether it was taken. Where the note of that is lost, an event is sent again.
    ///
    /// # Errors
    /// What `send` returns, `Connection`, `System`. Nothing is noted of the events that it had then.
    pub async fn send_events(&self, send: impl AsyncFn(&[OutboxEvent]) -> Result<Vec<bool>>) -> Result<()> {
        let failed = |error| query_error("read the outbox", error);
        loop {
            let mut connection = self.connection().await?;
            let transaction = connection.transaction().await.map_err(failed)?;
            let statement = "select id::text, type, at, detail from etl.outbox where sent_at is null \
                order by at limit $1 for update skip locked";
            let rows = transaction.query(statement, &[&AT_ONCE]).await.map_err(failed)?;
            let event = |row: &tokio_postgres::Row| OutboxEvent {
                id: row.get(0),
                kind: row.get(1),
                at: row.get(2),
                detail: row.get(3),
            };
            let events: Vec<OutboxEvent> = rows.iter().map(event).collect();
            if events.is_empty() {
                return Ok(());
            }
            let taken = send(&events).await?;
            let taken = events.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(event, _)| event.id.as_str());
            let taken: Vec<&str> = taken.collect();
            let statement = "update etl.outbox set sent_at = clock_timestamp() where id::text = any($1)";
            transaction.execute(statement, &[&taken]).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            if taken.len() < events.len() {
                return Ok(());
            }
        }
    }

    /// Forgets events that were sent long ago.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn forget_events(&self) -> Result<()> {
        let statement = format!("delete from etl.outbox where sent_at < clock_timestamp() - interval '{KEPT}'");
        let forgotten = self.connection().await?.execute(&statement, &[]).await;
        forgotten.map(|_| ()).map_err(|error| query_error("forget events that were sent", error))
    }
}
