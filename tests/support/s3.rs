//! An S3 server over HTTP that fails on demand, and a client for it.

use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, RANGE};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use s3s_fs::FileSystem;
use small_etl::data_access::aws::https;
use tokio::net::{TcpListener, TcpStream};

use super::Scratch;

pub const ACCESS_KEY: &str = "small-etl";
pub const SECRET_KEY: &str = "not-a-secret";

/// A server that lives as long as this process, on its own thread.
pub struct S3Server {
    pub endpoint: String,
    script: Arc<Mutex<Script>>,
    buckets: Scratch,
}

/// What happens to a read of an object.
pub enum ReadFault {
    None,
    /// It fails with this status.
    Status(u16),
    /// The connection is closed after this many bytes of the announced body.
    Short(u64),
    /// The connection is reset after this many bytes of the announced body.
    Reset(u64),
    /// Nothing comes after this many bytes of the announced body. The connection stays open.
    StallBody(u64),
    /// Nothing comes at all. The connection stays open.
    StallHeaders,
    /// The object is first replaced with these bytes.
    Replace(Vec<u8>),
    /// The object is replaced with these bytes after it was read.
    ReplaceAfterwards(Vec<u8>),
}

#[derive(Default)]
struct Script {
    faults: VecDeque<ReadFault>,
    reads: Vec<(String, Option<String>)>,
    refuses_writes: bool,
}

impl S3Server {
    /// Starts a server without buckets.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// Starts a server on another address of this machine.
    pub fn start_on(address: &str) -> Self {
        let buckets = Scratch::new("s3");
        let files = FileSystem::new(buckets.path()).expect("serve a folder as S3");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = std::net::TcpListener::bind((address, 0)).expect("bind a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("read the bound port"));
        listener.set_nonblocking(true).expect("let the runtime wait for connections");
        let server = Self { endpoint, script: Arc::default(), buckets };
        let scripted = Scripted { service, script: Arc::clone(&server.script), client: server.client() };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime for the S3 server");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("wait for connections");
                loop {
                    let Ok((socket, _)) = listener.accept().await else { continue };
                    // Without this, the second part of an answer waits 40 ms until the client acknowledges the first.
                    socket.set_nodelay(true).expect("send at once");
                    tokio::spawn(serve(socket, scripted.clone()));
                }
            });
        });
        server
    }

    /// Places an object whose key is too long for the file in which the server keeps metadata.
    pub fn place(&self, bucket: &str, key: &str, content: &str) {
        let path = self.buckets.path().join(bucket).join(key);
        std::fs::create_dir_all(path.parent().expect("a key is below its bucket")).expect("make a folder");
        std::fs::write(path, content).expect("place an object");
    }

    /// Scripts the next reads of objects: each takes one fault until none is left.
    pub fn fault_next_reads(&self, faults: impl IntoIterator<Item = ReadFault>) {
        lock(&self.script).faults.extend(faults);
    }

    /// Forbids writing and deleting objects, or allows it again.
    pub fn refuse_writes(&self, refuse: bool) {
        lock(&self.script).refuses_writes = refuse;
    }

    /// Removes the faults that have not happened.
    pub fn forget_faults(&self) {
        lock(&self.script).faults.clear();
    }

    /// Returns all reads of objects so far, including those that failed: `bucket/key` and the requested range, such as
    /// `bytes=5-`.
    pub fn reads(&self) -> Vec<(String, Option<String>)> {
        lock(&self.script).reads.clone()
    }

    /// The configuration with which an AWS client in this process reaches the server.
    pub fn config(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(&self.endpoint)
            .http_client(https())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None)))
            .build()
    }

    /// The variables with which another process reaches the server.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL_S3", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", "eu-central-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Returns a client that can put objects.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config()).force_path_style(true).build();
        Client::from_conf(config)
    }
}

/// The file server, with the scripted faults in front of it.
#[derive(Clone)]
struct Scripted {
    service: S3Service,
    script: Arc<Mutex<Script>>,
    /// Overwrites objects.
    client: Client,
}

/// What one connection is served with.
struct Connection {
    scripted: Scripted,
    /// Whether the connection ends with a reset.
    reset: Arc<AtomicBool>,
}

async fn serve(socket: TcpStream, scripted: Scripted) {
    let reset = Arc::<AtomicBool>::default();
    let service = Connection { scripted, reset: Arc::clone(&reset) };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // A client that breaks off is not a fault of the server, and a scripted fault is expected.
    let _ = (&mut connection).await;
    if reset.load(Ordering::Relaxed) {
        let socket = connection.into_parts().io.into_inner();
        socket.set_zero_linger().expect("let a closed connection be reset");
    }
}

impl Service<Request<Incoming>> for Connection {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let scripted = self.scripted.clone();
        if !matches!(*request.method(), Method::GET | Method::HEAD) && lock(&scripted.script).refuses_writes {
            return Box::pin(std::future::ready(Ok(error(403))));
        }
        match object(&request) {
            Some(object) => Box::pin(scripted.read(object, request, Arc::clone(&self.reset))),
            None => Service::call(&scripted.service, request),
        }
    }
}

impl Scripted {
    async fn read(
        self,
        object: (String, String),
        request: Request<Incoming>,
        reset: Arc<AtomicBool>,
    ) -> Result<HttpResponse, HttpError> {
        let (bucket, key) = object;
        let condition = header(request.headers(), &IF_MATCH);
        let fault = {
            let mut script = lock(&self.script);
            script.reads.push((format!("{bucket}/{key}"), header(request.headers(), &RANGE)));
            script.faults.pop_front().unwrap_or(ReadFault::None)
        };
        match fault {
            ReadFault::Status(status) => return Ok(error(status)),
            ReadFault::StallHeaders => return std::future::pending().await,
            ReadFault::Replace(content) => {
                self.overwrite(bucket, key, content).await;
                return self.answer(request, condition).await;
            }
            ReadFault::ReplaceAfterwards(content) => {
                let (head, body) = self.answer(request, condition).await?.into_parts();
                let whole = BodyExt::collect(body).await.map_err(HttpError::new)?.to_bytes();
                self.overwrite(bucket, key, content).await;
                return Ok(HttpResponse::from_parts(head, Body::from(whole)));
            }
            _ => {}
        }
        let answer = self.answer(request, condition).await?;
        Ok(match fault {
            ReadFault::Short(bytes) => cut_body(answer, bytes, break_off()).await?,
            ReadFault::Reset(bytes) => {
                reset.store(true, Ordering::Relaxed);
                cut_body(answer, bytes, break_off()).await?
            }
            ReadFault::StallBody(bytes) => cut_body(answer, bytes, std::future::pending()).await?,
            _ => answer,
        })
    }

    async fn overwrite(&self, bucket: String, key: String, content: Vec<u8>) {
        let put = self.client.put_object().bucket(bucket).key(key).body(content.into());
        put.send().await.expect("overwrite an object");
    }

    /// Answers as S3 does. The file server does not know conditions.
    async fn answer(&self, request: Request<Incoming>, condition: Option<String>) -> Result<HttpResponse, HttpError> {
        let answer = Service::call(&self.service, request).await?;
        let tag = header(answer.headers(), &ETAG);
        let fails = condition
            .zip(tag)
            .is_some_and(|(condition, tag)| condition != "*" && unquoted(&condition) != unquoted(&tag));
        Ok(if fails { error(412) } else { answer })
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// Ends the body with `end` after this many bytes. The announced length stays the same.
async fn cut_body(
    answer: HttpResponse,
    bytes: u64,
    end: impl Future<Output = Cause> + Send + 'static,
) -> Result<HttpResponse, HttpError> {
    let (head, body) = answer.into_parts();
    let mut content = BodyExt::collect(body).await.map_err(HttpError::new)?.to_bytes();
    content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    let frames = stream::iter([Ok(Frame::data(content))]).chain(stream::once(end.map(Err)));
    Ok(HttpResponse::from_parts(head, Body::http_body_unsync(StreamBody::new(frames))))
}

/// Ends a connection after what was written before has been sent.
async fn break_off() -> Cause {
    tokio::time::sleep(Duration::from_millis(50)).await;
    "a scripted fault".into()
}

/// Returns bucket and key of a request that reads an object.
fn object(request: &Request<Incoming>) -> Option<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    // Other queries ask for metadata of the object or list the bucket.
    let reads = query.split('&').all(|part| part.is_empty() || part == "x-id=GetObject");
    let (bucket, key) = request.uri().path().trim_start_matches('/').split_once('/')?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // Every load also looks for a manifest. Faults and figures are about the file itself.
    let is_file = !key.is_empty() && !key.ends_with(".manifest.json");
    (request.method() == Method::GET && reads && is_file).then(|| (decoded(bucket), decoded(key)))
}

fn header(headers: &hyper::HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn unquoted(tag: &str) -> &str {
    tag.trim_matches('"')
}

/// An error in the form of S3: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
fn error(status: u16) -> HttpResponse {
    let code = match status {
        400 => "ExpiredToken",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        412 => "PreconditionFailed",
        500 => "InternalError",
        503 => "SlowDown",
        _ => "Scripted",
    };
    let text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>scripted</Message></Error>"#
    );
    hyper::Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/xml")
        .body(Body::from(text))
        .expect("the status is one of HTTP")
}

/// A test that panicked cannot have left this half changed.
fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}
