//! What is asked for: a file, of which no more is known than its place.

use std::sync::Arc;

use crate::domain::{Dataset, Datasets, Location, ObjectVersion, Progress};
use crate::error::{Error, Result};
use crate::services::Deadline;

/// One file that somebody wants.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it lies.
    pub location: Location,
    /// The dataset, where its key does not tell.
    pub dataset: Option<String>,
    /// Whether a version that is finished is to be loaded once more, as its next run.
    pub again: bool,
    /// The parts of the object that are to be loaded; all of them if this is empty.
    pub parts: Vec<String>,
    /// Counts how far the file is.
    pub progress: Arc<Progress>,
    /// When to leave the rest to the next worker.
    pub deadline: Deadline,
}

impl Request {
    /// A request for a file whose key tells its dataset.
    #[must_use]
    pub fn new(location: Location) -> Self {
        Self {
            location,
            dataset: None,
            again: false,
            parts: Vec::new(),
            progress: Arc::default(),
            deadline: Deadline::default(),
        }
    }
}

/// Explains why the location is not that of a file, as far as its key shows. With `begun` a load of it exists, so it counts as a file and the load ends.
pub(super) fn no_file(request: &Request, begun: bool) -> Option<&'static str> {
    match &request.location {
        Location::S3 { key, .. } if key.as_str().ends_with('/') => {
            Some("a key that ends with / marks a folder and is no file")
        }
        Location::S3 { key, .. } if request.dataset.is_none() && key.is_marker() && !begun => {
            Some("a hidden file or a marker, as programs leave them beside data; name its dataset to load it")
        }
        Location::S3 { key, .. } => key.flaw(),
        Location::File(_) => None,
    }
}

/// The dataset that is named, else the one that claims the key.
pub(super) fn choose_dataset<'a>(datasets: &'a Datasets, request: &Request) -> Result<Option<&'a Dataset>> {
    match &request.dataset {
        Some(name) => datasets.get(name).map(Some).map_err(Error::configuration),
        None => Ok(datasets.claiming(request.location.key().as_str())),
    }
}

/// What the ledger knows of an object that cannot be read.
pub(super) fn unidentified(location: &Location) -> ObjectVersion {
    let (version, sequencer, modified) = match location {
        Location::S3 { version_id, etag, sequencer, modified, .. } => {
            (version_id.clone().or_else(|| etag.clone()), sequencer.clone(), *modified)
        }
        Location::File(_) => (None, None, None),
    };
    ObjectVersion {
        bucket: location.bucket().to_owned(),
        key: location.key(),
        version: version.unwrap_or_default(),
        version_id: None,
        size: None,
        sequencer,
        modified,
        local: false,
    }
}
