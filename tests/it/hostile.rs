//! Files that nobody should send.

use std::io::Write as _;

use insta::assert_snapshot;
use small_etl::data_access::postgres::{RejectCursor, RejectFilter};
use small_etl::domain::{LoadReport, LoadStatus};

use crate::contract::ASSETS;
use crate::world::World;

const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";
const GOOD: &str = "A1,2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00";

async fn load(content: impl Into<Vec<u8>>) -> (World, LoadReport) {
    let world = World::new().await;
    let report = world.drop_file("incoming/assets/hostile.csv", content).await;
    (world, report)
}

/// Returns what the ledger says about a file that failed as a whole. Nothing of it may be in the table.
async fn failure(content: impl Into<Vec<u8>>) -> String {
    let (world, report) = load(content).await;
    assert_eq!(report.status, LoadStatus::Failed);
    assert_eq!(world.query("select count(*) from asset").await, "0");
    let ledger = world.query("select state, reason, read, withheld, error from etl.load").await;
    ledger.replace(&format!("s3://{}/incoming/assets/", world.bucket), "")
}

async fn rejects(world: &World) -> String {
    world.query("select line, coalesce(\"column\", '-'), rule, message, coalesce(value, '-'), encode(b.raw, 'escape') from etl.reject r \
        join etl.rejected_record b using (load_id, record, line) order by record, id").await
}

#[tokio::test]
async fn columns_are_matched_by_name_in_any_order() {
    let (world, report) = load("updated_at,total_asset,account_type,account_id,cash,frozen_cash,market_value\n2025-12-22T14:30:00,6.00,2,A1,1.00,2.00,3.00\n").await;
    assert_eq!(report.counts.unwrap().inserted, 1);
    assert_eq!(
        world.query("select account_id, cash, frozen_cash, market_value from asset").await,
        "A1 | 1.00 | 2.00 | 3.00"
    );
}

#[tokio::test]
async fn a_byte_order_mark_and_mixed_line_ends_change_nothing() {
    let (world, report) = load(format!(
        "\u{feff}{HEADER}\r\n{GOOD}\n\r\n{}\r\n\n{}",
        GOOD.replace("A1", "A2"),
        GOOD.replace("A1", "\"A3\r\n\"")
    ))
    .await;
    assert_eq!(report.counts.unwrap().inserted, 3);
    assert_eq!(
        world
            .query("select replace(replace(account_id, chr(13), '<CR>'), chr(10), '<LF>') from asset order by 1")
            .await,
        "A1\nA2\nA3<CR><LF>"
    );
}

#[tokio::test]
async fn a_reject_behind_a_quoted_newline_names_the_physical_line() {
    let (world, _) = load(format!(
        "{HEADER}\n\"A\n1\",2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00\n{}\n",
        GOOD.replace("6.00", "7.00")
    ))
    .await;
    assert_eq!(world.query("select record, line, rule from etl.reject").await, "2 | 4 | total_is_sum");
}

#[tokio::test]
async fn gzip_and_zstd_are_unpacked_under_any_name() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(ASSETS.as_bytes()).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(ASSETS.as_bytes(), 3).unwrap()] {
        let (_, report) = load(packed).await;
        assert_eq!(report.counts.unwrap().inserted, 4);
    }
}

#[tokio::test]
async fn padding_and_frames_without_content_around_an_archive_are_no_damage() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(ASSETS.as_bytes()).unwrap();
    let from_tape = [gzip.finish().unwrap(), vec![0; 10_240]].concat();
    // As pzstd writes it: a frame that says how long the next one is, and then that frame.
    let frame = |text: &str| {
        let frame = zstd::encode_all(text.as_bytes(), 3).unwrap();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        [b"\x50\x2a\x4d\x18\x04\0\0\0", &length[..], &frame].concat()
    };
    let (first, second) = ASSETS.split_at(ASSETS.len() / 2);
    for packed in [from_tape.clone(), [frame(first), frame(second)].concat()] {
        let (_, report) = load(packed).await;
        assert_eq!(report.counts.unwrap().inserted, 4);
    }
    assert_snapshot!(failure([&from_tape[..], b"x"].concat()).await, @"failed | malformed | 4 | 4 | hostile.csv: the archive is broken or cut off (data other than zeros follows its end); send it again");
}

#[tokio::test]
async fn an_archive_that_is_whole_and_cannot_be_unpacked_is_refused_by_its_name() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(31).unwrap();
    encoder.write_all(ASSETS.as_bytes()).unwrap();
    assert_snapshot!(failure(encoder.finish().unwrap()).await, @"failed | malformed | 0 | 0 | hostile.csv: unpacking it needs a window of 2048 MiB, more than the limit of 128 MiB; pack it without --long, with --long=27 at most, or with gzip");
    assert_snapshot!(failure(b"\xfd7zXZ\0\0\x04".as_slice()).await, @"failed | malformed | 0 | 0 | hostile.csv: this is an xz archive, which is not unpacked; pack the file with gzip or zstd, or not at all");
}

#[tokio::test]
async fn an_archive_that_is_cut_off_fails_the_file() {
    let packed = zstd::encode_all(ASSETS.as_bytes(), 3).unwrap();
    assert_snapshot!(failure(&packed[..packed.len() - 4]).await, @"failed | malformed | 0 | 0 | hostile.csv: the archive is broken or cut off (incomplete frame); send it again");
}

#[tokio::test]
async fn a_file_without_a_header_is_told_so() {
    assert_snapshot!(failure(GOOD).await, @"failed | missing_column | 0 | 0 | hostile.csv line 1: none of the columns of dataset asset is named; is the header missing? it needs account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at");
}

#[tokio::test]
async fn a_missing_column_is_named_with_what_it_may_be_called() {
    assert_snapshot!(failure(format!("{}\n{GOOD}\n", HEADER.replace("frozen_cash", "frozen"))).await, @"failed | missing_column | 0 | 0 | hostile.csv line 1: the header lacks column frozen_cash (is it column 4?); add it");
}

#[tokio::test]
async fn a_column_named_twice_fails_the_file() {
    assert_snapshot!(failure(format!("{HEADER},cash\n{GOOD},1.00\n")).await, @r#"failed | duplicate_column | 0 | 0 | hostile.csv line 1: columns 3 and 8 are both called "cash"; remove or rename one"#);
    assert_snapshot!(failure(format!("{HEADER},note,note\n{GOOD},1,1\n")).await, @r#"failed | duplicate_column | 0 | 0 | hostile.csv line 1: columns 8 and 9 are both called "note"; remove or rename one"#);
}

#[tokio::test]
async fn a_file_whose_lines_end_with_a_lone_carriage_return_is_not_taken_for_a_header() {
    let lines = format!("{HEADER},note\r{GOOD},x\r");
    assert_snapshot!(failure(lines).await, @"failed | malformed | 0 | 0 | hostile.csv line 1: the header has a carriage return without a line feed; where that ends the lines of the file, save it with LF or CRLF");
}

#[tokio::test]
async fn a_file_has_so_many_columns_and_a_header_so_many_bytes() {
    let with = |columns: usize| format!("{HEADER}{0}\n{GOOD}{0}\n", ",".repeat(columns - 7));
    let (_, report) = load(with(16_384)).await;
    assert_eq!(report.counts.unwrap().inserted, 1);
    assert_snapshot!(failure(with(16_385)).await, @"failed | malformed | 0 | 0 | hostile.csv line 1: the file has 16385 columns, more than the limit of 16384; leave some out");
    let long = format!("{HEADER},{}\n{GOOD},\n", "x".repeat(1024 * 1024));
    assert_snapshot!(failure(long).await, @"failed | malformed | 0 | 0 | hostile.csv line 1: what begins here as a header is longer than 1 MiB; is it missing, is a quote never closed, or do lines end with a lone carriage return?");
    let (_, report) =
        load(format!("{HEADER}{}\n", (0..150).fold(String::new(), |names, nth| names + &format!(",x{nth}")))).await;
    let extra = report.statistics["extra_columns"].as_array().unwrap().clone();
    assert_eq!((extra.len(), extra[0].as_str(), extra[100].as_str()), (101, Some("x0"), Some("and 50 more")));
}

#[tokio::test]
async fn an_extra_column_is_ignored_and_listed() {
    let (_, report) = load(format!("{HEADER},note\n{GOOD},hello\n")).await;
    assert_eq!(report.counts.unwrap().inserted, 1);
    assert_eq!(report.statistics["extra_columns"], serde_json::json!(["note"]));
}

#[tokio::test]
async fn an_empty_file_fails_and_a_header_alone_loads() {
    assert_snapshot!(failure("").await, @"failed | empty | 0 | 0 | hostile.csv: the file is empty; not even a header is there");
    assert_snapshot!(failure("\n\r\n").await, @"failed | empty | 0 | 0 | hostile.csv: the file is empty; not even a header is there");
    let (_, report) = load(HEADER).await;
    assert_eq!((report.status, report.counts.unwrap().read), (LoadStatus::Loaded, 0));
}

#[tokio::test]
async fn an_open_quote_fails_the_file_and_names_the_line_where_it_opened() {
    assert_snapshot!(failure(format!("{HEADER}\n{GOOD}\nA2,2,\"1.00,2.00\nA3,2\n")).await, @"failed | malformed | 1 | 1 | hostile.csv line 3: a quote is opened here and never closed; close it, or double it if it is content");
}

#[tokio::test]
async fn a_record_with_too_many_or_too_few_fields_is_a_reject_of_its_own() {
    let (world, report) = load(format!(
        "{HEADER}\n{GOOD}\nA2,2,1.00\nA3,2,1,000.00,2.00,3.00,1005.00,2025-12-22T14:30:00\n{}\n",
        GOOD.replace("A1", "A4")
    ))
    .await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected), (4, 2, 2));
    assert_snapshot!(rejects(&world).await, @r"
    3 | - | field_count | the record has 3 fields, the header 7; add those that are missing | - | A2,2,1.00
    4 | - | field_count | the record has 8 fields, the header 7; quote fields that hold a comma | - | A3,2,1,000.00,2.00,3.00,1005.00,2025-12-22T14:30:00
    ");
}

#[tokio::test]
async fn a_nul_and_bytes_that_are_not_utf8_reject_their_row_alone_with_the_bytes_kept() {
    let mut content = format!("{HEADER}\n{GOOD}\n").into_bytes();
    content.extend(b"A\x002,2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00\n");
    content.extend(b"A\xff3,2,1.005,2.00,3.00,6.00,2025-12-22T14:30:00\n");
    let (world, report) = load(content).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected), (3, 1, 2));
    assert_snapshot!(rejects(&world).await, @r#"
    3 | account_id | unprintable | "A\x002" has a NUL or bytes that are not UTF-8; save the file as UTF-8 | A\x002 | A\0002,2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00
    4 | account_id | unprintable | "A\xff3" has a NUL or bytes that are not UTF-8; save the file as UTF-8 | A\xff3 | A\3773,2,1.005,2.00,3.00,6.00,2025-12-22T14:30:00
    4 | cash | decimal | "1.005" has more than 2 decimals; round it at its source | 1.005 | A\3773,2,1.005,2.00,3.00,6.00,2025-12-22T14:30:00
    "#);
}

#[tokio::test]
async fn a_column_that_is_not_loaded_must_be_text_too() {
    let mut content = format!("{HEADER},id,note\n{GOOD},1,x\n").into_bytes();
    content.extend(b"A2,2,1.005,2.00,3.00,6.00,2025-12-22T14:30:00,2,\xff\n");
    content.extend(b"A3,2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00,\x00,x\n");
    let (world, report) = load(content).await;
    assert_eq!(report.counts.unwrap().rejected, 2);
    assert_eq!(
        world.query("select record, \"column\", rule from etl.reject order by id").await,
        "2 | - | unprintable\n2 | cash | decimal\n3 | - | unprintable"
    );
}

#[tokio::test]
async fn a_cell_of_a_megabyte_is_a_reject_and_kept_whole() {
    let long = "x".repeat(1024 * 1024);
    let (world, report) = load(format!("{HEADER}\n{}\n{GOOD}\n", GOOD.replace("A1", &long))).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected), (1, 1));
    assert_eq!(
        world.query("select rule, length(value), length(raw), length(message) < 200 from etl.reject").await,
        format!("max_length | {} | {} | t", long.len(), long.len() + GOOD.len() - 2)
    );
}

#[tokio::test]
async fn the_bytes_of_a_bad_record_are_kept_once_however_many_rules_it_breaks() {
    let bad = ",,,,,,,".repeat(3);
    let (world, report) = load(format!("{HEADER}\n,4,-1,x,-1,-1,y\n{bad}\n,4,-1,x,-1,-1,y\n")).await;
    assert_eq!(report.counts.unwrap().rejected, 3);
    assert_snapshot!(world.query("select record, count(*), count(raw), (array_agg(raw is not null order by id))[1] from etl.reject group by 1 order by 1").await, @"
    1 | 7 | 1 | t
    2 | 1 | 1 | t
    3 | 7 | 1 | t
    ");
    assert_snapshot!(world.query("select record, line, encode(raw, 'escape') from etl.rejected_record order by 1").await, @"
    1 | 2 | ,4,-1,x,-1,-1,y
    2 | 3 | ,,,,,,,,,,,,,,,,,,,,,
    3 | 4 | ,4,-1,x,-1,-1,y
    ");
    // A person who deletes the violation with the bytes has deleted the bytes. Those of the record before are not shown
    // instead.
    world.query("delete from etl.reject where record = 3 and raw is not null").await;
    let filter = RejectFilter { load: report.load_id, ..RejectFilter::default() };
    let (page, _) = world.database.page_of_rejects(&filter, RejectCursor::default()).await.unwrap();
    let bytes = |record: i64| {
        page.iter().filter(move |reject| reject.violation.record.0 == record).map(|reject| reject.violation.raw.len())
    };
    assert!(
        bytes(1).all(|length| length == 15)
            && bytes(2).all(|length| length == 21)
            && bytes(3).all(|length| length == 0)
    );
    assert_eq!([bytes(1).count(), bytes(2).count()], [7, 1]);
}

#[tokio::test]
async fn a_header_that_is_not_utf8_fails_the_file() {
    let content = [b"account_id\xff,cash\n".as_slice(), GOOD.as_bytes()].concat();
    assert_snapshot!(failure(content).await, @"failed | malformed | 0 | 0 | hostile.csv line 1: the header has a NUL or bytes that are not UTF-8; save the file as UTF-8");
    assert_snapshot!(failure(format!("{HEADER},no\0te\n{GOOD},x\n")).await, @"failed | malformed | 0 | 0 | hostile.csv line 1: the header has a NUL or bytes that are not UTF-8; save the file as UTF-8");
}

#[tokio::test]
async fn a_missing_object_ends_in_the_ledger() {
    let world = World::new().await;
    let report = world.load("incoming/assets/nowhere.csv").await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("not_found")));
    assert_eq!(world.query("select state, reason, read from etl.load").await, "failed | not_found | 0");
}

#[tokio::test]
async fn a_key_that_no_dataset_claims_is_skipped_without_a_trace() {
    let world = World::new().await;
    for key in ["outgoing/assets/1.csv", "incoming/assets/", "incoming/assets/2025/"] {
        let report = world.load(key).await;
        assert_eq!(report.status, LoadStatus::Skipped, "{key}");
    }
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
}

#[tokio::test]
async fn what_looks_like_sql_is_text() {
    let good = GOOD.replace("A1", "'; drop table t; --");
    let (world, report) = load(format!("{HEADER},\"x'); drop table asset; --\"\n{good},$1\n{GOOD},1'\n")).await;
    assert_eq!(report.counts.unwrap().inserted, 2, "{report:?}");
    assert_eq!(world.query("select account_id from asset order by id").await, "'; drop table t; --\nA1");
    assert_eq!(
        world.query("select statistics -> 'extra_columns' ->> 0 from etl.load").await,
        "x'); drop table asset; --"
    );
}
