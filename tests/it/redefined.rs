//! A file is loaded again, goes on, or is compared under a definition that reads it otherwise: other parts, other records.

use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
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

    async fn again(&self) -> LoadReport {
        self.world.run(&Request { again: true, ..self.world.request(KEY) }).await.unwrap()
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

/// Where rows are known by what was counted before them, a part of another name would bring them once more.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_goes_on_under_the_names_of_its_parts_and_its_rows_come_once() {
    let content = "Deals\nk,v\na,1\nb,2\nc,3\nd,4\ne,5\n";
    for mode in [BY_PLACE, BY_CONTENT] {
        for (before, after) in [("header = 2", "section = \"Deals\""), ("section = \"Deals\"", "header = 2")] {
            let desk = Desk::new(mode, before).await;
            desk.world.put(KEY, content).await;
            desk.is_killed_halfway().await;
            desk.world.end_leases().await;
            let begun = desk.rows().await;
            let desk = desk.redefine(after);
            if after == "header = 2" {
                let error = desk.world.try_load(KEY).await.unwrap_err();
                assert!(
                    error.chain().contains("its part \"Deals\" was begun under a definition with such parts"),
                    "{}",
                    error.chain()
                );
                assert_eq!(desk.rows().await, begun);
            } else {
                reconcile(&desk.world).await;
                assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5", "{}", desk.mode);
            }
            // Under the definition from then it ends, whatever came in between.
            let desk = desk.redefine(before);
            reconcile(&desk.world).await;
            assert_eq!(desk.rows().await, "a1 b2 c3 d4 e5", "{}, first {before}", desk.mode);
            assert!(reconcile(&desk.world).await.is_clean());
        }
    }
}

#[tokio::test]
async fn rows_that_are_known_by_their_places_are_not_loaded_once_more_as_a_part_of_another_name() {
    for (before, after) in [("header = 2", "section = \"Deals\""), ("section = \"Deals\"", "header = 2")] {
        let desk = Desk::new(BY_PLACE, before).await;
        desk.world.drop_file(KEY, "Deals\nk,v\na,1\nb,2\n").await;
        let desk = desk.redefine(after);
        let error = desk.world.run(&Request { again: true, ..desk.world.request(KEY) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.chain().contains("so that its rows would come once more"), "{}", error.chain());
        assert_eq!(desk.rows().await, "a1 b2");
        assert!(reconcile(&desk.world).await.is_clean());
        let desk = desk.redefine(before);
        assert_eq!(desk.again().await.counts.unwrap().unchanged, 2);
    }
    // Contents are counted across all parts.
    let desk = Desk::new(BY_CONTENT, "header = 2").await;
    desk.world.drop_file(KEY, "Deals\nk,v\na,1\na,1\n").await;
    assert_eq!(desk.redefine("section = \"Deals\"").again().await.counts.unwrap().unchanged, 2);
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
    let mend = async |world: &World, load: i64| {
        let rejects = world.get(&world.bucket, &format!("rejects/deal/{load}.csv")).await;
        world.drop_file(&format!("incoming/deal/mended{load}.csv"), rejects.replace(",x", ",2")).await
    };
    assert_eq!(mend(&desk.world, 1).await.counts.unwrap().inserted, 1);
    assert_eq!(desk.rows().await, "Subtotal1 a1 b2 b2");
    let desk = desk.redefine("skip = [\"Subtotal\"]");
    desk.again().await;
    assert_eq!(desk.world.query("select count(*) from etl.open_reject").await, "0", "it is mended");
    assert_eq!(mend(&desk.world, 3).await.counts.unwrap().unchanged, 1);
    assert_eq!(desk.rows().await, "Subtotal1 a1 b2 b2");
    assert!(reconcile(&desk.world).await.is_clean());
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
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, value) in [("a.csv", 1), ("b.csv", 2)] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut archive, format!("k,v\nx,{value}\n").as_bytes()).unwrap();
        }
        desk.world.put(KEY, archive.finish().unwrap().into_inner()).await;
        desk.world.load_parts(KEY).await;
        assert_eq!(desk.rows().await, "x2", "{first} before {second}");
    }
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
