//! What one load is of: an object or a part of it, and how it is read.

use std::sync::Arc;

use crate::domain::object::with_part;
use crate::domain::source::model::Source;
use crate::domain::{Dataset, LoadId, LoadReport, LoadStatus, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::object_parts::ObjectCopy;

/// What is loaded by one load: an object or a part of it.
pub(super) struct Piece<'a> {
    /// The dataset that reads it.
    pub(super) dataset: &'a Dataset,
    /// The source that describes it; `None` for the plain form.
    pub(super) source: Option<&'a Source>,
    /// Its name; empty for the whole object.
    pub(super) part: &'a str,
    /// The names of all parts of the object that are loaded.
    pub(super) parts: &'a [String],
    /// The object on this machine, if it has parts.
    pub(super) copy: Option<Arc<ObjectCopy>>,
    /// Why it cannot be loaded.
    pub(super) refused: Option<Refused>,
}

impl Piece<'_> {
    /// What there is to report of a load of it before that has ended.
    pub(super) fn report(
        &self,
        object: &ObjectVersion,
        status: LoadStatus,
        load_id: LoadId,
        attempt: i32,
    ) -> LoadReport {
        LoadReport {
            load_id: Some(load_id),
            bucket: Some(object.bucket.clone()),
            key: Some(object.key.to_string()),
            version: Some(object.version.clone()),
            dataset: Some(self.dataset.name.clone()),
            source: self.source.map(|source| source.name.clone()),
            part: Some(self.part.to_owned()),
            attempt: Some(attempt),
            ..LoadReport::new(status)
        }
    }
}

/// A fault of an object or a part that is known before it is claimed.
#[derive(Clone)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Refused {
    /// The fault, if the error is one of the object; any other error is given back.
    pub(super) fn of(error: Error) -> Result<Self> {
        match error.kind() {
            ErrorKind::File(reason) => Ok(Self { reason, message: error.chain() }),
            _ => Err(error),
        }
    }

    /// A part that was to be loaded, and that no source reads.
    pub(super) fn orphan(object: &ObjectVersion, part: &str) -> Self {
        let file = with_part(object.display_name(), part);
        let message = format!(
            "{file}: it was to be loaded, and no source reads it any more; declare one, and load it with --again"
        );
        Self { reason: Reason::Malformed, message }
    }
}
