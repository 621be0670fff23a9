//! Objects in S3: which version exists, and its body as a stream that survives a broken connection.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use backon::BackoffBuilder;
use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::aws::{CallSpans, environment, service_error};
use super::duckdb::blocking;
use super::retry::{pauses, retrying};
use crate::domain::{ObjectKey, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};

/// First attempt and three retries.
const ATTEMPTS: u32 = 4;
/// A server that sends nothing for this long is asked again. S3 itself answers within a second.
const SILENCE: Duration = Duration::from_secs(10);
/// S3 allows 10,000 parts of at least 5 MiB.
const PART: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const BYTES_AT_ONCE: u64 = 1024 * 1024;

/// A client for S3, created on first use and kept between calls.
///
/// Region, credentials and `AWS_ENDPOINT_URL(_S3)` come from the sources that every AWS program uses.
#[derive(Default)]
pub struct ObjectStore {
    client: OnceCell<Client>,
}

impl ObjectStore {
    /// Returns the version that `key` has now, or the one that S3 calls `version_id`.
    ///
    /// # Errors
    /// `File(NotFound)` and `File(Forbidden)` for the object, `Connection` if a retry may help.
    pub async fn head(&self, bucket: &str, key: &ObjectKey, version_id: Option<&str>) -> Result<ObjectVersion> {
        let request = self.client().await.head_object().bucket(bucket).key(key.as_str());
        let request = request.set_version_id(version_id.map(String::from));
        let head = request.send().await.map_err(|error| object_error(bucket, key, error))?;
        let own = head.version_id().filter(|id| *id != "null").map(String::from);
        let etag = head.e_tag().map(unquoted).unwrap_or_default();
        let version_id = own.clone().or_else(|| version_id.map(String::from));
        Ok(ObjectVersion {
            bucket: bucket.to_owned(),
            key: key.clone(),
            version: own.unwrap_or(etag),
            version_id,
            size: head.content_length().and_then(|length| u64::try_from(length).ok()),
            sequencer: None,
            modified: head.last_modified().and_then(written_at),
            local: false,
        })
    }

    /// Returns the metadata that were written with an object; empty if it does not exist.
    ///
    /// # Errors
    /// The same as those of [`ObjectStore::head`], except `File(NotFound)`.
    pub async fn metadata(&self, bucket: &str, key: &ObjectKey) -> Result<HashMap<String, String>> {
        let request = self.client().await.head_object().bucket(bucket).key(key.as_str());
        match Box::pin(request.send()).await.map_err(|error| object_error(bucket, key, error)) {
            Ok(head) => Ok(head.metadata.unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::File(Reason::NotFound) => Ok(HashMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads a small object, cut after `most` bytes: its current version, or the given one. Returns `None` if it does
    /// not exist or may not be read.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration`, `System`.
    pub async fn small_object(
        &self,
        bucket: &str,
        key: &ObjectKey,
        version_id: Option<&str>,
        most: u64,
    ) -> Result<Option<Vec<u8>>> {
        let read = async || {
            let request = self.client().await.get_object().bucket(bucket).key(key.as_str());
            let request = request.set_version_id(version_id.map(String::from));
            let response = Box::pin(request.send()).await.map_err(|error| object_error(bucket, key, error))?;
            let mut body = response.body;
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                let step = || format!("s3://{bucket}/{key}: the body broke off");
                bytes.extend_from_slice(
                    &chunk.map_err(|error| Error::with_source(ErrorKind::Connection, step(), error))?,
                );
                if bytes.len() as u64 >= most {
                    break;
                }
            }
            Ok(bytes)
        };
        match retrying(read).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::File(Reason::NotFound) => Ok(None),
            // A role that may not list the bucket gets this answer for an object that does not exist.
            Err(error) if error.kind() == ErrorKind::File(Reason::Forbidden) => {
                tracing::info!(bucket, key = key.as_str(), "reading is forbidden; treating the object as missing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to write an object. It appears when [`ObjectWriter::finish`] returns, and not before.
    pub async fn writer(&self, bucket: &str, key: &str, content_type: &str) -> ObjectWriter {
        ObjectWriter {
            client: self.client().await.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            content_type: content_type.to_owned(),
            metadata: None,
            part: Vec::new(),
            upload: None,
            parts: Vec::new(),
        }
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// The same as those of [`ObjectWriter::finish`].
    pub async fn put(&self, bucket: &str, key: &str, content_type: &str, bytes: &[u8]) -> Result<()> {
        let mut object = self.writer(bucket, key, content_type).await;
        object.part.extend_from_slice(bytes);
        object.finish().await
    }

    /// Writes a file from its beginning, with metadata.
    ///
    /// # Errors
    /// The same as those of [`ObjectWriter::write`], after all retries.
    pub async fn put_file(
        &self,
        bucket: &str,
        key: &str,
        content_type: &'static str,
        metadata: &HashMap<&str, String>,
        file: &File,
    ) -> Result<()> {
        let unreadable = |error| Error::system("read a temporary file back", error);
        retrying(async || {
            let mut file = file.try_clone().map_err(unreadable)?;
            file.rewind().map_err(unreadable)?;
            let mut object = self.writer(bucket, key, content_type).await;
            object.metadata = Some(metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
            let written = object.write_file(file).await;
            if written.is_err() {
                object.abandon().await;
            }
            written
        })
        .await
    }

    /// Returns up to a thousand keys below `prefix`: the first ones after `after`.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration` if S3 refuses.
    pub async fn keys_after(&self, bucket: &str, prefix: &str, after: &str) -> Result<Vec<ObjectKey>> {
        let request = self.client().await.list_objects_v2().bucket(bucket).prefix(prefix).start_after(after);
        let page = Box::pin(request.send()).await.map_err(|error| output_error("list", bucket, prefix, error))?;
        Ok(page.contents.unwrap_or_default().into_iter().filter_map(|found| found.key).map(ObjectKey::from).collect())
    }

    /// Deletes an object. It is not an error if the object does not exist.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration` if S3 refuses.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        let request = self.client().await.delete_object().bucket(bucket).key(key);
        let outcome = Box::pin(request.send()).await;
        outcome.map(|_| ()).map_err(|error| output_error("delete", bucket, key, error))
    }

    /// Returns the body of exactly that version. Reading it blocks, so it belongs on a blocking thread of the runtime.
    pub async fn body(&self, object: &ObjectVersion) -> ObjectBody {
        ObjectBody {
            client: self.client().await.clone(),
            runtime: Handle::current(),
            object: object.clone(),
            stream: None,
            chunk: Bytes::new(),
            position: 0,
            length: None,
            modified: None,
            ended: false,
            failures: 0,
        }
    }

    /// Creates a store with the endpoint of the caller, such as a server in a test.
    #[must_use]
    pub fn with_config(shared: &SdkConfig) -> Self {
        Self { client: OnceCell::new_with(Some(client(shared))) }
    }

    pub(super) async fn client(&self) -> &Client {
        self.client.get_or_init(|| async { client(environment().await) }).await
    }
}

fn client(shared: &SdkConfig) -> Client {
    // Only AWS itself is sure to accept the name of a bucket as part of the host.
    let own_endpoint = shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let config = aws_sdk_s3::config::Builder::from(shared)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(SILENCE).build())
        .force_path_style(own_endpoint)
        .interceptor(CallSpans);
    Client::from_conf(config.build())
}

/// Removes the quotes of an `ETag`. They belong to HTTP, and events leave them out.
pub(super) fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

/// When an object was written, in whole seconds: not every answer of S3 is more precise.
pub(super) fn written_at(time: &aws_sdk_s3::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), 0)
}

/// Writes one object in parts, so that it can have any size.
pub struct ObjectWriter {
    client: Client,
    bucket: String,
    key: String,
    content_type: String,
    metadata: Option<HashMap<String, String>>,
    part: Vec<u8>,
    upload: Option<String>,
    parts: Vec<CompletedPart>,
}

impl ObjectWriter {
    /// Writes more bytes.
    ///
    /// # Errors
    /// `Connection` after all retries, `Configuration` if S3 refuses. Call [`ObjectWriter::abandon`] after an error.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.part.extend_from_slice(bytes);
        if self.part.len() < PART {
            return Ok(());
        }
        Box::pin(self.send_part()).await
    }

    /// Writes the rest and makes the object appear.
    ///
    /// # Errors
    /// The same as those of [`ObjectWriter::write`].
    pub async fn finish(&mut self) -> Result<()> {
        let Some(upload) = self.upload.clone() else {
            let request = self.client.put_object().bucket(&self.bucket).key(&self.key).content_type(&self.content_type);
            let request = request.set_metadata(self.metadata.clone()).body(std::mem::take(&mut self.part).into());
            return Box::pin(request.send()).await.map(|_| ()).map_err(|error| self.error(error));
        };
        if !self.part.is_empty() {
            Box::pin(self.send_part()).await?;
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(upload);
        Box::pin(request.multipart_upload(parts).send()).await.map_err(|error| self.error(error))?;
        self.upload = None;
        Ok(())
    }

    async fn write_file(&mut self, mut file: File) -> Result<()> {
        loop {
            let (rest, bytes) = blocking(move || {
                let mut bytes = Vec::new();
                let mut part = file.take(BYTES_AT_ONCE);
                part.read_to_end(&mut bytes).map_err(|error| Error::system("read a temporary file back", error))?;
                Ok((part.into_inner(), bytes))
            })
            .await?;
            if bytes.is_empty() {
                return self.finish().await;
            }
            self.write(&bytes).await?;
            file = rest;
        }
    }

    /// Removes the parts that were written. Best effort: a lifecycle rule can remove parts that are left over.
    pub async fn abandon(self) {
        let Some(upload) = self.upload else { return };
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(upload);
        if let Err(error) = Box::pin(request.send()).await {
            tracing::warn!(code = error.code(), "the parts of an unfinished object could not be removed");
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        let upload = if let Some(upload) = &self.upload {
            upload.clone()
        } else {
            let request = self.client.create_multipart_upload().bucket(&self.bucket).key(&self.key);
            let request = request.content_type(&self.content_type).set_metadata(self.metadata.clone());
            let created = request.send().await.map_err(|error| self.error(error))?;
            self.upload.insert(created.upload_id.unwrap_or_default()).clone()
        };
        let number = i32::try_from(self.parts.len()).unwrap_or(i32::MAX) + 1;
        let request = self.client.upload_part().bucket(&self.bucket).key(&self.key).upload_id(upload);
        let request = request.part_number(number).body(std::mem::take(&mut self.part).into());
        let sent = request.send().await.map_err(|error| self.error(error))?;
        let checksum = sent.checksum_crc32().map(String::from);
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).set_checksum_crc32(checksum);
        self.parts.push(part.build());
        Ok(())
    }

    fn error<E>(&self, error: SdkError<E>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        output_error("write", &self.bucket, &self.key, error)
    }
}

fn output_error<E>(verb: &str, bucket: &str, key: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    service_error(
        "S3",
        &format!("{verb} s3://{bucket}/{key}"),
        "check that the bucket exists, and what the role may do there",
        error,
    )
}

/// Reads one version of an object. If the body breaks off, it is requested again from that position.
///
/// Its I/O errors contain an [`Error`], which [`into_error`] takes out again.
pub struct ObjectBody {
    client: Client,
    runtime: Handle,
    object: ObjectVersion,
    stream: Option<ByteStream>,
    chunk: Bytes,
    position: u64,
    /// The length of the whole object according to the server, once it was asked.
    length: Option<u64>,
    /// When the object was written.
    modified: Option<DateTime<Utc>>,
    ended: bool,
    /// How often the body broke off since it last delivered something.
    failures: usize,
}

impl ObjectBody {
    /// When the object was written; known once some of it was read.
    #[must_use]
    pub fn modified(&self) -> Option<DateTime<Utc>> {
        self.modified
    }

    async fn open(&mut self) -> Result<ByteStream> {
        let ObjectVersion { bucket, key, version, version_id, .. } = &self.object;
        let mut request = self.client.get_object().bucket(bucket).key(key.as_str());
        if let Some(id) = version_id {
            request = request.version_id(id);
        }
        if self.object.has_etag() {
            request = request.if_match(format!("\"{version}\""));
        }
        if self.position > 0 {
            request = request.range(format!("bytes={}-", self.position));
        }
        let response = request.send().await.map_err(|error| object_error(bucket, key, error))?;
        if self.position > 0 && response.content_range().is_none() {
            let message =
                format!("s3://{bucket}/{key}: the server sent the whole object although only the rest was requested");
            return Err(Error::new(ErrorKind::System, message));
        }
        let rest = response.content_length().and_then(|length| u64::try_from(length).ok());
        self.length = rest.map(|rest| self.position + rest);
        self.modified = response.last_modified().and_then(written_at);
        Ok(response.body)
    }

    async fn next_chunk(&mut self) -> Result<Bytes> {
        while !self.ended {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.open().await?,
            };
            let is_whole = self.length.is_none_or(|length| self.position >= length);
            let broken = match stream.next().await {
                Some(Ok(chunk)) => {
                    self.position += chunk.len() as u64;
                    self.failures = 0;
                    self.stream = Some(stream);
                    if chunk.is_empty() {
                        continue;
                    }
                    return Ok(chunk);
                }
                None if is_whole => {
                    self.ended = true;
                    break;
                }
                None => Error::new(ErrorKind::Connection, "the body ended before its length"),
                // The checksum is compared at the end. At that point no part can be requested again.
                Some(Err(error)) if is_whole => {
                    return Err(Error::with_source(
                        ErrorKind::Connection,
                        "the body does not match the checksum of the object",
                        error,
                    ));
                }
                Some(Err(error)) => Error::with_source(ErrorKind::Connection, "the body broke off", error),
            };
            let Some(pause) = pauses().build().nth(self.failures) else { return Err(broken) };
            self.failures += 1;
            tracing::warn!(position = self.position, ?pause, "an object's body broke off; asking for the rest");
            tokio::time::sleep(pause).await;
        }
        Ok(Bytes::new())
    }
}

impl Read for ObjectBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let runtime = self.runtime.clone();
            self.chunk = runtime.block_on(self.next_chunk()).map_err(io::Error::other)?;
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Returns the [`Error`] inside an I/O error, or `None` if the bytes themselves are at fault.
#[must_use]
pub fn into_error(error: io::Error) -> Option<Error> {
    error.into_inner()?.downcast::<Error>().ok().map(|error| *error)
}

fn object_error<E>(bucket: &str, key: &ObjectKey, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let object = format!("s3://{bucket}/{key}");
    let code = error.code().unwrap_or_default().to_owned();
    match status {
        Some(404) => {
            Error::file(Reason::NotFound, format!("{object}: the object or this version of it does not exist"))
        }
        // The answer to HEAD has no code. Any code other than these is about the caller and not the object.
        Some(403) if matches!(code.as_str(), "" | "AccessDenied" | "Forbidden") => Error::file(
            Reason::Forbidden,
            format!(
                "{object}: reading is forbidden, or it is missing and listing the bucket is forbidden; \
                 allow s3:GetObject and s3:ListBucket"
            ),
        ),
        Some(403) if code == "InvalidObjectState" => {
            Error::file(Reason::Forbidden, format!("{object}: the object is archived; restore it, and load it again"))
        }
        Some(301) => Error::configuration(format!("{object}: the bucket is in another region; set AWS_REGION")),
        Some(403) => Error::configuration(format!("{object}: S3 refused the credentials with {code}")),
        Some(412) => Error::file(Reason::Superseded, format!("{object}: the object was replaced before it was read")),
        Some(400) if code == "RequestTimeout" => {
            Error::with_source(ErrorKind::Connection, format!("{object}: S3 waited too long for the request"), error)
        }
        // The answer to HEAD has no code in this case either.
        Some(400) if matches!(code.as_str(), "" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            Error::configuration(format!(
                "{object}: S3 refused the request ({}); are the credentials still valid?",
                if code.is_empty() { "400" } else { &code }
            ))
        }
        Some(400..=499) if !matches!(status, Some(408 | 429)) => {
            Error::new(ErrorKind::System, format!("{object}: S3 refused the request with {code}"))
        }
        _ => Error::with_source(ErrorKind::Connection, format!("{object}: S3 cannot be reached"), error),
    }
}
