//! Lists a bucket: every version of every object under a prefix, page by page.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::EncodingType;
use chrono::{DateTime, Utc};

use super::aws::service_error;
use super::retry::retrying;
use super::s3::{ObjectStore, unquoted, written_at};
use crate::domain::{ObjectKey, ObjectVersion, Sequencer};
use crate::error::{Error, Result};

enum Next {
    Versions(Option<String>, Option<String>),
    /// For servers that do not list versions.
    Objects(Option<String>),
    End,
}

/// A listing that continues where the last page ended.
pub struct Listing<'a> {
    store: &'a ObjectStore,
    bucket: String,
    prefix: String,
    /// Keys up to and including this one are left out.
    after: Option<String>,
    next: Next,
    /// When the listing began.
    began: DateTime<Utc>,
    /// The versions of the last key; the next page may have more of them.
    begun: Vec<ObjectVersion>,
}

impl ObjectStore {
    /// Lists the keys under `prefix`, in order. With `after`, only the keys after that one.
    #[must_use]
    pub fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Listing<'_> {
        Listing {
            store: self,
            bucket: bucket.into(),
            prefix: prefix.into(),
            after: after.map(String::from),
            next: Next::Versions(after.map(String::from), None),
            began: Utc::now(),
            begun: Vec::new(),
        }
    }

    /// Returns the versions of one object, from the newest to the oldest; an empty list if the server does not list
    /// versions.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses.
    pub async fn versions_of(&self, bucket: &str, key: &ObjectKey) -> Result<Vec<ObjectVersion>> {
        let mut listing = self.list(bucket, key.as_str(), None);
        let mut found = Vec::new();
        while let Next::Versions(marker, id) = &listing.next {
            let Some((page, next)) = retrying(|| listing.versions(marker.clone(), id.clone())).await? else { break };
            // Longer keys that begin with this one come after it.
            let ends = page.iter().any(|object| object.key != *key);
            found.extend(page.into_iter().filter(|object| object.key == *key));
            listing.next = if ends { Next::End } else { next };
        }
        Ok(found)
    }
}

impl Listing<'_> {
    /// Returns the next keys, each with all its versions from the oldest to the newest; `None` at the end. If a key has
    /// several versions, their sequencers are ranks in this listing, which come after those of earlier listings. A
    /// delete marker is not a version, and a key that ends with `/` is not a file: consoles mark folders with it.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses.
    pub async fn next_keys(&mut self) -> Result<Option<Vec<Vec<ObjectVersion>>>> {
        let (mut page, next) = match &self.next {
            Next::End => return Ok(None),
            Next::Objects(token) => retrying(|| self.objects(token.clone())).await?,
            Next::Versions(key, id) => match retrying(|| self.versions(key.clone(), id.clone())).await? {
                Some(page) => page,
                None => retrying(|| self.objects(None)).await?,
            },
        };
        self.next = next;
        // Servers differ in whether a listing begins at its marker or after it.
        let is_wanted = |key: &str| !key.ends_with('/') && self.after.as_deref().is_none_or(|after| key > after);
        page.retain(|object| is_wanted(object.key.as_str()));
        for object in page.iter_mut().filter(|object| object.version.is_empty()) {
            // Not every server returns the `ETag` in a listing.
            *object = self.store.head(&self.bucket, &object.key, None).await?;
        }
        let mut keys: Vec<Vec<ObjectVersion>> = vec![std::mem::take(&mut self.begun)];
        for object in page {
            match keys.last_mut() {
                Some(key) if key.first().is_none_or(|first| first.key == object.key) => key.push(object),
                _ => keys.push(vec![object]),
            }
        }
        if !matches!(self.next, Next::End) {
            self.begun = keys.pop().unwrap_or_default();
        }
        for versions in keys.iter_mut().filter(|versions| versions.len() > 1) {
            // S3 lists them from the newest to the oldest.
            versions.reverse();
            for (rank, object) in (0..).zip(versions.iter_mut()) {
                object.sequencer = Some(Sequencer::InListing { began: self.began, rank, is_late: false });
            }
        }
        keys.retain(|versions| !versions.is_empty());
        Ok(Some(keys))
    }

    /// Returns one page of versions, or `None` if the server does not list versions.
    async fn versions(&self, key: Option<String>, id: Option<String>) -> Result<Option<(Vec<ObjectVersion>, Next)>> {
        let request = self.store.client().await.list_object_versions().bucket(&self.bucket).prefix(&self.prefix);
        // A key may contain characters that XML cannot represent.
        let request = request.encoding_type(EncodingType::Url).set_key_marker(key).set_version_id_marker(id);
        let page = match Box::pin(request.send()).await {
            Ok(page) => page,
            Err(error) if error.raw_response().is_some_and(|answer| matches!(answer.status().as_u16(), 405 | 501)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.error(error)),
        };
        let encoded = page.encoding_type.is_some();
        let next = if page.is_truncated() == Some(true) {
            let key = page.next_key_marker.map(|key| decoded(key, encoded)).transpose()?;
            Next::Versions(key.map(|key| key.to_string()), page.next_version_id_marker)
        } else {
            Next::End
        };
        let versions = page.versions.unwrap_or_default().into_iter();
        let versions = versions.map(|found| {
            self.listed(found.key, encoded, found.version_id, found.e_tag, (found.size, found.last_modified))
        });
        Ok(Some((versions.collect::<Result<_>>()?, next)))
    }

    async fn objects(&self, token: Option<String>) -> Result<(Vec<ObjectVersion>, Next)> {
        let request = self.store.client().await.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        let request = request.set_start_after(self.after.clone()).set_continuation_token(token);
        let page = Box::pin(request.send()).await.map_err(|error| self.error(error))?;
        let next = page.next_continuation_token.map_or(Next::End, |token| Next::Objects(Some(token)));
        let objects = page.contents.unwrap_or_default().into_iter();
        let objects =
            objects.map(|found| self.listed(found.key, false, None, found.e_tag, (found.size, found.last_modified)));
        Ok((objects.collect::<Result<_>>()?, next))
    }

    fn listed(
        &self,
        key: Option<String>,
        encoded: bool,
        version_id: Option<String>,
        etag: Option<String>,
        (size, modified): (Option<i64>, Option<aws_sdk_s3::primitives::DateTime>),
    ) -> Result<ObjectVersion> {
        let own = version_id.clone().filter(|id| id != "null");
        Ok(ObjectVersion {
            bucket: self.bucket.clone(),
            key: decoded(key.unwrap_or_default(), encoded)?,
            version: own.unwrap_or_else(|| unquoted(&etag.unwrap_or_default())),
            version_id,
            size: size.and_then(|size| u64::try_from(size).ok()),
            sequencer: None,
            modified: modified.as_ref().and_then(written_at),
            local: false,
        })
    }

    fn error<E>(&self, error: SdkError<E>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let advice = "check source.bucket, and that the role may s3:ListBucket and s3:ListBucketVersions";
        service_error("S3", &format!("list s3://{}/{}", self.bucket, self.prefix), advice, error)
    }
}

/// Returns the key, decoded if the server encoded it as it was asked to.
fn decoded(key: String, encoded: bool) -> Result<ObjectKey> {
    if !encoded {
        return Ok(key.into());
    }
    ObjectKey::from_form(&key).map_err(|error| Error::system("read a key of a listing", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_decoded_only_if_the_server_encoded_it() {
        assert_eq!(decoded("in/a+b%2B%01%C3%A9.csv".into(), true).unwrap().as_str(), "in/a b+\u{1}é.csv");
        assert_eq!(decoded("in/a+b%2B.csv".into(), false).unwrap().as_str(), "in/a+b%2B.csv");
    }
}
