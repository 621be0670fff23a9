//! `etl.outbox`: events for other systems, kept until they are sent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::Row;

use super::claim::FencingToken;
use super::{Database, query_error};
use crate::error::{Error, ErrorKind, Result};

/// The most events that `EventBridge` accepts at once.
const AT_ONCE: i64 = 10;
/// How long sent events are kept.
const KEPT: &str = "30 days";

/// Something that happened.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    /// The id by which a receiver recognizes a duplicate.
    pub id: String,
    /// `FileLoaded`, `FileFailed`, `RowsRejected`, `RowsReleased`, `SchemaChanged` or `ReconciliationFinished`.
    pub kind: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The details. Their schemas are in `events/schemas`.
    pub detail: Value,
}

/// A sender that has made no progress for this long loses its place.
const LEASE: Duration = Duration::from_mins(1);
/// How long the bus has to accept what it is sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a sender stops.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// No events are left.
    Done,
    /// The bus did not accept all events, or another sender has the place.
    Early,
}

impl Database {
    /// Passes unsent events to `send`, the oldest first and a few at a time, until none is left or one is not accepted.
    /// `send` returns for each event whether it was accepted. If recording that fails, the event is sent again.
    ///
    /// One sender works at a time, so that events keep their order. No transaction is open while it sends. A second
    /// sender that arrives meanwhile leaves its events to the first.
    ///
    /// # Errors
    /// The errors of `send`, `Connection`, `System`. After an error nothing is recorded of the events that `send` had
    /// at the time.
    pub async fn send_events(&self, send: impl AsyncFn(&[OutboxEvent]) -> Result<Vec<bool>>) -> Result<()> {
        let token = self.fencing_token().await?;
        loop {
            let outcome = self.send_as(token, &send).await;
            let was_ours = self.give_place_back(token).await;
            // A sender that was turned away meanwhile has left its events to this one.
            if outcome? == Stopped::Early || !was_ours? || !self.has_unsent_events().await? {
                return Ok(());
            }
        }
    }

    async fn send_as(
        &self,
        place: FencingToken,
        send: &impl AsyncFn(&[OutboxEvent]) -> Result<Vec<bool>>,
    ) -> Result<Stopped> {
        while let Some(events) = self.next_events(place).await? {
            if events.is_empty() {
                return Ok(Stopped::Done);
            }
            let late = |_| Error::new(ErrorKind::Connection, "the bus did not answer in time");
            let taken = tokio::time::timeout(PATIENCE, send(&events)).await.map_err(late)??;
            let taken = events.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(event, _)| event.id.as_str());
            let taken: Vec<&str> = taken.collect();
            let statement = "update etl.outbox set sent_at = clock_timestamp() where id = any($1::text[]::uuid[]) and sent_at is null";
            let noted = self.connection("send_as").await?.execute(statement, &[&taken]).await;
            noted.map_err(|error| query_error("note which events are sent", error))?;
            if taken.len() < events.len() {
                return Ok(Stopped::Early);
            }
        }
        Ok(Stopped::Early)
    }

    /// Takes or keeps the place of the sender. Returns the oldest unsent events, or `None` if another sender has the
    /// place.
    async fn next_events(&self, token: FencingToken) -> Result<Option<Vec<OutboxEvent>>> {
        let statement = "with place as ( \
                update etl.outbox_sender set token = $1, expires_at = clock_timestamp() + make_interval(secs => $2) \
                where token = $1 or expires_at < clock_timestamp() returning 1) \
            select o.id::text, o.type, o.at, o.detail from place left join lateral ( \
                select id, type, at, detail from etl.outbox where sent_at is null order by at, id limit $3) o on true \
            order by o.at, o.id";
        let rows =
            self.connection("next_events").await?.query(statement, &[&token.0, &LEASE.as_secs_f64(), &AT_ONCE]).await;
        let rows = rows.map_err(|error| query_error("read the outbox", error))?;
        let event = |row: &Row| {
            let id: Option<String> = row.get(0);
            id.map(|id| OutboxEvent { id, kind: row.get(1), at: row.get(2), detail: row.get(3) })
        };
        Ok((!rows.is_empty()).then(|| rows.iter().filter_map(event).collect()))
    }

    /// Lets the next sender begin. Returns whether this sender still had the place.
    async fn give_place_back(&self, token: FencingToken) -> Result<bool> {
        let statement = "update etl.outbox_sender set expires_at = '-infinity' where token = $1";
        let given = self.connection("give_place_back").await?.execute(statement, &[&token.0]).await;
        given.map(|rows| rows == 1).map_err(|error| query_error("let the next sender begin", error))
    }

    async fn has_unsent_events(&self) -> Result<bool> {
        let statement = "select exists (select from etl.outbox where sent_at is null)";
        let row = self.connection("has_unsent_events").await?.query_one(statement, &[]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("read the outbox", error))
    }

    /// Deletes events that were sent long ago.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn forget_events(&self) -> Result<()> {
        let statement = format!("delete from etl.outbox where sent_at < clock_timestamp() - interval '{KEPT}'");
        let forgotten = self.connection("forget_events").await?.execute(&statement, &[]).await;
        forgotten.map(|_| ()).map_err(|error| query_error("forget events that were sent", error))
    }
}
