//! An S3 server over HTTP, and a client for it.

use std::thread;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use super::Scratch;

pub const ACCESS_KEY: &str = "small-etl";
pub const SECRET_KEY: &str = "not-a-secret";

/// A server that lives as long as this process, on a thread of its own.
pub struct S3Server {
    pub endpoint: String,
    _buckets: Scratch,
}

impl S3Server {
    /// Serves no bucket yet.
    pub fn start() -> Self {
        let buckets = Scratch::new("s3");
        let files = FileSystem::new(buckets.path()).expect("serve a folder as S3");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime for the S3 server");
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind a port of the loopback");
                sender.send(listener.local_addr().expect("read the bound port").port()).expect("tell the port");
                loop {
                    let Ok((socket, _)) = listener.accept().await else { continue };
                    let service = service.clone();
                    tokio::spawn(async move {
                        // A client that breaks off is no fault of the server.
                        let _ =
                            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        let port = receiver.recv().expect("the S3 server starts");
        Self { endpoint: format!("http://127.0.0.1:{port}"), _buckets: buckets }
    }

    /// What an AWS client in this process needs to reach the server.
    pub fn config(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None)))
            .build()
    }

    /// The same for another process.
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

    /// A client to put objects with.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config()).force_path_style(true).build();
        Client::from_conf(config)
    }
}
