//! The loader `parquet`: writes the accepted rows of a load as one object below a prefix, in a folder for the day of
//! the load. Tools that read Hive-style partitions expect this layout. The object appears whole or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use async_trait::async_trait;
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::form::Form;
use super::part_settings::PartSettings;
use super::{LoadWork, Loader, Loading};
use crate::data_access::duckdb::blocking;
use crate::data_access::parquet::ParquetFile;
use crate::data_access::postgres::{Claim, Database};
use crate::data_access::s3::ObjectStore;
use crate::domain::object::LONGEST_KEY;
use crate::domain::{Dataset, Datasets, ObjectVersion};
use crate::error::{Error, Result};

/// The columns `_record` and `_line` come before the columns of the dataset.
const OWN_COLUMNS: usize = 2;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The text before each key, which ends with `/`.
    prefix: String,
    /// The bucket to write to; by default the bucket of each file.
    bucket: Option<String>,
}

/// The part `parquet`.
pub struct ParquetLoader {
    store: Arc<ObjectStore>,
    options: Options,
}

impl ParquetLoader {
    /// Reads from the settings where to write.
    ///
    /// # Errors
    /// `Configuration` if the prefix does not end with `/` or is too long.
    pub fn new(settings: &PartSettings<'_>) -> Result<Self> {
        let options: Options = settings.options()?;
        if options.prefix.is_empty() || !options.prefix.ends_with('/') {
            return Err(settings.refuse("prefix must end with /"));
        }
        if key(&options.prefix, "2000-01-01", i64::MAX).len() > LONGEST_KEY {
            let message = format!("prefix is so long that keys would have more than {LONGEST_KEY} bytes; shorten it");
            return Err(settings.refuse(&message));
        }
        Ok(Self { store: settings.store(), options })
    }

    fn bucket(&self, object: &ObjectVersion) -> Result<String> {
        let own = (!object.local).then(|| object.bucket.clone());
        self.options.bucket.clone().or(own).ok_or_else(|| {
            Error::configuration("loader parquet: a file on this machine has no bucket; set bucket as well as prefix")
        })
    }

    /// Returns the key of the object. A repeated load gets the same key, and so replaces the object.
    fn key(&self, claim: &Claim) -> String {
        let day = claim.started_at.format("%Y-%m-%d").to_string();
        key(&self.options.prefix, &day, claim.load_id.0)
    }
}

fn key(prefix: &str, day: &str, load: i64) -> String {
    format!("{prefix}date={day}/{load}.parquet")
}

#[async_trait]
impl Loader for ParquetLoader {
    fn check(&self, datasets: &Datasets) -> Result<()> {
        let probe = key(&self.options.prefix, "2000-01-01", 1);
        match datasets.claiming(&probe) {
            None => Ok(()),
            Some(Dataset { name, .. }) => Err(Error::configuration(format!(
                "loader parquet: dataset {name} claims {probe}, and would load it; change prefix, or narrow its files"
            ))),
        }
    }

    fn check_file(&self, object: &ObjectVersion) -> Result<()> {
        self.bucket(object).map(|_| ())
    }

    async fn load(&self, _: &Database, work: &LoadWork) -> Result<Loading> {
        let (bucket, key) = (self.bucket(&work.object)?, self.key(&work.claim));
        let dataset = work.datasets.get(&work.claim.dataset).map_err(Error::configuration)?.clone();
        // An encrypted column is written nowhere in the clear.
        let kept: Vec<usize> = (0..dataset.columns.len()).filter(|at| !dataset.columns[*at].encrypt).collect();
        let columns = kept.iter().map(|at| &dataset.columns[*at]);
        let mut file = ParquetFile::create(work.stage.unnamed_file()?, columns)?;
        let mut chunks = std::pin::pin!(work.accepted()?);
        while let Some(chunk) = chunks.try_next().await? {
            let kept = kept.clone();
            file = blocking(move || {
                for rows in chunk {
                    let columns: Vec<ArrayRef> =
                        kept.iter().map(|at| Arc::clone(rows.column(OWN_COLUMNS + at))).collect();
                    file.write(&columns)?;
                }
                Ok(file)
            })
            .await?;
        }
        let file = blocking(move || file.finish()).await?;
        self.store.put_file(&bucket, &key, Form::Parquet.media_type(), &HashMap::new(), &file).await?;
        Ok(Loading::Done)
    }
}
