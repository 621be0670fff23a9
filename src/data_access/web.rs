//! Fetches files from servers by GET: only from listed origins, and within limits of size and time.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, Uri, Version, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use url::{Origin, Url};

use super::csv::LONGEST_HEADER;
use crate::domain::Arrival;
use crate::error::{Error, ErrorKind, Reason, Result};

const MOST_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Address ranges that are not public (IANA's registries of special purpose addresses). Something in this network may
/// use them.
const PRIVATE: [&str; 19] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];
/// All public IPv6 addresses are in this range.
const PUBLIC_V6: &str = "2000::/3";

/// What may be fetched.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// Scheme, host and port of each server that may be called.
    pub origins: Vec<Origin>,
    /// Whether the servers may be on this machine or in a private network.
    pub private_addresses: bool,
    /// The most bytes of all pages together.
    pub most_bytes: u64,
    /// The most pages.
    pub most_pages: usize,
}

/// What to fetch.
pub struct Wanted<'a> {
    /// The address of the first page.
    pub url: &'a Url,
    /// Headers that only the origin of `url` sees.
    pub headers: &'a [(String, SecretString)],
    /// The `ETag` of the file that was fetched before.
    pub etag: Option<&'a str>,
    /// When to give up.
    pub until: Instant,
    /// Whether each page begins with a header, which is written only once.
    pub with_header: bool,
}

/// What a server sent.
pub struct Fetched {
    /// All pages, one after another.
    pub file: File,
    /// The server's `ETag`, if there is only one page.
    pub etag: Option<String>,
    /// The SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
}

/// A client that is kept between calls.
pub struct Web {
    agent: Agent,
    options: WebOptions,
}

impl Web {
    /// Creates a client. It connects when it fetches.
    #[must_use]
    pub fn new(options: WebOptions) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Each redirect is compared with the list.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy would resolve names itself and could connect anywhere.
            .proxy(None)
            .tls_config(tls.build())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("small-etl/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = PublicResolver { private_addresses: options.private_addresses };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver), options }
    }

    /// Whether the origin of a URL is on the list.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        self.options.origins.contains(&url.origin())
    }

    /// Writes the server's file into `file`, page after page (`Link: <…>; rel="next"`). Returns `None` if the file has
    /// not changed. Blocks.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `OutOfTime`, `File(NotFound)`, `Configuration`, `System`.
    pub fn fetch(&self, wanted: &Wanted<'_>, file: File) -> Result<Option<Fetched>> {
        let mut pages = Pages::new(file, self.options.most_bytes, wanted.with_header);
        let (mut etag, mut seen) = (None, HashSet::new());
        let mut next = Some(wanted.url.clone());
        while let Some(url) = next {
            if seen.len() == self.options.most_pages {
                return Err(refuse(&url, &format!("there are more than {} pages; raise max_pages", seen.len())));
            }
            if !seen.insert(url.clone()) {
                return Err(refuse(&url, "its pages link back to a page that was already fetched"));
            }
            let Some((url, response)) = self.get(&url, wanted, seen.len() == 1)? else { return Ok(None) };
            let (head, body) = response.into_parts();
            next = next_page(&url, &head.headers)?;
            if seen.len() == 1 && next.is_none() {
                etag = head.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(String::from);
            }
            pages.append(&url, body.into_reader())?;
        }
        let (file, sha256) = pages.finish()?;
        Ok(Some(Fetched { file, etag, sha256 }))
    }

    /// Gets one page, and its URL after redirects; `None` if it has not changed.
    fn get(&self, url: &Url, wanted: &Wanted<'_>, first: bool) -> Result<Option<(Url, Response<Body>)>> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            self.check(&url)?;
            let left = wanted.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(too_slow(&url));
            }
            let mut request = self.agent.get(url.as_str()).config().timeout_global(Some(left)).build();
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if url.origin() == wanted.url.origin() {
                for (name, value) in wanted.headers {
                    request = request.header(name, value.expose_secret());
                }
            }
            if let Some(etag) = wanted.etag.filter(|_| first) {
                request = request.header(header::IF_NONE_MATCH, etag);
            }
            let response = request.call().map_err(|error| failed(&url, error))?;
            match response.status().as_u16() {
                304 if first && wanted.etag.is_some() => return Ok(None),
                301 | 302 | 303 | 307 | 308 => {
                    let target = response.headers().get(header::LOCATION).and_then(|target| target.to_str().ok());
                    let target = target.and_then(|target| url.join(target).ok());
                    url = target.ok_or_else(|| refuse(&url, "it redirects to something that is not a URL"))?;
                }
                200 => {
                    check_body(&url, &response)?;
                    return Ok(Some((url, response)));
                }
                404 | 410 => {
                    return Err(Error::file(Reason::NotFound, format!("{}: the server has no such file", shown(&url))));
                }
                status @ (401 | 403) => {
                    return Err(refuse(&url, &format!("the server refuses access ({status}); check the secret")));
                }
                status @ (408 | 425 | 429 | 500..) => {
                    return Err(connection(&url, &format!("the server says {status}")));
                }
                status => return Err(refuse(&url, &format!("the server says {status} instead of 200"))),
            }
        }
        Err(refuse(wanted.url, &format!("there are more than {MOST_REDIRECTS} redirects")))
    }

    fn check(&self, url: &Url) -> Result<()> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(url, "a URL must not contain a user or password; put them into the secret"));
        }
        if self.allows(url) {
            return Ok(());
        }
        let origin = url.origin().ascii_serialization();
        Err(refuse(url, &format!("{origin} is not one of the origins; add it if you trust it")))
    }
}

fn shown(url: &Url) -> String {
    Arrival::Url(url.clone()).to_string()
}

fn refuse(url: &Url, what: &str) -> Error {
    Error::configuration(format!("{}: {what}", shown(url)))
}

fn connection(url: &Url, what: &str) -> Error {
    Error::new(ErrorKind::Connection, format!("{}: {what}", shown(url)))
}

fn too_slow(url: &Url) -> Error {
    Error::new(ErrorKind::OutOfTime, format!("{}: it takes longer than timeout_seconds", shown(url)))
}

fn failed(url: &Url, error: ureq::Error) -> Error {
    match error {
        ureq::Error::Other(inner) if inner.is::<PrivateAddress>() => {
            refuse(url, "its address is private; set private_addresses = true if that is intended")
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            refuse(url, "it cannot be requested; check the URL and the headers in the secret")
        }
        ureq::Error::Timeout(ureq::Timeout::Global) => too_slow(url),
        error => Error::with_source(ErrorKind::Connection, format!("{}: cannot be fetched", shown(url)), error),
    }
}

fn check_body(url: &Url, response: &Response<Body>) -> Result<()> {
    let headers = response.headers();
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(refuse(url, &format!("it is sent as {encoding:?}, which was not requested")));
    }
    let in_chunks = response.version() == Version::HTTP_11 && headers.contains_key(header::TRANSFER_ENCODING);
    if !in_chunks && !headers.contains_key(header::CONTENT_LENGTH) {
        return Err(refuse(
            url,
            "the server does not say how long it is, so a file that is cut off would go unnoticed",
        ));
    }
    Ok(())
}

/// Splits a header at separators that are neither in quotes nor in a target.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut target) = (false, false);
    text.split(move |character| {
        match character {
            '"' if !target => quoted = !quoted,
            '<' | '>' if !quoted => target = character == '<',
            _ => {}
        }
        character == separator && !quoted && !target
    })
}

/// Returns the URL of the next page. <https://www.rfc-editor.org/rfc/rfc8288>
fn next_page(url: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
    for value in headers.get_all(header::LINK) {
        let value = value.to_str().map_err(|_| refuse(url, "its Link header is not text"))?;
        for link in parts(value, ',') {
            let mut link = parts(link, ';').map(str::trim);
            let target = link.next().and_then(|target| target.strip_prefix('<')?.strip_suffix('>'));
            let is_next = |parameter: &str| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
                name.trim().eq_ignore_ascii_case("rel")
                    && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
            };
            if link.any(is_next) {
                let next = target.and_then(|target| url.join(target).ok());
                return next.map(Some).ok_or_else(|| refuse(url, "its next page has no URL"));
            }
        }
    }
    Ok(None)
}

/// Joins pages into one file.
struct Pages {
    file: BufWriter<File>,
    hash: Sha256,
    size: u64,
    most: u64,
    /// The last byte that was written.
    last: u8,
    with_header: bool,
    header: Option<Vec<u8>>,
}

impl Pages {
    fn new(file: File, most: u64, with_header: bool) -> Self {
        let file = BufWriter::with_capacity(256 * 1024, file);
        Self { file, hash: Sha256::new(), size: 0, most, last: b'\n', with_header, header: None }
    }

    fn append(&mut self, url: &Url, body: impl Read) -> Result<()> {
        let broken =
            |error| Error::with_source(ErrorKind::Connection, format!("{}: the body broke off", shown(url)), error);
        let mut body = BufReader::with_capacity(256 * 1024, body);
        if self.last != b'\n' {
            self.write(url, b"\n")?;
        }
        if self.with_header {
            let header = header_of(&mut body).map_err(broken)?;
            match &self.header {
                None => {
                    self.write(url, &header)?;
                    self.header = Some(header);
                }
                Some(first) if header.is_empty() || header.trim_ascii_end() == first.trim_ascii_end() => {}
                Some(_) => return Err(refuse(url, "the header of this page differs from that of the first page")),
            }
        }
        loop {
            let bytes = body.fill_buf().map_err(broken)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let length = bytes.len();
            self.write(url, bytes)?;
            body.consume(length);
        }
    }

    fn write(&mut self, url: &Url, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.most {
            let most = self.most / 1_000_000;
            return Err(refuse(url, &format!("there are more than {most} MB; raise max_megabytes")));
        }
        self.hash.update(bytes);
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.file.write_all(bytes).map_err(unwritable)
    }

    fn finish(self) -> Result<(File, String)> {
        let mut file = self.file.into_inner().map_err(|error| unwritable(error.into_error()))?;
        file.rewind().map_err(unwritable)?;
        Ok((file, hex::encode(self.hash.finalize())))
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::system("keep a copy of what is fetched", error)
}

/// Reads the first record of a CSV file with its line end. A quoted field may contain line ends.
fn header_of(body: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    while header.len() < LONGEST_HEADER {
        let length = body.take(LONGEST_HEADER as u64).read_until(b'\n', &mut header)?;
        if length == 0 || memchr::memchr_iter(b'"', &header).count().is_multiple_of(2) {
            break;
        }
    }
    Ok(header)
}

/// Resolves names and leaves out private addresses. The check is made on the very addresses that are connected to, so a
/// name that changes between two look-ups cannot get around it.
#[derive(Debug)]
struct PublicResolver {
    private_addresses: bool,
}

impl Resolver for PublicResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut addresses = self.empty();
        for address in found.iter().filter(|address| self.private_addresses || is_public(address.ip())) {
            addresses.push(*address);
        }
        if addresses.is_empty() {
            return Err(ureq::Error::Other(Box::new(PrivateAddress)));
        }
        Ok(addresses)
    }
}

#[derive(Debug)]
struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address is private")
    }
}

impl std::error::Error for PrivateAddress {}

fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let within = |net: &str| net.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
    (address.is_ipv4() || within(PUBLIC_V6)) && !PRIVATE.iter().any(|net| within(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        let public = ["1.1.1.1", "172.32.0.1", "192.167.255.255", "2606:4700::1111", "::ffff:8.8.8.8"];
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
        ];
        assert!(public.iter().all(|address| is_public(address.parse().unwrap())));
        assert!(!private.iter().any(|address| is_public(address.parse().unwrap())));
        assert!(PRIVATE.iter().chain([&PUBLIC_V6]).all(|net| net.parse::<IpNet>().is_ok()));
    }

    #[test]
    fn the_next_page_is_found_among_other_links() {
        let url = Url::parse("https://a.example/v1/trades?page=1").unwrap();
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            next_page(&url, &headers).unwrap().map(String::from)
        };
        let expected = Some("https://a.example/v1/trades?page=2,3".to_owned());
        assert_eq!(next("<?page=0>; rel=\"prev\", <?page=2,3>; rel=\"next\", <?page=9>; rel=last"), expected);
        assert_eq!(next("<?page=2,3>; title=\"x\"; REL=\"last Next\""), expected);
        assert_eq!(
            next("<?page=1>; title=\"a, b; c\"; rel=prev, <?page=2,3>; title=\"<d>, e\"; rel=\"next\""),
            expected
        );
        assert_eq!(next("<?page=2>; rel=\"nextly\", <?page=3>; title=\"rel=next\""), None);
    }

    fn joined(pages: &[&str]) -> Result<String> {
        let url = Url::parse("https://a.example/").unwrap();
        let mut all = Pages::new(tempfile::tempfile().unwrap(), 100, true);
        for page in pages {
            all.append(&url, page.as_bytes())?;
        }
        let (mut file, _) = all.finish()?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn the_header_of_pages_is_written_once() {
        assert_eq!(
            joined(&["a,\"b\nc\"\r\n1,2", "a,\"b\nc\"\n3,4\n", "", "a,\"b\nc\""]).unwrap(),
            "a,\"b\nc\"\r\n1,2\n3,4\n"
        );
        assert!(
            joined(&["a,b\n1,2\n", "a,c\n3,4\n"]).unwrap_err().to_string().contains("the header of this page differs")
        );
        assert!(joined(&["a,b\n", &"x".repeat(97)]).is_err());
    }
}
