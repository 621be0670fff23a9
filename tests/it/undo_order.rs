//! After an undo a row belongs to the load that wrote it before, whatever comes next, and loads may be undone in any order.

use small_etl::domain::{Counts, Location, Sequencer};
use small_etl::pipeline::Request;
use std::fmt::Write as _;

use crate::command_line::{small_etl, text};
use crate::keys::seconds_after_noon;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::undo::undo;
use crate::world::World;

/// Datasets of each kind: by arrival, by a version, and files that replace scopes, which delete or flag, and one whose keys say no scope.
const KINDS: [(&str, &str); 5] = [
    ("late", "key = \"k\"\nversion = \"arrival\"\n[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false"),
    ("dated", "key = \"k\"\nversion = \"t\"\n[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false"),
    ("place", "mode = \"replace\"\nkey = [\"s\", \"k\"]\nreplace_by = \"s\""),
    ("flagged", "mode = \"replace\"\nkey = [\"s\", \"k\"]\nreplace_by = \"s\"\ndeleted = \"gone\""),
    ("moving", "mode = \"replace\"\nkey = \"k\"\nreplace_by = \"s\""),
];

pub struct Case {
    pub world: World,
    pub scratch: Scratch,
    /// Whether S3 says the order of files, as it does for versions of one object.
    pub has_sequencers: bool,
}

impl Case {
    pub async fn new() -> Self {
        let scratch = Scratch::new("undo_order");
        let column = |name: &str, options: &str| format!("[[column]]\nname = \"{name}\"\n{options}\n");
        let text = "type = \"text\"";
        for (name, options) in KINDS {
            let columns = match name {
                "late" | "dated" => column("op", text),
                _ => column("s", &format!("{text}\nrequired = true")),
            } + &column("k", &format!("{text}\nrequired = true"))
                + &column(
                    "t",
                    if name == "dated" { "type = \"bigint\"\nrequired = true" } else { "type = \"bigint\"" },
                )
                + &column("v", "type = \"integer\"\nmax = 5")
                + &column("p", text);
            let definition = format!(
                "name = \"{name}\"\ntable = \"{name}\"\nhistory = \"{name}_history\"\nfiles = [\"incoming/{name}/*\"]\nnull_values = [\"\"]\n\
                 {options}\n{columns}[reference]\ncolumn = \"p\"\ndataset = \"parent\"\n"
            );
            std::fs::write(scratch.path().join(format!("{name}.toml")), definition).unwrap();
        }
        let parent = format!(
            "name = \"parent\"\ntable = \"parent\"\nkey = \"p\"\nversion = \"arrival\"\nfiles = [\"incoming/parent/*\"]\n{}",
            column("p", &format!("{text}\nrequired = true"))
        );
        std::fs::write(scratch.path().join("parent.toml"), parent).unwrap();
        let path = scratch.path().display().to_string();
        let world = World::with(&[("DATASETS__PATH", &path), ("LOAD__BATCH_SIZE", "2")]).await;
        let mut tables = "create table parent (p text primary key);".to_owned();
        for (name, _) in KINDS {
            let s = if matches!(name, "late" | "dated") { "" } else { "s text, " };
            let key = if matches!(name, "place" | "flagged") { "s, k" } else { "k" };
            let gone = if name == "flagged" { "gone boolean not null default false, " } else { "" };
            let columns =
                format!("{s}k text, t bigint, v integer, p text, {gone}written_by bigint, valid_from timestamptz");
            write!(
                tables,
                "create table {name} ({columns}, primary key ({key})); \
                 create table {name}_history ({}, replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null);",
                columns.replace("gone boolean not null default false", "gone boolean")
            )
            .unwrap();
        }
        world.query(&tables).await;
        Self { world, scratch, has_sequencers: false }
    }

    /// Loads a file that was written so many seconds after noon.
    pub async fn load(&self, dataset: &str, name: &str, at: i64, rows: &str) -> Counts {
        let header = match dataset {
            "late" | "dated" => "op,k,t,v,p",
            "parent" => "p",
            _ => "s,k,t,v,p",
        };
        self.load_text(dataset, name, at, format!("{header}\n{}\n", rows.replace(' ', "\n")), false).await
    }

    pub async fn load_text(&self, dataset: &str, name: &str, at: i64, text: String, again: bool) -> Counts {
        let key = format!("incoming/{dataset}/{name}.csv");
        if !again {
            self.world.put(&key, text).await;
        }
        let head = self.world.s3.head_object().bucket(&self.world.bucket).key(&key).send().await.unwrap();
        let etag = head.e_tag().map(|etag| etag.trim_matches('"').to_owned());
        let location = Location::S3 {
            bucket: self.world.bucket.clone(),
            key: key.into(),
            version_id: None,
            etag,
            size: None,
            sequencer: self.has_sequencers.then(|| format!("{at:016X}")).and_then(Sequencer::of_event),
            modified: Some(seconds_after_noon(at)),
        };
        let request = Request { again, ..Request::new(location) };
        let report = self.world.run(&request).await.unwrap();
        report.counts.unwrap_or_else(|| panic!("{report:?}"))
    }

    pub async fn again(&self, dataset: &str, name: &str, at: i64) -> Counts {
        self.load_text(dataset, name, at, String::new(), true).await
    }

    /// Loads the rejects of a load with one text replaced.
    pub async fn mend(&self, dataset: &str, load: i64, at: i64, bad: &str, good: &str) -> Counts {
        let rejects = self.world.get(&self.world.bucket, &format!("rejects/{dataset}/{load}.csv")).await;
        assert!(rejects.contains(bad), "{rejects}");
        self.load_text(dataset, &format!("mended{load}"), at, rejects.replace(bad, good), false).await
    }

    pub fn undo(&self, load: i64) -> String {
        let said = undo(&self.world, &self.scratch, &[&load.to_string()]);
        assert!(said.starts_with("exit 0"), "{said}");
        said
    }

    pub async fn rows(&self, dataset: &str) -> String {
        let present = if dataset == "flagged" { " where not gone" } else { "" };
        let s = if matches!(dataset, "late" | "dated") { "k" } else { "s || k" };
        self.world
            .query(&format!("select coalesce(string_agg({s} || v, ' ' order by {s}), '-') from {dataset}{present}"))
            .await
    }

    pub async fn open(&self) -> String {
        self.world.query("select coalesce(string_agg(load_id || ':' || record, ' ' order by load_id, record), '-') from etl.open_reject").await
    }

    pub async fn is_clean(&self) {
        let report = reconcile(&self.world).await;
        assert!(report.is_clean(), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_undo_a_file_that_is_loaded_again_and_every_newer_one_win() {
    let case = Case::new().await;
    case.load("late", "1", 10, "I,a,,1, I,b,,1,").await;
    case.load("late", "2", 20, "I,a,,2, I,b,,2,").await;
    case.undo(2);
    assert_eq!(case.rows("late").await, "a1 b1");
    // Neither the file that was undone, nor one that is older than it and newer than what is there, loses to the undo.
    assert_eq!(case.load("late", "3", 15, "I,b,,3,").await.updated, 1);
    assert_eq!(case.again("late", "2", 20).await.updated, 2);
    assert_eq!(case.rows("late").await, "a2 b2");
    assert_eq!(case.load("late", "4", 15, "I,a,,4,").await.stale, 1);
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_file_has_brought_as_well_is_given_back_though_its_own_is_undone() {
    for dataset in ["late", "dated"] {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "I,a,1,1, I,b,1,1,").await;
        assert_eq!(case.load(dataset, "2", 20, "I,a,1,1,").await.unchanged, 1);
        case.load(dataset, "3", 30, "I,a,2,3, I,b,2,3,").await;
        case.undo(1);
        assert_eq!(case.rows(dataset).await, "a3 b3", "{dataset}");
        case.undo(3);
        assert_eq!(case.rows(dataset).await, "a1", "{dataset}");
        case.is_clean().await;
        // Unless that is undone as well, before or after.
        for order in [&[1, 2, 3][..], &[2, 1, 3], &[1, 3, 2]] {
            let case = Case::new().await;
            case.load(dataset, "1", 10, "I,a,1,1,").await;
            case.load(dataset, "2", 20, "I,a,1,1,").await;
            case.load(dataset, "3", 30, "I,a,2,3,").await;
            for load in order {
                case.undo(*load);
            }
            assert_eq!(case.rows(dataset).await, "-", "{dataset} {order:?}");
        }
        let case = Case::new().await;
        case.load(dataset, "1", 10, "I,a,1,1,").await;
        case.load(dataset, "2", 20, "I,a,1,1,").await;
        case.undo(2);
        case.undo(1);
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_undo_of_a_file_that_replaces_the_file_before_it_owns_the_scope() {
    for dataset in ["place", "flagged"] {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,c,,1, B,b,,1,").await;
        case.load(dataset, "2", 20, "A,a,,2, A,b,,2,").await;
        case.undo(2);
        assert_eq!(case.rows(dataset).await, "Aa1 Ac1 Bb1", "{dataset}");
        // An older file is still stale, one in between replaces the scope, and so does the one that was undone.
        assert_eq!(case.load(dataset, "3", 5, "A,a,,3, A,d,,3,").await.stale, 2);
        case.load(dataset, "4", 15, "A,a,,4,").await;
        assert_eq!(case.rows(dataset).await, "Aa4 Bb1", "{dataset}");
        case.again(dataset, "2", 20).await;
        assert_eq!(case.rows(dataset).await, "Aa2 Ab2 Bb1", "{dataset}");
        case.load(dataset, "5", 30, "A,a,,5,").await;
        assert_eq!(case.rows(dataset).await, "Aa5 Bb1", "{dataset}");
        // Without a file before it, the scope is free.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1,").await;
        case.undo(1);
        case.load(dataset, "2", 5, "A,a,,3, A,b,,3,").await;
        assert_eq!(case.rows(dataset).await, "Aa3 Ab3", "{dataset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_later_file_of_its_scope_does_not_have_stays_gone() {
    for dataset in ["place", "flagged"] {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,x,,1, B,x,,1,").await;
        case.load(dataset, "2", 20, "A,a,,1, B,y,,1,").await;
        case.load(dataset, "3", 30, "A,a,,1, A,c,,1,").await;
        let said = case.undo(2);
        assert!(said.contains("A,x: load 3 has replaced its scope without it"), "{said}");
        assert_eq!(case.rows(dataset).await, "Aa1 Ac1 Bx1", "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_that_is_undone_had_settled_waits_again_or_is_listed() {
    let case = Case::new().await;
    case.load("place", "1", 10, "A,a,,1, A,w,,1,X").await;
    case.load("place", "2", 20, "A,a,,2,").await;
    let said = case.undo(2);
    assert!(said.contains("rows of other loads that wait for another row again: 1"), "{said}");
    case.is_clean().await;
    case.load("parent", "x", 1, "X").await;
    case.is_clean().await;
    assert_eq!(case.rows("place").await, "Aa1 Aw1");
    // A file that comes late, and is older than the one that is undone.
    let case = Case::new().await;
    case.load("place", "1", 10, "A,a,,1, A,w,,1,X").await;
    case.load("place", "2", 20, "A,a,,2,").await;
    case.load("place", "3", 15, "A,z,,3,").await;
    let said = case.undo(2);
    assert!(said.contains("are not loaded now: 1, 3;") && !said.contains("wait for another row"), "{said}");
    case.again("place", "3", 15).await;
    assert_eq!(case.rows("place").await, "Az3");
    // A bad row of the file before is mended into its scope again.
    let case = Case::new().await;
    case.load("place", "1", 10, "A,a,,1, A,b,,9,").await;
    case.load("place", "2", 20, "A,a,,2,").await;
    case.undo(2);
    assert_eq!(case.mend("place", 1, 40, ",9,", ",3,").await.inserted, 1);
    assert_eq!(case.rows("place").await, "Aa1 Ab3");
    assert_eq!(case.open().await, "-");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_tombstones_the_newest_that_is_not_undone_is_in_force() {
    let case = Case::new().await;
    for load in 1..=3 {
        case.load("dated", &load.to_string(), load, &format!("D,a,{load}0,,")).await;
    }
    case.undo(3);
    case.undo(2);
    assert_eq!(case.load("dated", "old", 9, "I,a,5,1,").await.stale, 1);
    assert_eq!(case.load("dated", "new", 9, "I,a,15,1,").await.inserted, 1);
    let case = Case::new().await;
    for load in 1..=2 {
        case.load("dated", &load.to_string(), load, &format!("D,a,{load}0,,")).await;
    }
    case.undo(1);
    assert_eq!(case.load("dated", "old", 9, "I,a,15,1,").await.stale, 1);
    case.undo(2);
    assert_eq!(case.load("dated", "older", 9, "I,a,5,1,").await.inserted, 1);
    // One that is older and came later counts again.
    let case = Case::new().await;
    case.load("late", "1", 20, "D,a,,,").await;
    case.load("late", "2", 10, "D,a,,,").await;
    case.undo(1);
    assert_eq!(case.load("late", "3", 5, "I,a,,1,").await.stale, 1);
    assert_eq!(case.load("late", "4", 15, "I,a,,1,").await.inserted, 1);
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_tombstone_names_as_well_stays_gone() {
    for dataset in ["late", "dated"] {
        let five = [(10, "I,a,1,1,"), (20, "D,a,2,,"), (30, "D,a,3,,"), (40, "I,a,4,4,"), (50, "D,a,5,,")];
        let load = async |case: &Case, count: usize| {
            for (at, row) in &five[..count] {
                case.load(dataset, &at.to_string(), *at, row).await;
            }
        };
        let case = Case::new().await;
        load(&case, 5).await;
        case.undo(2);
        case.undo(4);
        let said = case.undo(5);
        assert!(said.contains("a: load 3 has deleted it as well"), "{dataset}: {said}");
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        // The newest tombstone of all is the other one.
        let case = Case::new().await;
        load(&case, 4).await;
        case.undo(4);
        let said = case.undo(2);
        assert!(said.contains("a: load 3 has deleted it as well"), "{dataset}: {said}");
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        // Undone as well, it deletes nothing.
        let case = Case::new().await;
        load(&case, 5).await;
        for load in [2, 3, 4, 5] {
            case.undo(load);
        }
        assert_eq!(case.rows(dataset).await, "a1", "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_load_has_deleted_that_counts_stays_gone_when_what_followed_is_undone() {
    for dataset in ["late", "dated"] {
        let case = Case::new().await;
        for (at, row) in [(10, "I,a,1,1,"), (20, "I,a,2,2,"), (30, "D,a,3,,"), (40, "I,a,4,4,")] {
            case.load(dataset, &at.to_string(), at, row).await;
        }
        case.undo(2);
        case.undo(4);
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        case.is_clean().await;
    }
}

/// Whatever is undone besides.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_row_says_nothing_about_it() {
    for dataset in ["late", "dated"] {
        let case = Case::new().await;
        case.load(dataset, "1", 5, "I,z,1,1,").await;
        case.load(dataset, "2", 10, "D,a,1,,").await;
        case.load(dataset, "3", 20, "I,a,2,2,").await;
        assert_eq!(case.load(dataset, "4", 30, "I,a,2,2,").await.unchanged, 1);
        case.load(dataset, "5", 40, "I,a,4,4,").await;
        case.load(dataset, "6", 50, "I,a,5,5,").await;
        case.undo(1);
        // The row that the fourth file has brought as well is that of the third one alone.
        case.undo(5);
        let said = case.undo(6);
        assert_eq!(case.rows(dataset).await, "a2", "{dataset}: {said}");
        // The first tombstone is older than the row.
        case.load(dataset, "7", 60, "D,a,6,,").await;
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        let said = case.undo(10);
        assert_eq!(case.rows(dataset).await, "a2", "{dataset}: {said}");
        case.is_clean().await;
    }
    for dataset in ["place", "flagged"] {
        let case = Case::new().await;
        case.load(dataset, "1", 5, "B,z,,1,").await;
        case.load(dataset, "2", 10, "A,a,,1, A,x,,1,").await;
        case.load(dataset, "3", 20, "A,a,,1, A,x,,1,").await;
        case.load(dataset, "4", 30, "A,a,,1,").await;
        case.undo(1);
        let said = case.undo(4);
        assert_eq!(case.rows(dataset).await, "Aa1 Ax1", "{dataset}: {said}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_opens_every_reject_again_that_its_rows_had_mended() {
    let case = Case::new().await;
    // The mended row has another key, waits for its parent, or is a tombstone.
    case.load("late", "1", 10, "I,,,1, I,w,,9,X D,,,, I,s,,9,").await;
    assert_eq!(case.open().await, "1:1 1:2 1:3 1:4");
    let rejects = case.world.get(&case.world.bucket, "rejects/late/1.csv").await;
    let mended = rejects.replace("I,,,1,", "I,n,,1,").replace("I,w,,9", "I,w,,3").replace("D,,,,", "D,d,,,");
    case.load_text("late", "mended", 20, mended.lines().take(4).collect::<Vec<_>>().join("\n") + "\n", false).await;
    case.load("parent", "x", 1, "X").await;
    assert_eq!((case.rows("late").await, case.open().await), ("n1 w3".into(), "1:4".into()));
    case.undo(2);
    assert_eq!((case.rows("late").await, case.open().await), ("-".into(), "1:1 1:2 1:3 1:4".into()));
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_waited_wins_over_the_one_that_an_undo_gave_back() {
    let case = Case::new().await;
    case.load("parent", "y", 1, "Y").await;
    case.load("dated", "1", 2, "I,a,1,1,Y").await;
    case.load("dated", "2", 3, "I,a,1,2,X").await;
    case.load("dated", "3", 4, "I,a,1,3,Y").await;
    assert_eq!(case.rows("dated").await, "a3");
    case.undo(4);
    assert_eq!(case.rows("dated").await, "a1");
    case.load("parent", "x", 5, "X").await;
    case.is_clean().await;
    assert_eq!(case.rows("dated").await, "a2");
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_are_undone_in_any_order_give_back_nothing_of_each_other() {
    let orders = [[2, 3, 4], [2, 4, 3], [3, 2, 4], [3, 4, 2], [4, 2, 3], [4, 3, 2]];
    for order in orders {
        let case = Case::new().await;
        case.load("late", "1", 10, "I,a,,1, I,b,,1, I,c,,1, I,e,,1,").await;
        case.load("late", "2", 20, "I,a,,2, D,b,,, I,d,,2, I,e,,2,").await;
        case.load("late", "3", 30, "I,a,,3, I,b,,3, D,c,,, I,d,,3, I,e,,2,").await;
        case.load("late", "4", 40, "D,a,,, I,c,,4, D,d,,, I,e,,2,").await;
        let said: Vec<String> = order.iter().map(|load| case.undo(*load)).collect();
        assert_eq!(case.rows("late").await, "a1 b1 c1 e1", "{order:?}: {said:?}");
        assert_eq!(
            case.world.query("select distinct written_by from late; select count(*) from etl.tombstone").await,
            "1\n0"
        );
        case.is_clean().await;
        // Each counts as the load that it was.
        assert_eq!(case.load("late", "5", 15, "I,a,,5, I,b,,5, I,c,,5, I,e,,5,").await.updated, 4, "{order:?}");
        assert_eq!(case.load("late", "6", 12, "I,a,,4,").await.stale, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_not_the_source_of_the_rows_that_it_gave_back() {
    let case = Case::new().await;
    case.load("late", "1", 10, "I,a,,1,").await;
    case.load("late", "2", 20, "I,a,,2,").await;
    case.undo(2);
    let said = text(&small_etl(&case.scratch, &case.world.variables(), &["explain", "late", "a"]));
    let mut lines = said.lines().skip(1);
    assert_eq!(lines.next(), Some("late a: its present values come from"), "{said}");
    assert!(
        lines.next().unwrap().contains("load 1 ") && lines.next().unwrap().contains("load 3 has given them back"),
        "{said}"
    );
    assert!(!said.contains("another program"), "{said}");
}
