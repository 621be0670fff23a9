//! Brings files to this machine, unpacked, so that any part of them can be looked at.

use std::fs::File;
use std::io::Read;

use tempfile::NamedTempFile;

use super::input::Input;
use crate::data_access::archive::unpacked;
use crate::data_access::duckdb::blocking;
use crate::data_access::s3::{ObjectStore, into_error};
use crate::domain::Location;
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::services::local::unreadable;

/// Files on this machine. Those that had to be fetched or unpacked are deleted with it.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The files.
    pub inputs: Vec<Input>,
    kept: Vec<NamedTempFile>,
}

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Fetches objects, and unpacks what is packed.
///
/// # Errors
/// `File(NotFound)`, `Connection`, `System`.
pub async fn fetch(locations: &[Location], store: &ObjectStore) -> Result<Fetched> {
    let mut fetched = Fetched::default();
    for location in locations {
        let key = location.key().as_str().to_owned();
        match location {
            Location::File(path) => {
                let path = path.clone();
                let copy = blocking(move || {
                    let mut file = File::open(&path).map_err(|error| unreadable(&path, error))?;
                    let mut magic = Vec::new();
                    file.by_ref().take(4).read_to_end(&mut magic).map_err(|error| unreadable(&path, error))?;
                    if !magic.starts_with(GZIP) && magic != ZSTD {
                        return Ok((None, path));
                    }
                    let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
                    Ok((Some(copy_of(file, &path.display().to_string())?), path))
                });
                let (copy, own) = copy.await?;
                let path = copy.as_ref().map_or(own, |copy| copy.path().to_owned());
                fetched.inputs.push(Input { key, path, folder: None });
                fetched.kept.extend(copy);
            }
            Location::S3 { bucket, key: object, version_id, .. } => {
                let version = store.head(bucket, object, version_id.as_deref()).await?;
                let body = store.body(&version).await;
                let name = format!("s3://{bucket}/{key}");
                let copy = blocking(move || copy_of(body, &name)).await?;
                let folder = key.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
                fetched.inputs.push(Input { key, path: copy.path().to_owned(), folder: Some(folder) });
                fetched.kept.push(copy);
            }
        }
    }
    Ok(fetched)
}

fn copy_of(source: impl Read + Send, name: &str) -> Result<NamedTempFile> {
    let failed = |error: std::io::Error| match into_error(error) {
        Some(error) => error,
        None => Error::file(Reason::Malformed, format!("{name}: cannot be unpacked")),
    };
    let mut copy = NamedTempFile::new()
        .map_err(|error| Error::with_source(ErrorKind::System, "keep a copy of the file", error))?;
    let Some(mut content) = unpacked(source, name).map_err(failed)? else {
        return Err(Error::file(Reason::Empty, format!("{name}: the file is empty; not even a header is there")));
    };
    std::io::copy(&mut content.plain, copy.as_file_mut()).map_err(failed)?;
    Ok(copy)
}
