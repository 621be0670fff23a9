//! What a test of behaviour needs: a database on a real server and a bucket on a real S3 server, both of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client as S3Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration,
};
use aws_sdk_sqs::Client as SqsClient;
use aws_sdk_sqs::types::QueueAttributeName;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::{Datasets, LoadReport, Location};
use small_etl::error::Result;
use small_etl::pipeline::{self, CheckedFile, Context, Request};
use small_etl::services::Parts;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::moto::Moto;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Act, Fault, Moment, Proxy};
use crate::support::s3::S3Server;
use crate::worker::Worker;

const INGEST_PASSWORD: &str = "only-in-tests";

/// The servers that all tests of this process share.
struct Servers {
    admin_url: String,
    s3: Arc<S3Server>,
    /// The watchdog of the server ends it with this process.
    _postgres: Option<Postgres>,
}

/// One server for all tests that need it, because it takes seconds to start.
pub fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(Moto::start)
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let (admin_url, postgres) = if let Ok(url) = std::env::var("DATABASE_URL") {
            drop_databases_afterwards(&url);
            (url, None)
        } else {
            let postgres = Postgres::in_memory(&["fsync=off", "max_connections=200", "max_wal_size=128MB"]);
            (postgres.url("postgres"), Some(postgres))
        };
        Servers { admin_url, s3: Arc::new(S3Server::start()), _postgres: postgres }
    })
}

/// The database, bucket and pipeline of one test.
pub struct World {
    pub context: Context,
    pub database: Database,
    /// The URL of the database for the owner of the server.
    owner: String,
    /// The URL for tests. They see everything as the owner unless they say otherwise.
    pub url: String,
    /// The URL for the program, which has only the rights of the role of ingest.
    pub login: String,
    pub bucket: String,
    pub s3: S3Client,
    pub s3_server: Arc<S3Server>,
    pub settings: Vec<(String, String)>,
    /// Serves the objects of this world instead of `s3_server`.
    moto: Option<&'static Moto>,
    /// The folder with the settings of other processes.
    pub config: Option<PathBuf>,
    /// The program that other processes run.
    pub program: PathBuf,
    /// The URL of the last question, and its session: it takes a server longer to begin one than to answer.
    session: Mutex<Option<(String, Client)>>,
    _own: Option<OwnDatabase>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Creates a world with additional settings, as variables without their prefix: `("LOAD__BATCH_SIZE", "7")`.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::clone(&servers().s3), settings).await
    }

    /// Creates a world with an S3 server of its own, whose faults affect no other test.
    pub async fn with_own_s3(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(S3Server::start()), settings).await
    }

    async fn on(s3_server: Arc<S3Server>, settings: &[(&str, &str)]) -> Self {
        let (url, name) = fresh_database().await;
        let own = Some(OwnDatabase(name.clone()));
        Self { _own: own, ..Self::at(url, name, s3_server, settings).await }
    }

    /// Creates a world on servers of its own, which may be stopped and may fail.
    pub async fn on_servers(postgres: &Postgres, s3_server: Arc<S3Server>, settings: &[(&str, &str)]) -> Self {
        let url = postgres.url("postgres");
        migrate(&url, None, &datasets()).await;
        create_ingest_role(&url).await;
        Self::at(url, database_name(), s3_server, settings).await
    }

    /// Creates a world in an existing database.
    pub async fn on_database(url: String, name: String, settings: &[(&str, &str)]) -> Self {
        create_ingest_role(&url).await;
        Self::at(url, name, Arc::clone(&servers().s3), settings).await
    }

    async fn at(url: String, bucket: String, s3_server: Arc<S3Server>, settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let login = as_ingest_role(&url);
        let (context, database) = parts(&login, &settings, ObjectStore::with_config(&s3_server.config()));
        let s3 = s3_server.client();
        s3.create_bucket().bucket(&bucket).send().await.expect("create a bucket");
        let program = env!("CARGO_BIN_EXE_small-etl").into();
        let owner = url.clone();
        Self {
            context,
            database,
            owner,
            url,
            login,
            bucket,
            s3,
            s3_server,
            settings,
            moto: None,
            config: None,
            program,
            session: Mutex::default(),
            _own: None,
        }
    }

    /// Creates a world whose bucket keeps versions, and which may have queues.
    pub async fn on_moto(settings: &[(&str, &str)]) -> Self {
        Self::with(settings).await.keeping_versions().await
    }

    /// Gives the world a bucket that keeps versions.
    pub async fn keeping_versions(self) -> Self {
        let (world, moto) = (self, moto());
        let s3 = moto.s3();
        let here = BucketLocationConstraint::EuCentral1;
        let place = CreateBucketConfiguration::builder().location_constraint(here).build();
        let create = s3.create_bucket().bucket(&world.bucket).create_bucket_configuration(place);
        create.send().await.expect("create a bucket");
        let versions = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let keep = s3.put_bucket_versioning().bucket(&world.bucket).versioning_configuration(versions);
        keep.send().await.expect("keep versions");
        Self { s3, moto: Some(moto), ..world }.under(&[])
    }

    /// Creates a queue for this world, and its client.
    pub async fn queue(&self) -> (SqsClient, String) {
        let sqs = moto().sqs();
        // A message that was delivered and not deleted comes again after a second, unless it is hidden.
        let create = sqs.create_queue().queue_name(&self.bucket).attributes(QueueAttributeName::VisibilityTimeout, "1");
        let queue = create.send().await.expect("create a queue");
        (sqs, queue.queue_url.expect("a queue has a URL"))
    }

    /// Changes the settings of the world, as a new deployment does.
    pub fn under(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let store = ObjectStore::with_config(&self.moto.map_or_else(|| self.s3_server.config(), Moto::config));
        (self.context, self.database) = parts(&self.login, &self.settings, store);
        self
    }

    /// Gives the world another bucket, which must exist.
    pub fn with_bucket(self, bucket: String) -> Self {
        Self { bucket, ..self }
    }

    /// Moves the world to another database.
    pub fn moved_to(mut self, url: String) -> Self {
        self.login = as_ingest_role(&url);
        (self.owner, self.url) = (url.clone(), url);
        self.under(&[])
    }

    /// Creates another worker of this process on the same database and bucket, which connects through a proxy.
    pub fn another(&self, proxy: &Proxy) -> (Context, Database) {
        let store = ObjectStore::with_config(&self.moto.map_or_else(|| self.s3_server.config(), Moto::config));
        parts(&self.login_behind(proxy), &self.settings, store)
    }

    /// Changes the settings for other processes only; the connections of this one stay as they are.
    pub fn under_variables(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        self
    }

    /// Returns the URL of the database for the owner of the server.
    pub fn admin_url(&self) -> String {
        self.owner.clone()
    }

    /// Lets the tests, too, see everything with the rights of the role of ingest.
    pub fn into_ingest_role(self) -> Self {
        Self { url: self.login.clone(), ..self }
    }

    /// Migrates the schema as its owner, and grants what the datasets of this world need.
    pub async fn migrate(&self, more: Option<&Path>) {
        migrate(&self.owner, more, &self.context.datasets).await;
    }

    /// Starts a proxy in front of the database.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(url::Url::parse(&self.url).expect("the URL is good").port().unwrap_or(5432))
    }

    /// Connects through a proxy from now on, except for [`World::query`].
    pub fn behind(mut self, proxy: &Proxy) -> Self {
        self.login = self.login_behind(proxy);
        self.under(&[])
    }

    fn login_behind(&self, proxy: &Proxy) -> String {
        behind(&self.login, proxy)
    }

    /// Returns the variables for another process that works on the same database and bucket with the same settings.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = self.moto.map_or_else(|| self.s3_server.variables(), Moto::variables);
        variables.push(("DATABASE_URL".into(), self.login.clone()));
        variables.push(("SMALL_ETL_ENV".into(), "test".into()));
        variables.extend(self.config.iter().map(|path| ("SMALL_ETL_CONFIG".into(), path.display().to_string())));
        variables.extend(self.settings.iter().map(|(name, value)| (format!("SMALL_ETL__{name}"), value.clone())));
        variables
    }

    /// Starts a process that loads the object at `key`, through a proxy if there is one.
    pub fn worker(&self, key: &str, proxy: Option<&Proxy>) -> Worker {
        let address = format!("s3://{}/{key}", self.bucket);
        let url = proxy.map_or_else(|| self.login.clone(), |proxy| self.login_behind(proxy));
        let arguments = ["load", &address, "--json"];
        Worker::start(&self.program, &arguments, self.variables().into_iter().chain([("DATABASE_URL".into(), url)]))
    }

    /// Starts such a process, which gets a signal at one of its messages to Postgres.
    pub fn signalled_worker(
        &self,
        key: &str,
        proxy: &Proxy,
        moment: impl Into<Moment>,
        fault: fn(Act) -> Fault,
        name: &'static str,
    ) -> Worker {
        let pid = Arc::new(Mutex::new(0));
        let target = Arc::clone(&pid);
        // Held until the process has a number: it may be faster than this thread.
        let mut pid = pid.lock().expect("nobody panicked with it");
        let act = Box::new(move || signal(*target.lock().expect("nobody panicked with it"), name));
        proxy.at_moment(moment.into(), fault(act));
        let worker = self.worker(key, Some(proxy));
        *pid = worker.pid();
        worker
    }

    /// How many pairs of loads were under way at the same time.
    pub async fn overlaps(&self) -> i64 {
        let overlaps = "select count(*) from etl.load a join etl.load b on a.id < b.id \
            and a.started_at < b.finished_at and b.started_at < a.finished_at";
        self.query(overlaps).await.parse().expect("a number")
    }

    /// Returns the variables for another process that works as the owner of the tables.
    pub fn variables_of_owner(&self) -> Vec<(String, String)> {
        self.variables().into_iter().chain([("DATABASE_URL".into(), self.admin_url())]).collect()
    }

    /// Makes each batch take this long.
    pub async fn slow_down(&self, seconds: f64) {
        self.query(&format!(
            "create or replace function slow() returns trigger language plpgsql as $$ begin perform pg_sleep({seconds}); return null; end $$; \
             create or replace trigger slow after insert on etl.load_batch for each row execute function slow()"
        ))
        .await;
    }

    pub async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        let body = ByteStream::from(content.into());
        self.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await.expect("put an object");
    }

    /// Loads the object at `key`.
    pub async fn load(&self, key: &str) -> LoadReport {
        self.try_load(key).await.expect("the system works")
    }

    pub async fn try_load(&self, key: &str) -> Result<LoadReport> {
        self.run(&self.request(key)).await
    }

    pub fn request(&self, key: &str) -> Request {
        Request::new(Location::s3(&self.bucket, key))
    }

    /// Loads an object without parts.
    pub async fn run(&self, request: &Request) -> Result<LoadReport> {
        let mut reports = self.run_all(request).await?;
        assert_eq!(reports.len(), 1, "{reports:?}");
        Ok(reports.remove(0))
    }

    pub async fn run_all(&self, request: &Request) -> Result<Vec<LoadReport>> {
        pipeline::run(&self.context, &self.database, request).await
    }

    /// Loads each part of what lies under `key`.
    pub async fn load_parts(&self, key: &str) -> Vec<LoadReport> {
        self.run_all(&self.request(key)).await.expect("the system works")
    }

    /// Ends all leases, so that what a dead worker left is free at once.
    pub async fn end_leases(&self) {
        self.query("update etl.load set lease_expires_at = clock_timestamp() where state = 'loading'").await;
    }

    /// Returns everything that a load may change, except what differs from run to run: surrogate keys, times, attempts.
    pub async fn outcome(&self) -> String {
        self.query(
            "select 'asset', to_jsonb(a) - 'id' from asset a order by account_id; \
             select 'trade', to_jsonb(t) - 'id' from trade t order by traded_id; \
             select 'load', l.key, state, reason, batch_size, read, inserted, updated, unchanged, stale, parked, rejected, \
                 withheld, warnings, released, statistics from etl.load l order by l.key; \
             select 'batch', l.key, b.batch, b.first_record, b.last_record, b.inserted, b.updated, b.unchanged, b.stale, \
                 b.parked, b.rejected, b.warnings from etl.load_batch b join etl.load l on l.id = b.load_id order by 2, 3; \
             select 'reject', l.key, r.record, r.line, r.\"column\", r.rule, r.message, r.value, r.raw, \
                 r.key, r.byte_offset, r.byte_length, r.state \
                 from etl.reject r join etl.load l on l.id = r.load_id order by l.key, r.record, r.id; \
             select 'lineage', l.key, n.key, n.line, n.outcome from etl.lineage i join etl.load l on l.id = i.load_id \
                 cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome) order by l.key, n.line; \
             select 'parked', l.key, p.record, p.line, p.content, p.outcome, p.warnings, f.key \
                 from etl.parked p join etl.load l on l.id = p.load_id left join etl.load f on f.id = p.released_by \
                 order by l.key, p.record",
        )
        .await
    }

    /// Returns the text of an object.
    pub async fn get(&self, bucket: &str, key: &str) -> String {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.expect("get an object");
        let bytes = object.body.collect().await.expect("read an object").to_vec();
        String::from_utf8(bytes).expect("the object is text")
    }

    /// Puts a file and loads it.
    pub async fn drop_file(&self, key: &str, content: impl Into<Vec<u8>>) -> LoadReport {
        self.put(key, content).await;
        self.load(key).await
    }

    /// Waits until this many sessions of the database wait for a lock.
    pub async fn wait_for_lock_waiters(&self, sessions: usize) {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while self.query(waiting).await != sessions.to_string() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the result of a query as text: a line for each row, cells between ` | `, and a null as `-`.
    pub async fn query(&self, sql: &str) -> String {
        let kept = self.session.lock().expect("nobody panics with it").take();
        let kept = kept.filter(|(url, client)| *url == self.url && !client.is_closed()).map(|(_, client)| client);
        let client = match kept {
            Some(client) => client,
            None => client(&self.url).await.0,
        };
        let answer = answer(&client, sql).await;
        // What else a statement does may change its session.
        if ["select ", "with "].iter().any(|word| sql.trim_start().starts_with(word)) {
            *self.session.lock().expect("nobody panics with it") = Some((self.url.clone(), client));
        }
        if sql.contains("create table") {
            // A table that a test creates gets the same grants as one that a migration creates.
            self.migrate(None).await;
        }
        answer
    }
}

/// Returns the URL with which the same database is reached through a proxy.
pub fn behind(url: &str, proxy: &Proxy) -> String {
    let mut url = url::Url::parse(url).expect("the URL is good");
    url.set_host(Some("127.0.0.1")).expect("a URL with a host takes another");
    url.set_port(Some(proxy.port)).expect("a URL with a host takes a port");
    url.into()
}

/// Opens a session of the database.
pub async fn client(url: &str) -> (Client, tokio::task::JoinHandle<()>) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect to the database");
    // A server that stops is expected here.
    (client, tokio::spawn(async { drop(connection.await) }))
}

pub async fn query(url: &str, sql: &str) -> String {
    let (client, driver) = client(url).await;
    let text = answer(&client, sql).await;
    drop(client);
    driver.await.expect("the connection ends");
    text
}

async fn answer(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cells: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("-")).collect();
            Some(cells.join(" | "))
        }
        _ => None,
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn parts(url: &str, settings: &[(String, String)], store: ObjectStore) -> (Context, Database) {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let settings = settings_for(url, &settings);
    let context =
        small_etl::start::context_on(&settings, &Parts::default(), Arc::new(store)).expect("the settings are good");
    let database = Database::new(&settings.database().expect("a URL is set")).expect("the URL is good");
    (context, database)
}

/// What is found in a file without parts.
pub async fn checked(context: &Context, request: &Request) -> Result<CheckedFile> {
    let mut found = Vec::new();
    let each = async |file: Result<CheckedFile>| {
        found.push(file?);
        Ok(())
    };
    pipeline::validate(context, request, each).await?;
    assert_eq!(found.len(), 1);
    Ok(found.remove(0))
}

/// Sends a signal such as `KILL`, `STOP` or `CONT`. It does no harm if the process is already gone.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
    sent.expect("run kill");
}

pub fn settings_for(url: &str, more: &[(&str, &str)]) -> Settings {
    let mut variables =
        vec![("SMALL_ETL_ENV".to_owned(), "test".to_owned()), ("DATABASE_URL".to_owned(), url.to_owned())];
    variables.extend(more.iter().map(|(name, value)| (format!("SMALL_ETL__{name}"), (*value).to_owned())));
    Settings::from_variables(variables).expect("the settings are good")
}

/// Returns the compiled datasets.
pub fn datasets() -> Datasets {
    settings_for("", &[]).datasets().expect("the definitions are good")
}

async fn migrate(url: &str, more: Option<&Path>, datasets: &Datasets) {
    let options = settings_for(url, &[]).database().expect("a URL is set");
    let owner = Database::new(&options).expect("the URL is good");
    owner.migrate(more, datasets).await.expect("the migrations are good");
}

/// Creates an empty database. Returns its URL and its name.
pub async fn empty_database() -> (String, String) {
    let name = database_name();
    let admin = &servers().admin_url;
    query(admin, &format!("create database \"{name}\"")).await;
    (in_database(admin, &name), name)
}

/// A database that only one test uses.
struct OwnDatabase(String);

/// The databases of tests that have ended. They are dropped when the next one is made.
static ENDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        ENDED.lock().expect("nobody panics with it").push(std::mem::take(&mut self.0));
    }
}

/// Creates a migrated database, which is a copy of one that was migrated once. Returns its URL and its name.
async fn fresh_database() -> (String, String) {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    static COPYING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let template = TEMPLATE
        .get_or_init(|| async {
            let (url, name) = empty_database().await;
            migrate(&url, None, &datasets()).await;
            create_ingest_role(&url).await;
            name
        })
        .await;
    let name = database_name();
    // Postgres copies a template for only one session at a time.
    let _alone = COPYING.lock().await;
    let admin = &servers().admin_url;
    let ended = std::mem::take(&mut *ENDED.lock().expect("nobody panics with it"));
    for ended in ended {
        query(admin, &format!("drop database \"{ended}\" with (force)")).await;
    }
    query(admin, &format!("create database \"{name}\" template \"{template}\"")).await;
    (in_database(admin, &name), name)
}

fn database_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}{}", database_prefix(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The name of a role of this process: the password of the real role belongs to the owner of the server.
fn ingest_role() -> String {
    format!("{}ingest", database_prefix())
}

async fn create_ingest_role(url: &str) {
    let role = ingest_role();
    query(
        url,
        &format!(
            "do $$ begin create role \"{role}\" login password '{INGEST_PASSWORD}' in role small_etl_ingest; \
             exception when duplicate_object or unique_violation then null; end $$"
        ),
    )
    .await;
}

/// Returns the URL of the database for that role.
fn as_ingest_role(url: &str) -> String {
    let mut url = url::Url::parse(url).expect("the URL is good");
    url.set_username(&ingest_role()).expect("a URL with a host takes a user");
    url.set_password(Some(INGEST_PASSWORD)).expect("a URL with a host takes a password");
    url.into()
}

fn database_prefix() -> String {
    format!("small-etl-{}-", std::process::id())
}

/// Leaves a server of someone else as it was, even if this process is killed.
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
    // The watchdog waits for the end of this process, which closes its standard input.
    std::mem::forget(watchdog);
}

fn in_database(admin: &str, name: &str) -> String {
    let mut url = url::Url::parse(admin).expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.to_string()
}
