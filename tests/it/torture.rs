//! All faults at once: a seeded mix of them over many files, checked against a model in memory.
//!
//! The model is small, since the end does not depend on the order of events: of all rows with one key the newest wins, and
//! of those with the same time the one of the load that was claimed last. `make torture` runs it for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{LoadStatus, Location};
use small_etl::pipeline::Request;
use tokio::task::JoinSet;

use crate::support::postgres::Postgres;
use crate::support::proxy::{Fault, Proxy, Which};
use crate::support::s3::{ReadFault, S3Server};
use crate::world::{World, signal};

const SECONDS_WITHIN_ALL_TESTS: f64 = 20.0;
/// A round without any takeover proves little; so many in a row do not happen.
const MOST_QUIET_ROUNDS: u64 = 20;
const WORKERS_AT_ONCE: usize = 3;
const DELIVERIES: usize = 24;
const ACCOUNTS: usize = 30;
const TRADES: usize = 150;

struct Row {
    /// Account or trade, by number.
    key: usize,
    account: usize,
    minute: u32,
    value: u32,
    broken: bool,
}

/// The content of a file.
struct Content {
    trades: bool,
    rows: Vec<Row>,
}

impl Content {
    fn random(random: &mut ChaCha8Rng, trades: bool) -> Self {
        let keys = if trades { TRADES } else { ACCOUNTS };
        let rows = (0..random.random_range(1..300)).map(|_| Row {
            key: random.random_range(0..keys),
            account: random.random_range(0..ACCOUNTS),
            minute: random.random_range(0..5),
            // Two files hardly ever have the same: a row that a later load finds unchanged stays that of the earlier one.
            value: random.random_range(1..1_000_000),
            broken: random.random_ratio(1, 20),
        });
        Self { trades, rows: rows.collect() }
    }

    fn text(&self) -> String {
        let mut text = String::from(if self.trades {
            "account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,\
             strategy_name,order_remark,direction,offset_flag,created_at,updated_at\n"
        } else {
            "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n"
        });
        for Row { key, account, minute, value, broken } in &self.rows {
            let time = format!("2025-12-22T14:{minute:02}:00");
            let sum = value + u32::from(*broken);
            if self.trades {
                writeln!(text, "A{account},2,T{key},600000,{time},1.00,{value}00,{sum}00.00,s,,0,48,{time},{time}")
                    .unwrap();
            } else {
                writeln!(text, "A{key},2,{value},0,0,{sum},{time}").unwrap();
            }
        }
        text
    }

    /// The records that are accepted, from 1: good ones, and of those with one key the newest, then the last.
    fn accepted(&self) -> BTreeMap<usize, &Row> {
        let mut winners: BTreeMap<usize, (u32, usize)> = BTreeMap::new();
        for (index, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.broken) {
            let best = winners.entry(row.key).or_default();
            *best = (*best).max((row.minute, index + 1));
        }
        winners.into_values().map(|(_, record)| (record, &self.rows[record - 1])).collect()
    }
}

/// Which files there are in a round, by key and `ETag`.
type Versions = BTreeMap<(String, String), Content>;

#[test]
#[expect(clippy::print_stdout, reason = "the seed is what a person needs who sees it fail")]
fn whatever_happens_the_end_is_that_of_one_quiet_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    let time =
        Duration::from_secs_f64(number("TORTURE_MINUTES").map_or(SECONDS_WITHIN_ALL_TESTS, |minutes| minutes * 60.0));
    let first: u64 = std::env::var("TORTURE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (postgres, s3) = (Arc::new(Postgres::start(&["fsync=off"], |_| {})), Arc::new(S3Server::start()));
    let (started, mut rounds, mut takeovers) = (Instant::now(), 0, 0);
    while rounds == 0 || started.elapsed() < time || takeovers == 0 && rounds < MOST_QUIET_ROUNDS {
        let seed = first.wrapping_add(rounds);
        // Shown where the test fails, and with --nocapture.
        println!("round {rounds}: the same files and faults again with: make torture SEED={seed}");
        takeovers += runtime.block_on(Round::run(seed, Arc::clone(&postgres), Arc::clone(&s3)));
        rounds += 1;
    }
    println!(
        "{rounds} rounds of {DELIVERIES} deliveries, {takeovers} loads taken over, in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    assert!(takeovers > 0, "nothing went wrong, so that nothing was proven");
}

struct Round {
    world: World,
    proxy: Arc<Proxy>,
    postgres: Arc<Postgres>,
    versions: Versions,
    keys: Vec<String>,
    /// Whether a server is away on purpose.
    restarting: Arc<AtomicBool>,
}

impl Round {
    /// Returns how often a worker took over what another one had left.
    async fn run(seed: u64, postgres: Arc<Postgres>, s3: Arc<S3Server>) -> u64 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let batch_size = [5, 20, 60].choose(&mut random).unwrap().to_string();
        let settings = [("LOAD__BATCH_SIZE", batch_size.as_str()), ("LOAD__LEASE_SECONDS", "1")];
        let world = World::on_servers(&postgres, s3, &settings).await;
        world.query("truncate asset, trade, etl.load restart identity cascade").await;
        // Long enough that a fault finds a worker at work.
        world.slow_down(0.05).await;
        let proxy = Arc::new(world.proxy());
        let mut round =
            Self { world, proxy, postgres, versions: BTreeMap::new(), keys: Vec::new(), restarting: Arc::default() };
        for number in 0..random.random_range(3..8) {
            let trades = random.random();
            let key = format!("incoming/{}/{number}.csv", if trades { "trades" } else { "assets" });
            let text = round.invent(&key, Content::random(&mut random, trades)).await;
            round.world.put(&key, text).await;
            round.keys.push(key);
        }
        Box::pin(round.deliver_all(&mut random)).await;
        round.finish_quietly().await;
        round.check().await;
        let takeovers = round.world.query("select sum(attempt - 1) from etl.load").await;
        takeovers.parse().unwrap()
    }

    /// Notes a content that the object `key` may come to have, and returns its text.
    async fn invent(&mut self, key: &str, content: Content) -> String {
        let text = content.text();
        let spare =
            self.world.s3.put_object().bucket(&self.world.bucket).key("spare").body(text.clone().into_bytes().into());
        let etag = spare.send().await.unwrap().e_tag.unwrap().trim_matches('"').to_owned();
        self.versions.insert((key.to_owned(), etag), content);
        text
    }

    /// Every file at least once, many of them more often and some at once, each worker with a fault of its own.
    async fn deliver_all(&mut self, random: &mut ChaCha8Rng) {
        let mut workers = JoinSet::new();
        for delivery in 0..DELIVERIES {
            while workers.len() >= WORKERS_AT_ONCE {
                workers.join_next().await.unwrap().unwrap();
            }
            let key = self.keys.get(delivery).unwrap_or_else(|| self.keys.choose(random).unwrap()).clone();
            let lethal = self.may_die(&key).await;
            let pause = Duration::from_millis(random.random_range(100..500));
            let fault = random.random_range(0..10);
            let mut replacement = None;
            if fault == 0 {
                let text = self.invent(&key, Content::random(random, key.contains("trades"))).await;
                let put =
                    self.world.s3.put_object().bucket(&self.world.bucket).key(&key).body(text.into_bytes().into());
                replacement = Some(put.send());
            } else if fault == 1 {
                let bytes = random.random_range(0..5000);
                let faults = [ReadFault::Short(bytes), ReadFault::Reset(bytes), ReadFault::Status(503)];
                self.world.s3_server.fault_next_reads(faults);
            } else if fault <= 4 {
                let which = *[Which::Any, Which::Commit, Which::CopyData].choose(random).unwrap();
                let cut = if random.random() { Fault::CutBefore } else { Fault::CutAnswer };
                self.proxy.at(which, random.random_range(1..40), cut);
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
                        9 if !restarting.swap(true, Ordering::Relaxed) => {
                            postgres.stop();
                            std::thread::sleep(Duration::from_millis(200));
                            postgres.start_again();
                            restarting.store(false, Ordering::Relaxed);
                        }
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
    async fn finish_quietly(&self) {
        for key in &self.keys {
            self.finish(&self.world.request(key)).await;
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
            let report = self.world.run(request).await.unwrap();
            match report.status {
                LoadStatus::InProgress => tokio::time::sleep(Duration::from_millis(100)).await,
                LoadStatus::Loaded | LoadStatus::Superseded => return,
                LoadStatus::Duplicate if matches!(report.reason.as_deref(), None | Some("superseded")) => return,
                _ => panic!("{report:?}"),
            }
        }
    }

    async fn check(&self) {
        let mut best: [BTreeMap<usize, (u32, i64, &Row)>; 2] = [BTreeMap::new(), BTreeMap::new()];
        let mut committed: Vec<(i64, usize, &Row)> = Vec::new();
        let mut bad_rows: Vec<(i64, usize, &Row, bool)> = Vec::new();
        let mut good_rows: Vec<(i64, &Row, bool)> = Vec::new();
        let loads = self.world.query("select id, key, version, state, read, rejected from etl.load order by id").await;
        for line in loads.lines() {
            let [id, key, version, state, read, rejected] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            let content = &self.versions[&(key.to_owned(), version.to_owned())];
            let accepted = content.accepted();
            let done: BTreeSet<usize> = self.records_done(id).await;
            if state == "loaded" {
                assert_eq!(done.len(), content.rows.len(), "load {id}: batches");
                assert_eq!(read, content.rows.len().to_string(), "load {id}: read");
            }
            let bad: Vec<String> =
                done.iter().filter(|record| !accepted.contains_key(record)).map(usize::to_string).collect();
            assert_eq!(rejected, bad.len().to_string(), "load {id}: rejected");
            let rejects = format!("select distinct record from etl.reject where load_id = {id} order by 1");
            assert_eq!(self.world.query(&rejects).await, bad.join("\n"), "load {id}: rejects");
            let id: i64 = id.parse().unwrap();
            let bad = done.iter().filter(|record| !accepted.contains_key(record));
            bad_rows.extend(bad.map(|record| (id, *record, &content.rows[record - 1], content.trades)));
            for (record, row) in accepted.into_iter().filter(|(record, _)| done.contains(record)) {
                good_rows.push((id, row, content.trades));
                if content.trades {
                    committed.push((id, record, row));
                } else {
                    take_best(&mut best[0], id, row);
                }
            }
        }
        let [accounts, trades] = &mut best;
        let mut waiting = Vec::new();
        for (id, record, row) in committed {
            if accounts.contains_key(&row.account) {
                take_best(trades, id, row);
            } else {
                waiting.push(format!("{id} | {record}"));
            }
        }
        good_rows.retain(|(_, row, trades)| !trades || accounts.contains_key(&row.account));
        self.check_states(&bad_rows, &good_rows).await;
        let lines = |rows: &BTreeMap<usize, (u32, i64, &Row)>| {
            let lines = rows.values().map(|(minute, _, row)| format!("{} | {minute} | {}", row.key, row.value));
            lines.collect::<Vec<_>>().join("\n")
        };
        let minute = "extract(minute from updated_at)::int";
        let sql = format!("select substr(account_id, 2)::int, {minute}, cash::int from asset order by 1");
        assert_eq!(self.world.query(&sql).await, lines(accounts), "assets");
        let sql = format!("select substr(traded_id, 2)::int, {minute}, traded_volume / 100 from trade order by 1");
        assert_eq!(self.world.query(&sql).await, lines(trades), "trades");
        let sql = "select load_id, record from etl.parked where released_by is null order by 1, 2";
        assert_eq!(self.world.query(sql).await, waiting.join("\n"), "parked");
        let sums = "select count(*) from etl.load l where released <> (select count(*) from etl.parked p where p.released_by = l.id) \
            or parked <> (select count(*) from etl.parked p where p.load_id = l.id)";
        assert_eq!(self.world.query(sums).await, "0", "sums of parked and released rows");
    }

    /// A bad row is mended by a good one of its key in a later load, unless that load has a bad one, too: then either.
    async fn check_states(&self, bad: &[(i64, usize, &Row, bool)], good: &[(i64, &Row, bool)]) {
        let states = self.world.query("select distinct load_id, record, state from etl.reject").await;
        let states: BTreeSet<&str> = states.lines().collect();
        assert_eq!(states.len(), bad.len(), "a reject has one state");
        for (load, record, row, trades) in bad {
            let same = |other: &Row, of_trades: bool| other.key == row.key && of_trades == *trades;
            let later = good.iter().filter(|(id, other, of)| id > load && same(other, *of));
            let spoilt =
                |id: i64| bad.iter().any(|(of, _, other, kind)| *of == id && other.broken && same(other, *kind));
            let (mending, doubtful): (Vec<i64>, Vec<i64>) = later.map(|(id, ..)| *id).partition(|id| !spoilt(*id));
            let state = match (mending.is_empty(), doubtful.is_empty()) {
                (false, _) => "resolved",
                (true, true) => "open",
                (true, false) => continue,
            };
            assert!(
                states.contains(format!("{load} | {record} | {state}").as_str()),
                "load {load} record {record}: not {state}"
            );
        }
    }

    async fn records_done(&self, load: &str) -> BTreeSet<usize> {
        let sql =
            format!("select generate_series(first_record, last_record) from etl.load_batch where load_id = {load}");
        self.world.query(&sql).await.lines().map(|record| record.parse().unwrap()).collect()
    }
}

fn take_best<'a>(best: &mut BTreeMap<usize, (u32, i64, &'a Row)>, load: i64, row: &'a Row) {
    let present = best.entry(row.key).or_insert((row.minute, load, row));
    if (present.0, present.1) <= (row.minute, load) {
        *present = (row.minute, load, row);
    }
}
