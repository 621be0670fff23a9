//! Control totals: a file that differs from its manifest fails before anything is written.

use std::path::PathBuf;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::{Extracted, local};
use crate::data_access::duckdb::blocking;
use crate::data_access::s3::ObjectStore;
use crate::domain::manifest::{Manifest, WrittenFor, manifest_key, written_for};
use crate::domain::object::with_part;
use crate::domain::types::ColumnSum;
use crate::domain::{Dataset, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};

/// A longer manifest is cut, and then cannot be parsed.
const LONGEST: u64 = 1024 * 1024;

/// The manifests that may belong to a version of a file.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The file must agree with one of these.
    pub own: Vec<Vec<u8>>,
    /// Or it must agree with one of these, if that one states its hash: it may be the manifest of another version.
    pub others: Vec<Vec<u8>>,
}

impl Manifests {
    /// Whether the file has no manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty()
    }
}

impl From<Option<Vec<u8>>> for Manifests {
    fn from(manifest: Option<Vec<u8>>) -> Self {
        Self { own: manifest.into_iter().collect(), others: Vec::new() }
    }
}

/// Returns the manifests beside a file. For a version that another one has replaced, these are the manifests that were
/// there while it was current. If the version is loaded once more, a person may have corrected the manifest since, so
/// any of them is accepted, including the current one.
pub(super) async fn beside(store: &ObjectStore, object: &ObjectVersion, run: i32) -> Result<Manifests> {
    let Some(key) = manifest_key(object) else { return Ok(Manifests::default()) };
    if object.local {
        let path = PathBuf::from(key.as_str());
        return blocking(move || local::read_small(&path, LONGEST).map(Manifests::from)).await;
    }
    let read = async |version_id: Option<&str>| store.small_object(&object.bucket, &key, version_id, LONGEST).await;
    let present = read(None).await?;
    if present.is_none() || object.version_id.is_none() {
        return Ok(present.into());
    }
    let versions = store.versions_of(&object.bucket, &object.key).await?;
    let place = versions.iter().position(|other| other.version == object.version);
    let Some(place @ 1..) = place else { return Ok(present.into()) };
    let (Some(written), Some(followed)) = (versions[place].modified, versions[place - 1].modified) else {
        return Ok(present.into());
    };
    let manifests = store.versions_of(&object.bucket, &key).await?;
    let times: Vec<_> = manifests.iter().map(|manifest| manifest.modified.unwrap_or(DateTime::UNIX_EPOCH)).collect();
    let WrittenFor { own, later } = written_for(&times, written, followed);
    let all = async |places: Vec<usize>| {
        let mut found = Vec::new();
        for place in places {
            found.extend(read(manifests[place].version_id.as_deref()).await?);
        }
        Ok::<_, Error>(found)
    };
    let mut found = Manifests { own: all(own).await?, others: all(later.into_iter().collect()).await? };
    if run > 0 {
        found.own = present.into_iter().chain(found.others.drain(..)).chain(found.own).collect();
    }
    Ok(found)
}

/// Compares a staged file, or the staged part of an object that has these parts, with its manifests before it is validated. Returns the
/// figures that agree; `None` if it has no manifest.
///
/// # Errors
/// `File(ManifestMismatch)` with both values of each figure that differs, `File(ManifestMalformed)`.
pub fn check(
    manifests: &Manifests,
    object: &ObjectVersion,
    dataset: &Dataset,
    (part, parts): (&str, &[String]),
    extracted: &Extracted,
) -> Result<Option<Value>> {
    let mut refused = None;
    for manifest in &manifests.own {
        match compare(manifest, object, dataset, (part, parts), extracted) {
            Ok(agreed) => return Ok(Some(agreed)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    for manifest in &manifests.others {
        if let Ok(agreed) = compare(manifest, object, dataset, (part, parts), extracted)
            && agreed.get(HASH).is_some()
        {
            return Ok(Some(agreed));
        }
    }
    let Some(error) = refused else { return Ok(None) };
    let ErrorKind::File(reason) = error.kind() else { return Err(error) };
    Err(if manifests.others.is_empty() {
        error
    } else {
        let more = "a manifest written after this version is accepted only if it states the sha256, or with --again";
        Error::file(reason, format!("{error}; {more}"))
    })
}

/// The name of the hash in a manifest.
const HASH: &str = "sha256";

fn compare(
    manifest: &[u8],
    object: &ObjectVersion,
    dataset: &Dataset,
    (part, parts): (&str, &[String]),
    extracted: &Extracted,
) -> Result<Value> {
    let file = with_part(object.display_name(), part);
    let parsed = Manifest::parse(manifest, dataset, part, parts);
    let Manifest { row_count, sums, sha256, other_parts } = parsed.map_err(|message| {
        let message = format!("{file}: its manifest cannot be used: {message}");
        Error::file(Reason::ManifestMalformed, message)
    })?;
    let mut agreed = Map::new();
    let mut differences: Vec<String> = other_parts.into_iter().collect();
    let mut figure = |what: String, said: String, found: String, differ: bool, note: &str| {
        if differ {
            differences.push(format!("{what}: the manifest says {said}, the file has {found}{note}"));
        } else {
            agreed.insert(what, json!(found));
        }
    };
    if let Some(count) = row_count {
        let read = extracted.read;
        figure("row_count".into(), count.to_string(), read.to_string(), count != read, "");
    }
    if let Some(hash) = sha256 {
        let found = extracted.sha256.clone();
        let differ = hash != found;
        figure(HASH.into(), hash, found, differ, "");
    }
    for (column, ColumnSum { sum, unread }) in dataset.columns.iter().zip(&extracted.sums) {
        let Some(said) = sums.get(&column.name) else { continue };
        let note =
            if *unread > 0 { format!(", not counting {unread} cells that are not numbers") } else { String::new() };
        figure(format!("sum of {}", column.name), said.clone(), sum.clone(), said != sum, &note);
    }
    if differences.is_empty() {
        return Ok(Value::Object(agreed));
    }
    Err(Error::file(Reason::ManifestMismatch, format!("{file}: {}; nothing was loaded", differences.join("; "))))
}
