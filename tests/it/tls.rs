//! TLS to Postgres, against a server with a certificate of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use small_etl::data_access::postgres::Database;
use small_etl::error::{Error, ErrorKind};

use crate::support::Scratch;
use crate::support::postgres::{Postgres, make_private};
use crate::world::{datasets, settings_for};

pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct TlsServer {
    server: Postgres,
    scratch: Scratch,
}

impl TlsServer {
    /// Starts a server whose certificate names only `localhost`.
    fn start() -> Self {
        let scratch = Scratch::new("tls");
        let (right, wrong) = (authority("right"), authority("wrong"));
        fs::write(scratch.path().join("right.pem"), right.pem()).unwrap();
        fs::write(scratch.path().join("wrong.pem"), wrong.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &right).unwrap();
        let server = Postgres::start(&["fsync=off", "ssl=on"], |data| {
            fs::write(data.join("server.crt"), certificate.pem()).unwrap();
            fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
            make_private(&data.join("server.key"));
        });
        Self { server, scratch }
    }

    async fn connect(&self, host: &str, mode: &str, roots: &str) -> Result<(), Error> {
        let url = format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}", self.server.port);
        let roots = self.scratch.path().join(roots);
        let settings = settings_for(&url, &[("DATABASE__ROOT_CERTIFICATES", roots.to_str().unwrap())]);
        Database::new(&settings.database()?)?.migrate(None, &datasets()).await.map(|_| ())
    }
}

#[tokio::test]
async fn verify_full_accepts_the_right_authority_and_host_alone() {
    let server = TlsServer::start();
    server.connect("localhost", "verify-full", "right.pem").await.unwrap();
    for (host, roots) in [("localhost", "wrong.pem"), ("127.0.0.1", "right.pem")] {
        let error = server.connect(host, "verify-full", roots).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{}", error.chain());
        assert!(error.to_string().contains("TLS failed"), "{host} {roots}: {error}");
    }
    server.connect("127.0.0.1", "require", "wrong.pem").await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_refused_and_never_spoken_to_in_plain_text() {
    let server = Postgres::start(&["fsync=off"], |_| {});
    for mode in ["verify-full", "require"] {
        let url = format!("postgres://postgres@localhost:{}/postgres?sslmode={mode}", server.port);
        let database = Database::new(&settings_for(&url, &[]).database().unwrap()).unwrap();
        let error = database.migrate(None, &datasets()).await.unwrap_err();
        assert!(error.chain().contains("TLS"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_server_that_goes_away_in_a_handshake_is_asked_again_and_no_mistake_of_the_settings() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u@127.0.0.1:{}/d?sslmode=require", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).and_then(|()| stream.write_all(b"S")).unwrap();
        }
    });
    let error = Database::new(&settings_for(&url, &[]).database().unwrap())
        .unwrap()
        .migrate(None, &datasets())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{}", error.chain());
}

#[test]
fn away_from_localhost_the_default_is_verify_full() {
    let mode =
        |url: &str| format!("{:?}", Database::new(&settings_for(url, &[]).database().unwrap()).unwrap().tls_mode());
    assert_eq!(mode("postgres://u@db.example.com/d"), "VerifyFull");
    assert_eq!(mode("postgres://u@db.example.com/d?sslmode=disable"), "Disable");
    assert_eq!(mode("postgres://u@localhost/d"), "Disable");
}

#[test]
fn a_password_with_an_at_sign_is_refused_and_not_shown() {
    for url in ["postgres://me:p@canary@localhost/etl", "postgres://me:s@canary#x/y@localhost/etl"] {
        let error = Database::new(&settings_for(url, &[]).database().unwrap()).err().unwrap();
        assert!(!error.chain().contains("canary"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
