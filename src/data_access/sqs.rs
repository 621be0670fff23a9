//! The queue in front of `ingest`: takes the rest of a load, and hides a message until it is useful to deliver it
//! again.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OnceCell;

use super::aws::{CallSpans, environment, service_error};
use crate::error::{Error, Result};

/// The longest time for which SQS hides a message.
const MOST_HIDDEN: Duration = Duration::from_hours(12);
/// The longest delay that SQS allows.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// A queue in SQS. Its client is created on first use and kept between calls.
pub struct Queue {
    url: String,
    client: OnceCell<Client>,
}

impl Queue {
    /// Creates a queue from its URL.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, client: OnceCell::new() }
    }

    /// Puts a message into the queue, to be delivered after `delay`, at most 15 minutes. Returns once the queue has it.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration` if the queue refuses.
    pub async fn send(&self, body: &str, delay: Duration) -> Result<()> {
        let delay = i32::try_from(delay.min(LONGEST_DELAY).as_secs()).unwrap_or_default();
        let request = self.client().await.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        Box::pin(request.send()).await.map(|_| ()).map_err(|error| queue_error("put a message into the queue", error))
    }

    /// Hides a message that will be returned, for this long from now.
    ///
    /// # Errors
    /// `Connection` or `Configuration`. The message then comes back after the queue's visibility timeout.
    pub async fn hide(&self, receipt_handle: &str, time: Duration) -> Result<()> {
        let seconds = time.min(MOST_HIDDEN).as_secs_f64().ceil();
        #[expect(clippy::cast_possible_truncation, reason = "at most 43,200")]
        let request = self
            .client()
            .await
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(seconds as i32);
        Box::pin(request.send()).await.map(|_| ()).map_err(|error| queue_error("hold a message back", error))
    }

    async fn client(&self) -> &Client {
        let with_spans = async || Client::from_conf(Builder::from(environment().await).interceptor(CallSpans).build());
        self.client.get_or_init(with_spans).await
    }
}

fn queue_error<E>(step: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    service_error("SQS", step, "check queue.url, and that the function may send and change messages", error)
}
