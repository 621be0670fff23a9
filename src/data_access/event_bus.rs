//! A bus of `EventBridge`, on which other systems learn what has happened.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::Builder;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::aws::{CallSpans, environment, service_error};
use super::postgres::OutboxEvent;
use crate::error::{ErrorKind, Result};

const SOURCE: &str = "small-etl";
/// The version of the schemas in `events/schemas`. Adding members does not change it.
const SCHEMA_VERSION: u32 = 1;

async fn client() -> Client {
    Client::from_conf(Builder::from(environment().await).interceptor(CallSpans).build())
}

/// A bus. Its client is created on first use and kept between calls.
pub struct EventBus {
    name: String,
    client: OnceCell<Client>,
}

impl EventBus {
    /// Creates a bus from its name or ARN.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, client: OnceCell::new() }
    }

    /// Sends up to ten events. Returns for each whether the bus accepted it.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration` if `EventBridge` refuses.
    pub async fn send(&self, events: &[OutboxEvent]) -> Result<Vec<bool>> {
        match self.put(events).await {
            // A fault in one event must not hold up the others.
            Err(error) if error.kind() == ErrorKind::Configuration && events.len() > 1 => {
                let mut taken = Vec::new();
                for event in events {
                    taken.extend(self.put(std::slice::from_ref(event)).await.unwrap_or_else(|_| vec![false]));
                }
                if taken.contains(&true) { Ok(taken) } else { Err(error) }
            }
            outcome => outcome,
        }
    }

    async fn put(&self, events: &[OutboxEvent]) -> Result<Vec<bool>> {
        let client = self.client.get_or_init(client).await;
        let request = client.put_events().set_entries(Some(events.iter().map(|event| self.entry(event)).collect()));
        let answer = Box::pin(request.send()).await.map_err(|error| {
            let advice = "check events.bus, and that the function may put events to it";
            service_error("EventBridge", "send events", advice, error)
        })?;
        for refused in answer.entries().iter().filter_map(|entry| entry.error_code()) {
            tracing::warn!(code = refused, "the bus did not accept an event");
        }
        Ok(answer.entries().iter().map(|entry| entry.error_code().is_none()).collect())
    }

    fn entry(&self, event: &OutboxEvent) -> PutEventsRequestEntry {
        let mut detail = json!({ "schema_version": SCHEMA_VERSION, "event_id": event.id, "at": event.at });
        if let (Value::Object(detail), Value::Object(more)) = (&mut detail, &event.detail) {
            detail.extend(more.clone());
        }
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(&event.kind)
            .time(DateTime::from_millis(event.at.timestamp_millis()))
            .detail(detail.to_string())
            .build()
    }
}
