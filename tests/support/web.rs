//! A web server that answers as a test says, and remembers the requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use native_tls::{Identity, TlsAcceptor};

/// A request: its target, its headers, whose names are in lowercase, and its body.
#[derive(Clone, Debug)]
pub struct Asked {
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let mut lines = stream.by_ref().lines();
        let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
        let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
        let header = |line: String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some(Self { target, headers, body })
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// The server. It serves until its process ends.
pub struct WebServer {
    pub origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl WebServer {
    /// Starts a server. `answer` gets the request and the server's own origin, and returns all bytes of the response.
    pub fn start(answer: impl Fn(&Asked, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", answer)
    }

    /// Starts a server on another address of this machine.
    pub fn start_on(address: &str, answer: impl Fn(&Asked, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(address, None, answer)
    }

    /// Starts a server with TLS as `localhost`, with a certificate and its key.
    pub fn with_tls(
        certificate: &str,
        key: &str,
        answer: impl Fn(&Asked, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let identity = Identity::from_pkcs8(certificate.as_bytes(), key.as_bytes()).expect("the certificate is good");
        Self::listen("127.0.0.1", Some(TlsAcceptor::new(identity).expect("TLS works")), answer)
    }

    fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let origin = match tls {
            None => format!("http://{address}:{port}"),
            Some(_) => format!("https://localhost:{port}"),
        };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, seen, answer) = (origin.clone(), Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (own, seen, answer, tls) = (own.clone(), Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || {
                    let serve = |mut stream: Box<dyn Stream>| {
                        let Some(asked) = Asked::read(&mut stream) else { return };
                        seen.lock().expect("nobody panicked with it").push(asked.clone());
                        // The client may be gone.
                        let _ = stream.write_all(&answer(&asked, &own));
                    };
                    let stream = stream.expect("accept a connection");
                    match tls {
                        None => serve(Box::new(stream)),
                        // A client that does not trust the certificate closes the connection.
                        Some(tls) => tls.accept(stream).into_iter().for_each(|stream| serve(Box::new(stream))),
                    }
                });
            }
        });
        Self { origin, asked }
    }

    /// Returns the requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("nobody panicked with it"))
    }
}

/// Returns a whole response.
pub fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Text\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    [&text, "\r\n", body].concat().into_bytes()
}
