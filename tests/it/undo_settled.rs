//! What loads had settled with each other before one of them is undone: scopes, rows that wait, and rejects.

use crate::support::Scratch;
use crate::undo::undo;
use crate::undo_order::Case;
use crate::world::World;

/// Files that replace scopes, which delete or flag.
const REPLACING: [&str; 2] = ["place", "flagged"];

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_goes_back_to_the_highest_file_that_is_not_undone() {
    for dataset in REPLACING {
        // One that came late is not the highest.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1,").await;
        case.load(dataset, "2", 5, "A,a,,2,").await;
        case.load(dataset, "3", 20, "A,a,,3,").await;
        case.undo(3);
        assert_eq!(case.load(dataset, "4", 7, "A,a,,4, A,d,,4,").await.stale, 2, "{dataset}");
        assert_eq!(case.rows(dataset).await, "Aa1", "{dataset}");
        // Nor is one that is undone.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1,").await;
        case.load(dataset, "2", 20, "A,a,,2,").await;
        case.load(dataset, "3", 30, "A,a,,3,").await;
        case.undo(2);
        case.undo(3);
        assert_eq!(case.rows(dataset).await, "Aa1", "{dataset}");
        assert_eq!(case.load(dataset, "5", 7, "A,d,,5,").await.stale, 1, "{dataset}");
        assert_eq!(case.load(dataset, "4", 15, "A,b,,4,").await.inserted, 1, "{dataset}");
        assert_eq!(case.rows(dataset).await, "Ab4", "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_undone_or_that_may_mean_a_row_keeps_none_from_coming_back() {
    for dataset in REPLACING {
        for (at, later, undone) in [
            (30, "A,a,,1,", true),
            (30, "A,a,,1, A,x,,9,", false),
            (30, "A,a,,1, A,,,1,", false),
            // It came late, and what it has is stale.
            (15, "A,a,,3, A,x,,3,", false),
        ] {
            let case = Case::new().await;
            case.load(dataset, "1", 10, "A,a,,1, A,x,,1,").await;
            case.load(dataset, "2", 20, "A,a,,1,").await;
            case.load(dataset, "3", at, later).await;
            if undone {
                case.undo(3);
            }
            let said = case.undo(2);
            assert_eq!(case.rows(dataset).await, "Aa1 Ax1", "{dataset} {later}: {said}");
            case.is_clean().await;
        }
    }
}

/// It ranks with the file in which it was bad.
#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_does_not_come_back_into_a_scope_that_was_replaced_without_it() {
    for dataset in REPLACING {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,b,,9,").await;
        assert_eq!(case.mend(dataset, 1, 40, ",9,", ",3,").await.inserted, 1);
        case.load(dataset, "2", 20, "A,a,,1,").await;
        case.load(dataset, "3", 30, "A,a,,1,").await;
        assert_eq!(case.rows(dataset).await, "Aa1", "{dataset}");
        let said = case.undo(3);
        assert!(said.contains("A,b: load 4 has replaced its scope without it"), "{said}");
        assert_eq!(case.rows(dataset).await, "Aa1", "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_waits_again_only_if_its_load_counts_and_no_other_file_has_replaced_its_scope() {
    for dataset in REPLACING {
        // The load of the row is undone as well.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,w,,1,X").await;
        case.load(dataset, "2", 20, "A,a,,2,").await;
        case.undo(1);
        let said = case.undo(2);
        assert!(!said.contains("wait for another row again"), "{said}");
        case.load("parent", "x", 1, "X").await;
        case.is_clean().await;
        assert_eq!(case.rows(dataset).await, "-", "{dataset}");
        // Another file has replaced the scope.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,w,,1,X").await;
        case.load(dataset, "2", 20, "A,a,,2,").await;
        case.load(dataset, "3", 30, "A,a,,3,").await;
        let said = case.undo(2);
        assert!(!said.contains("wait for another row again"), "{said}");
        // The same for a mended row, which ranks with the file in which it was bad.
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,w,,9,X").await;
        assert_eq!(case.mend(dataset, 1, 40, ",9,", ",3,").await.parked, 1);
        case.load(dataset, "2", 20, "A,a,,2,").await;
        case.load(dataset, "3", 30, "A,a,,3,").await;
        let said = case.undo(3);
        assert!(!said.contains("wait for another row again"), "{said}");
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,w,,1,X").await;
        case.load(dataset, "2", 20, "A,a,,2,").await;
        case.load(dataset, "3", 30, "A,a,,3,").await;
        case.undo(3);
        let said = case.undo(2);
        assert!(said.contains("wait for another row again: 1"), "{said}");
        case.load("parent", "x", 1, "X").await;
        case.is_clean().await;
        assert_eq!(case.rows(dataset).await, "Aa1 Aw1", "{dataset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_kept_keeps_its_reject_closed() {
    let case = Case::new().await;
    case.load("dated", "1", 1, "I,a,1,9, I,b,3,9,").await;
    case.load("dated", "2", 2, "I,a,2,2, I,b,2,2,").await;
    // A later load has written the row, or another one had mended the reject before.
    case.load("dated", "3", 3, "I,a,3,3,").await;
    let rejects = case.world.get(&case.world.bucket, "rejects/dated/1.csv").await;
    let mended: Vec<String> =
        rejects.lines().filter(|line| !line.contains("I,a")).map(|line| line.replace(",9,", ",4,")).collect();
    let counts = case.load_text("dated", "mended", 4, mended.join("\n") + "\n", false).await;
    assert_eq!((counts.updated, case.rows("dated").await, case.open().await), (1, "a3 b4".into(), "-".into()));
    case.undo(4);
    assert_eq!((case.rows("dated").await, case.open().await), ("a3 b2".into(), "-".into()));
    let said = case.undo(2);
    assert_eq!((case.rows("dated").await, case.open().await), ("a3".into(), "1:2".into()), "{said}");
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_that_waits_again_opens_its_reject() {
    for dataset in REPLACING {
        let case = Case::new().await;
        case.load(dataset, "1", 10, "A,a,,1, A,w,,9,X").await;
        assert_eq!(case.mend(dataset, 1, 40, ",9,", ",3,").await.parked, 1);
        assert_eq!(case.open().await, "1:2");
        case.load(dataset, "2", 20, "A,a,,2,").await;
        assert_eq!(case.open().await, "-", "{dataset}");
        let said = case.undo(3);
        assert!(said.contains("wait for another row again: 1"), "{said}");
        assert_eq!(case.open().await, "1:2", "{dataset}");
        case.load("parent", "x", 1, "X").await;
        assert_eq!((case.rows(dataset).await, case.open().await), ("Aa1 Aw3".into(), "-".into()), "{dataset}");
        case.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_load_had_left_is_open_again_unless_its_row_is_kept() {
    for later in [false, true] {
        let mut case = Case::new().await;
        case.world = case.world.under(&[("LOAD__MAX_REJECTS", "0")]);
        case.load("late", "1", 10, "I,a,,1, I,b,,9, I,,,1,").await;
        assert_eq!(case.open().await, "1:2 1:3");
        assert_eq!(case.load("late", "1", 20, "I,a,,1, I,b,,2,").await.inserted, 2);
        assert_eq!(case.open().await, "-");
        if later {
            case.load("late", "2", 30, "I,b,,3,").await;
        }
        case.undo(2);
        let expected = if later { ("b3", "1:3") } else { ("-", "1:2 1:3") };
        assert_eq!((case.rows("late").await.as_str(), case.open().await.as_str()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_had_waited_and_was_the_same_is_kept_by_its_load() {
    let case = Case::new().await;
    case.load("parent", "1", 1, "X").await;
    case.load("dated", "1", 10, "I,a,1,1,X").await;
    case.world.query("delete from parent").await;
    assert_eq!(case.load("dated", "2", 20, "I,a,1,1,X").await.parked, 1);
    case.world.query("insert into parent values ('X')").await;
    case.is_clean().await;
    assert_eq!(case.world.query("select outcome from etl.parked").await, "unchanged");
    let said = case.undo(2);
    assert!(said.contains("a: load 3 has brought the same since"), "{said}");
    assert_eq!(case.rows("dated").await, "a1");
    case.undo(3);
    assert_eq!(case.rows("dated").await, "-");
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_or_another_undo_has_done_since_stays() {
    let case = Case::new().await;
    case.load("late", "1", 10, "I,a,,1, I,b,,1, I,d,,1,").await;
    case.load("late", "2", 20, "I,a,,2, I,b,,2, I,c,,2, D,d,,,").await;
    case.world.query("update late set v = 7, written_by = null where k = 'a'; delete from late where k = 'b'").await;
    let said = case.undo(1);
    assert!(said.contains("d: load 2 has deleted it since"), "{said}");
    let said = case.undo(2);
    for (key, reason) in [
        ("a", "another program has written it since"),
        ("b", "another program has deleted it since"),
        ("d", "load 1 had written it, and is undone"),
    ] {
        assert!(said.contains(&format!("{key}: {reason}")), "{said}");
    }
    assert_eq!(case.rows("late").await, "a7");
    let case = Case::new().await;
    case.load("flagged", "1", 10, "A,a,,1, A,x,,1,").await;
    case.load("flagged", "2", 20, "A,a,,1,").await;
    case.world.query("delete from flagged where k = 'x'").await;
    let said = case.undo(2);
    assert!(said.contains("A,x: another program has deleted it since"), "{said}");
    assert_eq!(case.rows("flagged").await, "Aa1");
}

/// What one file took away, another one may have kept away after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_files_replaced_comes_back_in_whatever_order_they_are_undone() {
    for dataset in REPLACING {
        for order in [[3, 2], [2, 3]] {
            let case = Case::new().await;
            case.load(dataset, "1", 10, "A,a,,1, A,b,,1, B,x,,1,").await;
            case.load(dataset, "2", 20, "A,a,,2,").await;
            case.load(dataset, "3", 30, "A,a,,3,").await;
            for load in order {
                case.undo(load);
            }
            assert_eq!(case.rows(dataset).await, "Aa1 Ab1 Bx1", "{dataset} {order:?}");
            case.is_clean().await;
            // Rows that waited wait again.
            let case = Case::new().await;
            assert_eq!(case.load(dataset, "1", 10, "A,a,,1, A,b,,1,P").await.parked, 1);
            case.load(dataset, "2", 20, "A,a,,2,").await;
            case.load(dataset, "3", 30, "A,a,,3,").await;
            for load in order {
                case.undo(load);
            }
            assert_eq!(case.load("parent", "1", 40, "P").await.released, 1, "{dataset} {order:?}");
            assert_eq!(case.rows(dataset).await, "Aa1 Ab1", "{dataset} {order:?}");
            case.is_clean().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reject_is_open_once_no_row_that_mended_it_is_left_in_whatever_order_they_are_undone() {
    for dataset in ["late", "dated"] {
        for order in [[3, 2], [2, 3]] {
            let case = Case::new().await;
            assert_eq!(case.load(dataset, "1", 10, "I,b,1,100,").await.rejected, 1);
            case.mend(dataset, 1, 20, ",100,", ",2,").await;
            assert_eq!(case.again(dataset, "mended1", 20).await.unchanged, 1);
            assert_eq!(case.open().await, "-");
            case.undo(order[0]);
            assert_eq!(case.open().await, "-", "{dataset} {order:?}");
            case.undo(order[1]);
            assert_eq!(
                (case.rows(dataset).await, case.open().await),
                ("-".into(), "1:1".into()),
                "{dataset} {order:?}"
            );
            case.is_clean().await;
        }
    }
}

/// A table may have more decimals than the definition says, and prints them.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_the_same_in_the_table_and_in_the_ledger_however_many_decimals_the_table_has() {
    let scratch = Scratch::new("undo_settled");
    let definition = "name = \"rate\"\ntable = \"rate\"\nkey = [\"k\", \"name\"]\nversion = \"arrival\"\nhistory = \"rate_history\"\n\
        files = [\"incoming/rate/*\"]\n[[column]]\nname = \"k\"\ntype = \"decimal\"\nprecision = 10\nscale = 2\nrequired = true\n\
        [[column]]\nname = \"name\"\ntype = \"text\"\nrequired = true\n[[column]]\nname = \"v\"\ntype = \"integer\"\nmax = 5\n";
    std::fs::write(scratch.path().join("rate.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", scratch.path().to_str().unwrap())]).await;
    let columns = "k numeric(14, 4), name text, v integer, written_by bigint, valid_from timestamptz";
    world
        .query(&format!(
            "create table rate ({columns}, primary key (k, name)); \
             create table rate_history ({columns}, replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null)"
        ))
        .await;
    for (name, rows) in [("1", "1.50,x,1\n2.50,y,9\n"), ("2", "1.50,x,2\n2.50,y,2\n"), ("3", "1.50,x,2\n")] {
        world.drop_file(&format!("incoming/rate/{name}.csv"), format!("k,name,v\n{rows}")).await;
    }
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    let said = undo(&world, &scratch, &["2"]);
    assert!(said.contains("1.50,x: load 3 has brought the same since"), "{said}");
    assert_eq!(world.query("select k, v, written_by from rate").await, "1.5000 | 2 | 2");
    assert_eq!(world.query("select load_id, key from etl.open_reject").await, "1 | 2.50,y");
}

/// Had the load that is undone never come, what came late with a lower rank would have been stale.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_late_and_is_older_than_what_is_given_back_does_not_count() {
    // Of each file when it was written and its row, in the order of arrival; which are undone; what is there then.
    type Loads<'a> = &'a [(i64, &'a str)];
    let cases: [(&str, Loads<'_>, &[i64], &str); 9] = [
        ("a tombstone", &[(30, "I,a,1,1,"), (40, "D,a,1,,"), (10, "D,a,1,,")], &[2], "a1"),
        ("one that is younger than the row", &[(30, "I,a,1,1,"), (40, "D,a,1,,"), (35, "D,a,1,,")], &[2], "-"),
        ("one under another", &[(30, "I,a,1,1,"), (40, "D,a,1,,"), (50, "I,a,1,2,"), (10, "D,a,1,,")], &[2, 3], "a1"),
        ("the same values", &[(30, "I,a,1,1,"), (40, "I,a,1,2,"), (10, "I,a,1,2,")], &[2], "a1"),
        ("those of a younger file", &[(30, "I,a,1,1,"), (40, "I,a,1,2,"), (35, "I,a,1,2,")], &[2], "a2"),
        (
            "values under others",
            &[(30, "I,a,1,1,"), (40, "I,a,1,2,"), (10, "I,a,1,2,"), (50, "I,a,1,3,")],
            &[2, 4],
            "a1",
        ),
        ("those that count", &[(30, "I,a,1,1,"), (40, "I,a,1,2,"), (35, "I,a,1,2,"), (50, "I,a,1,3,")], &[2, 4], "a2"),
        ("a row that was deleted", &[(35, "D,a,1,,"), (40, "I,a,1,2,"), (10, "I,a,1,2,")], &[2], "-"),
        ("one that was deleted before", &[(35, "D,a,1,,"), (50, "I,a,1,2,"), (40, "I,a,1,2,")], &[2], "a2"),
    ];
    for (what, files, undone, left) in cases {
        for dataset in ["late", "dated"] {
            // Where rows have versions, files are in the order in which they come, but for versions of one object.
            let case = Case { has_sequencers: true, ..Case::new().await };
            for (place, (at, row)) in files.iter().enumerate() {
                // Blank lines make each another version.
                case.load(dataset, "1", *at, &format!("{row}{}", " ".repeat(place))).await;
            }
            let said: Vec<String> = undone.iter().map(|load| case.undo(*load)).collect();
            assert_eq!(case.rows(dataset).await, left, "{dataset}, {what}: {said:?}");
            case.is_clean().await;
        }
    }
    // A newer version counts whenever its file was written.
    let case = Case::new().await;
    for (at, row) in [(30, "I,a,1,1,"), (40, "I,a,2,2,"), (10, "I,a,2,2,")] {
        case.load("dated", &at.to_string(), at, row).await;
    }
    assert!(case.undo(2).contains("a: load 3 has brought the same since"));
    assert_eq!(case.rows("dated").await, "a2");
    case.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_undo_lists_whatever_any_of_those_before_had_made_stale() {
    let case = Case::new().await;
    for (at, row) in [(10, "I,a,1,1,"), (20, "I,a,9,2,"), (30, "I,a,5,3,"), (40, "I,a,9,2,")] {
        case.load("dated", &at.to_string(), at, row).await;
    }
    assert!(case.undo(2).contains("a: load 4 has brought the same since"));
    let said = case.undo(4);
    assert!(said.contains("are not loaded now: 3;"), "{said}");
    case.again("dated", "30", 30).await;
    assert_eq!(case.rows("dated").await, "a3");
    for dataset in REPLACING {
        let case = Case::new().await;
        for (at, row) in [(10, "A,a,,1,"), (30, "A,a,,2,"), (20, "A,b,,3,"), (40, "A,a,,2,")] {
            case.load(dataset, &at.to_string(), at, row).await;
        }
        case.undo(2);
        let said = case.undo(4);
        assert!(said.contains("are not loaded now: 3;"), "{dataset}: {said}");
        case.again(dataset, "20", 20).await;
        assert_eq!(case.rows(dataset).await, "Ab3", "{dataset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mended_while_its_load_had_failed_is_open_if_that_is_undone() {
    for is_undone in [false, true] {
        let mut case = Case::new().await;
        case.world = case.world.under(&[("LOAD__MAX_REJECTS", "1")]);
        case.load("late", "1", 10, "I,a,,9, I,b,,9, I,c,,1,").await;
        case.mend("late", 1, 20, ",9,", ",3,").await;
        if is_undone {
            case.undo(2);
        }
        case.world = case.world.under(&[("LOAD__MAX_REJECTS", "9")]);
        case.again("late", "1", 10).await;
        let expected = if is_undone { ("c1", "4:1 4:2") } else { ("a3 b3 c1", "-") };
        assert_eq!((&*case.rows("late").await, &*case.open().await), expected);
        case.is_clean().await;
    }
}

/// The key is that of the row alone, so that a file of another scope moves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_load_has_moved_goes_if_its_scope_was_replaced_without_it() {
    let case = Case::new().await;
    case.load("moving", "1", 10, "A,a,,1, A,b,,1,").await;
    case.load("moving", "2", 20, "B,a,,2,").await;
    case.load("moving", "3", 30, "A,b,,1,").await;
    let said = case.undo(2);
    assert_eq!(case.rows("moving").await, "Ab1", "{said}");
    case.is_clean().await;
    // It goes back where no file has replaced its scope since.
    let case = Case::new().await;
    case.load("moving", "1", 10, "A,a,,1, A,b,,1,").await;
    case.load("moving", "2", 20, "B,a,,2,").await;
    let said = case.undo(2);
    assert_eq!(case.rows("moving").await, "Aa1 Ab1", "{said}");
    case.is_clean().await;
}

/// It took minutes when the planner compared each row with each.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_many_rows_takes_seconds() {
    let mut case = Case::new().await;
    case.world = case.world.under(&[("LOAD__BATCH_SIZE", "10000")]);
    for at in 1..4 {
        let rows: Vec<String> = (0..30_000).map(|row| format!("I,k{row},{at},{at},")).collect();
        case.load("dated", &at.to_string(), at, &rows.join(" ")).await;
    }
    case.undo(2);
    let started = std::time::Instant::now();
    case.undo(3);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_eq!(case.world.query("select t, count(*) from dated group by 1").await, "1 | 30000");
}
