//! What a load with rejects leaves in S3 for people: the rejects file, and the report beside it.

use std::sync::Arc;

use super::rejects_writer::RejectsWriter;
use super::report;
use crate::data_access::postgres::{Database, PendingRejects, RejectCursor, RejectFilter};
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::object::{LOCAL_BUCKET, LONGEST_KEY};
use crate::domain::{Dataset, Datasets, LoadId, Violation};
use crate::error::{Error, Result};

const PAGE: &str = "text/html; charset=utf-8";

/// Where rejects files go: `PREFIXrejects/DATASET/LOAD.csv`.
pub struct Output {
    store: Arc<ObjectStore>,
    bucket: Option<String>,
    prefix: String,
}

impl Output {
    /// Writes to `bucket`, or else to the bucket of each file, with `prefix` before each key.
    #[must_use]
    pub fn new(store: Arc<ObjectStore>, bucket: Option<String>, prefix: String) -> Self {
        Self { store, bucket, prefix }
    }

    /// Returns the bucket for the output of a file from the bucket `source`; `None` for a file on this machine if no
    /// bucket is set.
    #[must_use]
    pub fn bucket<'a>(&'a self, source: &'a str, local: bool) -> Option<&'a str> {
        self.bucket.as_deref().or((!local).then_some(source))
    }

    /// Whether a bucket is set, so that files on this machine have one too.
    #[must_use]
    pub fn has_own_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// Returns bucket and key of the rejects file of a load; `None` for a file on this machine if no bucket is set.
    #[must_use]
    pub fn place(&self, load: &PendingRejects) -> Option<(String, String)> {
        let bucket = self.bucket(&load.bucket, load.bucket == LOCAL_BUCKET)?;
        Some((bucket.to_owned(), self.key(&load.dataset, load.load_id)))
    }

    /// Refuses a prefix that leaves no room for the rest of the keys, and a dataset that would load what is written
    /// here.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    pub fn check(&self, datasets: &Datasets) -> Result<()> {
        let longest = |name: &&str| report_key(&self.key(name, LoadId(i64::MAX))).len();
        if datasets.names().iter().map(longest).any(|length| length > LONGEST_KEY) {
            return Err(Error::configuration(format!(
                "output.prefix is so long that keys would have more than {LONGEST_KEY} bytes; shorten it"
            )));
        }
        let claims = |name: &&str| {
            let probe = self.key(name, LoadId(1));
            datasets.claiming(&probe).map(|dataset: &Dataset| (dataset.name.clone(), probe))
        };
        match datasets.names().iter().find_map(claims) {
            None => Ok(()),
            Some((name, key)) => Err(Error::configuration(format!(
                "dataset {name} claims {key}, where rejects are written; set output.prefix, or narrow its files"
            ))),
        }
    }

    fn key(&self, dataset: &str, load: LoadId) -> String {
        format!("{}rejects/{dataset}/{load}.csv", self.prefix)
    }

    /// Writes the rejects file and the report of a load that has ended, and records where they are. Writing them again
    /// produces the same. Returns the key.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses, `System`. Nothing is recorded then.
    pub async fn write_rejects(
        &self,
        database: &Database,
        load: LoadId,
        dataset: &str,
        bucket: &str,
    ) -> Result<String> {
        let key = self.key(dataset, load);
        let writer = RejectsWriter::of(database, load).await?;
        let mut object = self.store.writer(bucket, &key, &writer.media_type()).await;
        let mut written = each_page(database, load, &writer, async |page: Vec<u8>| object.write(&page).await).await;
        if written.is_ok() {
            written = object.finish().await;
        }
        if let Err(error) = written {
            object.abandon().await;
            return Err(error);
        }
        let page = report::page_beside(database, load, bucket, &key).await?;
        self.store.put(bucket, &report_key(&key), PAGE, page.as_bytes()).await?;
        retrying(|| database.note_rejects_file(load, bucket, &key)).await?;
        Ok(key)
    }

    /// Writes a web page under `name`, with the prefix before it. Returns its key.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses.
    pub async fn write_page(&self, bucket: &str, name: &str, page: &str) -> Result<String> {
        let key = format!("{}{name}", self.prefix);
        self.store.put(bucket, &key, PAGE, page.as_bytes()).await?;
        Ok(key)
    }

    /// Deletes a rejects file and the report beside it.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses.
    pub async fn delete_rejects(&self, bucket: &str, key: &str) -> Result<()> {
        for key in [key, &report_key(key)] {
            retrying(|| self.store.delete(bucket, key)).await?;
        }
        Ok(())
    }
}

/// The key of the report beside a rejects file.
fn report_key(rejects_key: &str) -> String {
    format!("{}.html", rejects_key.trim_end_matches(".csv"))
}

/// Passes the rejects file of a load to `take`, in pages of bounded size.
async fn each_page(
    database: &Database,
    load: LoadId,
    writer: &RejectsWriter,
    mut take: impl AsyncFnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut page = Vec::new();
    writer.begin(&mut page)?;
    let filter = RejectFilter { load: Some(load), all: true, ..RejectFilter::default() };
    let mut cursor = RejectCursor::default();
    loop {
        let (rejects, end) = retrying(|| database.page_of_rejects(&filter, cursor)).await?;
        cursor = end;
        let violations: Vec<Violation> = rejects.into_iter().map(|reject| reject.violation).collect();
        if violations.is_empty() {
            return take(page).await;
        }
        writer.write(&mut page, Some(load), &violations)?;
        take(std::mem::take(&mut page)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_leaves_room_for_every_key_after_it() {
        let definition = include_str!("../../datasets/asset.toml");
        let datasets = Datasets::parse([("asset.toml", definition)]).unwrap();
        let of = |length| Output::new(Arc::default(), None, "p".repeat(length)).check(&datasets);
        assert!(of(LONGEST_KEY - "rejects/asset/9223372036854775807.html".len()).is_ok());
        let error = of(LONGEST_KEY - "rejects/asset/9223372036854775807.html".len() + 1).unwrap_err();
        assert!(error.to_string().contains("output.prefix is so long"), "{error}");
    }
}
