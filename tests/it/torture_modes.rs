//! All faults at once for what files may do to a table: append, replace, keys made of content, and tombstones, each checked against a model in
//! memory, with a history of what was there before.
//!
//! Keys and values are few, so that rows tie, are the same, are repeated and go all the time. In every second pass over the cases the bucket
//! keeps versions, whose events come in any order with times that have nothing to do with it, and some are loaded once more although they are
//! done. `make torture` runs it for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::torment::{Load, Rounds, Torment};
use crate::world::World;

const SECONDS_WITHIN_ALL_TESTS: f64 = 40.0;

/// What a file does to its table.
struct Case {
    name: &'static str,
    /// What the definition says besides its columns.
    options: &'static str,
    /// Columns of the table besides those of the files, and its key.
    table: &'static str,
    /// What tells a row of the table: columns of the query below.
    key: &'static [Part],
    model: Model,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    /// Each row is one of its own.
    Places,
    /// Of all rows with one key the newest stays.
    Newest,
    /// The same with the nth row of a key in a file as the nth row in the table.
    Copies,
    /// The same, if the last file of its scope has it. The scope is the account, or the whole table.
    Scopes { by_account: bool, flags: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Account,
    Code,
    Minute,
    Value,
}

use Part::{Account, Code, Minute, Value};

const CASES: [Case; 9] = [
    Case {
        name: "append",
        options: "mode = \"append\"",
        table: "load_id bigint, record bigint, unique (load_id, record)",
        key: &[],
        model: Model::Places,
    },
    Case {
        name: "replace the rows of an account",
        options: "mode = \"replace\"\nkey = [\"account\", \"code\"]\nreplace_by = \"account\"",
        table: "unique (account, code)",
        key: &[Account, Code],
        model: Model::Scopes { by_account: true, flags: false },
    },
    Case {
        name: "replace the table with a flag",
        options: "mode = \"replace\"\nkey = [\"account\", \"code\"]\ndeleted = \"gone\"",
        table: "gone boolean not null default false, unique (account, code)",
        key: &[Account, Code],
        model: Model::Scopes { by_account: false, flags: true },
    },
    Case {
        name: "replace the rows of an account, between which rows move",
        options: "mode = \"replace\"\nkey = \"code\"\nreplace_by = \"account\"",
        table: "unique (code)",
        key: &[Code],
        model: Model::Scopes { by_account: true, flags: false },
    },
    Case {
        name: "content keys",
        options: "key = \"content\"\nversion = \"arrival\"",
        table: "content_key text unique",
        key: &[Account, Code, Minute, Value],
        model: Model::Copies,
    },
    Case {
        name: "content keys of some columns",
        options: "key = \"content\"\ncontent = [\"account\", \"code\"]\nversion = \"minute\"",
        table: "content_key text unique",
        key: &[Account, Code],
        model: Model::Copies,
    },
    Case {
        name: "tombstones by a version",
        options: "key = [\"account\", \"code\"]\nversion = \"minute\"\n[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false",
        table: "unique (account, code)",
        key: &[Account, Code],
        model: Model::Newest,
    },
    Case {
        name: "tombstones by arrival",
        options: "key = \"code\"\nversion = \"arrival\"\n[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false",
        table: "unique (code)",
        key: &[Code],
        model: Model::Newest,
    },
    Case {
        name: "keys of two columns",
        options: "key = [\"account\", \"code\"]\nversion = \"minute\"",
        table: "unique (code, account)",
        key: &[Account, Code],
        model: Model::Newest,
    },
];

impl Case {
    fn has_tombstones(&self) -> bool {
        self.options.contains("[tombstone]")
    }

    fn by_minute(&self) -> bool {
        self.options.contains("version = \"minute\"")
    }

    fn definition(&self) -> String {
        let op = if self.has_tombstones() { "text" } else { "ignored" };
        let (rest, tombstone) = self.options.split_once("[tombstone]").unwrap_or((self.options, ""));
        let tombstone = if tombstone.is_empty() { String::new() } else { format!("[tombstone]{tombstone}") };
        let numbers = ["account", "code", "minute"]
            .map(|name| format!("[[column]]\nname = \"{name}\"\ntype = \"integer\"\nrequired = true\n"));
        format!(
            "name = \"holding\"\ntable = \"holding\"\nhistory = \"holding_history\"\nfiles = [\"incoming/holdings/*\"]\n{rest}\n{tombstone}\n\
             [[column]]\nname = \"op\"\ntype = \"{op}\"\n{}[[column]]\nname = \"value\"\ntype = \"integer\"\nrequired = true\nmax = 99\n",
            numbers.concat()
        )
    }

    fn create(&self) -> String {
        let own = self
            .table
            .split(", ")
            .take_while(|column| !column.starts_with("unique"))
            .map(|column| format!("{column}, "));
        format!(
            "drop table if exists holding, holding_history; \
             create table holding (account integer, code integer, minute integer, value integer, written_by bigint, valid_from timestamptz, {}); \
             create table holding_history (account integer, code integer, minute integer, value integer, {} written_by bigint, \
                 valid_from timestamptz, replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null); \
             truncate etl.load restart identity cascade; truncate etl.tombstone, etl.scope, etl.reconciliation_step",
            self.table,
            own.collect::<String>().replace(" unique", "").replace(" not null default false", "")
        )
    }

    fn key_of(&self, row: &Row) -> Vec<u32> {
        self.key.iter().map(|part| row.part(*part)).collect()
    }

    /// The good rows of a file by record, from 1, each with its key and the number of the copy: of those with one key the newest, if there
    /// is one, then the last.
    fn accepted<'a>(&self, rows: &'a [Row]) -> BTreeMap<usize, (Vec<u32>, usize, &'a Row)> {
        let good = |row: &Row| row.value < 100 || self.has_tombstones() && row.is_tombstone;
        let mut copies: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        let mut accepted = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let key = self.key_of(row);
            // Rejected rows count as well.
            let copy = copies.entry(key.clone()).and_modify(|copies| *copies += 1).or_insert(1);
            let copy = if self.model == Model::Copies { *copy } else { 1 };
            if good(row) {
                accepted.insert(index + 1, (key, copy, row));
            }
        }
        if matches!(self.model, Model::Newest | Model::Scopes { .. }) {
            let mut winners: BTreeMap<&Vec<u32>, (u32, usize)> = BTreeMap::new();
            for (record, (key, _, row)) in &accepted {
                let minute = if self.by_minute() { row.minute } else { 0 };
                let best = winners.entry(key).or_default();
                *best = (*best).max((minute, *record));
            }
            let winners: BTreeSet<usize> = winners.into_values().map(|(_, record)| record).collect();
            accepted.retain(|record, _| winners.contains(record));
        }
        accepted
    }
}

#[derive(Clone, Copy, Debug)]
struct Row {
    account: u32,
    code: u32,
    minute: u32,
    value: u32,
    is_tombstone: bool,
}

impl Row {
    fn part(&self, part: Part) -> u32 {
        match part {
            Account => self.account,
            Code => self.code,
            Minute => self.minute,
            Value => self.value,
        }
    }

    fn shown(&self) -> String {
        format!("{} | {} | {} | {}", self.account, self.code, self.minute, self.value)
    }
}

fn random_rows(random: &mut ChaCha8Rng, _: &str) -> Vec<Row> {
    // A file of few accounts leaves the others alone.
    let accounts = random.random_range(1..5);
    let from = random.random_range(0..4);
    (0..random.random_range(1..150))
        .map(|_| {
            let row = Row {
                account: (from + random.random_range(0..accounts)) % 5,
                code: random.random_range(0..25),
                minute: random.random_range(0..3),
                value: random.random_range(1..4),
                is_tombstone: random.random_ratio(1, 4),
            };
            // What a reject leaves alone depends on what came before, so it has a key that no good row has.
            if random.random_ratio(1, 20) { Row { value: 100, code: 1000, ..row } } else { row }
        })
        .collect()
}

fn text(rows: &Vec<Row>) -> String {
    let mut text = "op,account,code,minute,value\n".to_owned();
    for Row { account, code, minute, value, is_tombstone } in rows {
        let op = if *is_tombstone { "D" } else { "U" };
        writeln!(text, "{op},{account},{code},{minute},{value}").unwrap();
    }
    text
}

/// What happens to the table meanwhile, and changes no value in it.
const REWRITES: [&str; 4] = [
    "alter table holding alter value type bigint; alter table holding_history alter value type bigint",
    "alter table holding alter value type integer; alter table holding_history alter value type integer",
    "update holding set value = value",
    // As a dump that is restored leaves it.
    "begin; lock table holding; create temporary table saved on commit drop as table holding; delete from holding; \
     insert into holding table saved; commit",
];

#[test]
fn whatever_happens_every_mode_ends_as_its_model_says() {
    let (mut rounds, mut found) = (Rounds::start(SECONDS_WITHIN_ALL_TESTS), Found::default());
    while rounds.done() < CASES.len() as u64 || rounds.has_time() {
        let round = Round::of(rounds.next_seed());
        let name = format!(", {}", round.case.name);
        found.add(&rounds.run(&name, |postgres, s3| round.run(postgres, s3)));
    }
    rounds.end(&found, found.everything());
}

/// How often something happened that the rounds are there for.
#[derive(Debug, Default)]
struct Found {
    /// A worker took over what another one had left.
    takeovers: u64,
    /// A load had a lower rank than one that was claimed before.
    late: u64,
    /// Rows that were older than those of the table.
    stale: u64,
    /// Rows that tombstones or files without them took away.
    taken_away: u64,
    /// Rows that a load found as they were.
    unchanged: u64,
}

impl Found {
    fn everything(&self) -> bool {
        [self.takeovers, self.late, self.stale, self.taken_away, self.unchanged].iter().all(|times| *times > 0)
    }

    fn add(&mut self, round: &Self) {
        self.takeovers += round.takeovers;
        self.late += round.late;
        self.stale += round.stale;
        self.taken_away += round.taken_away;
        self.unchanged += round.unchanged;
    }
}

struct Round {
    seed: u64,
    case: &'static Case,
}

type Occurrence<'a> = (Vec<u32>, usize, &'a Row);

impl Round {
    fn of(seed: u64) -> Self {
        let cases = CASES.len() as u64;
        Self { seed, case: &CASES[usize::try_from(seed % cases).unwrap()] }
    }

    async fn run(&self, postgres: Arc<Postgres>, s3: Arc<S3Server>) -> Found {
        let (case, mut random) = (self.case, ChaCha8Rng::seed_from_u64(self.seed));
        let folder = Scratch::new("torture_modes");
        std::fs::write(folder.path().join("holding.toml"), case.definition()).unwrap();
        let batch_size = ["7", "20", "60", "10000"].choose(&mut random).unwrap();
        let path = folder.path().display().to_string();
        let settings =
            [("LOAD__BATCH_SIZE", *batch_size), ("LOAD__LEASE_SECONDS", "1"), ("DATASETS__PATH", path.as_str())];
        let mut world = World::on_servers(&postgres, s3, &settings).await;
        let keeps_versions = (self.seed / CASES.len() as u64).is_multiple_of(2);
        if keeps_versions {
            world = world.keeping_versions().await;
        }
        world.query(&case.create()).await;
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
            // A file that ends on its way leaves its scopes half replaced.
            replaces_content: !matches!(case.model, Model::Scopes { .. }),
            is_untimely: true,
            invent: random_rows,
            text,
            rewrites: &REWRITES,
            rewritten: 0,
            restarting: Arc::default(),
        };
        let keys: Vec<String> =
            (0..random.random_range(3..7)).map(|number| format!("incoming/holdings/{number}.csv")).collect();
        torment.put_files(&mut random, &keys).await;
        Box::pin(torment.deliver_all(&mut random)).await;
        torment.finish_quietly().await;
        self.check(&torment).await
    }

    async fn check(&self, torment: &Torment<Vec<Row>>) -> Found {
        let (case, world) = (self.case, &torment.world);
        let loads = torment.ranked().await;
        let mut occurrences: Vec<(&Load, usize, Occurrence<'_>)> = Vec::new();
        for (load, rows) in &loads {
            let id = load.id;
            let ended = world.query(&format!("select state, read, rejected from etl.load where id = {id}")).await;
            let [state, read, rejected]: [&str; 3] = ended.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            let (accepted, done) = (case.accepted(rows), torment.records_done(id).await);
            if state == "loaded" {
                assert_eq!(done.len(), rows.len(), "load {id}: batches");
                assert_eq!(read, rows.len().to_string(), "load {id}: read");
            }
            let bad = done.iter().filter(|record| !accepted.contains_key(record)).count();
            assert_eq!(rejected, bad.to_string(), "load {id}: rejected");
            let accepted = accepted.into_iter().filter(|(record, _)| done.contains(record));
            occurrences.extend(accepted.map(|(record, occurrence)| (load, record, occurrence)));
        }
        let expected = self.expected(&occurrences, world).await;
        let present = if matches!(case.model, Model::Scopes { flags: true, .. }) { "not gone" } else { "true" };
        let place = match case.model {
            Model::Places => "load_id, record",
            Model::Copies => "substr(content_key, 66)::int",
            _ => "1",
        };
        let sql = format!("select account, code, minute, value, {place} from holding where {present}");
        let mut found: Vec<String> = world.query(&sql).await.lines().map(str::to_owned).collect();
        found.sort_unstable();
        assert_eq!(found.join("\n"), expected.join("\n"), "{}, seed {}", case.name, self.seed);
        self.check_history(world).await;
        let night = reconcile(world).await;
        let wrong: Vec<_> = night.discrepancies.iter().filter(|found| found.check != "missing").collect();
        assert!(wrong.is_empty(), "{}, seed {}: {wrong:?}", case.name, self.seed);
        let sums = "select sum(attempt - 1), count(*) filter (where late), sum(stale), sum(removed + deleted), sum(unchanged) from etl.load";
        let sums = world.query(sums).await;
        let [takeovers, late, stale, taken_away, unchanged] =
            sums.split(" | ").map(|sum| sum.parse().unwrap()).collect::<Vec<u64>>().try_into().unwrap();
        Found { takeovers, late, stale, taken_away, unchanged }
    }

    /// The rows that stay, as the query prints them, in the order of their texts.
    async fn expected(&self, occurrences: &[(&Load, usize, Occurrence<'_>)], world: &World) -> Vec<String> {
        let mut lines = BTreeSet::new();
        if self.case.model == Model::Places {
            let origins = world.query("select id, coalesce(origin, id) from etl.load").await;
            let origins: BTreeMap<&str, &str> = origins.lines().filter_map(|line| line.split_once(" | ")).collect();
            for (load, record, (_, _, row)) in occurrences {
                lines.insert(format!("{} | {} | {record}", row.shown(), origins[load.id.to_string().as_str()]));
            }
            return lines.into_iter().collect();
        }
        let age = |load: &Load, row: &Row| (if self.case.by_minute() { row.minute } else { 0 }, load.rank.clone());
        let mut best: BTreeMap<(&[u32], usize), (&Load, &Row)> = BTreeMap::new();
        for (load, _, (key, copy, row)) in occurrences {
            let kept = best.entry((key, *copy)).or_insert((load, row));
            if age(kept.0, kept.1) < age(load, row) {
                *kept = (load, row);
            }
        }
        // The last file of each scope.
        let mut last: BTreeMap<u32, &Load> = BTreeMap::new();
        let scope = |row: &Row| match self.case.model {
            Model::Scopes { by_account: true, .. } => row.account,
            _ => 0,
        };
        for (load, _, (_, _, row)) in occurrences {
            let kept = last.entry(scope(row)).or_insert(load);
            if kept.rank < load.rank {
                *kept = load;
            }
        }
        for ((_, copy), (load, row)) in best {
            let is_gone = match self.case.model {
                Model::Scopes { .. } => last[&scope(row)].id != load.id,
                _ => self.case.has_tombstones() && row.is_tombstone,
            };
            if !is_gone {
                lines.insert(format!("{} | {copy}", row.shown()));
            }
        }
        lines.into_iter().collect()
    }

    /// Each row that was overwritten or taken away is in the history once, and no two rows with one key held at the same time.
    async fn check_history(&self, world: &World) {
        let key = match self.case.model {
            Model::Places => "load_id, record".to_owned(),
            Model::Copies => "content_key".to_owned(),
            _ => self
                .case
                .key
                .iter()
                .map(|part| if *part == Account { "account" } else { "code" })
                .collect::<Vec<_>>()
                .join(", "),
        };
        let overlaps = format!(
            "select count(*) from ( \
                 select valid_from, lag(valid_to) over (partition by {key} order by valid_from nulls first, valid_to) as until from ( \
                     select {key}, valid_from, valid_to from holding_history union all select {key}, valid_from, 'infinity' from holding) r) n \
             where valid_from < until"
        );
        assert_eq!(
            world.query(&overlaps).await,
            "0",
            "{}, seed {}: rows hold at the same time",
            self.case.name,
            self.seed
        );
        let lacking = "select l.id, l.updated + l.removed + l.deleted, count(h.replaced_by) from etl.load l \
            left join holding_history h on h.replaced_by = l.id group by 1, 2 having l.updated + l.removed + l.deleted <> count(h.replaced_by)";
        assert_eq!(world.query(lacking).await, "", "{}, seed {}: rows of the history", self.case.name, self.seed);
    }
}
