//! `migrate`: brings the schema to the version that `ingest` needs.

use serde_json::{Value, json};

use super::smoke;
use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::error::Result;

/// Applies the missing migrations and answers `{"applied": [{"version": …, "name": …}]}`. An event with `smoke` asks for a
/// step of a smoke test instead, and applies nothing.
///
/// # Errors
/// `Configuration`, `Connection`, or `System` if a migration fails; that migration is rolled back.
pub async fn call(settings: &Settings, event: Value) -> Result<Value> {
    if let Some(asked) = event.get("smoke") {
        return smoke::answer(settings, asked).await;
    }
    let database = Database::new(&settings.database()?)?;
    let applied = database.migrate(settings.migrations.path.as_deref(), &settings.datasets()?).await?;
    database.keep_ledger_for(settings.ledger.retention_days).await?;
    if settings.migrations.rds_iam {
        database.grant_rds_iam().await?;
    }
    tracing::info!(applied = applied.len(), "the schema is current");
    Ok(json!({ "applied": applied }))
}
