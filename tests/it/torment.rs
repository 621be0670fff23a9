//! Deliveries of files with a fault each, in any order, some at once: what `torture` and `torture_modes` do to their worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::DateTime;
use rand::RngExt;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{LoadStatus, Location, Sequencer};
use small_etl::error::ErrorKind;
use small_etl::pipeline::{self, Request};
use small_etl::services::Deadline;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::support::postgres::Postgres;
use crate::support::proxy::{Fault, Proxy, Which};
use crate::support::s3::{ReadFault, S3Server};
use crate::world::{World, signal};

const WORKERS_AT_ONCE: usize = 3;
pub const DELIVERIES: usize = 24;

/// Seeds, one after the other, as long as there is time.
pub struct Trials {
    first: u64,
    time: Duration,
    started: Instant,
    done: u64,
}

impl Trials {
    /// Takes the first seed and the time from the variables that `make torture` sets, or else a random seed and this many seconds.
    pub fn start(seconds: f64) -> Self {
        let minutes = std::env::var("TORTURE_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
        let seed = std::env::var("TORTURE_SEED").ok().and_then(|text| text.parse().ok());
        Self {
            first: seed.unwrap_or_else(rand::random),
            time: Duration::from_secs_f64(minutes.map_or(seconds, |minutes| minutes * 60.0)),
            started: Instant::now(),
            done: 0,
        }
    }

    fn has_time(&self) -> bool {
        self.started.elapsed() < self.time
    }

    fn next_seed(&self) -> u64 {
        self.first.wrapping_add(self.done)
    }
}

impl Iterator for Trials {
    type Item = u64;

    #[expect(clippy::print_stdout, reason = "the seed is what a person needs who sees it fail")]
    fn next(&mut self) -> Option<u64> {
        let seed = self.has_time().then(|| self.next_seed())?;
        // Shown where the test fails, and with --nocapture.
        println!("trial {}: the same again with: make torture SEED={seed}", self.done);
        self.done += 1;
        Some(seed)
    }
}

/// Rounds with one seed after the other, on servers that they share.
pub struct Rounds {
    trials: Trials,
    runtime: Runtime,
    postgres: Arc<Postgres>,
    s3: Arc<S3Server>,
}

impl Rounds {
    /// Begins, with the time and the seed of [`Trials::start`].
    pub fn start(seconds: f64) -> Self {
        Self {
            trials: Trials::start(seconds),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            postgres: Arc::new(Postgres::start(&["fsync=off"], |_| {})),
            s3: Arc::new(S3Server::start()),
        }
    }

    pub fn has_time(&self) -> bool {
        self.trials.has_time()
    }

    pub fn next_seed(&self) -> u64 {
        self.trials.next_seed()
    }

    pub fn done(&self) -> u64 {
        self.trials.done
    }

    /// Runs the round of the next seed.
    #[expect(clippy::print_stdout, reason = "the seed is what a person needs who sees it fail")]
    pub fn run<T, F: Future<Output = T>>(
        &mut self,
        name: &str,
        round: impl FnOnce(Arc<Postgres>, Arc<S3Server>) -> F,
    ) -> T {
        // Shown where the test fails, and with --nocapture.
        println!(
            "round {}{name}: the same files and faults again with: make torture SEED={}",
            self.done(),
            self.next_seed()
        );
        self.trials.done += 1;
        self.runtime.block_on(round(Arc::clone(&self.postgres), Arc::clone(&self.s3)))
    }

    /// Shows what has happened, and fails if it is not enough to prove something.
    #[expect(clippy::print_stdout, reason = "it says how much was tried")]
    pub fn end(&self, found: &impl Debug, is_enough: bool) {
        let seconds = self.trials.started.elapsed().as_secs_f64();
        println!("{} rounds of {DELIVERIES} deliveries in {seconds:.0} s: {found:?}", self.done());
        assert!(is_enough, "not all of it happened, so that little was proven: {found:?}");
    }
}

/// A content that an object may have, and its place among those of its key, where S3 tells it.
pub struct Version<C> {
    pub content: C,
    pub sequencer: Option<String>,
}

/// Which there are in a round, by key and version.
pub type Versions<C> = BTreeMap<(String, String), Version<C>>;

/// The files of a round, and the world that they are delivered to.
pub struct Torment<C> {
    pub world: World,
    pub proxy: Arc<Proxy>,
    pub postgres: Arc<Postgres>,
    pub versions: Versions<C>,
    /// What is to be delivered: keys, and where the bucket keeps versions, each of them.
    pub requests: Vec<Request>,
    pub keeps_versions: bool,
    /// Whether an object may get another content while it is being loaded.
    pub replaces_content: bool,
    /// Whether events say that versions were written at random times, and some are loaded once more although they are done.
    pub is_untimely: bool,
    /// Makes a content for an object.
    pub invent: fn(&mut ChaCha8Rng, &str) -> C,
    /// What a file says.
    pub text: fn(&C) -> String,
    /// Statements that happen to the tables meanwhile, and change no value in them.
    pub rewrites: &'static [&'static str],
    /// How many of these there were.
    pub rewritten: u64,
    /// Whether a server is away on purpose.
    pub restarting: Arc<AtomicBool>,
}

/// A load as the ledger has it.
pub struct Load {
    pub id: i64,
    pub key: String,
    /// Where it stands among all loads: of two rows with one time that of the higher one stays. When its object arrived, the load that
    /// it stands at, the place of its version among those of the object, and its number.
    pub rank: (i64, i64, String, i64),
}

impl<C> Torment<C> {
    /// Puts some objects, and shuffles what is to be delivered of them.
    pub async fn put_files(&mut self, random: &mut ChaCha8Rng, keys: &[String]) {
        for key in keys {
            if self.keeps_versions {
                for _ in 0..random.random_range(1..5) {
                    let content = (self.invent)(random, key);
                    let seconds = random.random_range(0..1000);
                    self.add_version(key, content, self.is_untimely.then_some(seconds)).await;
                }
            } else {
                let content = (self.invent)(random, key);
                let text = self.note(key, content).await;
                self.world.put(key, text).await;
                self.requests.push(self.world.request(key));
            }
        }
        self.requests.shuffle(random);
    }

    /// Notes a content that the object `key` may come to have, and returns its text.
    async fn note(&mut self, key: &str, content: C) -> String {
        let text = (self.text)(&content);
        let spare =
            self.world.s3.put_object().bucket(&self.world.bucket).key("spare").body(text.clone().into_bytes().into());
        let etag = spare.send().await.unwrap().e_tag.unwrap().trim_matches('"').to_owned();
        self.versions.insert((key.to_owned(), etag), Version { content, sequencer: None });
        text
    }

    /// Puts a version of an object, and keeps the event that S3 sends for it.
    async fn add_version(&mut self, key: &str, content: C, seconds: Option<i64>) {
        let body = (self.text)(&content).into_bytes().into();
        let put = self.world.s3.put_object().bucket(&self.world.bucket).key(key).body(body).send().await.unwrap();
        let version_id = put.version_id.unwrap();
        let sequencer = Some(format!("{:06X}", self.versions.len()));
        self.versions.insert((key.to_owned(), version_id.clone()), Version { content, sequencer: sequencer.clone() });
        self.requests.push(Request::new(Location::S3 {
            bucket: self.world.bucket.clone(),
            key: key.into(),
            version_id: Some(version_id),
            etag: None,
            size: None,
            sequencer: sequencer.and_then(Sequencer::of_event),
            modified: seconds.and_then(|seconds| DateTime::from_timestamp(1_766_000_000 + seconds, 0)),
        }));
    }

    /// Every file at least once, many of them more often and some at once, each worker with a fault of its own.
    pub async fn deliver_all(&mut self, random: &mut ChaCha8Rng) {
        let mut workers = JoinSet::new();
        for delivery in 0..DELIVERIES.max(self.requests.len()) {
            while workers.len() >= WORKERS_AT_ONCE {
                workers.join_next().await.unwrap().unwrap();
            }
            let request = self.requests.get(delivery).unwrap_or_else(|| self.requests.choose(random).unwrap());
            let again =
                self.is_untimely && self.keeps_versions && delivery >= self.requests.len() && random.random_ratio(1, 8);
            let request = Request { deadline: Deadline::default(), again, ..request.clone() };
            let key = request.location.key().to_string();
            let lethal = self.may_die(&key).await;
            let pause = Duration::from_millis(random.random_range(100..500));
            let fault = random.random_range(0..12);
            let mut replacement = None;
            if fault == 0 && !self.keeps_versions && self.replaces_content {
                let content = (self.invent)(random, &key);
                let text = self.note(&key, content).await;
                let put =
                    self.world.s3.put_object().bucket(&self.world.bucket).key(&key).body(text.into_bytes().into());
                replacement = Some(put.send());
            } else if fault == 1 && !self.keeps_versions {
                let bytes = random.random_range(0..5000);
                let faults = [ReadFault::Short(bytes), ReadFault::Reset(bytes), ReadFault::Status(503)];
                self.world.s3_server.fault_next_reads(faults);
            } else if fault <= 4 {
                let which = *[Which::Any, Which::Commit, Which::CopyData].choose(random).unwrap();
                let cut = if random.random() { Fault::CutBefore } else { Fault::CutAnswer };
                self.proxy.at(which, random.random_range(1..40), cut);
            } else if fault >= 10 {
                self.rewritten += u64::from(self.rewrite(self.rewrites.choose(random).unwrap()).await);
            }
            if self.keeps_versions {
                self.work_here(&mut workers, request, (fault, lethal), pause);
                continue;
            }
            let worker = self.world.worker(&key, Some(&self.proxy));
            let (pid, proxy) = (worker.pid(), Arc::clone(&self.proxy));
            let (postgres, restarting) = (Arc::clone(&self.postgres), Arc::clone(&self.restarting));
            let runtime = tokio::runtime::Handle::current();
            workers.spawn_blocking(move || {
                let torment = std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    match fault {
                        0 => drop(replacement.map(|put| runtime.block_on(put).unwrap())),
                        5 if lethal => signal(pid, "KILL"),
                        6 if lethal => {
                            signal(pid, "STOP");
                            // Longer than its lease.
                            std::thread::sleep(Duration::from_millis(1500));
                            signal(pid, "CONT");
                        }
                        7 => signal(pid, "TERM"),
                        8 => proxy.cut_all(),
                        9 => restart(&postgres, &restarting),
                        _ => {}
                    }
                });
                // Whatever became of it: it comes again.
                worker.finish_blocking();
                torment.join().unwrap();
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
        self.proxy.disarm();
        self.world.s3_server.forget_faults();
    }

    /// The command line does not load a version that an event names: a worker of this process does, which is dropped instead of
    /// killed.
    fn work_here(&self, workers: &mut JoinSet<()>, request: Request, (fault, lethal): (u32, bool), pause: Duration) {
        let (context, database) = self.world.another(&self.proxy);
        let (proxy, postgres, restarting) =
            (Arc::clone(&self.proxy), Arc::clone(&self.postgres), Arc::clone(&self.restarting));
        let runtime = tokio::runtime::Handle::current();
        workers.spawn_blocking(move || {
            let deadline = request.deadline.clone();
            runtime.block_on(async {
                let work = pipeline::run(&context, &database, &request);
                let torment = async {
                    tokio::time::sleep(pause).await;
                    match fault {
                        5 | 6 if lethal => return,
                        7 => deadline.interrupt(),
                        8 => proxy.cut_all(),
                        9 => tokio::task::spawn_blocking(move || restart(&postgres, &restarting)).await.unwrap(),
                        _ => {}
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    // Whatever became of it: it comes again.
                    ended = work => drop(ended),
                    () = torment => {}
                }
            });
        });
    }

    /// Returns whether the server was there to do it.
    async fn rewrite(&self, sql: &str) -> bool {
        let Ok((client, connection)) = tokio_postgres::connect(&self.world.url, tokio_postgres::NoTls).await else {
            return false;
        };
        tokio::spawn(connection);
        client.batch_execute(sql).await.is_ok()
    }

    /// A load whose workers die three times in a row has failed, as it should; here it is to be loaded in the end.
    async fn may_die(&self, key: &str) -> bool {
        if self.restarting.load(Ordering::Relaxed) {
            return false;
        }
        // It may have been stopped a moment ago.
        let Ok((client, connection)) = tokio_postgres::connect(&self.world.url, tokio_postgres::NoTls).await else {
            return false;
        };
        tokio::spawn(connection);
        let stalled = client.query_one("select coalesce(max(stalled), 0) from etl.load where key = $1", &[&key]).await;
        stalled.is_ok_and(|row| row.get::<_, i32>(0) == 0)
    }

    /// What the queue and the nightly reconciliation would bring again.
    pub async fn finish_quietly(&self) {
        for request in &self.requests {
            self.finish(request).await;
        }
        let open = self.world.query("select key, version from etl.load where finished_at is null").await;
        for line in open.lines() {
            let (key, version) = line.split_once(" | ").unwrap();
            self.finish(&Request::new(Location::S3 {
                bucket: self.world.bucket.clone(),
                key: key.into(),
                version_id: None,
                etag: Some(version.into()),
                size: None,
                sequencer: None,
                modified: None,
            }))
            .await;
        }
    }

    async fn finish(&self, request: &Request) {
        loop {
            let report = match self.world.run(request).await {
                Ok(report) => report,
                // A machine with much to do: the queue brings it again as well.
                Err(error) if error.kind() == ErrorKind::Connection => continue,
                Err(error) => panic!("{error:?}"),
            };
            match report.status {
                LoadStatus::InProgress => tokio::time::sleep(Duration::from_millis(100)).await,
                LoadStatus::Loaded | LoadStatus::Superseded => return,
                LoadStatus::Duplicate if matches!(report.reason.as_deref(), None | Some("superseded")) => return,
                _ => panic!("{report:?}"),
            }
        }
    }

    /// The order of the loads. A version that was claimed after a newer one of its object stands right before that.
    pub async fn ranked(&self) -> Vec<(Load, &C)> {
        let claimed = self.world.query("select id, key, version, coalesce(arrival, 0) from etl.load order by id").await;
        let claimed = claimed.lines().map(|line| {
            let [id, key, version, arrival]: [&str; 4] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            (id.parse::<i64>().unwrap(), key.to_owned(), version.to_owned(), arrival.parse::<i64>().unwrap())
        });
        let mut loads: Vec<(Load, &C)> = Vec::new();
        for (id, key, version, arrival) in claimed {
            let Version { content, sequencer } = &self.versions[&(key.clone(), version)];
            let sequencer = sequencer.clone().unwrap_or_default();
            let newer = loads.iter().filter(|(load, _)| load.key == key && load.rank.2 > sequencer);
            let place = newer.map(|(load, _)| load.rank.1).min().unwrap_or(id);
            loads.push((Load { id, key, rank: (arrival, place, sequencer, id) }, content));
        }
        loads
    }

    /// The records in the batches of a load that are committed.
    pub async fn records_done(&self, load: i64) -> BTreeSet<usize> {
        let sql =
            format!("select generate_series(first_record, last_record) from etl.load_batch where load_id = {load}");
        self.world.query(&sql).await.lines().map(|record| record.parse().unwrap()).collect()
    }
}

/// Stops a server for a moment, unless somebody does.
fn restart(postgres: &Postgres, restarting: &AtomicBool) {
    if !restarting.swap(true, Ordering::Relaxed) {
        postgres.stop();
        std::thread::sleep(Duration::from_millis(200));
        postgres.start_again();
        restarting.store(false, Ordering::Relaxed);
    }
}
