//! What a load with rejects leaves in S3 for people: the rejects file, and the report beside it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::rejects_writer::{Fit, RejectsFile, RejectsForm, RejectsWriter};
use super::report;
use crate::data_access::postgres::{Database, PendingRejects, RejectCursor, RejectFilter};
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::object::{LOCAL_BUCKET, LONGEST_KEY};
use crate::domain::{Dataset, Datasets, LoadId, Violation};
use crate::error::{Error, Result};

const PAGE: &str = "text/html; charset=utf-8";

/// What the name of a rejects file ends in.
const ENDINGS: [(RejectsForm, &str); 2] = [(RejectsForm::Text, ".csv"), (RejectsForm::Workbook, ".xlsx")];

/// Where rejects files go: `PREFIXrejects/DATASET/LOAD.csv`, and those of workbooks `….xlsx`.
pub struct Output {
    store: Arc<ObjectStore>,
    bucket: Option<String>,
    prefix: String,
    /// Whether rejects of workbooks are workbooks.
    workbooks: bool,
}

impl Output {
    /// Writes to `bucket`, or else to the bucket of each file, with `prefix` before each key.
    #[must_use]
    pub fn new(store: Arc<ObjectStore>, bucket: Option<String>, prefix: String) -> Self {
        Self { store, bucket, prefix, workbooks: true }
    }

    /// The same, which writes text where a dataset would load workbooks of rejects.
    #[must_use]
    pub fn beside(self, datasets: &Datasets) -> Self {
        let claimed = |name: &&str| datasets.claiming(&self.key(name, LoadId(1), RejectsForm::Workbook)).is_some();
        let workbooks = !datasets.names().iter().any(claimed);
        Self { workbooks, ..self }
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

    /// Returns bucket and key of the rejects file of a load, if it is text; `None` for a file on this machine if no bucket is set.
    #[must_use]
    pub fn place(&self, load: &PendingRejects) -> Option<(String, String)> {
        let bucket = self.bucket(&load.bucket, load.bucket == LOCAL_BUCKET)?;
        Some((bucket.to_owned(), self.key(&load.dataset, load.load_id, RejectsForm::Text)))
    }

    /// Refuses a prefix that leaves no room for the rest of the keys, and a dataset that would load what is written
    /// here.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    pub fn check(&self, datasets: &Datasets) -> Result<()> {
        let longest = |name: &&str| report_key(&self.key(name, LoadId(i64::MAX), RejectsForm::Text)).len();
        if datasets.names().iter().map(longest).any(|length| length > LONGEST_KEY) {
            return Err(Error::configuration(format!(
                "output.prefix is so long that keys would have more than {LONGEST_KEY} bytes; shorten it"
            )));
        }
        let claims = |name: &&str| {
            let probe = self.key(name, LoadId(1), RejectsForm::Text);
            datasets.claiming(&probe).map(|dataset: &Dataset| (dataset.name.clone(), probe))
        };
        match datasets.names().iter().find_map(claims) {
            None => Ok(()),
            Some((name, key)) => Err(Error::configuration(format!(
                "dataset {name} claims {key}, where rejects are written; set output.prefix, or narrow its files"
            ))),
        }
    }

    fn key(&self, dataset: &str, load: LoadId, form: RejectsForm) -> String {
        let ending = ENDINGS.into_iter().find(|(known, _)| *known == form).map_or("", |(_, ending)| ending);
        format!("{}rejects/{dataset}/{load}{ending}", self.prefix)
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
        let writer = RejectsWriter::of(database, load).await?;
        let mut form = if self.workbooks && writer.has_sheet() { RejectsForm::Workbook } else { RejectsForm::Text };
        let mut key = self.key(dataset, load, form);
        if self.write_file(database, load, (bucket, &key), &writer, form).await? == Fit::Full {
            form = RejectsForm::Text;
            key = self.key(dataset, load, form);
            // Text holds everything.
            let _ = self.write_file(database, load, (bucket, &key), &writer, form).await?;
        }
        let page = report::page_beside(database, load, bucket, &key).await?;
        self.store.put(bucket, &report_key(&key), PAGE, page.as_bytes()).await?;
        retrying(|| database.note_rejects_file(load, bucket, &key)).await?;
        Ok(key)
    }

    /// Writes a rejects file in that form. Nothing is written if it does not hold all rejects.
    async fn write_file(
        &self,
        database: &Database,
        load: LoadId,
        (bucket, key): (&str, &str),
        writer: &RejectsWriter,
        form: RejectsForm,
    ) -> Result<Fit> {
        let mut object = self.store.writer(bucket, key, &writer.media_type(form)).await;
        let pages = each_page(database, load, (writer, form), async |page: Vec<u8>| object.write(&page).await).await;
        let written = match pages {
            Ok(Fit::Fits) => object.finish().await.map(|()| Fit::Fits),
            other => other,
        };
        if !matches!(written, Ok(Fit::Fits)) {
            object.abandon().await;
        }
        written
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

    /// Deletes a rejects file, whatever its form, and the report beside it.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses.
    pub async fn delete_rejects(&self, bucket: &str, key: &str) -> Result<()> {
        let base = base_of(key);
        let endings = ENDINGS.into_iter().map(|(_, ending)| ending).chain([REPORT]);
        for key in endings.map(|ending| format!("{base}{ending}")) {
            retrying(|| self.store.delete(bucket, &key)).await?;
        }
        Ok(())
    }
}

/// What the name of a report ends in.
const REPORT: &str = ".html";

/// The key of a rejects file without its ending.
fn base_of(rejects_key: &str) -> &str {
    ENDINGS.into_iter().find_map(|(_, ending)| rejects_key.strip_suffix(ending)).unwrap_or(rejects_key)
}

/// The key of the report beside a rejects file.
fn report_key(rejects_key: &str) -> String {
    format!("{}{REPORT}", base_of(rejects_key))
}

/// The bytes of a file since they were taken last.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes the rejects file of a load to `take`, in pages of bounded size, and returns whether it holds all rejects.
async fn each_page(
    database: &Database,
    load: LoadId,
    (writer, form): (&RejectsWriter, RejectsForm),
    mut take: impl AsyncFnMut(Vec<u8>) -> Result<()>,
) -> Result<Fit> {
    let page = Page::default();
    let Some(mut file) = RejectsFile::begin(writer, page.clone(), form)? else { return Ok(Fit::Full) };
    let filter = RejectFilter { load: Some(load), all: true, ..RejectFilter::default() };
    let mut cursor = RejectCursor::default();
    loop {
        let (rejects, end) = retrying(|| database.page_of_rejects(&filter, cursor)).await?;
        cursor = end;
        let violations: Vec<Violation> = rejects.into_iter().map(|reject| reject.violation).collect();
        if violations.is_empty() {
            file.finish()?;
            take(page.take()).await?;
            return Ok(Fit::Fits);
        }
        if file.write(writer, Some(load), &violations)? == Fit::Full {
            return Ok(Fit::Full);
        }
        take(page.take()).await?;
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
