//! How a connection logs in: with the password of the URL, a token of RDS, or a secret that may be rotated.

use std::error::Error as StdError;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use deadpool_postgres::{ConfigConnectImpl, Connect};
use futures::future::BoxFuture;
use postgres_native_tls::MakeTlsConnector;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error as PostgresError};
use url::Url;

use crate::data_access::aws::environment;
use crate::data_access::secrets::secret;
use crate::error::{Error, ErrorKind, Result};

/// How a program logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// With the password in the URL.
    #[default]
    Password,
    /// With a token of RDS for the user of the URL, signed with the AWS credentials of this program.
    Iam,
    /// With user and password from the secret that has this ARN.
    Secret(String),
}

/// How long a token can open connections. RDS allows no more.
const TOKEN_EXPIRES: Duration = Duration::from_mins(15);
/// How long a token is used before it is replaced.
const TOKEN_LIFE: Duration = Duration::from_mins(10);

/// The fields of a database secret that are needed. It may have others.
#[derive(Deserialize)]
struct DatabaseSecret {
    username: String,
    password: SecretString,
}

struct Credentials {
    user: Option<String>,
    password: SecretString,
    since: Instant,
}

/// The current credentials, which new connections use.
#[derive(Clone)]
pub(super) struct LoginSource {
    login: Login,
    current: Arc<RwLock<Option<Arc<Credentials>>>>,
    /// Held while credentials are fetched, so that only one task fetches them.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

impl LoginSource {
    pub(super) fn new(login: Login) -> Self {
        Self { login, current: Arc::default(), fetching: Arc::default() }
    }

    /// Whether a refused login may succeed with newly fetched credentials.
    pub(super) fn may_rotate(&self) -> bool {
        matches!(self.login, Login::Secret(_))
    }

    fn current(&self) -> Option<Arc<Credentials>> {
        // The value is only replaced as a whole, so a panic elsewhere cannot leave it half changed.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches credentials if there are none that a new connection could use.
    ///
    /// # Errors
    /// `Configuration` if the secret cannot be read or holds no login, `Connection` if AWS cannot be reached.
    pub(super) async fn prepare(&self, config: &Config) -> Result<()> {
        let usable = |known: &Arc<Credentials>| self.may_rotate() || known.since.elapsed() < TOKEN_LIFE;
        if self.login == Login::Password || self.current().as_ref().is_some_and(usable) {
            return Ok(());
        }
        // Boxed; otherwise every future that opens a connection would be larger.
        Box::pin(self.replace(config, |known| !known.is_some_and(usable))).await
    }

    /// Fetches the secret again, unless another task has done so since `asked`. The server refused the credentials of
    /// that time.
    ///
    /// # Errors
    /// The same as those of [`LoginSource::prepare`].
    pub(super) async fn refresh(&self, config: &Config, asked: Instant) -> Result<()> {
        Box::pin(self.replace(config, |known| known.is_none_or(|known| known.since < asked))).await
    }

    /// Keeps the old credentials until there are new ones: a connection without any would log in as someone else.
    async fn replace(&self, config: &Config, is_old: impl Fn(Option<&Arc<Credentials>>) -> bool) -> Result<()> {
        let _alone = self.fetching.lock().await;
        if !is_old(self.current().as_ref()) {
            return Ok(());
        }
        let since = Instant::now();
        let fetched = match &self.login {
            Login::Password => return Ok(()),
            Login::Iam => Credentials { user: None, password: token(config).await?, since },
            Login::Secret(arn) => {
                let text = secret(arn, "database.secret_arn").await?;
                // The parser's message could quote the secret.
                let found: DatabaseSecret = serde_json::from_str(text.expose_secret()).map_err(|_| {
                    Error::configuration(format!("secret {arn}: it must be JSON with \"username\" and \"password\""))
                })?;
                Credentials { user: Some(found.username), password: found.password, since }
            }
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fetched));
        Ok(())
    }

    /// Returns `config` with the current credentials.
    pub(super) fn apply(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let Some(credentials) = self.current() {
            config.password(credentials.password.expose_secret());
            if let Some(user) = &credentials.user {
                config.user(user);
            }
        }
        config
    }
}

/// Creates a token of RDS for the first host of `config`.
async fn token(config: &Config) -> Result<SecretString> {
    let (Some(Host::Tcp(host)), Some(user)) = (config.get_hosts().first(), config.get_user()) else {
        return Err(Error::configuration(
            "database.login = \"iam\" needs a host and a user in the URL, and no password",
        ));
    };
    if config.get_password().is_some() {
        return Err(Error::configuration("database.login is iam; take the password out of the URL"));
    }
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let signed = sign_token(host, port, user).await;
    // Region or credentials are missing. Credentials may come back by themselves.
    signed.map_err(|error| Error::with_source(ErrorKind::Connection, "sign a token for the database", error))
}

/// Signs the request that RDS accepts as a password: a presigned `connect` without its scheme. Source: the AWS
/// documentation, "Connecting to your DB instance using IAM authentication".
async fn sign_token(host: &str, port: u16, user: &str) -> Result<SecretString, Box<dyn StdError + Send + Sync>> {
    let environment = environment().await;
    let region = environment.region().ok_or("no region is set; set AWS_REGION")?;
    let provider = environment.credentials_provider().ok_or("no credentials are set")?;
    let identity = provider.provide_credentials().await?.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(TOKEN_EXPIRES);
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region.as_ref())
        .name("rds-db")
        .time(SystemTime::now())
        .settings(settings)
        .build()?;
    let mut url = Url::parse(&format!("https://{host}:{port}/"))?;
    url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", user);
    let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::empty())?;
    let (signature, _) = sign(request, &params.into())?.into_parts();
    url.query_pairs_mut().extend_pairs(signature.params());
    Ok(url.as_str().trim_start_matches("https://").into())
}

/// Opens the connections of the pool.
pub(super) struct Connector {
    pub(super) login: LoginSource,
    pub(super) tls: MakeTlsConnector,
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), PostgresError>> {
        let (config, connect) = (self.login.apply(config), ConfigConnectImpl { tls: self.tls.clone() });
        Box::pin(async move { connect.connect(&config).await })
    }
}
