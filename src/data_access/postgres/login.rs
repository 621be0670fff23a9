//! With what a connection logs in: the password of the URL, a token of RDS, or a secret that may rotate.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config as TokenConfig};
use deadpool_postgres::{ConfigConnectImpl, Connect};
use futures::future::BoxFuture;
use postgres_native_tls::MakeTlsConnector;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error as PostgresError};

use crate::data_access::aws::environment;
use crate::data_access::secrets::secret;
use crate::error::{Error, ErrorKind, Result};

/// With what a program logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// What the URL says.
    #[default]
    Password,
    /// A token of RDS for the user of the URL, signed with this program's own AWS credentials.
    Iam,
    /// User and password of the secret with this ARN.
    Secret(String),
}

/// A token opens connections for 15 minutes after it was signed.
const TOKEN_LIFE: Duration = Duration::from_mins(10);

/// What a secret for a database holds besides other things.
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

/// The credentials in force; new connections take them.
#[derive(Clone)]
pub(super) struct LoginSource {
    login: Login,
    current: Arc<RwLock<Option<Arc<Credentials>>>>,
    /// One fetches for all.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

impl LoginSource {
    pub(super) fn new(login: Login) -> Self {
        Self { login, current: Arc::default(), fetching: Arc::default() }
    }

    /// Whether a refused login may succeed with what is fetched anew.
    pub(super) fn may_rotate(&self) -> bool {
        matches!(self.login, Login::Secret(_))
    }

    fn current(&self) -> Option<Arc<Credentials>> {
        // It is only ever replaced as a whole, so that a panic elsewhere leaves nothing half done in it.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches credentials where there are none that a new connection could use.
    ///
    /// # Errors
    /// `Configuration` for a secret that cannot be read or holds no login, `Connection` where AWS cannot be reached.
    pub(super) async fn prepare(&self, config: &Config) -> Result<()> {
        let usable = |known: &Arc<Credentials>| self.may_rotate() || known.since.elapsed() < TOKEN_LIFE;
        if self.login == Login::Password || self.current().as_ref().is_some_and(usable) {
            return Ok(());
        }
        // Boxed, or every step with a connection would carry the room for it.
        Box::pin(self.replace(config, |known| !known.is_some_and(usable))).await
    }

    /// Fetches the secret anew, unless somebody did since `asked`. The server refused what was in force then.
    ///
    /// # Errors
    /// Those of [`LoginSource::prepare`].
    pub(super) async fn refresh(&self, config: &Config, asked: Instant) -> Result<()> {
        Box::pin(self.replace(config, |known| known.is_none_or(|known| known.since < asked))).await
    }

    /// Until there are new ones the old stay in force: a connection without any would be somebody else's.
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
                let text = secret(arn).await?;
                // The parser's own message may quote the secret.
                let found: DatabaseSecret = serde_json::from_str(text.expose_secret()).map_err(|_| {
                    Error::configuration(format!("secret {arn}: it must be JSON with \"username\" and \"password\""))
                })?;
                Credentials { user: Some(found.username), password: found.password, since }
            }
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fetched));
        Ok(())
    }

    /// `config` with the credentials in force.
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

/// A token of RDS for the first host of `config`.
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
    let wrong = |error| Error::with_source(ErrorKind::Configuration, "sign a token for the database", error);
    let token = TokenConfig::builder().hostname(host).port(port.into()).username(user).build().map_err(wrong)?;
    let signed = AuthTokenGenerator::new(token).auth_token(environment().await).await;
    // What is missing is a region or credentials; credentials may come back by themselves.
    let unsigned = |error| Error::with_source(ErrorKind::Connection, "sign a token for the database", error);
    signed.map(|token| token.as_str().into()).map_err(unsigned)
}

/// Makes the connections of the pool.
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
