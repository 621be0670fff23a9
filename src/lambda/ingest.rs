//! `ingest`: an event in, a report for each of its files out.

use aws_lambda_events::event::sqs::SqsBatchResponse;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};

use super::event::{Asked, Event, parse};
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::domain::{LoadReport, LoadStatus};
use crate::error::{Error, Result};
use crate::pipeline::{self, Context, Request};

/// What the function keeps between two calls.
pub struct Ingest {
    context: Context,
    database: Database,
}

impl Ingest {
    /// Prepares everything; connections are made on first use.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { context: crate::context::context(settings)?, database: Database::new(&settings.database()?)? })
    }

    /// Answers one event.
    ///
    /// # Errors
    /// For an event of no known shape; for a file that was neither loaded nor failed, so that AWS asks for it again.
    pub async fn call(&self, event: LambdaEvent<Value>) -> Result<Value> {
        match parse(event.payload)? {
            Event::Files(asked) => Ok(json!({ "loads": self.load_all(asked).await? })),
            Event::Queue(messages) => {
                let mut answer = SqsBatchResponse::default();
                for message in messages {
                    let settled = match message.asked {
                        Ok(asked) => self.load_all(asked).await,
                        Err(reason) => {
                            tracing::error!(message = message.id, reason, "a message cannot be read");
                            Err(Error::configuration(reason))
                        }
                    };
                    let done = settled
                        .is_ok_and(|reports| reports.iter().all(|report| report.status != LoadStatus::InProgress));
                    if !done {
                        answer.add_failure(message.id);
                    }
                }
                serde_json::to_value(answer).map_err(|error| Error::system("write the answer", error))
            }
        }
    }

    /// Loads every file, also those behind one that fails; the first error is then the answer.
    async fn load_all(&self, asked: Vec<Asked>) -> Result<Vec<LoadReport>> {
        let mut reports = Vec::new();
        let mut first_error = None;
        for file in asked {
            match file {
                Asked::Skip(reason) => reports.push(pipeline::skipped(reason)),
                Asked::Load { location, dataset } => {
                    let request = Request { dataset, ..Request::new(location) };
                    match pipeline::run(&self.context, &self.database, &request).await {
                        Ok(report) => reports.push(report),
                        Err(error) => first_error = first_error.or(Some(error)),
                    }
                }
            }
        }
        first_error.map_or(Ok(reports), Err)
    }
}
