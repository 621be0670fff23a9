//! The loader `parquet`: the accepted rows of a load become one object below a prefix, in a folder for its day, as tools that read
//! Hive-style partitions expect. It appears whole or not at all.

use std::io::Read;
use std::sync::Arc;

use arrow::array::ArrayRef;
use async_trait::async_trait;
use futures::TryStreamExt;
use serde::Deserialize;

use super::parts::PartSettings;
use super::{LoadWork, Loader, Loading};
use crate::data_access::duckdb::blocking;
use crate::data_access::parquet::ParquetFile;
use crate::data_access::postgres::Database;
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::{Dataset, Datasets};
use crate::error::{Error, Result};

const BYTES_AT_ONCE: usize = 1024 * 1024;
const MEDIA_TYPE: &str = "application/vnd.apache.parquet";
/// `_record` and `_line` stand before the columns of the dataset.
const OWN_COLUMNS: usize = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Stands before each key.
    prefix: String,
    /// The bucket; by default that of each file.
    bucket: Option<String>,
}

/// The part `parquet`.
pub struct ParquetLoader {
    store: Arc<ObjectStore>,
    options: Options,
}

impl ParquetLoader {
    /// Writes where the settings say.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn new(settings: &PartSettings<'_>) -> Result<Self> {
        let options: Options = settings.options()?;
        if options.prefix.is_empty() || !options.prefix.ends_with('/') {
            return Err(settings.refuse("prefix must end with /"));
        }
        Ok(Self { store: settings.store(), options })
    }

    /// Bucket and key for a load: the same whenever it is asked.
    fn place(&self, work: &LoadWork) -> Result<(String, String)> {
        let own = (!work.object.local).then(|| work.object.bucket.clone());
        let bucket = self.options.bucket.clone().or(own).ok_or_else(|| {
            Error::configuration("loader parquet: a file on this machine has no bucket; set bucket beside prefix")
        })?;
        let day = work.claim.started_at.format("%Y-%m-%d");
        Ok((bucket, format!("{}date={day}/{}.parquet", self.options.prefix, work.claim.load_id)))
    }

    async fn upload(&self, bucket: &str, key: &str, file: std::fs::File) -> Result<()> {
        let mut object = self.store.writer(bucket, key, MEDIA_TYPE).await;
        let written = async {
            let mut file = file;
            loop {
                let (rest, bytes) = blocking(move || {
                    let mut bytes = Vec::with_capacity(BYTES_AT_ONCE);
                    let mut part = file.take(BYTES_AT_ONCE as u64);
                    let read = part.read_to_end(&mut bytes);
                    read.map_err(|error| Error::system("read a Parquet file back", error))?;
                    Ok((part.into_inner(), bytes))
                })
                .await?;
                if bytes.is_empty() {
                    return object.finish().await;
                }
                object.write(&bytes).await?;
                file = rest;
            }
        };
        let written = written.await;
        if written.is_err() {
            object.abandon().await;
        }
        written
    }
}

#[async_trait]
impl Loader for ParquetLoader {
    fn check(&self, datasets: &Datasets) -> Result<()> {
        let probe = format!("{}date=2000-01-01/1.parquet", self.options.prefix);
        match datasets.claiming(&probe) {
            None => Ok(()),
            Some(Dataset { name, .. }) => Err(Error::configuration(format!(
                "loader parquet: dataset {name} claims {probe}, and would load it; change prefix, or narrow its files"
            ))),
        }
    }

    async fn load(&self, _: &Database, work: &LoadWork) -> Result<Loading> {
        let (bucket, key) = self.place(work)?;
        let dataset = work.datasets.get(&work.claim.dataset).map_err(Error::configuration)?.clone();
        // What is encrypted in the table is nowhere in the clear.
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
                    file.write(columns)?;
                }
                Ok(file)
            })
            .await?;
        }
        let file = blocking(move || file.finish()).await?;
        let again = |file: &std::fs::File| {
            file.try_clone().and_then(|mut file| std::io::Seek::rewind(&mut file).map(|()| file))
        };
        retrying(async || {
            let file = again(&file).map_err(|error| Error::system("read a Parquet file back", error))?;
            self.upload(&bucket, &key, file).await
        })
        .await?;
        Ok(Loading::Done)
    }
}
