//! Control totals: a file that differs from its manifest fails before anything is written.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Extracted, local};
use crate::data_access::duckdb::blocking;
use crate::data_access::s3::ObjectStore;
use crate::domain::manifest::{Manifest, manifest_key, written_for};
use crate::domain::object::with_part;
use crate::domain::types::ColumnSum;
use crate::domain::{Dataset, ObjectVersion};
use crate::error::{Error, Reason, Result};

/// A longer manifest is cut, and then cannot be parsed.
const LONGEST: u64 = 1024 * 1024;

/// Returns the manifests beside a file, which must agree with one of them if there are any. For a version that another one has replaced,
/// these are the manifests that were there while it was current. If the version is loaded once more, a person may have corrected the
/// manifest since, so the current one is accepted, too.
pub(super) async fn beside(store: &ObjectStore, object: &ObjectVersion, run: i32) -> Result<Vec<Vec<u8>>> {
    let Some(key) = manifest_key(object) else { return Ok(Vec::new()) };
    if object.local {
        let path = PathBuf::from(key.as_str());
        return blocking(move || local::read_small(&path, LONGEST).map(|found| found.into_iter().collect())).await;
    }
    let read = async |version_id: Option<&str>| store.small_object(&object.bucket, &key, version_id, LONGEST).await;
    let mut present = read(None).await?;
    if present.is_some()
        && object.version_id.is_some()
        && let Some((written, followed)) = while_current(store, object).await?
    {
        present = present.filter(|_| run > 0);
        let manifests = store.versions_of(&object.bucket, &key).await?;
        let time = |manifest: &ObjectVersion| manifest.modified.unwrap_or(DateTime::UNIX_EPOCH);
        let times: Vec<_> = manifests.iter().map(time).collect();
        let mut found = present.into_iter().collect::<Vec<_>>();
        for place in written_for(&times, written, followed) {
            found.extend(read(manifests[place].version_id.as_deref()).await?);
        }
        return Ok(found);
    }
    Ok(present.into_iter().collect())
}

/// When a version was written, and when the one that followed it; `None` if it is the current one, or the bucket does not say.
async fn while_current(store: &ObjectStore, object: &ObjectVersion) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>> {
    let versions = store.versions_of(&object.bucket, &object.key).await?;
    let place = versions.iter().position(|other| other.version == object.version);
    let Some(place @ 1..) = place else { return Ok(None) };
    Ok(versions[place].modified.zip(versions[place - 1].modified))
}

/// Compares a staged file, or the staged part of an object that has these parts, with its manifests before it is validated. Returns the
/// figures of the first one that agrees; `None` if it has no manifest.
///
/// # Errors
/// `File(ManifestMismatch)` with both values of each figure that differs from the first one, `File(ManifestMalformed)`.
pub fn check(
    manifests: &[Vec<u8>],
    object: &ObjectVersion,
    dataset: &Dataset,
    (part, parts): (&str, &[String]),
    extracted: &Extracted,
) -> Result<Option<Value>> {
    let mut refused = None;
    for manifest in manifests {
        match compare(manifest, object, dataset, (part, parts), extracted) {
            Ok(agreed) => return Ok(Some(agreed)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(None), Err)
}

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
        figure("sha256".into(), hash, found, differ, "");
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
