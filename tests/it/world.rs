//! What a test of behaviour needs: a database of its own on a real server, a bucket of its own on a real S3 server.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::Client as S3Client;
use aws_sdk_s3::primitives::ByteStream;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::{LoadReport, Location};
use small_etl::error::Result;
use small_etl::pipeline::{self, Context, Request};
use small_etl::services::extract::CsvExtractor;
use tokio::sync::OnceCell;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;

const INGEST_PASSWORD: &str = "only-in-tests";

/// The servers that all tests of this process share.
struct Servers {
    admin_url: String,
    s3: S3Server,
    /// Its watchdog ends it with this process.
    _postgres: Option<Postgres>,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let (admin_url, postgres) = if let Ok(url) = std::env::var("DATABASE_URL") {
            drop_databases_afterwards(&url);
            (url, None)
        } else {
            let postgres = Postgres::start(&["fsync=off", "max_connections=200"], |_| {});
            (postgres.url("postgres"), Some(postgres))
        };
        Servers { admin_url, s3: S3Server::start(), _postgres: postgres }
    })
}

/// One test's own database, bucket and pipeline.
pub struct World {
    pub context: Context,
    pub database: Database,
    pub url: String,
    pub bucket: String,
    pub s3: S3Client,
}

impl World {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world with further settings, as variables without their prefix: `("LOAD__BATCH_SIZE", "7")`.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let (url, bucket) = fresh_database().await;
        let settings = settings_for(&url, settings);
        let servers = servers();
        let mut context = small_etl::context::context(&settings).expect("the settings are good");
        context.extractor = Arc::new(CsvExtractor::new(ObjectStore::with_config(&servers.s3.config())));
        let s3 = servers.s3.client();
        s3.create_bucket().bucket(&bucket).send().await.expect("create a bucket");
        let database = Database::new(&settings.database().expect("a URL is set")).expect("the URL is good");
        Self { context, database, url, bucket, s3 }
    }

    /// The same world, but logged in with the rights of the role of ingest.
    pub fn into_ingest_role(self) -> Self {
        let mut url = url::Url::parse(&self.url).expect("the URL is good");
        url.set_username(&ingest_role()).expect("a URL with a host takes a user");
        url.set_password(Some(INGEST_PASSWORD)).expect("a URL with a host takes a password");
        let options = settings_for(url.as_str(), &[]).database().expect("a URL is set");
        Self { database: Database::new(&options).expect("the URL is good"), url: url.into(), ..self }
    }

    /// Variables for another process that works on the same database and bucket.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = servers().s3.variables();
        variables.push(("DATABASE_URL".into(), self.url.clone()));
        variables
    }

    pub async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        let body = ByteStream::from(content.into());
        self.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await.expect("put an object");
    }

    /// Loads what lies under `key`.
    pub async fn load(&self, key: &str) -> LoadReport {
        self.try_load(key).await.expect("the system works")
    }

    pub async fn try_load(&self, key: &str) -> Result<LoadReport> {
        pipeline::run(&self.context, &self.database, &Request::new(Location::s3(&self.bucket, key))).await
    }

    /// Puts a file and loads it.
    pub async fn drop_file(&self, key: &str, content: impl Into<Vec<u8>>) -> LoadReport {
        self.put(key, content).await;
        self.load(key).await
    }

    /// The result of a query as text: a line for each row, cells between ` | `, a null as `-`.
    pub async fn query(&self, sql: &str) -> String {
        query(&self.url, sql).await
    }
}

pub async fn query(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect to the database");
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cells: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("-")).collect();
            Some(cells.join(" | "))
        }
        _ => None,
    });
    let text = rows.collect::<Vec<_>>().join("\n");
    drop(client);
    driver.await.expect("the connection ends").ok();
    text
}

pub fn settings_for(url: &str, more: &[(&str, &str)]) -> Settings {
    let mut variables =
        vec![("SMALL_ETL_ENV".to_owned(), "test".to_owned()), ("DATABASE_URL".to_owned(), url.to_owned())];
    variables.extend(more.iter().map(|(name, value)| (format!("SMALL_ETL__{name}"), (*value).to_owned())));
    Settings::from_variables(variables).expect("the settings are good")
}

/// A database without any schema, and its name.
pub async fn empty_database() -> (String, String) {
    let name = database_name();
    let admin = &servers().admin_url;
    query(admin, &format!("create database \"{name}\"")).await;
    (in_database(admin, &name), name)
}

/// A migrated database and its name: a copy of one that was migrated once.
async fn fresh_database() -> (String, String) {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    static COPYING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let template = TEMPLATE
        .get_or_init(|| async {
            let (url, name) = empty_database().await;
            let options = settings_for(&url, &[]).database().expect("a URL is set");
            Database::new(&options).expect("the URL is good").migrate(None).await.expect("the migrations are good");
            let role = ingest_role();
            query(&url, &format!("create role \"{role}\" login password '{INGEST_PASSWORD}' in role small_etl_ingest"))
                .await;
            name
        })
        .await;
    let name = database_name();
    // Postgres copies a template for one session at a time.
    let _alone = COPYING.lock().await;
    let admin = &servers().admin_url;
    query(admin, &format!("create database \"{name}\" template \"{template}\"")).await;
    (in_database(admin, &name), name)
}

fn database_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}{}", database_prefix(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A role of this process alone: the password of the real one is the server's owner's.
fn ingest_role() -> String {
    format!("{}ingest", database_prefix())
}

fn database_prefix() -> String {
    format!("small-etl-{}-", std::process::id())
}

/// Leaves somebody else's server as it was, also when this process is killed.
fn drop_databases_afterwards(url: &str) {
    const DROP: &str = r#"trap '' INT TERM HUP; cat > /dev/null
psql -Atc "select format('drop database %I with (force);', datname) from pg_database where datname like '$PREFIX%'" "$URL" | psql -q "$URL"
psql -q "$URL" -c "drop role if exists \"${PREFIX}ingest\"""#;
    let watchdog = Command::new("sh")
        .args(["-c", DROP])
        .envs([("URL", url), ("PREFIX", &database_prefix())])
        .stdin(Stdio::piped())
        .spawn()
        .expect("start the watchdog of the databases");
    // It waits for the end of this process, which closes its standard input.
    std::mem::forget(watchdog);
}

fn in_database(admin: &str, name: &str) -> String {
    let mut url = url::Url::parse(admin).expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.to_string()
}
