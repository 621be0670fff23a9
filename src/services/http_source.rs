//! The extractor `http`: GETs a file of CSV or JSON lines from a server and lands it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::form::Form;
use super::landing::{Landing, Place, Source};
use super::part_settings::PartSettings;
use crate::data_access::duckdb::blocking;
use crate::data_access::retry::retrying;
use crate::data_access::secrets::secret;
use crate::data_access::web::{Wanted, Web, WebOptions};
use crate::domain::{Arrival, Dataset, Location};
use crate::error::{Error, Result};

const ETAG: &str = "etag";
const SHA256: &str = "sha256";
const URL: &str = "url";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// `https://HOST[:PORT]` of each server that may be called. No other one is, whatever a redirect or a link says.
    #[schemars(with = "Vec<String>")]
    origins: Vec<Url>,
    /// The text before each key; host, path and query of the URL follow it.
    prefix: String,
    /// The bucket to land in; by default `source.bucket`.
    bucket: Option<String>,
    /// What a page consists of.
    #[serde(default)]
    form: Form,
    /// The name or ARN of a secret in Secrets Manager: a JSON object of headers, such as `{"authorization": "Bearer …"}`. They are sent
    /// only to the origin of the URL.
    secret: Option<String>,
    /// Whether an origin may have an address of a private network.
    #[serde(default)]
    private_addresses: bool,
    /// Whether to fetch only if the first page has changed. Set it to false if the first page can stay the same while
    /// later pages change.
    #[serde(default = "Options::conditional")]
    conditional: bool,
    /// The most megabytes of all pages together.
    #[serde(default = "Options::max_megabytes")]
    max_megabytes: u64,
    /// The most pages.
    #[serde(default = "Options::max_pages")]
    max_pages: usize,
    /// The most seconds for all pages and attempts together.
    #[serde(default = "Options::timeout_seconds")]
    timeout_seconds: u64,
}

impl Options {
    fn conditional() -> bool {
        true
    }

    fn max_megabytes() -> u64 {
        1024
    }

    fn max_pages() -> usize {
        1000
    }

    fn timeout_seconds() -> u64 {
        300
    }
}

/// The part `http`.
pub struct HttpSource {
    web: Arc<Web>,
    secret: Option<String>,
    temp_folder: PathBuf,
    /// For all pages and attempts together.
    timeout: Duration,
    conditional: bool,
}

impl HttpSource {
    /// Reads from the settings where to fetch from.
    ///
    /// # Errors
    /// `Configuration` if an origin is not one, or if the place is not one.
    pub fn extractor(settings: &PartSettings<'_>) -> Result<Landing<Self>> {
        let options: Options = settings.options()?;
        let is_origin = |url: &Url| {
            let plain = format!("{}/", url.origin().ascii_serialization());
            matches!(url.scheme(), "http" | "https") && url.as_str() == plain
        };
        if let Some(wrong) = options.origins.iter().find(|url| !is_origin(url)) {
            return Err(
                settings.refuse(&format!("origins: {wrong} is not an origin; write https://HOST or https://HOST:PORT"))
            );
        }
        let place = Place::new(settings, options.bucket, options.prefix, options.form)?;
        let web = WebOptions {
            origins: options.origins.iter().map(Url::origin).collect(),
            private_addresses: options.private_addresses,
            most_bytes: options.max_megabytes.saturating_mul(1_000_000),
            most_pages: options.max_pages,
        };
        let source = Self {
            web: Arc::new(Web::new(web)),
            secret: options.secret,
            temp_folder: settings.temp_folder().to_owned(),
            timeout: Duration::from_secs(options.timeout_seconds),
            conditional: options.conditional,
        };
        Ok(Landing::new(place, source))
    }

    /// Reads the secret each time, because it may have been rotated.
    async fn headers(&self) -> Result<Vec<(String, SecretString)>> {
        let Some(name) = &self.secret else { return Ok(Vec::new()) };
        let text = retrying(|| secret(name, "secret of the extractor http")).await?;
        let headers = serde_json::from_str::<BTreeMap<String, SecretString>>(text.expose_secret()).map_err(|_| {
            // The parser's message could reveal the secret.
            Error::configuration(format!(
                "secret {name}: it is not a JSON object of headers such as {{\"authorization\": \"…\"}}"
            ))
        })?;
        Ok(headers.into_iter().collect())
    }
}

#[async_trait]
impl Source for HttpSource {
    fn takes(&self, arrival: &Arrival) -> bool {
        matches!(arrival, Arrival::Url(url) if self.web.allows(url))
    }

    async fn land(&self, place: &Place, arrival: &Arrival, dataset: &Dataset) -> Result<Vec<Location>> {
        let Arrival::Url(url) = arrival else { return Ok(Vec::new()) };
        let key = place.key(&name_of(url), dataset)?;
        let headers = Arc::new(self.headers().await?);
        let known = Arc::new(retrying(|| place.store.metadata(&place.bucket, &key)).await?);
        let with_header = place.form == Form::Csv;
        let (until, conditional) = (Instant::now() + self.timeout, self.conditional);
        let fetch = || {
            let (web, url, folder) = (Arc::clone(&self.web), url.clone(), self.temp_folder.clone());
            let (headers, known) = (Arc::clone(&headers), Arc::clone(&known));
            blocking(move || {
                let etag = known.get(ETAG).filter(|_| conditional).map(String::as_str);
                let file =
                    tempfile::tempfile_in(folder).map_err(|error| Error::system("create a temporary file", error))?;
                web.fetch(&Wanted { url: &url, headers: &headers, etag, until, with_header }, file)
            })
        };
        match retrying(fetch).await? {
            None => tracing::info!(%arrival, "nothing to land: the server says that the file has not changed"),
            Some(fetched) if known.get(SHA256) == Some(&fetched.sha256) => {
                tracing::info!(%arrival, "nothing to land: the file has the same content as before");
            }
            Some(fetched) => {
                let mut metadata = HashMap::from([(SHA256, fetched.sha256), (URL, arrival.to_string())]);
                metadata.extend(fetched.etag.map(|etag| (ETAG, etag)));
                let object = place.store.put_file(
                    &place.bucket,
                    key.as_str(),
                    place.form.media_type(),
                    &metadata,
                    &fetched.file,
                );
                object.await?;
                tracing::info!(%arrival, key = key.as_str(), "landed");
            }
        }
        Ok(vec![place.location(key)])
    }
}

/// Returns the name of the landed object, which is always the same for one URL. It does not end with `/`, which would
/// mark a folder.
fn name_of(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut name = format!("{}{port}{}{query}", url.host_str().unwrap_or_default(), url.path());
    if name.ends_with('/') {
        name.push('?');
    }
    name
}
