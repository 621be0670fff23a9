//! A request for a file, of which only the location is known.

use std::sync::Arc;

use crate::data_access::duckdb::is_out_of_room;
use crate::domain::source::model::Source;
use crate::domain::{Dataset, Datasets, Location, ObjectKey, ObjectVersion, Progress};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::Deadline;
use crate::services::object_parts::PartReader;

/// A request for one file.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the file is.
    pub location: Location,
    /// The dataset, if the key does not tell.
    pub dataset: Option<String>,
    /// The source that describes the file, if the key does not tell.
    pub source: Option<String>,
    /// Whether to load a finished version once more, as its next run.
    pub again: bool,
    /// The parts of the object to load; all of them if this is empty.
    pub parts: Vec<String>,
    /// Counts the progress of the file.
    pub progress: Arc<Progress>,
    /// When to leave the rest to the next worker.
    pub deadline: Deadline,
    /// Whether a larger machine takes what does not fit on this one, or into its time.
    pub hands_over: bool,
}

impl Request {
    /// Creates a request for a file whose key tells its dataset.
    #[must_use]
    pub fn new(location: Location) -> Self {
        let (progress, deadline) = (Arc::default(), Deadline::default());
        Self {
            location,
            dataset: None,
            source: None,
            again: false,
            parts: Vec::new(),
            progress,
            deadline,
            hands_over: false,
        }
    }

    /// Whether a file with this error is to be left to a larger machine.
    pub(super) fn is_outgrown_by(&self, error: &Error) -> bool {
        let too_large = error.kind() == ErrorKind::File(Reason::TooLarge) || is_out_of_room(error);
        self.hands_over && (too_large || error.kind() == ErrorKind::OutOfTime && !self.deadline.is_interrupted())
    }
}

/// Explains why the location is not that of a file, as far as its key shows. With `begun`, a load of it exists, so it
/// counts as a file and the load can end.
pub(super) fn no_file(request: &Request, begun: bool) -> Option<&'static str> {
    match &request.location {
        Location::S3 { key, .. } if key.as_str().ends_with('/') => {
            Some("a key that ends with / marks a folder and is not a file")
        }
        Location::S3 { key, .. } if request.dataset.is_none() && key.is_marker() && !begun => {
            Some("a hidden file or a marker, as programs leave them beside data; name its dataset to load it")
        }
        Location::S3 { key, .. } => key.flaw(),
        Location::File(_) => None,
    }
}

/// Returns the dataset that is named, or the one that claims the key, or the only one that has the named source.
pub(super) fn choose_dataset<'a>(datasets: &'a Datasets, request: &Request) -> Result<Option<&'a Dataset>> {
    if let Some(name) = &request.dataset {
        return datasets.get(name).map(Some).map_err(Error::configuration);
    }
    let key = request.location.key();
    let local = matches!(request.location, Location::File(_));
    let of_source = |name: &String| {
        let mut having = datasets.all().filter(|dataset| dataset.source(name).is_ok());
        having.next().filter(|_| having.next().is_none())
    };
    let claiming = datasets.claiming(key.as_str());
    let by_source = || datasets.all().find(|dataset| dataset.source_for(key.as_str(), local).is_some());
    Ok(claiming.or_else(by_source).or_else(|| request.source.as_ref().and_then(of_source)))
}

/// Returns the source that is named, else the one that claims the key, else the only source of a dataset without files
/// in the plain form; `None` for a file in the plain form.
pub(super) fn choose_source<'a>(
    dataset: &'a Dataset,
    named: Option<&str>,
    key: &str,
    local: bool,
) -> Result<Option<&'a Source>> {
    if let Some(name) = named {
        return dataset.source(name).map(Some).map_err(Error::configuration);
    }
    let only = dataset.sources.first().filter(|_| dataset.sources.len() == 1 && !dataset.has_plain_files());
    Ok(dataset.source_for(key, local).or(only))
}

/// What reads an object.
pub(super) enum Readers<'a> {
    /// One dataset reads it as a whole: as a source describes it, or in the plain form.
    Whole(&'a Dataset, Option<&'a Source>),
    /// Sources read parts of it.
    Parts(Vec<PartReader<'a>>),
}

/// Returns what reads the requested object, if anything does. The first dataset and its first source decide whether the
/// object is read as a whole or in parts.
pub(super) fn choose_readers<'a>(datasets: &'a Datasets, request: &Request) -> Result<Option<Readers<'a>>> {
    let Some(first) = choose_dataset(datasets, request)? else { return Ok(None) };
    // For a file on this machine, the whole path may show which dataset reads it.
    let (key, local) = match &request.location {
        Location::File(path) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            (ObjectKey::of_path(&path), true)
        }
        Location::S3 { key, .. } => (key.clone(), false),
    };
    let named = request.source.as_deref();
    let source = choose_source(first, named, key.as_str(), local)?;
    if !source.is_some_and(Source::reads_parts) {
        return Ok(Some(Readers::Whole(first, source)));
    }
    let is_asked = |dataset: &&Dataset| request.dataset.as_ref().is_none_or(|name| *name == dataset.name);
    let mut readers = Vec::new();
    for dataset in datasets.all().filter(is_asked) {
        let mut claiming: Vec<&Source> = match named {
            Some(name) => dataset.source(name).into_iter().collect(),
            None => dataset.sources_for(key.as_str(), local).collect(),
        };
        // The only source of a dataset that is named reads its files wherever they are, such as mended rejects.
        if claiming.is_empty() && dataset.name == first.name {
            claiming.extend(source);
        }
        let parts = claiming.into_iter().filter(|source| source.reads_parts());
        readers.extend(parts.map(|source| PartReader { dataset, source }));
    }
    Ok(Some(Readers::Parts(readers)))
}

/// Returns what the ledger can know of an object that cannot be read.
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
