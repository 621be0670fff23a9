//! All faults at once: a seeded mix of them over many files, checked against a model in memory.
//!
//! The model is small, since the end does not depend on the order of events: of all rows with one key the newest wins, and
//! of those with the same time the one of the load that was claimed last, but for versions of one object that are claimed the
//! other way round. Times and values are few, so that rows tie, and are the same, all the time. In every second round
//! the bucket keeps versions, whose events come in any order, and in every second pair of rounds no time of a row counts, only when its
//! object arrived. `make torture` runs it for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::Scratch;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::torment::{Load, Rounds, Torment};
use crate::world::World;

const SECONDS_WITHIN_ALL_TESTS: f64 = 20.0;
/// A round without any takeover proves little; so many in a row do not happen.
const MOST_QUIET_ROUNDS: u64 = 20;
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
        let rows = (0..random.random_range(1..300)).map(|_| {
            let key = random.random_range(0..keys);
            // A trade hardly ever moves to another account.
            let moves = trades && random.random_ratio(1, 20);
            let account = if moves { random.random_range(0..ACCOUNTS) } else { key % ACCOUNTS };
            Row {
                key,
                account,
                minute: random.random_range(0..3),
                value: random.random_range(1..4),
                broken: random.random_ratio(1, 20),
            }
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

    /// The records that are accepted, from 1: good ones, and of those with one key the newest, if there is one, then the last.
    fn accepted(&self, by_arrival: bool) -> BTreeMap<usize, &Row> {
        let mut winners: BTreeMap<usize, (u32, usize)> = BTreeMap::new();
        for (index, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.broken) {
            let best = winners.entry(row.key).or_default();
            *best = (*best).max((if by_arrival { 0 } else { row.minute }, index + 1));
        }
        winners.into_values().map(|(_, record)| (record, &self.rows[record - 1])).collect()
    }
}

/// What happens to the tables meanwhile, and changes no value in them.
const REWRITES: [&str; 4] = [
    "alter table asset alter account_type type bigint",
    "alter table asset alter account_type type integer",
    "update asset set cash = cash; update trade set order_remark = order_remark",
    // As a dump that is restored leaves it.
    "begin; lock table trade; create temporary table saved on commit drop as table trade; delete from trade; \
     insert into trade overriding system value table saved; commit",
];

#[test]
fn whatever_happens_the_end_is_that_of_one_quiet_run() {
    let (mut rounds, mut found) = (Rounds::start(SECONDS_WITHIN_ALL_TESTS), Found::default());
    while rounds.done() < 2 || rounds.has_time() || !found.everything() && rounds.done() < MOST_QUIET_ROUNDS {
        let seed = rounds.next_seed();
        found.add(&rounds.run("", |postgres, s3| Round::run(seed, postgres, s3)));
    }
    rounds.end(&found, found.everything());
}

/// How often something happened that the rounds are there for.
#[derive(Debug, Default)]
struct Found {
    /// A worker took over what another one had left.
    takeovers: u64,
    /// An older version was claimed after a newer one.
    late: u64,
    /// A row tied with that of another load that has other values.
    ties: u64,
    /// A row was the same as that of another load.
    equal: u64,
    /// A bad row, and a later load with a good and a bad one of its key.
    doubtful: u64,
    /// The tables were rewritten.
    rewrites: u64,
}

impl Found {
    fn everything(&self) -> bool {
        [self.takeovers, self.late, self.ties, self.equal, self.doubtful, self.rewrites].iter().all(|times| *times > 0)
    }

    fn add(&mut self, round: &Self) {
        self.takeovers += round.takeovers;
        self.late += round.late;
        self.ties += round.ties;
        self.equal += round.equal;
        self.doubtful += round.doubtful;
        self.rewrites += round.rewrites;
    }
}

struct Round {
    torment: Torment<Content>,
    /// Whether the order of arrival decides between rows, and not their times.
    by_arrival: bool,
}

impl Round {
    async fn run(seed: u64, postgres: Arc<Postgres>, s3: Arc<S3Server>) -> Found {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let batch_size = [5, 20, 60].choose(&mut random).unwrap().to_string();
        let mut settings = vec![("LOAD__BATCH_SIZE", batch_size.as_str()), ("LOAD__LEASE_SECONDS", "1")];
        let (by_arrival, folder) = (seed % 4 >= 2, arrival_definitions());
        if by_arrival {
            settings.push(("DATASETS__PATH", folder.path().to_str().unwrap()));
        }
        let mut world = World::on_servers(&postgres, s3, &settings).await;
        let keeps_versions = seed.is_multiple_of(2);
        if keeps_versions {
            world = world.keeping_versions().await;
        }
        world.query("truncate asset, trade, etl.load restart identity cascade").await;
        // Long enough that a fault finds a worker at work.
        world.slow_down(0.05).await;
        let proxy = Arc::new(world.proxy());
        let mut torment = Torment {
            world,
            proxy,
            postgres,
            versions: BTreeMap::new(),
            requests: Vec::new(),
            keeps_versions,
            replaces_content: true,
            is_untimely: false,
            invent: |random, key| Content::random(random, key.contains("trades")),
            text: Content::text,
            rewrites: &REWRITES,
            rewritten: 0,
            restarting: Arc::default(),
        };
        let key =
            |number: usize, trades: bool| format!("incoming/{}/{number}.csv", if trades { "trades" } else { "assets" });
        let keys: Vec<String> = (0..random.random_range(3..8)).map(|number| key(number, random.random())).collect();
        torment.put_files(&mut random, &keys).await;
        Box::pin(torment.deliver_all(&mut random)).await;
        torment.finish_quietly().await;
        Self { torment, by_arrival }.check().await
    }

    async fn check(&self) -> Found {
        let mut found = Found { rewrites: self.torment.rewritten, ..Found::default() };
        let by_arrival = self.by_arrival;
        let mut best = [(); 2].map(|()| Best { by_arrival, rows: BTreeMap::new() });
        let mut committed: Vec<(&Load, usize, &Row)> = Vec::new();
        let mut bad_rows: Vec<(i64, usize, &Row, bool)> = Vec::new();
        let mut good_rows: Vec<(i64, &Row, bool)> = Vec::new();
        let loads = self.torment.ranked().await;
        for (load, content) in &loads {
            let id = load.id;
            let ended = format!("select state, read, rejected, late from etl.load where id = {id}");
            let ended = self.torment.world.query(&ended).await;
            let [state, read, rejected, late] = ended.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(late == "t", load.rank.1 < id, "load {id}: late");
            assert_eq!(load.rank.0 > 0, self.by_arrival, "load {id}: arrival");
            found.late += u64::from(load.rank.1 < id);
            let accepted = content.accepted(self.by_arrival);
            let done: BTreeSet<usize> = self.torment.records_done(id).await;
            if state == "loaded" {
                assert_eq!(done.len(), content.rows.len(), "load {id}: batches");
                assert_eq!(read, content.rows.len().to_string(), "load {id}: read");
            }
            let bad: Vec<String> =
                done.iter().filter(|record| !accepted.contains_key(record)).map(usize::to_string).collect();
            assert_eq!(rejected, bad.len().to_string(), "load {id}: rejected");
            let rejects = format!("select distinct record from etl.reject where load_id = {id} order by 1");
            assert_eq!(self.torment.world.query(&rejects).await, bad.join("\n"), "load {id}: rejects");
            let bad = done.iter().filter(|record| !accepted.contains_key(record));
            bad_rows.extend(bad.map(|record| (id, *record, &content.rows[record - 1], content.trades)));
            for (record, row) in accepted.into_iter().filter(|(record, _)| done.contains(record)) {
                good_rows.push((id, row, content.trades));
                if content.trades {
                    committed.push((load, record, row));
                } else {
                    best[0].take(load, row, &mut found);
                }
            }
        }
        let [accounts, trades] = &mut best;
        let mut waiting = Vec::new();
        for (load, record, row) in committed {
            if accounts.rows.contains_key(&row.account) {
                trades.take(load, row, &mut found);
            } else {
                waiting.push(format!("{} | {record}", load.id));
            }
        }
        good_rows.retain(|(_, row, trades)| !trades || accounts.rows.contains_key(&row.account));
        let ranks = loads.iter().map(|(load, _)| (load.id, &load.rank)).collect();
        found.doubtful = self.check_states(&bad_rows, &good_rows, &ranks).await;
        let minute = "extract(minute from updated_at)::int";
        let sql = format!("select substr(account_id, 2)::int, {minute}, cash::int from asset order by 1");
        assert_eq!(self.torment.world.query(&sql).await, accounts.lines(|row| row.value.to_string()), "assets");
        let account = "substr(account_id, 2)";
        let sql =
            format!("select substr(traded_id, 2)::int, {minute}, traded_volume / 100, {account} from trade order by 1");
        let trade = |row: &Row| format!("{} | {}", row.value, row.account);
        assert_eq!(self.torment.world.query(&sql).await, trades.lines(trade), "trades");
        let sql = "select load_id, record from etl.parked where released_by is null order by 1, 2";
        assert_eq!(self.torment.world.query(sql).await, waiting.join("\n"), "parked");
        let sums = "select count(*) from etl.load l where released <> (select count(*) from etl.parked p where p.released_by = l.id) \
            or parked <> (select count(*) from etl.parked p where p.load_id = l.id)";
        assert_eq!(self.torment.world.query(sums).await, "0", "sums of parked and released rows");
        let takeovers = self.torment.world.query("select sum(attempt - 1) from etl.load").await;
        Found { takeovers: takeovers.parse().unwrap(), ..found }
    }

    /// A bad row is mended by a good one of its key in a later load that has no bad one of it. Where arrival decides, the object of that load
    /// must not have arrived before. Returns how many bad rows met a load that has both.
    async fn check_states<R: Ord>(
        &self,
        bad: &[(i64, usize, &Row, bool)],
        good: &[(i64, &Row, bool)],
        ranks: &BTreeMap<i64, R>,
    ) -> u64 {
        let states = self.torment.world.query("select distinct load_id, record, state from etl.reject").await;
        let states: BTreeSet<&str> = states.lines().collect();
        assert_eq!(states.len(), bad.len(), "a reject has one state");
        let mut doubtful = 0;
        for (load, record, row, trades) in bad {
            let same = |other: &Row, of_trades: bool| other.key == row.key && of_trades == *trades;
            let is_later = |id: &i64| id > load && (!self.by_arrival || ranks[id] > ranks[load]);
            let later = good.iter().filter(|(id, other, of)| is_later(id) && same(other, *of));
            let spoilt =
                |id: i64| bad.iter().any(|(of, _, other, kind)| *of == id && other.broken && same(other, *kind));
            let (mending, both): (Vec<i64>, Vec<i64>) = later.map(|(id, ..)| *id).partition(|id| !spoilt(*id));
            doubtful += u64::from(!both.is_empty());
            let state = if mending.is_empty() { "open" } else { "resolved" };
            assert!(
                states.contains(format!("{load} | {record} | {state}").as_str()),
                "load {load} record {record}: not {state}"
            );
        }
        doubtful
    }
}

/// The datasets, where the order of arrival decides between rows.
fn arrival_definitions() -> Scratch {
    let folder = Scratch::new("torture");
    for (name, text) in
        [("asset", include_str!("../../datasets/asset.toml")), ("trade", include_str!("../../datasets/trade.toml"))]
    {
        let text = text.replace("version = \"updated_at\"", "version = \"arrival\"");
        assert!(text.contains("\"arrival\""));
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    folder
}

/// The rows that stay, by key.
struct Best<'a> {
    by_arrival: bool,
    rows: BTreeMap<usize, (&'a Load, &'a Row)>,
}

impl<'a> Best<'a> {
    fn take(&mut self, load: &'a Load, row: &'a Row, found: &mut Found) {
        let Some((best, present)) = self.rows.get(&row.key).copied() else {
            self.rows.insert(row.key, (load, row));
            return;
        };
        let is_same = (present.value, present.account, present.minute) == (row.value, row.account, row.minute);
        let ties = self.by_arrival || present.minute == row.minute;
        found.equal += u64::from(ties && is_same);
        found.ties += u64::from(ties && !is_same);
        let minute = |row: &Row| if self.by_arrival { 0 } else { row.minute };
        if (minute(present), &best.rank) < (minute(row), &load.rank) {
            self.rows.insert(row.key, (load, row));
        }
    }

    fn lines(&self, rest: impl Fn(&Row) -> String) -> String {
        let lines = self.rows.values().map(|(_, row)| format!("{} | {} | {}", row.key, row.minute, rest(row)));
        lines.collect::<Vec<_>>().join("\n")
    }
}
