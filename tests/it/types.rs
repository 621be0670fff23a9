//! What every registered type of column does in a whole load: it is read, checked, written, printed by Postgres,
//! checked at night, delivered to the lake and read from it, parked, encrypted, summed, and found by its key. A new
//! type is tested by being registered with its samples.

pub mod case;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use arrow::array::{Array as _, StringArray};
use chrono::DateTime;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use small_etl::domain::LoadStatus;
use small_etl::pipeline;

use crate::command_line::small_etl;
use crate::nightly::reconcile;
use crate::parts::config;
use crate::support::Scratch;
use crate::world::{World, client, moto, query};
use case::{Case, PARENT, SEEN, cell_like, count, csv_of, psql, tables, texts, world_of, write_definitions};

#[tokio::test]
async fn every_type_is_stored_as_postgres_itself_would_store_it_and_what_is_almost_one_is_explained() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    for case in &cases {
        let Case { name, samples, .. } = case;
        let mut rows = case.values();
        rows.push(("s".into(), None));
        rows.extend(samples.others.iter().enumerate().map(|(nth, cell)| (format!("x{nth:02}"), Some(*cell))));
        let counts = case.drop(&world, "1.csv", &rows).await.counts.unwrap();
        let (good, bad) = (count(samples.values.len()) + 1, count(samples.others.len()));
        assert_eq!((counts.read, counts.inserted, counts.rejected), (good + bad, good, bad), "{name}");

        let stored: Vec<String> = case.stored().into_iter().flatten().chain([String::new()]).collect();
        assert_eq!(psql(&world, &format!("select v::text from {name} order by id")), stored, "{name}");
        let reject = format!(
            "select string_agg(distinct \"column\" || ' ' || rule, ',') from etl.reject r join etl.load l on l.id = load_id where dataset = '{name}'"
        );
        let expected = (bad > 0).then(|| format!("v {}", case.kind.rule()));
        assert_eq!(texts(&world, &reject).await, [expected], "{name}");

        // The same values once more, in another order: nothing is written.
        let good: Vec<_> = rows.iter().filter(|(id, _)| !id.starts_with('x')).rev().cloned().collect();
        let counts = case.drop(&world, "2.csv", &good).await.counts.unwrap();
        assert_eq!((counts.unchanged, counts.rejected), (count(good.len()), 0), "{name}");
        // Another value for each row, and then the old one again.
        let shifted: Vec<_> =
            good.iter().zip(good.iter().cycle().skip(1)).map(|((id, _), (_, cell))| (id.clone(), *cell)).collect();
        let counts = case.drop(&world, "3.csv", &shifted).await.counts.unwrap();
        assert!(counts.updated > 1 && counts.updated + counts.unchanged == count(good.len()), "{name}: {counts:?}");
        case.drop(&world, "4.csv", &good).await;
        assert_eq!(psql(&world, &format!("select v::text from {name} order by id")), stored, "{name}");
    }
    let night = reconcile(&world).await;
    assert!(night.is_clean() && night.rows_checked > 2 * count(cases.len()), "{night:?}");
}

/// Values that a column of a table can hold although they are not values of the type.
const STRANGERS: [&str; 6] = ["infinity", "-infinity", "NaN", "0044-03-15 BC", "24:00:00", "10000-01-01"];

#[tokio::test]
async fn the_nightly_run_finds_what_is_in_a_table_and_is_not_a_value_of_its_type() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let cases: Vec<Case> = cases.into_iter().filter(|case| !case.kind.is_text()).collect();
    let world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    let mut expected = BTreeMap::new();
    for case in &cases {
        let (client, driver) = client(&world.url).await;
        for stranger in STRANGERS {
            let Case { name, samples, .. } = case;
            let insert = format!("insert into {name} values ('{stranger}', '{stranger}'::{}, now())", samples.column);
            if client.batch_execute(&insert).await.is_ok() {
                *expected.entry((case.name.clone(), case.kind.rule().to_owned())).or_insert(0) += 1;
            }
        }
        drop(client);
        driver.await.unwrap();
    }
    assert!(expected.len() > 2, "{expected:?}");
    let mut found = BTreeMap::new();
    let night = reconcile(&world).await;
    for wrong in night.discrepancies.into_iter().filter(|wrong| wrong.check != "row_count") {
        *found.entry((wrong.dataset.unwrap(), wrong.check)).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_is_accepted_of_cells_at_random_is_what_postgres_makes_of_them() {
    const CELLS: usize = 1000;
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for case in &cases {
        let Case { name, samples, .. } = case;
        let cells: Vec<String> = std::iter::repeat_with(|| cell_like(samples, &mut random))
            .filter(|cell| !cell.is_empty())
            .take(CELLS)
            .collect();
        let rows: Vec<_> =
            cells.iter().enumerate().map(|(nth, cell)| (format!("{nth}"), Some(cell.as_str()))).collect();
        let counts = case.drop(&world, "1.csv", &rows).await.counts.unwrap();
        let read = case.kind.read(&StringArray::from(cells.clone()));
        assert_eq!(counts.rejected, count(read.null_count()), "{name}");
        assert!(counts.inserted > 50, "{name}: {counts:?}");
        let (client, driver) = client(&world.url).await;
        client.batch_execute("set timezone = 'UTC'").await.unwrap();
        let ids: Vec<String> = (0..CELLS).map(|nth| nth.to_string()).collect();
        let compare = format!(
            "select cell, v::text from {name} join unnest($1::text[], $2::text[]) as n (id, cell) using (id) \
             where v is distinct from cell::{}",
            samples.column
        );
        let rows = client.query(&compare, &[&ids, &cells]).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let differ: Vec<(String, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert!(differ.is_empty(), "{name}: {differ:?}");
        drop(client);
        driver.await.unwrap();
        if case.kind.not_a_key().is_some() {
            continue;
        }
        // The ledger prints a key exactly as the table does.
        let stored = texts(&world, &format!("select v::text from {name} order by id::int")).await;
        let canonical: Vec<Option<String>> =
            cells.iter().filter_map(|cell| case.kind.canonical(cell)).map(Some).collect();
        assert_eq!(stored, canonical, "{name}");
    }
}

#[tokio::test]
async fn every_type_is_an_operand_a_bound_and_a_statistic_and_can_be_replayed() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let rest = "[[rule]]\nid = \"operand\"\ncolumn = \"v\"\ncheck = \"v = v and v is not null\"\nmessage = \"x\"\n\
        [[statistic]]\nid = \"least\"\nexpression = \"min(v)\"\n[[statistic]]\nid = \"most\"\nexpression = \"max(v)\"\n\
        [[statistic]]\nid = \"by_value\"\nexpression = \"count(*)\"\ngroup_by = \"v\"\n";
    let bound = |case: &Case| {
        let allowed = format!("allowed = [{}]\n", toml::Value::from(case.samples.values[0].0));
        if case.kind.can_be_compared() { allowed } else { String::new() }
    };
    let world = world_of(&cases, &scratch, |case| case.definition(&bound(case), rest), None).await;
    for case in &cases {
        let Case { name, .. } = case;
        let report = case.drop(&world, "1.csv", &case.values()[..2]).await;
        let counts = report.counts.unwrap();
        let expected = if case.kind.can_be_compared() { (1, 1) } else { (2, 0) };
        assert_eq!((counts.inserted, counts.rejected), expected, "{name}");
        assert_eq!(count(report.statistics["by_value"].as_object().unwrap().len()), counts.inserted, "{name}");
        if case.kind.can_be_compared() {
            assert!(!report.statistics["least"].is_null(), "{name}");
            assert_eq!(report.statistics["least"], report.statistics["most"], "{name}");
            let told = match &report.statistics["least"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(case.kind.canonical(&told).as_deref(), Some(case.samples.values[0].1), "{name}: {told}");
            assert_eq!(
                texts(&world, &format!("select rule from etl.reject where load_id = {}", report.load_id.unwrap()))
                    .await,
                [Some("allowed".to_owned())],
                "{name}"
            );
        }
        let datasets = &world.context.datasets;
        let changed = datasets.with_definition(name, "new.toml", &case.definition("required = true\n", "")).unwrap();
        let (today, changed) = (datasets.get(name).unwrap(), changed.get(name).unwrap());
        let loaded = world.database.files_since(name, DateTime::UNIX_EPOCH).await.unwrap();
        let replayed = pipeline::replay(&world.context, &loaded[0], (today, changed)).await.unwrap();
        assert_eq!(
            (replayed.read, replayed.would_accept.cast_signed(), replayed.would_reject),
            (2, counts.rejected, 0),
            "{name}"
        );
    }
}

/// A parked row is stored as JSON and built from it again.
#[tokio::test]
async fn every_type_comes_out_of_a_parked_row_as_it_went_in() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let rest = "[reference]\ncolumn = \"id\"\ndataset = \"parent\"\n";
    write_definitions(&cases, &scratch, |case| case.definition("", rest));
    fs::write(scratch.path().join("datasets/parent.toml"), PARENT).unwrap();
    let world = World::with(&[("DATASETS__PATH", scratch.path().join("datasets").to_str().unwrap())]).await;
    world.query(&tables(&cases, None)).await;
    world.query("create table parent (id text primary key, seen_at timestamptz not null)").await;
    let mut parents = String::from("id,seen_at\n");
    (0..20).for_each(|nth| writeln!(parents, "r{nth:02},{SEEN}").unwrap());
    for case in &cases {
        let counts = case.drop(&world, "1.csv", &case.values()).await.counts.unwrap();
        assert_eq!(counts.parked, count(case.samples.values.len()), "{}", case.name);
    }
    let released = world.drop_file("incoming/parent/1.csv", parents).await.counts.unwrap().released;
    assert_eq!(released, cases.iter().map(|case| count(case.samples.values.len())).sum::<i64>());
    for case in &cases {
        let stored = texts(&world, &format!("select v::text from {} order by id", case.name)).await;
        assert_eq!(stored, case.stored(), "{}", case.name);
        let counts = case.drop(&world, "2.csv", &case.values()).await.counts.unwrap();
        assert_eq!(counts.unchanged, count(case.samples.values.len()), "{}", case.name);
    }
}

#[tokio::test]
async fn every_type_that_can_be_a_key_is_known_in_the_ledger_as_in_the_table() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.kind.not_a_key().is_none()).collect();
    let keyed = |case: &Case| case.definition("required = true", "").replace("key = \"id\"", "key = \"v\"");
    let folder = scratch.path().join("datasets");
    write_definitions(&cases, &scratch, keyed);
    let world = World::with(&[("DATASETS__PATH", folder.to_str().unwrap())]).await;
    for case in &cases {
        let Case { name, samples, .. } = case;
        world
            .query(&format!(
                "create table {name} (v {} primary key, id text, seen_at timestamptz not null)",
                samples.column
            ))
            .await;
        let mut rows = case.values();
        let mut seen = Vec::new();
        rows.retain(|(_, cell)| {
            let key = case.kind.canonical(cell.unwrap());
            let is_new = !seen.contains(&key);
            seen.push(key);
            is_new
        });
        // Each row is bad at first, and is recognized by its key when it is mended.
        let bad = String::from_utf8(csv_of(&rows)).unwrap().replace(SEEN, "yesterday");
        let counts = world.drop_file(&case.key("1.csv"), bad).await.counts.unwrap();
        assert_eq!((counts.inserted, counts.rejected), (0, count(rows.len())), "{name}");
        let counts = case.drop(&world, "2.csv", &rows).await.counts.unwrap();
        assert_eq!((counts.inserted, counts.rejected), (count(rows.len()), 0), "{name}");
        let open = format!(
            "select count(*)::text from etl.open_reject o join etl.load l on l.id = o.load_id where l.dataset = '{name}'"
        );
        assert_eq!(texts(&world, &open).await, [Some("0".to_owned())], "{name}");
        // The same in the other way: SQL decides about a newer version of each row.
        let newer = String::from_utf8(csv_of(&rows)).unwrap().replace("08:15:00Z", "09:15:00Z");
        let counts = world.drop_file(&case.key("3.csv"), newer).await.counts.unwrap();
        assert_eq!(counts.updated, count(rows.len()), "{name}");
        let dataset = world.context.datasets.get(name).unwrap();
        for (_, cell) in &rows {
            let key = dataset.ledger_key(&[cell.unwrap()]).unwrap();
            assert!(world.database.present_row(dataset, &key).await.unwrap().is_some(), "{name}: {key}");
            let attempts = world.database.row_attempts(dataset, &key).await.unwrap();
            let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
            assert_eq!(outcomes, ["inserted", "updated"], "{name}: {key}");
        }
        // A cell that is almost a key is not a key.
        let almost: Vec<_> = samples.others.iter().map(|cell| (String::new(), Some(*cell))).collect();
        case.drop(&world, "4.csv", &almost).await;
        let keys = format!(
            "select max(r.key) from etl.reject r join etl.load l on l.id = r.load_id where l.dataset = '{name}' and r.\"column\" = 'v'"
        );
        assert_eq!(texts(&world, &keys).await, [None], "{name}");
    }
}

/// Orders values as their type does: numbers as numbers, and times as the texts that Postgres prints.
fn order<'s>(stored: &&'s str) -> (Option<i64>, &'s str) {
    (stored.parse().ok(), *stored)
}

/// A row is newer or older according to the type of its version, whether it is written at once or parked first.
#[tokio::test]
async fn every_type_that_can_be_the_version_tells_an_older_row_from_a_newer_one() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.kind.can_be_version()).collect();
    let versioned = |case: &Case| {
        let rest =
            "[[column]]\nname = \"parent\"\ntype = \"text\"\n[reference]\ncolumn = \"parent\"\ndataset = \"parent\"\n";
        case.definition("required = true", rest).replace("version = \"seen_at\"", "version = \"v\"")
    };
    write_definitions(&cases, &scratch, versioned);
    fs::write(scratch.path().join("datasets/parent.toml"), PARENT).unwrap();
    let world = World::with(&[("DATASETS__PATH", scratch.path().join("datasets").to_str().unwrap())]).await;
    world.query("create table parent (id text primary key, seen_at timestamptz not null)").await;
    for case in &cases {
        let Case { name, samples, .. } = case;
        let table = format!(
            "create table {name} (id text primary key, v {} not null, seen_at timestamptz, parent text)",
            samples.column
        );
        world.query(&table).await;
        let mut ordered = samples.values[..2].to_vec();
        ordered.sort_unstable_by_key(|(_, stored)| order(stored));
        let row =
            |id: &str, version: &str, parent: &str| format!("id,v,seen_at,parent\n{id},{version},{SEEN},{parent}\n");
        for (file, version, parent) in [("1.csv", 1, ""), ("2.csv", 0, ""), ("3.csv", 1, "P"), ("4.csv", 0, "P")] {
            let id = if parent.is_empty() { "direct" } else { "parked" };
            world.drop_file(&case.key(file), row(id, ordered[version].0, parent)).await;
        }
        let counts = format!(
            "select string_agg(inserted || ' ' || stale || ' ' || parked, ', ' order by id) from etl.load where dataset = '{name}'"
        );
        assert_eq!(texts(&world, &counts).await, [Some("1 0 0, 0 1 0, 0 0 1, 0 0 1".to_owned())], "{name}");
        let (last, stored) = samples.values.iter().max_by_key(|(_, stored)| order(stored)).unwrap();
        let late = world.drop_file(&case.key("5.csv"), row("late", last, "")).await.counts.unwrap();
        // A number has no future.
        let is_time = i64::from(stored.parse::<i64>().is_err());
        assert_eq!((late.inserted, late.rejected), (1 - is_time, is_time), "{name}: a version that lies in the future");
    }
    world.drop_file("incoming/parent/1.csv", format!("id,seen_at\nP,{SEEN}\n")).await;
    for Case { name, kind, samples, .. } in &cases {
        let newest = samples.values[..2].iter().max_by_key(|(_, stored)| order(stored)).map(|(cell, _)| *cell);
        let newest = newest.and_then(|cell| kind.canonical(cell));
        let stored = texts(&world, &format!("select v::text from {name} where id <> 'late' order by id")).await;
        assert_eq!(stored, [newest.clone(), newest], "{name}");
    }
}

/// What a server could print differently by default, and what keys in the ledger are made of.
#[tokio::test]
async fn no_default_of_a_server_changes_a_key_or_a_value() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.kind.not_a_key().is_none()).collect();
    let keyed = |case: &Case| case.definition("required = true", "").replace("key = \"id\"", "key = \"v\"");
    write_definitions(&cases, &scratch, keyed);
    let world = World::with(&[("DATASETS__PATH", scratch.path().join("datasets").to_str().unwrap())]).await;
    let database = world.query("select current_database()").await;
    for default in
        ["datestyle = 'SQL, DMY'", "extra_float_digits = -15", "bytea_output = 'escape'", "timezone = 'Asia/Shanghai'"]
    {
        world.query(&format!("alter database \"{database}\" set {default}")).await;
    }
    let world = world.under(&[]);
    for case in &cases {
        let Case { name, samples, kind, .. } = case;
        let table =
            format!("create table {name} (v {} primary key, id text, seen_at timestamptz not null)", samples.column);
        world.query(&table).await;
        let rows = &case.values()[..2];
        case.drop(&world, "1.csv", rows).await;
        let newer = String::from_utf8(csv_of(rows)).unwrap().replace("08:15:00Z", "09:15:00Z");
        assert_eq!(world.drop_file(&case.key("2.csv"), newer).await.counts.unwrap().updated, 2, "{name}");
        for (cell, stored) in &samples.values[..2] {
            assert_eq!(kind.canonical(cell).as_deref(), Some(*stored));
            let dataset = world.context.datasets.get(name).unwrap();
            assert_eq!(world.database.row_attempts(dataset, stored).await.unwrap().len(), 2, "{name}: {stored}");
        }
    }
    let night = reconcile(&world).await;
    assert!(night.is_clean(), "{night:?}");
}

#[tokio::test]
async fn every_number_has_its_exact_sum_in_a_manifest() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.kind.digits().is_some()).collect();
    let world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    for case in &cases {
        let Case { name, .. } = case;
        case.drop(&world, "1.csv", &case.values()).await;
        let sum = texts(&world, &format!("select trim_scale(sum(v::numeric))::text from {name}")).await;
        let sum = sum[0].clone().unwrap();
        for (file, stated, status) in
            [("2.csv", sum.clone(), LoadStatus::Loaded), ("3.csv", format!("{sum}1"), LoadStatus::Failed)]
        {
            world.put(&format!("{}.manifest.json", case.key(file)), json!({"sums": {"v": stated}}).to_string()).await;
            let report = case.drop(&world, file, &case.values()).await;
            assert_eq!(report.status, status, "{name}: {:?}", report.error);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_lies_in_the_lake_and_is_read_from_it() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let mut world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    let load = |world: &World, file: &str| {
        let files: Vec<String> = cases.iter().map(|case| format!("s3://{}/{}", world.bucket, case.key(file))).collect();
        let arguments: Vec<&str> = ["load"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let output = small_etl(&scratch, &world.variables(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (mut out, mut back) = (String::new(), String::new());
    for Case { name, .. } in &cases {
        write!(out, "[[pipeline.{name}.loader]]\ntype = \"postgresql\"\n[[pipeline.{name}.loader]]\ntype = \"parquet\"\nprefix = \"lake/{name}/\"\n").unwrap();
        write!(back, "[[pipeline.{name}.extractor]]\ntype = \"s3_parquet\"\n").unwrap();
    }
    for case in &cases {
        let mut rows = case.values();
        rows.push(("s".into(), None));
        world.put(&case.key("1.csv"), csv_of(&rows)).await;
    }
    world.config = Some(config(&scratch, &out));
    load(&world, "1.csv");
    for case in &cases {
        let prefix = format!("lake/{}/", case.name);
        let listed = world.s3.list_objects_v2().bucket(&world.bucket).prefix(prefix).send().await.unwrap();
        let key = listed.contents()[0].key().unwrap();
        let object = world.s3.get_object().bucket(&world.bucket).key(key).send().await.unwrap();
        world.put(&case.key("2.parquet"), object.body.collect().await.unwrap().to_vec()).await;
        world.query(&format!("create table kept_{0} as table {0}; delete from {0}", case.name)).await;
    }
    world.config = Some(config(&scratch, &back));
    load(&world, "2.parquet");
    for Case { name, samples, .. } in &cases {
        let rows = samples.values.len() + 1;
        let same = format!(
            "select count(*)::text from {name} n join kept_{name} k using (id) where n.v is not distinct from k.v and n.v::text is not distinct from k.v::text"
        );
        assert_eq!(texts(&world, &same).await, [Some(rows.to_string())], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_encrypted_in_the_table_and_decrypted_as_its_cell() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    write_definitions(&cases, &scratch, |case| case.definition("encrypt = true", ""));
    let key = moto().kms().create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let folder = scratch.path().join("datasets");
    let world = World::on_moto(&[("DATASETS__PATH", folder.to_str().unwrap()), ("ENCRYPTION__KMS_KEY", &key)]).await;
    world.query(&tables(&cases, Some("bytea"))).await;
    let run = |arguments: &[&str]| {
        let output = small_etl(&scratch, &world.variables(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let mut files = Vec::new();
    for case in &cases {
        world.put(&case.key("1.csv"), csv_of(&case.values())).await;
        files.push(format!("s3://{}/{}", world.bucket, case.key("1.csv")));
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    run(&[&["load"], &files[..]].concat());
    run(&[&["load", "--again"], &files[..]].concat());
    let counts = "select distinct run::text || ' ' || (inserted > 0)::text || ' ' || (unchanged = read)::text from etl.load order by 1";
    assert_eq!(texts(&world, counts).await, [Some("0 true false".to_owned()), Some("1 false true".to_owned())]);
    for case in &cases {
        let clear = run(&["decrypt", &case.name]);
        let decrypted: Vec<csv::StringRecord> =
            csv::Reader::from_reader(&clear[..]).records().map(Result::unwrap).collect();
        let values: Vec<Option<String>> = decrypted.iter().map(|record| case.kind.canonical(&record[1])).collect();
        assert_eq!(values, case.stored(), "{}", case.name);
    }
    let everything = query(
        &world.admin_url(),
        &cases
            .iter()
            .map(|case| format!("select encode(v, 'escape') from {}", case.name))
            .collect::<Vec<_>>()
            .join(";"),
    )
    .await;
    assert!(
        cases
            .iter()
            .flat_map(Case::stored)
            .flatten()
            .filter(|text| text.len() > 8)
            .all(|text| !everything.contains(&text))
    );
}

/// A domain with another name is treated as the type beneath it, and its modifier counts.
#[tokio::test]
async fn a_table_holds_a_type_exactly_or_is_refused_before_anything_is_claimed() {
    let (scratch, cases) = (Scratch::new("types"), Case::all());
    let mut world = world_of(&cases, &scratch, |case| case.definition("", ""), None).await;
    world
        .query(
            "create domain rounded as timestamptz(3); create domain twice as rounded; create domain plain as timestamptz; \
             create domain short as varchar(5); create domain cents as numeric(20, 2)",
        )
        .await;
    let name = |kind: &str| cases.iter().find(|case| case.type_name == kind).unwrap();
    for (kind, column, shown) in [
        ("timestamp", "timestamptz(0)", "is timestamp(0) with time zone"),
        ("timestamp", "timestamptz(5)", "is timestamp(5) with time zone"),
        ("timestamp", "twice", "is twice"),
        ("timestamp", "timestamp", "is timestamp without time zone"),
        ("timestamp", "plain", ""),
        ("timestamp", "timestamptz(6)", ""),
        ("text", "short", "is short"),
        ("decimal", "numeric(21, 3)", ""),
        ("decimal", "cents", ""),
        ("decimal", "numeric(20, 1)", "is numeric(20,1)"),
        ("decimal", "real", "is real"),
        ("integer", "smallint", "is smallint"),
        ("integer", "bigint", ""),
        ("smallint", "integer", ""),
        ("smallint", "bigint", ""),
        ("double", "real", "is real"),
        ("double", "numeric", "is numeric"),
        ("time", "time(3)", "is time(3) without time zone"),
        ("time", "timetz", "is time with time zone"),
        ("local_timestamp", "timestamp(0)", "is timestamp(0) without time zone"),
        ("local_timestamp", "timestamptz", "is timestamp with time zone"),
        ("date", "timestamp", "is timestamp without time zone"),
        ("uuid", "text", "is text"),
        ("json", "json", "is json"),
    ] {
        let case = name(kind);
        world.query(&format!("drop table {}", case.name)).await;
        world.query(&tables(std::slice::from_ref(case), Some(column))).await;
        // As with a process that has not looked at any table yet.
        world = world.under(&[]);
        world.put(&case.key("1.csv"), csv_of(&case.values())).await;
        let outcome = world.run(&pipeline::Request { again: true, ..world.request(&case.key("1.csv")) }).await;
        match outcome {
            Ok(report) => {
                assert_eq!(
                    (report.counts.unwrap().inserted, shown),
                    (count(case.samples.values.len()), ""),
                    "{column}"
                );
                let stored = texts(&world, &format!("select v::text from {} order by id", case.name)).await;
                assert!(kind == "decimal" || stored == case.stored(), "{column}: {stored:?}");
            }
            Err(error) => assert!(!shown.is_empty() && error.to_string().contains(shown), "{column}: {error}"),
        }
    }
}

/// Two numbers that would be equal after rounding are two keys, and only one of them was ever a key.
#[tokio::test]
async fn a_rejected_decimal_key_is_never_that_of_another_row() {
    let scratch = Scratch::new("types");
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| case.name == "held_decimal_0").collect();
    let case = &cases[0];
    let folder = scratch.path().join("datasets");
    write_definitions(&cases, &scratch, |case| {
        case.definition("required = true", "").replace("key = \"id\"", "key = \"v\"")
    });
    let world = World::with(&[("DATASETS__PATH", folder.to_str().unwrap())]).await;
    world
        .query(&format!(
            "create table {} (v numeric(20, 2) primary key, id text, seen_at timestamptz not null)",
            case.name
        ))
        .await;
    let of = |cell| [("a".to_owned(), Some(cell))];
    case.drop(&world, "1.csv", &of("15.555")).await;
    case.drop(&world, "2.csv", &of("15.56")).await;
    assert_eq!(world.query("select value, key, state from etl.reject").await, "15.555 | - | open");
}
