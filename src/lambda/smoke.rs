//! A smoke test: a file whose name no dataset claims goes the way of every file, into a database of its own.
//!
//! `migrate` makes that database beside that of the loads, says what its ledger has, and drops it again. While it is there,
//! `ingest` loads such files into it; otherwise they are skipped, as all hidden files are. `.ci/smoke` does the rest.

use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::domain::{Datasets, LoadReport, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{self, Request};
use crate::start::context_of;

/// How the names of the files begin. A name that begins with a dot is claimed by no dataset.
const NAMES: &str = ".small-etl-smoke-";
const DATASET: &str = "smoke";
/// What such a file has.
const CONTENT: &str = "id,at,amount\n1,2025-12-22T14:30:00Z,10.50\n2,2025-12-22T14:30:01Z,0.01\n";
const ROWS: i64 = 2;

/// What `migrate` is asked for besides the schema.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Begin,
    Look,
    End,
}

fn datasets() -> Result<Datasets> {
    Datasets::parse([("smoke.toml", include_str!("smoke.toml"))]).map_err(Error::configuration)
}

/// Answers `{"smoke": "begin"}` with the names and the content of files, `{"smoke": "look"}` with their loads, and
/// `{"smoke": "end"}` with what is left, which is nothing.
///
/// # Errors
/// `Configuration`, `Connection` or `System`.
pub(super) async fn answer(settings: &Settings, asked: &Value) -> Result<Value> {
    let asked = Asked::deserialize(asked).map_err(|error| {
        Error::with_source(ErrorKind::Configuration, "a smoke test takes \"begin\", \"look\" or \"end\"", error)
    })?;
    let options = settings.database()?;
    let database = Database::new(&options)?;
    let answer = match asked {
        Asked::Begin => {
            database.check_ledger().await?;
            match database.create_smoke_database().await? {
                Err(refused) => json!({ "refused": refused }),
                Ok(name) => {
                    let beside = Database::of_smoke_test(&options)?;
                    beside.prepare_smoke_test(&datasets()?).await?;
                    database.leave_smoke_test(beside).await?;
                    let names = format!("{NAMES}{:x}-", Utc::now().timestamp_micros());
                    json!({ "database": name, "names": names, "content": CONTENT, "rows": ROWS })
                }
            }
        }
        Asked::Look => {
            let beside = Database::of_smoke_test(&options)?;
            let loads = beside.smoke_loads().await?;
            database.leave_smoke_test(beside).await?;
            json!({ "loads": loads })
        }
        Asked::End => {
            database.drop_smoke_database().await?;
            json!({})
        }
    };
    Ok(json!({ "smoke": answer }))
}

/// Whether this may be a file of a smoke test.
pub(super) fn is_asked_for(request: &Request) -> bool {
    request.dataset.is_none() && has_name(&request.location.key())
}

fn has_name(key: &ObjectKey) -> bool {
    key.as_str().rsplit('/').next().is_some_and(|name| name.starts_with(NAMES))
}

/// Loads a file of the smoke test that is under way beside `database`.
///
/// # Errors
/// The same as those of [`pipeline::run`].
pub(super) async fn load(settings: &Settings, database: &Database, request: &Request) -> Result<Vec<LoadReport>> {
    // Shows that this role can log in there, and that the schema is current.
    database.check_ledger().await?;
    if !database.has_smoke_test().await? {
        return Ok(vec![pipeline::skipped("a file of a smoke test, of which none is under way")]);
    }
    let context = context_of(settings, datasets()?)?;
    let beside = Database::of_smoke_test(&settings.database()?)?;
    let request = Request { dataset: Some(DATASET.into()), ..request.clone() };
    let loaded = Box::pin(pipeline::run(&context, &beside, &request)).await;
    let left = database.leave_smoke_test(beside).await;
    let reports = loaded?;
    left.map(|()| reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_dataset_claims_the_files_of_a_smoke_test() {
        let key = ObjectKey::from(format!("incoming/{NAMES}1-0.csv"));
        assert!(has_name(&key) && key.is_marker());
        for other in ["incoming/.hidden", "incoming/small-etl-smoke-1.csv", "incoming/.small-etl-smoke-1/2.csv"] {
            assert!(!has_name(&ObjectKey::from(other)), "{other}");
        }
    }

    #[test]
    fn the_dataset_of_a_smoke_test_is_well_defined() {
        assert_eq!(datasets().unwrap().names(), [DATASET]);
        assert_eq!(CONTENT.lines().count(), 1 + usize::try_from(ROWS).unwrap());
    }
}
