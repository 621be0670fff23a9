//! What lies in a bucket: every version of every object under a prefix, page by page.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::aws::service_error;
use super::retry::retrying;
use super::s3::{ObjectStore, unquoted};
use crate::domain::ObjectVersion;
use crate::error::{Error, Result};

/// A version as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// The version.
    pub object: ObjectVersion,
    /// Whether it is the newest one of its key.
    pub latest: bool,
}

enum Next {
    Versions(Option<String>, Option<String>),
    /// For servers that do not list versions.
    Objects(Option<String>),
    End,
}

/// A listing that goes on where the last page ended.
pub struct Listing<'a> {
    store: &'a ObjectStore,
    bucket: String,
    prefix: String,
    next: Next,
}

impl ObjectStore {
    /// Lists what lies under `prefix`.
    #[must_use]
    pub fn list(&self, bucket: &str, prefix: &str) -> Listing<'_> {
        Listing { store: self, bucket: bucket.into(), prefix: prefix.into(), next: Next::Versions(None, None) }
    }
}

impl Listing<'_> {
    /// The next page, by key, and of one key the oldest version first; none at the end. What deletes an object is no
    /// version, and neither is a key that ends with `/`, with which consoles mark folders.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` where S3 refuses.
    pub async fn next_page(&mut self) -> Result<Option<Vec<ListedVersion>>> {
        let (mut page, next) = match &self.next {
            Next::End => return Ok(None),
            Next::Objects(token) => retrying(|| self.objects(token.clone())).await?,
            Next::Versions(key, id) => match retrying(|| self.versions(key.clone(), id.clone())).await? {
                Some(page) => page,
                None => retrying(|| self.objects(None)).await?,
            },
        };
        self.next = next;
        page.retain(|listed| !listed.object.key.as_str().ends_with('/'));
        for listed in page.iter_mut().filter(|listed| listed.object.version.is_empty()) {
            // Not every server tells the `ETag` in a listing.
            listed.object = self.store.head(&self.bucket, &listed.object.key).await?;
        }
        // S3 lists the versions of one key from the newest to the oldest.
        page.reverse();
        page.sort_by(|one, other| one.object.key.cmp(&other.object.key));
        Ok(Some(page))
    }

    /// None where the server does not list versions.
    async fn versions(&self, key: Option<String>, id: Option<String>) -> Result<Option<(Vec<ListedVersion>, Next)>> {
        let request = self.store.client().await.list_object_versions().bucket(&self.bucket).prefix(&self.prefix);
        let request = request.set_key_marker(key).set_version_id_marker(id);
        let page = match Box::pin(request.send()).await {
            Ok(page) => page,
            Err(error) if error.raw_response().is_some_and(|answer| matches!(answer.status().as_u16(), 405 | 501)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.error(error)),
        };
        let next = if page.is_truncated() == Some(true) {
            Next::Versions(page.next_key_marker, page.next_version_id_marker)
        } else {
            Next::End
        };
        let versions = page.versions.unwrap_or_default().into_iter().map(|found| {
            let latest = found.is_latest() != Some(false);
            self.listed(found.key, found.version_id, found.e_tag, found.size, latest)
        });
        Ok(Some((versions.collect(), next)))
    }

    async fn objects(&self, token: Option<String>) -> Result<(Vec<ListedVersion>, Next)> {
        let request = self.store.client().await.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        let page = Box::pin(request.set_continuation_token(token).send()).await.map_err(|error| self.error(error))?;
        let next = page.next_continuation_token.map_or(Next::End, |token| Next::Objects(Some(token)));
        let objects = page.contents.unwrap_or_default().into_iter();
        Ok((objects.map(|found| self.listed(found.key, None, found.e_tag, found.size, true)).collect(), next))
    }

    fn listed(
        &self,
        key: Option<String>,
        version_id: Option<String>,
        etag: Option<String>,
        size: Option<i64>,
        latest: bool,
    ) -> ListedVersion {
        let version_id = version_id.filter(|id| id != "null");
        let object = ObjectVersion {
            bucket: self.bucket.clone(),
            key: key.unwrap_or_default().into(),
            version: version_id.clone().unwrap_or_else(|| unquoted(&etag.unwrap_or_default())),
            version_id,
            size: size.and_then(|size| u64::try_from(size).ok()),
            // A listing tells no sequencer. The lowest there is says that a newer version was there before this load.
            sequencer: (!latest).then(|| "0".to_owned()),
            local: false,
        };
        ListedVersion { object, latest }
    }

    fn error<E>(&self, error: SdkError<E>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let advice = "check source.bucket, and that the role may s3:ListBucket and s3:ListBucketVersions";
        service_error("S3", &format!("list s3://{}/{}", self.bucket, self.prefix), advice, error)
    }
}
