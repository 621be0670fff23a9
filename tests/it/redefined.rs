//! A file is loaded again, goes on, or is compared under a definition that reads it otherwise: other parts, other records.

use small_etl::domain::{LoadReport, LoadStatus, Location, Sequencer};
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
            (*named, *rank) = (Some(etag), Sequencer::of_event(sequencer.to_owned()));
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

/// However its last run has ended, and whatever a claim since has named as parts of the object.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_any_run_of_a_part_keep_them_from_coming_once_more_under_another_name() {
    let refused = async |desk: &Desk, rows: &str| {
        let error = desk.world.run_all(&Request { again: true, ..desk.world.request(KEY) }).await.unwrap_err();
        assert!(error.chain().contains("so that its rows would come once more"), "{}", error.chain());
        assert_eq!(desk.rows().await, rows);
    };
    let zip = archive(&[("a.csv", "Deals\nk,v\na,1\nb,2\n"), ("b.csv", "Deals\nk,v\nc,3\n"), ("c.txt", "k,v\nx,9\n")]);
    let member = |name: &str, member: &str, more: &str| {
        format!("[[source]]\nname = \"{name}\"\nfiles = [\"incoming/deal/*\"]\nmember = \"{member}\"\n{more}\n")
    };
    // The last run has failed.
    let desk = Desk::new(BY_PLACE, "member = \"a.csv\"\nheader = 2").await;
    desk.world.put(KEY, zip.clone()).await;
    desk.world.load_parts(KEY).await;
    let desk = desk.redefine("member = \"a.csv\"\nheader = 1");
    assert_eq!(desk.again().await.status, LoadStatus::Failed);
    refused(&desk.redefine("member = \"a.csv\"\nsection = \"Deals\""), "a1 b2").await;
    // Another part has been claimed since.
    for mode in [BY_PLACE, BY_CONTENT] {
        let first = format!("member = \"a.csv\"\nheader = 2\n{}", member("t", "b.csv", "header = 2"));
        let desk = Desk::new(mode, &first).await;
        desk.world.put(KEY, zip.clone()).await;
        desk.world.load_parts(KEY).await;
        let then = format!(
            "member = \"a.csv\"\nsection = \"Deals\"\n{}{}",
            member("t", "b.csv", "header = 2"),
            member("u", "c.txt", "")
        );
        let desk = desk.redefine(&then);
        desk.world.load_parts(KEY).await;
        refused(&desk, "a1 b2 c3").await;
    }
    // What was loaded in part, could not be read, and is put once more.
    let desk = Desk::new(BY_PLACE, "header = 2").await;
    let content = "Deals\nk,v\na,1\nb,2\nc,3\nd,4\ne,5\n";
    let one = desk.put_and_tell(content, "01").await;
    assert!(lost_worker(&desk.world, &one, (Which::Commit, 3), Fault::CallAnswered).await);
    desk.world.end_leases().await;
    desk.world.s3.delete_object().bucket(&desk.world.bucket).key(KEY).send().await.unwrap();
    assert_eq!(desk.world.run(&one).await.unwrap().reason.as_deref(), Some("not_found"));
    let desk = desk.redefine("section = \"Deals\"");
    let two = desk.put_and_tell(content, "02").await;
    let error = desk.world.run(&two).await.unwrap_err();
    assert!(error.chain().contains("so that its rows would come once more"), "{}", error.chain());
    let desk = desk.redefine("header = 2");
    assert_eq!(desk.world.run(&two).await.unwrap().status, LoadStatus::Loaded);
    assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5");
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
async fn the_place_of_a_row_that_waits_is_given_to_no_other_row() {
    let reference = "[reference]\ncolumn = \"k\"\ndataset = \"acc\"\n[[source]]\n";
    let desk = Desk::new(BY_PLACE, reference).await;
    desk.world.query("create table acc (k text primary key)").await;
    assert_eq!(desk.world.drop_file(KEY, "k,v\na,1\nSubtotal,1\nb,2\n").await.counts.unwrap().parked, 3);
    let desk = desk.redefine(&format!("{reference}skip = [\"Subtotal\"]"));
    assert_eq!(desk.again().await.reason.as_deref(), Some("records_renumbered"));
    desk.world.drop_file("incoming/acc/1.csv", "k\na\nb\nSubtotal\n").await;
    assert_eq!(desk.rows().await, "Subtotal1 a1 b2");
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
async fn the_place_of_a_row_is_given_to_no_other_row() {
    let fails = "[load]\nmax_reject_rate = 0.1\n[[source]]\n";
    for (before, after, mends, said) in [
        ("", "skip = [\"Subtotal\"]", true, "line 3 was record 2 when its row was loaded, and is left out now"),
        ("", "skip = [\"b\"]", true, "line 4 was record 3 when its row was loaded, and is left out now"),
        ("", "skip = [\"Subtotal\"]", false, "line 3 was record 2 when its row was loaded, and is left out now"),
        ("", "skip = [\"a\"]", false, "line 2 was record 1 when its row was loaded, and is left out now"),
        ("skip = [\"Subtotal\"]", "", false, "line 5 was record 3 when its row was loaded, and is record 4 now"),
        // A file that failed has no rows but those that were mended.
        (fails, "skip = [\"Subtotal\"]", true, "line 4 was record 3 when its row was loaded, and is record 2 now"),
    ] {
        let desk = Desk::new(BY_PLACE, before).await;
        desk.world.drop_file(KEY, APPENDED).await;
        if mends {
            assert_eq!(desk.mend(1).await.counts.unwrap().inserted, 1);
        }
        let rows = desk.rows().await;
        let desk = desk.redefine(after);
        let refused = desk.again().await;
        assert_eq!((refused.status, refused.reason.as_deref()), (LoadStatus::Failed, Some("records_renumbered")));
        assert!(refused.error.as_deref().is_some_and(|error| error.contains(said)), "{said}: {refused:?}");
        assert_eq!(desk.rows().await, rows);
        let desk = desk.redefine(before.trim_start_matches("[load]\nmax_reject_rate = 0.1\n"));
        assert_eq!(desk.again().await.status, LoadStatus::Loaded);
        assert!(reconcile(&desk.world).await.is_clean());
    }
}

/// They are gone, as `docs/modes.md` says, and take no place from another row.
#[tokio::test]
async fn records_at_the_end_of_an_appended_file_may_be_left_out() {
    let desk = Desk::new(BY_PLACE, "").await;
    desk.world.drop_file(KEY, "k,v\na,1\nb,x\nTotal,1\nmore,2\n").await;
    let desk = desk.redefine("end = [\"Total\"]\nanything_after_end = true");
    let counts = desk.again().await.counts.unwrap();
    assert_eq!((counts.unchanged, counts.rejected, counts.deleted), (1, 1, 2));
    desk.mend(2).await;
    assert_eq!(desk.rows().await, "a1 b2");
    assert!(reconcile(&desk.world).await.is_clean());
}

/// Their lines are gone with the rejects.
#[tokio::test]
async fn a_file_whose_rejects_are_deleted_is_loaded_again_and_mended() {
    let desk = Desk::new(BY_PLACE, "").await;
    desk.world.drop_file(KEY, "k,v\na,1\nb,x\nc,x\n").await;
    let rejects = desk.world.get(&desk.world.bucket, "rejects/deal/1.csv").await;
    let (others, _) = rejects.split_at(rejects.rfind("1,3,").unwrap());
    desk.world.drop_file("incoming/deal/mended.csv", others.replace(",x", ",2")).await;
    assert_eq!(desk.rows().await, "a1 b2");
    desk.world.query("delete from etl.reject").await;
    assert_eq!(desk.again().await.counts.unwrap().rejected, 2);
    let rejects = desk.world.get(&desk.world.bucket, "rejects/deal/3.csv").await;
    desk.world.drop_file("incoming/deal/mended3.csv", rejects.replace(",x", ",3")).await;
    assert_eq!(desk.rows().await, "a1 b3 c3");
    assert!(reconcile(&desk.world).await.is_clean());
}

/// What it has counted may be otherwise than in the run before.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_not_mended_while_their_file_is_loaded_again() {
    let desk = Desk::new(BY_PLACE, "").await;
    desk.world.drop_file(KEY, "k,v\na,1\nb,x\nc,3\nd,4\ne,5\n").await;
    let again = Request { again: true, ..desk.world.request(KEY) };
    assert!(lost_worker(&desk.world, &again, (Which::Commit, 3), Fault::CallAnswered).await);
    let rejects = desk.world.get(&desk.world.bucket, "rejects/deal/1.csv").await;
    desk.world.put("incoming/deal/mended.csv", rejects.replace(",x", ",2")).await;
    let error = desk.world.try_load("incoming/deal/mended.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.chain().contains("a file that load 2 is loading"), "{}", error.chain());
    desk.world.end_leases().await;
    desk.world.load(KEY).await;
    desk.world.end_leases().await;
    assert_eq!(desk.world.load("incoming/deal/mended.csv").await.status, LoadStatus::Loaded);
    assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5");
    assert_eq!(desk.world.query("select count(*) from etl.open_reject").await, "0");
}

/// The runs before have loaded nothing, and left out other records.
#[tokio::test]
async fn a_row_is_mended_in_the_place_that_its_line_has_now() {
    const SKIPPED: &str = "skip = [\"Subtotal\"]";
    let fails = "[load]\nmax_reject_rate = 0.1\n[[source]]\n";
    // A row that is good by now came later than the mended one.
    let good = format!("{SKIPPED}\nnull_values = [\"x\"]");
    for (now, rows) in [(SKIPPED, "a1 b2 c3"), (&good, "a1 b- c3")] {
        let desk = Desk::new(BY_PLACE, fails).await;
        desk.world.drop_file(KEY, APPENDED).await;
        let desk = desk.redefine(now);
        desk.again().await;
        for _ in 0..2 {
            desk.mend(1).await;
            assert_eq!(desk.rows().await, rows, "{now}");
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

/// A file is asked for again after it has replaced another one whose load was left.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_replaced_another_one_is_loaded_once() {
    let desk = Desk::new(BY_PLACE, "").await;
    let path = desk.folder.path().join("deal.csv");
    let request = Request { dataset: Some("deal".into()), ..Request::new(Location::File(path.clone())) };
    std::fs::write(&path, "k,v\na,1\nb,2\nc,3\nd,4\ne,5\n").unwrap();
    assert!(lost_worker(&desk.world, &request, (Which::Commit, 3), Fault::CallAnswered).await);
    std::fs::write(&path, "k,v\ny,8\nz,9\n").unwrap();
    assert_eq!(desk.world.run(&request).await.unwrap().status, LoadStatus::Loaded);
    desk.world.end_leases().await;
    for _ in 0..2 {
        assert_eq!(desk.world.run(&request).await.unwrap().status, LoadStatus::Duplicate);
        let ended =
            "select version <> (select version from etl.load where id = 2), state, run from etl.load order by id";
        assert_eq!(desk.world.query(ended).await, "t | superseded | 0\nf | loaded | 0");
    }
    assert_eq!(desk.world.query("select count(*) from deal where k in ('y', 'z')").await, "2");
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
