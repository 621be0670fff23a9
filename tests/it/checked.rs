//! What `validate` says of a file is what a load does with it.

use futures::TryStreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::Scratch;
use crate::world::{World, checked};

/// Columns that only a check while cells are read looks at, that only a rule or a figure reads, and that nothing reads. A tombstone need have none
/// of them.
const NOTE: &str = r#"
name = "note"
table = "note"
key = "code"
version = "revision"
files = ["incoming/notes/*"]
null_values = [""]

[tombstone]
column = "op"
values = ["D"]
in_table = false

[[column]]
name = "op"
type = "text"
allowed = ["I", "D"]

[[column]]
name = "code"
type = "text"
required = true
min_length = 2
max_length = 4

[[column]]
name = "revision"
type = "bigint"
required = true

[[column]]
name = "title"
type = "text"
required = true
min_length = 2
max_length = 3

[[column]]
name = "author"
type = "text"
min_length = 2
severity = { min_length = "warning" }

[[column]]
name = "shelf"
type = "text"

[[column]]
name = "weight"
type = "integer"

[[column]]
name = "height"
type = "integer"

[[column]]
name = "due"
type = "date"

[[rule]]
id = "title_is_not_shelf"
column = "title"
when = "length(shelf) > 1"
check = "title <> shelf"
message = "title and shelf are the same"

[[statistic]]
id = "weight_by_author"
expression = "sum(weight)"
group_by = "author"
"#;

const NOTE_TABLE: &str = "create table note (code text primary key, revision bigint not null, title text not null, author text, shelf text, \
                          weight integer, height integer, due date)";

/// Rows with cells that are good, too short, too long in characters or only in bytes, of no type, or null.
fn notes(random: &mut ChaCha8Rng, rows: usize) -> String {
    let mut file = String::from("op,code,revision,title,author,shelf,weight,height,due\n");
    let mut cell = |good: &[&str], others: &[&str]| {
        let cells = if random.random_range(0..16) == 0 { others } else { good };
        cells[random.random_range(0..cells.len())].to_owned()
    };
    for row in 0..rows {
        let cells = [
            cell(&["I", "I", "D"], &["X", ""]),
            format!("{}{row}", cell(&["k", "日"], &["", "kkkk", "日本語版"])),
            cell(&["1", "2", "3"], &["x", ""]),
            cell(&["ab", "abc", "日本語"], &["a", "日", "abcd", "日本語版", "", "é"]),
            cell(&["a", "ab", "日本", ""], &["日"]),
            cell(&["cd", "", "c", "日本"], &["ab", "日本語"]),
            cell(&["1", "20", ""], &["heavy", "99999999999"]),
            cell(&["1", ""], &["tall"]),
            cell(&["2026-01-31", ""], &["2026-02-31"]),
        ];
        file += &(cells.join(",") + "\n");
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn what_validate_finds_is_what_a_load_rejects() {
    let folder = Scratch::new("checked");
    std::fs::write(folder.path().join("note.toml"), NOTE).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(NOTE_TABLE).await;
    for seed in 0..6 {
        let key = format!("incoming/notes/{seed}.csv");
        let report = world.drop_file(&key, notes(&mut ChaCha8Rng::seed_from_u64(seed), 300)).await;
        let (load, counts) = (report.load_id.unwrap().0, report.counts.unwrap());
        let found = checked(&world.context, &world.request(&key)).await.unwrap();
        assert_eq!(found.dataset.unstaged, ["height", "due"]);
        let rejected = found.violations().try_concat().await.unwrap().into_iter().map(|violation| {
            let column = violation.column.unwrap_or_default();
            format!("{} {column} {} {}", violation.record.0, violation.rule, violation.message)
        });
        let of_load = world
            .query(&format!(
                "select record || ' ' || coalesce(\"column\", '') || ' ' || rule || ' ' || message \
                 from etl.reject where load_id = {load} order by id"
            ))
            .await;
        assert_eq!(rejected.collect::<Vec<_>>().join("\n"), of_load, "seed {seed}");
        assert!(counts.rejected > 50 && counts.rejected < 150 && counts.warnings > 0, "{counts:?}");
        assert_eq!((found.validated.rejected, found.validated.warnings), (counts.rejected, counts.warnings));
        let statistics = world.query(&format!("select statistics from etl.load where id = {load}")).await;
        assert_eq!(serde_json::from_str::<serde_json::Value>(&statistics).unwrap(), found.statistics);
    }
}
