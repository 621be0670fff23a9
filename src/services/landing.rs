//! Landing puts what is not in S3 there, among the incoming files of its dataset. From then on it is a file like any
//! other: if the worker that landed it dies, an event of the bucket or the nightly run loads it.

use std::sync::Arc;

use async_trait::async_trait;

use super::extract::FileExtractor;
use super::form::Form;
use super::part_settings::PartSettings;
use super::{Extracted, Extractor, Lander};
use crate::data_access::duckdb::Stage;
use crate::data_access::s3::ObjectStore;
use crate::domain::object::LONGEST_KEY;
use crate::domain::{Arrival, Dataset, Location, ObjectKey, ObjectVersion};
use crate::error::{Error, Result};

/// Where objects are landed.
pub struct Place {
    /// The object store.
    pub store: Arc<ObjectStore>,
    /// The bucket.
    pub bucket: String,
    /// The text before each key.
    pub prefix: String,
    /// The format of the objects.
    pub form: Form,
}

impl Place {
    /// Reads the place from the settings. Without a bucket it is the bucket where files arrive.
    ///
    /// # Errors
    /// `Configuration` if the prefix does not end with `/`, or if no bucket is set.
    pub fn new(settings: &PartSettings<'_>, bucket: Option<String>, prefix: String, form: Form) -> Result<Self> {
        if prefix.is_empty() || !prefix.ends_with('/') {
            return Err(settings.refuse("prefix must end with /"));
        }
        let bucket = bucket.or_else(|| settings.source_bucket().map(String::from));
        let bucket =
            bucket.ok_or_else(|| settings.refuse("set bucket, or source.bucket, to say where files are landed"))?;
        Ok(Self { store: settings.store(), bucket, prefix, form })
    }

    /// Returns the key for a name below the prefix. The dataset must claim that key.
    ///
    /// # Errors
    /// `Configuration` if the dataset does not claim the key, or if no object can have it.
    pub fn key(&self, name: &str, dataset: &Dataset) -> Result<ObjectKey> {
        let key = format!("{}{name}", self.prefix);
        if key.len() > LONGEST_KEY {
            return Err(Error::configuration(format!("{key}: the key is longer than {LONGEST_KEY} bytes")));
        }
        if key.ends_with('/') {
            return Err(Error::configuration(format!(
                "{key}: a key that ends with / marks a folder and is never loaded"
            )));
        }
        if !dataset.claims(&key) {
            let name = &dataset.name;
            return Err(Error::configuration(format!(
                "{key}: dataset {name} does not claim this key; choose a prefix within its files"
            )));
        }
        Ok(key.into())
    }

    /// Returns the key as a location in the bucket.
    #[must_use]
    pub fn location(&self, key: ObjectKey) -> Location {
        Location::s3(&self.bucket, key)
    }
}

/// What a source must implement to be landed.
#[async_trait]
pub trait Source: Send + Sync {
    /// See [`Lander::takes`].
    fn takes(&self, arrival: &Arrival) -> bool;

    /// See [`Extractor::check`].
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check(&self, _dataset: &Dataset) -> Result<()> {
        Ok(())
    }

    /// See [`Lander::land`].
    ///
    /// # Errors
    /// The same as those of [`Lander::land`].
    async fn land(&self, place: &Place, arrival: &Arrival, dataset: &Dataset) -> Result<Vec<Location>>;
}

/// An extractor that lands what a source offers and reads what it landed.
pub struct Landing<S> {
    place: Place,
    source: S,
    files: FileExtractor,
}

impl<S: Source> Landing<S> {
    /// Creates an extractor that lands in `place`.
    #[must_use]
    pub fn new(place: Place, source: S) -> Self {
        let files = FileExtractor::new(Arc::clone(&place.store), place.form);
        Self { place, source, files }
    }
}

#[async_trait]
impl<S: Source> Lander for Landing<S> {
    fn takes(&self, arrival: &Arrival) -> bool {
        self.source.takes(arrival)
    }

    async fn land(&self, arrival: &Arrival, dataset: &Dataset) -> Result<Vec<Location>> {
        self.source.land(&self.place, arrival, dataset).await
    }
}

#[async_trait]
impl<S: Source> Extractor for Landing<S> {
    fn prefix(&self) -> Option<&str> {
        Some(&self.place.prefix)
    }

    fn check(&self, dataset: &Dataset) -> Result<()> {
        self.place.key(&format!("0/0.{}", self.place.form.extension()), dataset)?;
        self.source.check(dataset)
    }

    fn lander(&self) -> Option<&dyn Lander> {
        Some(self)
    }

    async fn identify(&self, location: &Location) -> Result<ObjectVersion> {
        self.files.identify(location).await
    }

    async fn find(&self, location: &Location) -> Result<ObjectVersion> {
        self.files.find(location).await
    }

    async fn manifests(&self, object: &ObjectVersion, run: i32) -> Result<Vec<Vec<u8>>> {
        self.files.manifests(object, run).await
    }

    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted> {
        self.files.extract(object, dataset, stage).await
    }
}
