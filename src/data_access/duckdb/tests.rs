use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::*;

fn stages(temp_folder: Option<PathBuf>) -> Stages {
    Stages::new(StageOptions { memory_limit_mb: 64, threads: 1, temp_folder })
}

fn stage() -> Stage {
    stages(None).open(Arc::default()).unwrap()
}

#[test]
fn the_stage_reaches_no_file_and_its_limits_are_fixed() {
    let stage = stage();
    assert!(stage.query("select * from read_csv('/etc/passwd')").is_err());
    for other in [
        "memory_limit = '1GB'",
        "enable_external_access = true",
        "lock_configuration = false",
        "allowed_configs = ['memory_limit']",
        "checkpoint_threshold = '1MB'",
    ] {
        assert!(stage.execute(&format!("set {other}")).is_err(), "{other}");
    }
    assert!(stage.execute("install httpfs").is_err());
}

fn numbers(numbers: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)]).unwrap()
}

fn count(stage: &Stage, query: &str) -> i64 {
    stage.query(query).unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[test]
fn rows_are_inserted_in_their_order_while_they_are_sent() {
    let stages = Stages::new(StageOptions { memory_limit_mb: 64, threads: 2, temp_folder: None });
    let stage = stages.open(Arc::default()).unwrap();
    let threads = || count(&stage, "select current_setting('threads')::bigint");
    stage.create_table("one", "(n bigint)").unwrap();
    stage.create_table("other", "(n bigint)").unwrap();
    stage
        .insert(|mut put| {
            put("one", numbers(0..0))?;
            put("one", numbers(0..5000))?;
            put("other", numbers(0..3))?;
            put("one", numbers(5000..5001))?;
            stage.insert(|mut put| put("other", numbers(3..7)))?;
            assert_eq!(threads(), 1);
            stage.progress().set_staged(MOST_RECORDS_TO_KEEP + 1);
            put("one", numbers(5001..300_000))
        })
        .unwrap();
    assert_eq!(threads(), 2);
    assert_eq!(count(&stage, "select count(*) from one where n = rowid"), 300_000);
    assert_eq!(count(&stage, "select count(distinct n) from other"), 7);
}

#[test]
fn neither_many_rows_nor_many_columns_fill_the_memory() {
    const ROWS: i64 = 100_000;
    for (memory_limit_mb, columns, batches) in [(16, 8, 80), (16, 8, 1), (64, 300, 1)] {
        let options = StageOptions { memory_limit_mb, threads: 1, temp_folder: None };
        let stage = Stages::new(options).open(Arc::default()).unwrap();
        stage.expect_columns(columns);
        let names: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
        stage.create_table("t", &format!("({} bigint)", names.join(" bigint, "))).unwrap();
        let rows = if columns < 100 { ROWS } else { 10 };
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter(names.iter().map(|name| (name, Arc::clone(&values)))).unwrap();
        let send = |mut put: Put<'_>| {
            (1..=batches).try_for_each(|nth| {
                stage.progress().set_staged(nth * rows);
                put("t", batch.clone())
            })
        };
        stage.insert(send).unwrap();
        assert_eq!(count(&stage, "select count(*) from t"), batches * rows);
    }
}

#[test]
fn a_sender_that_gives_up_and_a_table_that_refuses_rows_both_end_an_insert() {
    let stage = stage();
    stage.create_table("one", "(n bigint)").unwrap();
    let failed: Result<()> = stage.insert(|mut put| {
        put("one", numbers(0..3))?;
        Err(Error::new(ErrorKind::Configuration, "given up"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "given up");
    let refused = stage.insert(|mut put| (0..100).try_for_each(|_| put("none", numbers(0..9))));
    assert!(refused.unwrap_err().chain().contains("insert into the staging database"));
    let cancelled = stage.insert(|mut put| {
        stage.cancel();
        put("one", numbers(0..9))
    });
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[test]
fn the_folder_is_removed_with_the_stage() {
    let stage = stage();
    let folder = stage.folder();
    assert!(folder.exists());
    drop(stage);
    assert!(!folder.exists());
}

#[test]
fn a_stage_that_held_little_is_emptied_and_used_again() {
    let stages = stages(None);
    let hold = |columns: &str, records: i64| {
        let stage = stages.open(Arc::default()).unwrap();
        assert!(!stage.spool().exists());
        stage.create_table("t", columns).unwrap();
        assert_eq!(count(&stage, "select count(*) from t"), 0);
        stage.insert(|mut put| put("t", numbers(0..records))).unwrap();
        std::fs::write(stage.spool(), "cells").unwrap();
        stage.progress().set_staged(records);
        (stage.folder(), count(&stage, "select min(rowid) from t"))
    };
    let (first, _) = hold("(n bigint)", 5);
    assert_eq!(hold("(n bigint)", MOST_RECORDS_TO_KEEP - 6), (first.clone(), 5), "the table is still there");
    assert_eq!(hold("(n bigint)", 1), (first.clone(), MOST_RECORDS_TO_KEEP - 1));
    assert_eq!(hold("(n bigint)", 1), (first.clone(), MOST_RECORDS_TO_KEEP), "so many rows may have been deleted");
    assert_eq!(hold("(n bigint)", 1), (first.clone(), 0), "and no more");
    assert_eq!(hold("(m bigint)", 2), (first.clone(), 0), "it has other columns");
    assert_eq!(hold("(m bigint)", MOST_RECORDS_TO_KEEP + 1).0, first);
    assert!(!first.exists() && hold("(n bigint)", 5).0 != first);
}

#[test]
fn a_table_that_is_created_twice_for_one_file_is_empty_again() {
    let stages = stages(None);
    for _ in 0..2 {
        let stage = stages.open(Arc::default()).unwrap();
        for _ in 0..2 {
            stage.create_table("t", "(n bigint)").unwrap();
            stage.insert(|mut put| put("t", numbers(0..3))).unwrap();
            assert_eq!(count(&stage, "select count(*) from t"), 3);
        }
    }
}

#[test]
fn a_stage_that_was_cancelled_is_not_used_again() {
    let stages = stages(None);
    let stage = stages.open(Arc::default()).unwrap();
    let folder = stage.folder();
    stage.cancel();
    drop(stage);
    assert!(!folder.exists());
}

#[test]
fn a_folder_of_a_dead_process_is_removed_by_the_next() {
    let parent = tempfile::tempdir().unwrap();
    let stale = parent.path().join(format!("{FOLDER_PREFIX}abc"));
    std::fs::create_dir(&stale).unwrap();
    let stages = stages(Some(parent.path().to_owned()));
    let first = stages.open(Arc::default()).unwrap();
    let second = stages.open(Arc::default()).unwrap();
    assert!(!stale.exists() && first.folder().exists() && second.folder().exists());
}

#[test]
fn a_statement_that_is_no_longer_wanted_is_stopped() {
    let stage = Arc::new(stage());
    let working = Arc::clone(&stage);
    let work = std::thread::spawn(move || working.query("select count(*) from range(1000000) a, range(1000000) b"));
    while stage.running.lock().unwrap().is_none() {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    stage.cancel();
    assert!(work.join().unwrap().is_err());
    assert_eq!(stage.query("select 1").unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[test]
fn an_error_carries_no_cell() {
    let error = stage().query("select cast('canary' as integer)").unwrap_err();
    assert!(!error.chain().contains("canary"), "{}", error.chain());
}
