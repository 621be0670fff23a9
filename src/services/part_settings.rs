//! What a part of a pipeline is made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::data_access::s3::ObjectStore;
use crate::error::{Error, Result};

/// Everything that a part is made from.
pub struct PartSettings<'a> {
    /// The key of the settings that chose the part, for messages.
    pub(super) place: String,
    pub(super) options: &'a Map<String, Value>,
    pub(super) surroundings: &'a Surroundings,
}

/// What a part can use of the program that it runs in.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The objects in S3.
    pub store: Arc<ObjectStore>,
    /// The bucket where files arrive, if it is set.
    pub source_bucket: Option<String>,
    /// The folder for all temporary files.
    pub temp_folder: PathBuf,
}

impl PartSettings<'_> {
    /// Reads the options that stand beside `type` in the settings. Mark the structure with
    /// `#[serde(deny_unknown_fields)]`.
    ///
    /// # Errors
    /// `Configuration`, naming the part and what does not fit.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.options.clone())).map_err(|error| self.refuse(&error.to_string()))
    }

    /// Creates an error that names the part.
    #[must_use]
    pub fn refuse(&self, what: &str) -> Error {
        Error::configuration(format!("{}: {what}", self.place))
    }

    /// Refuses any option.
    ///
    /// # Errors
    /// `Configuration`, naming the first option.
    pub fn no_options(&self) -> Result<()> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(option) => Err(self.refuse(&format!("there is no option {option:?}"))),
        }
    }

    /// The objects in S3.
    #[must_use]
    pub fn store(&self) -> Arc<ObjectStore> {
        Arc::clone(&self.surroundings.store)
    }

    /// The bucket where files arrive (`source.bucket`).
    #[must_use]
    pub fn source_bucket(&self) -> Option<&str> {
        self.surroundings.source_bucket.as_deref()
    }

    /// The folder for all temporary files (`stage.temp_folder`).
    #[must_use]
    pub fn temp_folder(&self) -> &Path {
        &self.surroundings.temp_folder
    }
}
