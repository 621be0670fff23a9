//! A file is loaded again, goes on, or is compared under a definition that reads it otherwise: other parts, other records.

use small_etl::domain::{LoadReport, LoadStatus, Location};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::killed::lost_worker;
use crate::nightly::reconcile;
use crate::object_parts::archive;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

const KEY: &str = "incoming/deal/1.txt";
const COLUMNS: &str =
    "\n[[column]]\nname = \"k\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"v\"\ntype = \"integer\"\n";
const BY_PLACE: (&str, &str) =
    ("mode = \"append\"", "load_id bigint, record bigint, k text, v integer, primary key (load_id, record)");
const BY_CONTENT: (&str, &str) =
    ("key = \"content\"\nversion = \"arrival\"", "content_key text primary key, k text, v integer");
const BY_KEY: (&str, &str) = ("key = \"k\"\nversion = \"arrival\"", "k text primary key, v integer");

const ACCOUNTS: &str = "name = \"acc\"\ntable = \"acc\"\nkey = \"k\"\nversion = \"arrival\"\nfiles = [\"incoming/acc/*\"]\n[[column]]\nname = \"k\"\n\
    type = \"text\"\nrequired = true\n";

struct Desk {
    world: World,
    folder: Scratch,
    mode: &'static str,
}

impl Desk {
    async fn new((mode, shape): (&'static str, &str), source: &str) -> Self {
        let folder = Scratch::new("redefined");
        let path = folder.path().display().to_string();
        std::fs::write(folder.path().join("deal.toml"), Self::text(mode, source)).unwrap();
        if source.contains("dataset = \"acc\"") {
            std::fs::write(folder.path().join("acc.toml"), ACCOUNTS).unwrap();
        }
        let world = World::with(&[("DATASETS__PATH", &path), ("LOAD__BATCH_SIZE", "2")]).await;
        world.query(&format!("create table deal ({shape})")).await;
        Self { world, folder, mode }
    }

    fn text(mode: &str, options: &str) -> String {
        let (of_dataset, source) =
            options.split_once("[[source]]\n").filter(|_| !options.contains("name = \"t\"")).unwrap_or(("", options));
        format!(
            "name = \"deal\"\ntable = \"deal\"\n{mode}\nnull_values = [\"\"]\nfiles = [\"incoming/deal/*\"]\n{COLUMNS}{of_dataset}\n[[source]]\n\
             name = \"s\"\nfiles = [\"incoming/deal/*\"]\n{source}\n"
        )
    }

    fn redefine(mut self, source: &str) -> Self {
        std::fs::write(self.folder.path().join("deal.toml"), Self::text(self.mode, source)).unwrap();
        self.world = self.world.under(&[]);
        self
    }

    /// Lets a worker load some of the rows and die.
    async fn is_killed_halfway(&self) {
        let proxy = self.world.proxy();
        let worker = self.world.signalled_worker(KEY, &proxy, (Which::Commit, 3), Fault::CallAnswered, "KILL");
        assert!(worker.finish().await.is_none());
    }

    /// Puts a content, as whose event S3 then sends this request.
    async fn put_and_tell(&self, content: &str, sequencer: &str) -> Request {
        let put =
            self.world.s3.put_object().bucket(&self.world.bucket).key(KEY).body(content.as_bytes().to_vec().into());
        let etag = put.send().await.unwrap().e_tag.unwrap().trim_matches('"').to_owned();
        let mut request = self.world.request(KEY);
        if let Location::S3 { etag: named, sequencer: rank, .. } = &mut request.location {
            (*named, *rank) = (Some(etag), Some(sequencer.to_owned()));
        }
        request
    }

    async fn again(&self) -> LoadReport {
        self.world.run(&Request { again: true, ..self.world.request(KEY) }).await.unwrap()
    }

    /// Loads the rejects file of a load with a 2 in the place of each bad value.
    async fn mend(&self, load: i64) -> LoadReport {
        let rejects = self.world.get(&self.world.bucket, &format!("rejects/deal/{load}.csv")).await;
        self.world.drop_file(&format!("incoming/deal/mended{load}.csv"), rejects.replace(",x", ",2")).await
    }

    async fn rows(&self) -> String {
        self.world
            .query("select coalesce(string_agg(k || coalesce(v::text, '-'), ' ' order by k, v), '-') from deal")
            .await
    }

    async fn rejects(&self) -> String {
        self.world
            .query("select load_id, record, line, state, first_load_id, first_record from etl.reject order by 1, 2")
            .await
    }
}

/// Under another name its rows would come once more, or it would never end.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_goes_on_under_the_names_of_its_parts_and_its_rows_come_once() {
    let content = "Deals\nk,v\na,1\nb,2\nc,3\nd,4\ne,5\n";
    for mode in [BY_PLACE, BY_CONTENT, BY_KEY] {
        for (before, after) in [("header = 2", "section = \"Deals\""), ("section = \"Deals\"", "header = 2")] {
            for by_night in [true, false] {
                let desk = Desk::new(mode, before).await;
                desk.world.put(KEY, content).await;
                desk.is_killed_halfway().await;
                desk.world.end_leases().await;
                let desk = desk.redefine(after);
                if by_night {
                    reconcile(&desk.world).await;
                } else {
                    desk.world.load_parts(KEY).await;
                }
                assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5", "{}, first {before}", desk.mode);
                assert_eq!(desk.world.query("select state, run from etl.load").await, "loaded | 0");
                assert!(reconcile(&desk.world).await.is_clean());
            }
        }
    }
}

/// A changed definition reads no old file again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_is_not_loaded_once_more_because_its_parts_have_other_names_now() {
    for mode in [BY_PLACE, BY_CONTENT, BY_KEY] {
        for (before, after) in [("header = 2", "section = \"Deals\""), ("section = \"Deals\"", "header = 2")] {
            let desk = Desk::new(mode, before).await;
            desk.world.put(KEY, "Deals\nk,v\na,1\nb,2\n").await;
            desk.world.load_parts(KEY).await;
            let desk = desk.redefine(after);
            let reports = desk.world.load_parts(KEY).await;
            assert!(reports.iter().all(|report| report.status == LoadStatus::Duplicate), "{reports:?}");
            assert_eq!((reports.len(), desk.rows().await), (1, "a1 b2".to_owned()));
            assert!(reconcile(&desk.world).await.is_clean());
        }
    }
    // Of an archive, one member is loaded and another one goes on.
    for mode in [BY_PLACE, BY_CONTENT] {
        let desk = Desk::new(mode, "member = \"*.csv\"\nheader = 2").await;
        let members = [("a.csv", "Deals\nk,v\na,1\nb,2\n"), ("b.csv", "Deals\nk,v\nc,3\nd,4\ne,5\n")];
        desk.world.put(KEY, archive(&members)).await;
        let request = Request { parts: vec!["a.csv".into()], ..desk.world.request(KEY) };
        desk.world.run(&request).await.unwrap();
        let request = Request { parts: vec!["b.csv".into()], ..desk.world.request(KEY) };
        assert!(lost_worker(&desk.world, &request, (Which::Commit, 3), Fault::CallAnswered).await);
        desk.world.end_leases().await;
        let desk = desk.redefine("member = \"*.csv\"\nsection = \"Deals\"");
        reconcile(&desk.world).await;
        assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5", "{}", desk.mode);
        assert!(reconcile(&desk.world).await.is_clean());
    }
}

/// Rows of another dataset cannot be those of the part that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_another_dataset_reads_by_now_is_loaded_beside_what_goes_on() {
    let desk = Desk::new(BY_KEY, "header = 2\nskip = [\"Fees\", \"k\"]").await;
    desk.world.query("create table acc (k text primary key); grant all on acc to public").await;
    let fees = format!(
        "{ACCOUNTS}[[source]]\nname = \"f\"\nfiles = [\"incoming/deal/*\"]\nsection = \"Fees\"\nend = \"blank\"\n"
    );
    desk.world.put(KEY, "Deals\nk,v\na,1\nb,2\nc,3\nd,4\ne,5\n\nFees\nk,v\nf,1\n").await;
    desk.is_killed_halfway().await;
    desk.world.end_leases().await;
    std::fs::write(desk.folder.path().join("acc.toml"), fees).unwrap();
    let desk = desk.redefine("section = \"Deals\"\nend = \"blank\"");
    desk.world.load_parts(KEY).await;
    assert_eq!(desk.world.query("select k from acc").await, "f");
    assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5 f1");
}

#[tokio::test]
async fn rows_that_are_known_by_their_places_in_a_part_are_not_loaded_once_more_as_a_part_of_another_name() {
    for mode in [BY_PLACE, BY_CONTENT] {
        for (before, after) in [("header = 2", "section = \"Deals\""), ("section = \"Deals\"", "header = 2")] {
            let desk = Desk::new(mode, before).await;
            desk.world.drop_file(KEY, "Deals\nk,v\na,1\na,1\nb,2\n").await;
            let desk = desk.redefine(after);
            let error = desk.world.run(&Request { again: true, ..desk.world.request(KEY) }).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.chain().contains("so that its rows would come once more"), "{}", error.chain());
            assert_eq!(desk.rows().await, "a1 a1 b2");
            assert!(reconcile(&desk.world).await.is_clean());
            let desk = desk.redefine(before);
            assert_eq!(desk.again().await.counts.unwrap().unchanged, 3);
        }
    }
}

#[tokio::test]
async fn a_row_that_waits_comes_once_although_its_record_has_another_number_now() {
    let reference = "[reference]\ncolumn = \"k\"\ndataset = \"acc\"\n[[source]]\n";
    let desk = Desk::new(BY_PLACE, reference).await;
    desk.world.query("create table acc (k text primary key)").await;
    assert_eq!(desk.world.drop_file(KEY, "k,v\na,1\nSubtotal,1\nb,2\n").await.counts.unwrap().parked, 3);
    let desk = desk.redefine(&format!("{reference}skip = [\"Subtotal\"]"));
    assert_eq!(desk.again().await.counts.unwrap().parked, 2);
    desk.world.drop_file("incoming/acc/1.csv", "k\na\nb\nSubtotal\n").await;
    assert_eq!(desk.rows().await, "a1 b2");
    assert_eq!(desk.world.query("select count(*) from etl.parked where released_by is null").await, "0");
    assert!(reconcile(&desk.world).await.is_clean());
}

#[tokio::test]
async fn a_reject_is_that_of_its_line_although_its_record_has_another_number_now() {
    let desk = Desk::new(BY_KEY, "").await;
    desk.world.drop_file(KEY, "k,v\nSub,1\nb,-\nc,300\n").await;
    let desk = desk.redefine("[[rule]]\nid = \"few\"\ncolumn = \"v\"\ncheck = \"v < 100\"\nmessage = \"v is large\"\n[[source]]\nskip = [\"Sub\"]\nnull_values = [\"-\"]");
    desk.again().await;
    assert_eq!(desk.rejects().await, "1 | 2 | 3 | resolved | 1 | 2\n2 | 2 | 4 | open | 2 | 2");
}

#[tokio::test]
async fn a_mended_row_keeps_its_number_although_its_record_has_another_one_now() {
    let desk = Desk::new(BY_CONTENT, "").await;
    desk.world.drop_file(KEY, "k,v\na,1\nSubtotal,1\nb,x\nb,2\n").await;
    assert_eq!(desk.mend(1).await.counts.unwrap().inserted, 1);
    assert_eq!(desk.rows().await, "Subtotal1 a1 b2 b2");
    let desk = desk.redefine("skip = [\"Subtotal\"]");
    desk.again().await;
    assert_eq!(desk.world.query("select count(*) from etl.open_reject").await, "0", "it is mended");
    assert_eq!(desk.mend(3).await.counts.unwrap().unchanged, 1);
    assert_eq!(desk.rows().await, "Subtotal1 a1 b2 b2");
    assert!(reconcile(&desk.world).await.is_clean());
}

/// Its line is not known any more, and its record still is.
#[tokio::test]
async fn a_mended_row_keeps_its_number_although_its_reject_is_deleted() {
    let desk = Desk::new(BY_CONTENT, "").await;
    desk.world.drop_file(KEY, "k,v\na,1\nb,x\nb,\nb,\n").await;
    let rejects = desk.world.get(&desk.world.bucket, "rejects/deal/1.csv").await;
    desk.world.drop_file("incoming/deal/mended.csv", rejects.replace(",x", ",")).await;
    assert_eq!(desk.rows().await, "a1 b- b- b-");
    desk.world.query("delete from etl.reject").await;
    let desk = desk.redefine("null_values = [\"\", \"x\"]");
    assert_eq!(desk.again().await.counts.unwrap().unchanged, 4);
    assert_eq!(desk.rows().await, "a1 b- b- b-");
    assert!(reconcile(&desk.world).await.is_clean());
}

const APPENDED: &str = "k,v\na,1\nSubtotal,1\nb,x\nc,3\n";

#[tokio::test]
async fn the_place_of_a_row_that_was_mended_is_given_to_no_other_row() {
    for (before, after, said) in [
        ("", "skip = [\"Subtotal\"]", "line 4 was record 3 when load 2 mended it, and is record 2 now"),
        ("", "skip = [\"b\"]", "is left out now"),
        ("skip = [\"Subtotal\"]", "", "line 4 was record 2 when load 2 mended it, and is record 3 now"),
    ] {
        let desk = Desk::new(BY_PLACE, before).await;
        desk.world.drop_file(KEY, APPENDED).await;
        assert_eq!(desk.mend(1).await.counts.unwrap().inserted, 1);
        let rows = desk.rows().await;
        let desk = desk.redefine(after);
        let refused = desk.again().await;
        assert_eq!((refused.status, refused.reason.as_deref()), (LoadStatus::Failed, Some("records_renumbered")));
        assert!(refused.error.as_deref().is_some_and(|error| error.contains(said)), "{refused:?}");
        assert_eq!(desk.rows().await, rows);
        let desk = desk.redefine(before);
        assert_eq!(desk.again().await.status, LoadStatus::Loaded);
        assert_eq!(desk.rows().await, rows);
        assert!(reconcile(&desk.world).await.is_clean());
    }
}

#[tokio::test]
async fn a_row_is_mended_in_the_place_that_its_line_has_now() {
    const SKIPPED: &str = "skip = [\"Subtotal\"]";
    let fails = "[load]\nmax_reject_rate = 0.1\n[[source]]\n";
    // A row that is good by now came later than the mended one.
    let good = format!("{SKIPPED}\nnull_values = [\"x\"]");
    for (before, now, of_load, rows) in [
        ("", SKIPPED, 1, "a1 b2 c3"),
        ("", SKIPPED, 2, "a1 b2 c3"),
        (fails, SKIPPED, 1, "a1 b2 c3"),
        ("", &good, 1, "a1 b- c3"),
        (fails, &good, 1, "a1 b- c3"),
    ] {
        let desk = Desk::new(BY_PLACE, before).await;
        desk.world.drop_file(KEY, APPENDED).await;
        let desk = desk.redefine(now);
        desk.again().await;
        for _ in 0..2 {
            desk.mend(of_load).await;
            assert_eq!(desk.rows().await, rows, "{before} {of_load} {now}");
        }
        assert_eq!(desk.world.query("select count(*) from etl.open_reject").await, "0");
        assert!(reconcile(&desk.world).await.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_compares_lines_where_the_changed_definition_leaves_some_out() {
    for (definition, said) in [
        (
            "[[source]]\nskip = [\"Subtotal\"]",
            "0 rows would be rejected that are accepted today, 0 accepted that are rejected",
        ),
        (
            "[[rule]]\nid = \"few\"\ncolumn = \"v\"\ncheck = \"v < 100\"\nmessage = \"v is large\"\n[[source]]\nskip = [\"Subtotal\"]\nnull_values = [\"x\"]",
            "1 rows would be rejected that are accepted today, 1 accepted that are rejected",
        ),
    ] {
        let desk = Desk::new(BY_KEY, "").await;
        desk.world.drop_file(KEY, "k,v\na,1\nSubtotal,1\nb,x\nc,300\n").await;
        let new = desk.folder.path().join("new.txt");
        std::fs::write(&new, Desk::text(desk.mode, definition)).unwrap();
        let arguments = ["replay", "--dataset", "deal", "--since", "30d", "--definition", new.to_str().unwrap()];
        let answer = text(&small_etl(&desk.folder, &desk.world.variables(), &arguments));
        assert!(answer.contains(said), "{answer}");
    }
}

/// What is begun was compared before it was written; the manifest that lies there now may be that of the next file.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_goes_on_is_not_compared_with_another_manifest() {
    for required in ["", "[manifest]\nrequired = true\n"] {
        let desk = Desk::new(BY_KEY, &format!("{required}[[source]]\n")).await;
        let manifest = format!("{KEY}.manifest.json");
        desk.world.put(&manifest, "{\"row_count\": 5}").await;
        desk.world.put(KEY, "k,v\na,1\nb,2\nc,3\nd,4\ne,5\n").await;
        desk.is_killed_halfway().await;
        desk.world.end_leases().await;
        desk.world.put(&manifest, "{\"row_count\": 1}").await;
        assert_eq!(desk.world.load(KEY).await.status, LoadStatus::Loaded);
        assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5");
    }
}

/// Whichever source reads them, and in whatever order they are declared.
#[tokio::test]
async fn of_two_members_with_one_key_the_later_one_counts() {
    let source = |name: &str, member: &str| {
        format!("[[source]]\nname = \"{name}\"\nfiles = [\"incoming/deal/*\"]\nmember = \"{member}\"\n")
    };
    for (first, second) in [("a*", "b*"), ("b*", "a*"), ("*", "x*")] {
        let desk = Desk::new(BY_KEY, &format!("member = \"{first}\"\n{}", source("t", second))).await;
        desk.world.put(KEY, archive(&[("a.csv", "k,v\nx,1\n"), ("b.csv", "k,v\nx,2\n")])).await;
        desk.world.load_parts(KEY).await;
        assert_eq!(desk.rows().await, "x2", "{first} before {second}");
    }
    // Two sections of a text, and of a member.
    for (first, second) in [("First", "Second"), ("Second", "First")] {
        for member in ["", "member = \"*\"\n"] {
            let more = format!("end = \"blank\"\n{member}");
            let other =
                format!("[[source]]\nname = \"t\"\nfiles = [\"incoming/deal/*\"]\nsection = \"{second}\"\n{more}");
            let desk = Desk::new(BY_KEY, &format!("section = \"{first}\"\n{more}{other}")).await;
            let text = "First\nk,v\nx,1\n\nSecond\nk,v\nx,2\n";
            let content = if member.is_empty() { text.as_bytes().to_vec() } else { archive(&[("a.csv", text)]) };
            desk.world.put(KEY, content).await;
            desk.world.load_parts(KEY).await;
            assert_eq!(desk.rows().await, "x2", "{first} before {second}, {member}");
        }
    }
}

/// An event may come again after a later content has begun.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_earlier_content_ends_no_load_of_a_later_one() {
    let desk = Desk::new(BY_KEY, "").await;
    let one = desk.put_and_tell("k,v\na,1\n", "01").await;
    desk.world.run(&one).await.unwrap();
    let two = desk.put_and_tell("k,v\na,2\nb,2\nc,3\nd,4\ne,5\n", "02").await;
    assert!(lost_worker(&desk.world, &two, (Which::Commit, 3), Fault::CallAnswered).await);
    desk.world.end_leases().await;
    assert_eq!(desk.world.run(&one).await.unwrap().status, LoadStatus::Duplicate);
    assert_eq!(desk.world.run(&two).await.unwrap().status, LoadStatus::Loaded);
    assert_eq!(desk.rows().await, "a2 b2 c3 d4 e5");
}

/// What is asked for is loaded, whatever else is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_an_earlier_content_that_cannot_be_ended_fails_no_other() {
    let desk = Desk::new(BY_KEY, "").await;
    std::fs::write(desk.folder.path().join("acc.toml"), ACCOUNTS).unwrap();
    let desk = desk.redefine("");
    desk.world.query("create table acc (k text primary key); grant all on acc to public").await;
    desk.world.put(KEY, "k,v\na,1\nb,2\nc,3\nd,4\ne,5\n").await;
    let request = Request { dataset: Some("acc".into()), ..desk.world.request(KEY) };
    assert!(lost_worker(&desk.world, &request, (Which::Commit, 3), Fault::CallAnswered).await);
    desk.world.end_leases().await;
    desk.world.query("drop table acc").await;
    desk.world.put(KEY, "k,v\nz,9\n").await;
    assert_eq!(desk.world.load(KEY).await.status, LoadStatus::Loaded);
    assert_eq!(desk.world.query("select state from etl.load order by id").await, "loading\nloaded");
}

/// No listing asks for its version again.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_object_is_gone_is_reported_and_ends_when_its_key_is_loaded() {
    for (replaced, ended) in [(None, "failed | not_found"), (Some("k,v\nz,9\n"), "superseded | superseded")] {
        let desk = Desk::new(BY_KEY, "").await;
        desk.world.put(KEY, "k,v\na,1\nb,2\nc,3\nd,4\ne,5\n").await;
        desk.is_killed_halfway().await;
        desk.world.s3.delete_object().bucket(&desk.world.bucket).key(KEY).send().await.unwrap();
        desk.world
            .query("update etl.load set lease_expires_at = clock_timestamp() - interval '2 days' where id = 1")
            .await;
        let night = reconcile(&desk.world).await;
        let [left] = &night.discrepancies[..] else { panic!("{night:?}") };
        assert!(left.message.contains("load 1 of s3://") && left.message.contains("has not ended"), "{left:?}");
        if let Some(content) = replaced {
            desk.world.put(KEY, content).await;
        }
        desk.world.load(KEY).await;
        assert_eq!(desk.world.query("select state, reason from etl.load where id = 1").await, ended);
        assert!(reconcile(&desk.world).await.is_clean());
    }
}
