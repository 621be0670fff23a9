//! Control totals: a file that is not what its manifest says has failed before anything is written.

use serde_json::{Map, Value, json};

use super::Extracted;
use crate::domain::manifest::Manifest;
use crate::domain::types::ColumnSum;
use crate::domain::{Dataset, ObjectVersion};
use crate::error::{Error, Reason, Result};

/// Compares a staged file that is not validated yet with the manifest beside it, and returns the figures that agree.
///
/// # Errors
/// `File(ManifestMismatch)` with both figures of each that differs, `File(ManifestMalformed)`, `System`.
pub fn check(manifest: &[u8], object: &ObjectVersion, dataset: &Dataset, extracted: &Extracted) -> Result<Value> {
    let file = object.display_name();
    let Manifest { row_count, sums, sha256 } = Manifest::parse(manifest, dataset).map_err(|message| {
        let message = format!("{file}: its manifest cannot be used: {message}");
        Error::file(Reason::ManifestMalformed, message)
    })?;
    let mut agreed = Map::new();
    let mut differences = Vec::new();
    let mut compare = |what: String, said: String, found: String, differ: bool, note: &str| {
        if differ {
            differences.push(format!("{what}: the manifest says {said}, the file has {found}{note}"));
        } else {
            agreed.insert(what, json!(found));
        }
    };
    if let Some(count) = row_count {
        let read = extracted.read;
        compare("row_count".into(), count.to_string(), read.to_string(), count != read, "");
    }
    if let Some(hash) = sha256 {
        let found = extracted.sha256.clone();
        let differ = hash != found;
        compare("sha256".into(), hash, found, differ, "");
    }
    for (column, ColumnSum { sum, unread }) in dataset.columns.iter().zip(&extracted.sums) {
        let Some(said) = sums.get(&column.name) else { continue };
        let note =
            if *unread > 0 { format!(", not counting {unread} cells that are no numbers") } else { String::new() };
        compare(format!("sum of {}", column.name), said.clone(), sum.clone(), said != sum, &note);
    }
    if differences.is_empty() {
        return Ok(Value::Object(agreed));
    }
    Err(Error::file(Reason::ManifestMismatch, format!("{file}: {}; nothing was loaded", differences.join("; "))))
}
