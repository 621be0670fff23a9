//! Postgres: a small pool of verified connections, with the ledger, the batches and the migrations on top of it.

mod answer;
mod batch;
mod checked_table;
mod ciphers;
mod claim;
mod connection;
mod content;
mod content_form;
mod copy;
mod data_keys;
mod decide;
mod delivery;
mod drift;
mod encode;
mod fit;
mod grants;
mod held;
mod history;
mod key;
mod ledger;
mod lineage;
mod login;
mod mended;
mod mending;
mod migrate;
mod mode;
mod nightly;
mod object_parts;
mod outbox;
mod parked;
mod pass;
mod place;
mod plan;
mod read_only;
mod refusal;
mod rejects;
mod rekey;
mod release;
mod replacement;
mod resolve;
mod retention;
mod row_history;
mod scope;
mod settle;
mod smoke;
mod sql_file;
mod sql_names;
#[cfg(test)]
mod statements;
mod table;
mod texts;
mod tie;
mod tls;
mod tombstone;
mod undo;
mod undo_ledger;
mod undo_plan;
mod undone;
mod upsert;

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::{Hook, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio_postgres::config::{Host, SslMode};

pub use batch::BatchRows;
pub use claim::{Claim, ClaimTerms, Claimed, FencingToken, FileToClaim};
pub use content::TakenCopy;
pub use copy::CopyRows;
pub use data_keys::SealedRow;
pub use history::{LoadDetail, LoadSummary, LoadedFile, PresentRow, RowAttempt, Status, Waiting};
pub use ledger::{Closing, SeenFile};
pub use login::Login;
pub use migrate::{AppliedMigration, newest_migration};
pub use nightly::{ExportedRows, LeftBehind, NULL, RunEnd, Standing, VersionStanding};
pub use object_parts::{KnownLoad, KnownPart, PartState, ReplacedLoad};
pub use outbox::OutboxEvent;
pub use parked::{Release, WaitingPage};
pub use pass::Pass;
pub use plan::TablePlan;
pub use rejects::{PendingRejects, RejectCursor, RejectFilter, StoredReject, WrittenAs};
pub use rekey::{ContentChange, HashCells, Rekeyed};
pub use retention::{PrunedLoads, SettledVersion};
pub use settle::FoundReferences;
pub use smoke::SmokeLoad;
pub use tls::TlsMode;
pub use tombstone::KeptTombstone;
pub use undo::{GivenBack, KeptRow, LoadToUndo, without_history};

use self::answer::query_error;
use self::checked_table::Table;
use self::ciphers::Ciphers;
use self::connection::Connection;
use self::login::{Connector, LoginSource};
use super::traces;
use crate::error::{Error, ErrorKind, Result};

/// How to reach Postgres and how long to wait for it.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `postgres://user:password@host:port/database`, or the `key=value` form.
    pub url: SecretString,
    /// How to log in.
    pub login: Login,
    /// Overrides `sslmode` in the URL. If neither is set: `disable` on localhost, otherwise `verify-full`.
    pub tls: Option<TlsMode>,
    /// A PEM file of the certificate authorities to trust instead of the system's.
    pub root_certificates: Option<PathBuf>,
    /// The key of KMS for encrypted columns.
    pub kms_key: Option<String>,
    /// The most connections of this process.
    pub connections: usize,
    /// How long a claim lasts without being renewed. The server ends a transaction that is idle for half of that time.
    pub lease: Duration,
    /// Whether events are written to `etl.outbox`.
    pub events: bool,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(2);
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// A database. Its connections outlive a call and are checked before each use.
pub struct Database {
    pool: Pool,
    config: tokio_postgres::Config,
    connector: postgres_native_tls::MakeTlsConnector,
    login: LoginSource,
    ciphers: Ciphers,
    tls: TlsMode,
    schema_checked: OnceCell<()>,
    /// The tables that were checked and can take rows.
    tables_checked: Mutex<HashMap<String, Arc<Table>>>,
}

impl Database {
    /// Prepares a pool. The first connection is opened on first use.
    ///
    /// # Errors
    /// `Configuration` if the URL or the certificate file cannot be read.
    pub fn new(options: &DatabaseOptions) -> Result<Self> {
        Self::prepare(options, |_| ())
    }

    /// Does the same after `change` has changed what the URL says.
    fn prepare(options: &DatabaseOptions, change: impl FnOnce(&mut tokio_postgres::Config)) -> Result<Self> {
        let (url, url_mode) = tls::split_sslmode(options.url.expose_secret())?;
        // The parser's message could quote the URL, and with it the password.
        let mut config = tokio_postgres::Config::from_str(&url).map_err(|_| {
            Error::configuration(
                "database.url (or DATABASE_URL) is no Postgres URL; write postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            )
        })?;
        // An unescaped `@` in the password would turn the rest of the password into the host, which is shown in
        // messages.
        let strange = |host: &Host| matches!(host, Host::Tcp(name) if name.contains(['@', '#', '?', '%', ' ']));
        if config.get_hosts().iter().any(strange) {
            return Err(Error::configuration(
                "database.url (or DATABASE_URL): the host has characters that no host has; \
                 in the password write @ as %40, # as %23, / as %2F",
            ));
        }
        let mode = options
            .tls
            .or(url_mode)
            .unwrap_or_else(|| if is_on_this_machine(&config) { TlsMode::Disable } else { TlsMode::VerifyFull });
        config
            .ssl_mode(if mode == TlsMode::Disable { SslMode::Disable } else { SslMode::Require })
            .application_name(application_name())
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(SILENCE_TIMEOUT)
            .tcp_user_timeout(SILENCE_TIMEOUT);
        change(&mut config);
        let connector = tls::connector(mode, options.root_certificates.as_deref())?;
        let login = LoginSource::new(options.login.clone());
        let manager = Manager::from_connect(
            config.clone(),
            Connector { login: login.clone(), tls: connector.clone() },
            ManagerConfig { recycling_method: RecyclingMethod::Verified },
        );
        let limits = session_limits(options.lease, options.events);
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_TIMEOUT))
            // A sandbox that was frozen wakes up with dead sockets. The check must not wait for them.
            .recycle_timeout(Some(CHECK_TIMEOUT))
            .post_create(Hook::async_fn(move |client, _| {
                let limits = limits.clone();
                Box::pin(
                    async move { client.batch_execute(&limits).await.map_err(deadpool_postgres::HookError::Backend) },
                )
            }))
            .build()
            .map_err(|error| Error::system("prepare the connection pool", error))?;
        Ok(Self {
            pool,
            config,
            connector,
            login,
            ciphers: Ciphers::new(options.kms_key.clone()),
            tls: mode,
            schema_checked: OnceCell::new(),
            tables_checked: Mutex::default(),
        })
    }

    /// How connections are protected.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        self.tls
    }

    /// The most connections that can be open at once.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.pool.status().max_size
    }

    /// Returns a connection that has just answered, for an operation that traces show under this name.
    async fn connection(&self, operation: &'static str) -> Result<Connection> {
        let span = traces::call("Postgres", operation);
        self.checked_connection().await.map(|object| Connection::new(object, span))
    }

    async fn checked_connection(&self) -> Result<Object> {
        self.login.prepare(&self.config).await?;
        let asked = Instant::now();
        let mut connection = self.pool.get().await;
        if let Err(PoolError::Backend(error)) = &connection
            && self.login.may_rotate()
            && error.code().is_some_and(|code| code.code().starts_with("28"))
        {
            tracing::info!("the database refused the login; fetching the secret anew");
            self.login.refresh(&self.config, asked).await?;
            connection = self.pool.get().await;
        }
        connection.map_err(|error| match error {
            PoolError::Backend(error) => self.connect_error(error),
            other => Error::with_source(ErrorKind::Connection, "get a connection to Postgres", other),
        })
    }

    fn connect_error(&self, error: tokio_postgres::Error) -> Error {
        query_error(&format!("connect to Postgres at {}", self.host()), error)
    }

    /// Returns the name of the server for messages.
    fn host(&self) -> String {
        match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".into(),
        }
    }
}

/// Returns the name that the server shows for this program: its version and where it runs.
fn application_name() -> String {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let function = variable("AWS_LAMBDA_FUNCTION_NAME");
    let place = function.or_else(|| variable("USER")).map(|place| format!(" {place}")).unwrap_or_default();
    format!("small-etl/{}{place}", env!("CARGO_PKG_VERSION"))
}

/// Returns the settings of a session. How values are printed affects the keys in the ledger, so it must not depend on
/// the server. Limits are set with statements because proxies refuse startup options. A table grows while a file is
/// loaded, so a plan that was kept from the first batches would scan all of it in the last. No statement runs long
/// enough for compiling it to pay.
fn session_limits(lease: Duration, events: bool) -> String {
    let idle = lease / 2;
    let events = if events { "; set small_etl.events = 'on'" } else { "" };
    format!(
        "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set extra_float_digits = 1; set bytea_output = 'hex'; \
         set statement_timeout = {}; set lock_timeout = {}; \
         set idle_in_transaction_session_timeout = {}; set plan_cache_mode = force_custom_plan; set jit = off{events}",
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        idle.as_millis(),
    )
}

fn is_on_this_machine(config: &tokio_postgres::Config) -> bool {
    let hosts = config.get_hosts();
    !hosts.is_empty() && hosts.iter().all(is_local) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
