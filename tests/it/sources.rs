//! Files as their senders write them: how they are found and staged, and how their rejects come back.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use encoding_rs::GB18030;
use insta::assert_snapshot;
use small_etl::domain::{LoadReport, LoadStatus};

use crate::command_line::small_etl;
use crate::parts::config;
use crate::support::Scratch;
use crate::world::World;

/// Trades as a broker writes them: in GB18030, with an account before the table, a day in the key, and totals after it.
pub const BROKER: &str = r#"
name = "deal"
table = "deal"
key = "deal_id"
version = "known_at"
files = ["incoming/deals/plain/**"]

[[column]]
name = "deal_id"
type = "text"
required = true
max_length = 40

[[column]]
name = "account"
type = "text"
required = true

[[column]]
name = "traded_at"
type = "timestamp"
required = true

[[column]]
name = "side"
type = "integer"
required = true

[[column]]
name = "amount"
type = "decimal"
precision = 20
scale = 2
required = true
above = "0"

[[column]]
name = "known_at"
type = "timestamp"
required = true

[[source]]
name = "huaxi"
files = ["incoming/deals/huaxi/**"]
encoding = "gb18030"
delimiter = "\t"
header = "find"
end = ["合计"]
zone = "Asia/Shanghai"
thousands = ","
total = "amount"

[[source.column]]
name = "deal_id"
header = "成交编号"

[[source.column]]
name = "account"
from = "preamble"
pattern = '账号:\s*(\S+)'

[[source.column]]
name = "traded_at"
join = ["成交日期", "成交时间"]
form = "%Y%m%d %H:%M:%S"

[[source.column]]
name = "side"
header = "买卖标志"
map = { "买入" = 48, "卖出" = 49 }

[[source.column]]
name = "amount"
header = "成交金额"

[[source.column]]
name = "known_at"
from = "key"
pattern = '_(\d{8})\.'
form = "%Y%m%d"

[[source]]
name = "latin"
files = ["incoming/deals/latin/**"]
delimiter = ";"
decimal_mark = ","
zone = "UTC"

[[source.column]]
name = "deal_id"
header = "Nummer"

[[source.column]]
name = "account"
expression = "upper(left(Konto, 2)) || right(Konto, 3)"

[[source.column]]
name = "traded_at"
header = "Zeit"
form = "%d.%m.%Y %H:%M"

[[source.column]]
name = "side"
from = "constant"
value = 48

[[source.column]]
name = "amount"
header = "Betrag"

[[source.column]]
name = "known_at"
header = "Zeit"
form = "%d.%m.%Y %H:%M"
"#;

const TABLE: &str = "create table deal (deal_id text primary key, account text not null, traded_at timestamptz not null, \
    side integer not null, amount numeric(20, 2) not null, known_at timestamptz not null)";
const ROWS: &str = "select deal_id, account, traded_at at time zone 'UTC', side, amount, known_at at time zone 'UTC' \
    from deal order by deal_id";

const DEALS: &str = "对账单\n账号: 880015\n\n成交编号\t成交日期\t成交时间\t买卖标志\t成交金额\n\
    D1\t20251222\t09:31:05\t买入\t15,500.00\n\
    D2\t20251222\t14:00:00\t卖出\t120.50\n\
    合计\t\t\t\t15,620.50\n";

fn gb(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

/// A world with this dataset and its table.
pub async fn world_with(folder: &Scratch, definition: &str) -> World {
    fs::write(folder.path().join("deal.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(TABLE).await;
    world
}

async fn broker(folder: &Scratch) -> World {
    world_with(folder, BROKER).await
}

pub async fn bytes_of(world: &World, key: &str) -> Vec<u8> {
    let object = world.s3.get_object().bucket(&world.bucket).key(key).send().await.unwrap();
    object.body.collect().await.unwrap().to_vec()
}

pub fn summary(report: &LoadReport) -> (LoadStatus, Option<&str>, i64, i64, i64) {
    let counts = report.counts.unwrap_or_default();
    (report.status, report.reason.as_deref(), counts.read, counts.inserted, counts.rejected)
}

#[tokio::test]
async fn a_file_is_read_as_the_source_declares_that_claims_its_key() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    let report = world.drop_file("incoming/deals/huaxi/a_20251222.xls", gb(DEALS)).await;
    assert_eq!(report.error, None);
    assert_eq!((summary(&report), report.source.as_deref()), ((LoadStatus::Loaded, None, 2, 2, 0), Some("huaxi")));
    let latin = "Nummer;Konto;Zeit;Betrag\nL1;ab00123;23.12.2025 08:00;1,5\n";
    let report = world.drop_file("incoming/deals/latin/b.csv", latin).await;
    assert_eq!((report.error, report.source.as_deref()), (None, Some("latin")));
    let plain =
        "deal_id,account,traded_at,side,amount,known_at\nP1,7,2025-12-22T01:00:00Z,49,3.00,2025-12-22T00:00:00Z\n";
    let report = world.drop_file("incoming/deals/plain/c.csv", plain).await;
    assert_eq!((report.error, report.source), (None, None));
    assert_snapshot!(world.query(ROWS).await, @r"
    D1 | 880015 | 2025-12-22 01:31:05 | 48 | 15500.00 | 2025-12-21 16:00:00
    D2 | 880015 | 2025-12-22 06:00:00 | 49 | 120.50 | 2025-12-21 16:00:00
    L1 | AB123 | 2025-12-23 08:00:00 | 48 | 1.50 | 2025-12-23 08:00:00
    P1 | 7 | 2025-12-22 01:00:00 | 49 | 3.00 | 2025-12-22 00:00:00
    ");
    assert_snapshot!(world.query("select source, around, dropped from etl.load order by id").await, @r#"
    huaxi | {"_key": "incoming/deals/huaxi/a_20251222.xls", "_preamble": "账号: 880015"} | {"blank": 1, "footer": 1, "comment": 0, "preamble": 2}
    latin | {} | {"blank": 0, "footer": 0, "comment": 0, "preamble": 0}
    - | - | -
    "#);
    let page = small_etl_report(&world, report.load_id.map_or(0, |load| load.0) - 2).await;
    assert!(page.contains("huaxi; lines that are not records: 1 blank, 1 footer, 2 preamble"), "{page}");
}

async fn small_etl_report(world: &World, load: i64) -> String {
    small_etl::services::report::page(&world.database, small_etl::domain::LoadId(load)).await.unwrap()
}

#[tokio::test]
async fn packed_files_of_a_source_are_unpacked() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&gb(DEALS)).unwrap();
    let report = world.drop_file("incoming/deals/huaxi/a_20251222.txt.gz", packed.finish().unwrap()).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
    let zstd = zstd::encode_all(&gb(&DEALS.replace("\nD", "\nE"))[..], 0).unwrap();
    let report = world.drop_file("incoming/deals/huaxi/b_20251222.txt.zst", zstd).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
}

/// A row that the map does not list, one whose amount is not a number, and one with bytes that are not GB18030.
pub fn broken_deals() -> Vec<u8> {
    let text = DEALS
        .replace("卖出", "赎回")
        .replace("15,500.00", "15,50.00")
        .replace("合计", "D3\t20251222\t15:00:00\t买入\t?\nD4\t20251222\t15:00:01\t买入\t1.00\n合计")
        .replace("15,620.50", "121.50");
    let mut bytes = gb(&text);
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    bytes
}

#[tokio::test]
async fn rejects_come_back_as_their_sender_writes_and_load_again_under_any_name() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    let bytes = broken_deals();
    let report = world.drop_file("incoming/deals/huaxi/a_20251222.txt", bytes.clone()).await;
    assert_eq!(report.error, None);
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 4, 1, 3));
    assert_snapshot!(world.query("select record, line, rule, \"column\", value, message, key from etl.reject order by id").await, @r#"
    1 | 5 | number | amount | 15,50.00 | "15,50.00" does not have groups of three digits (decimal mark '.', thousands ",") | D1
    2 | 6 | map | side | 赎回 | "赎回" is not a value that the map lists | D2
    3 | 7 | encoding | - | - | the record has a NUL or bytes that are not in the encoding that its source declares | -
    "#);
    let places =
        world.query("select byte_offset, byte_length, encode(raw, 'hex') from etl.reject order by record").await;
    for place in places.lines() {
        let [offset, length, raw] = place.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let (offset, length): (usize, usize) = (offset.parse().unwrap(), length.parse().unwrap());
        assert_eq!(hex::encode(&bytes[offset..offset + length]), raw);
    }
    let file = bytes_of(&world, "rejects/deal/1.csv").await;
    let (text, _, _) = GB18030.decode(&file);
    assert_snapshot!(text.replace('\t', " | "), @r#"
    _load_id | _record | _line | _source | _errors | _key | _preamble | 成交编号 | 成交日期 | 成交时间 | 买卖标志 | 成交金额
    1 | 1 | 5 | huaxi中é€ | "amount: ""15,50.00"" does not have groups of three digits (decimal mark '.', thousands "","") (rule number)" | incoming/deals/huaxi/a_20251222.txt | 账号: 880015 | D1 | 20251222 | 09:31:05 | 买入 | 15,50.00
    1 | 2 | 6 | huaxi中é€ | "side: ""赎回"" is not a value that the map lists (rule map)" | incoming/deals/huaxi/a_20251222.txt | 账号: 880015 | D2 | 20251222 | 14:00:00 | 赎回 | 120.50
    1 | 3 | 7 | huaxi中é€ | the record has a NUL or bytes that are not in the encoding that its source declares (rule encoding) | incoming/deals/huaxi/a_20251222.txt | 账号: 880015 | D3 | 20251222 | 15:00:00 | 买入 | �
    "#);
    // The bad byte comes back as it was.
    assert!(file.windows(2).any(|two| two == b"\t\xff"));

    let mended = text.replace("赎回", "卖出").replace("15,50.00", "15,500.00").replace('\u{fffd}', "7.25");
    for key in ["incoming/deals/huaxi/mended.csv", "incoming/deals/latin/mended.csv", "incoming/deals/plain/mended"] {
        world.query("delete from deal where deal_id <> 'D4'").await;
        let report = world.drop_file(key, gb(&mended)).await;
        assert_eq!((report.error, report.source.as_deref()), (None, Some("huaxi")), "{key}");
        assert_eq!(
            world.query(ROWS).await,
            "D1 | 880015 | 2025-12-22 01:31:05 | 48 | 15500.00 | 2025-12-21 16:00:00\n\
             D2 | 880015 | 2025-12-22 06:00:00 | 49 | 120.50 | 2025-12-21 16:00:00\n\
             D3 | 880015 | 2025-12-22 07:00:00 | 48 | 7.25 | 2025-12-21 16:00:00\n\
             D4 | 880015 | 2025-12-22 07:00:01 | 48 | 1.00 | 2025-12-21 16:00:00"
        );
    }
    assert_eq!(world.query("select distinct state from etl.reject").await, "resolved");
}

#[tokio::test]
async fn rejects_of_rejects_keep_what_was_told_around_the_table() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    world.drop_file("incoming/deals/huaxi/a_20251222.txt", broken_deals()).await;
    let text = GB18030.decode(&bytes_of(&world, "rejects/deal/1.csv").await).0.into_owned();
    let half = text.replace("赎回", "卖出").replace('\u{fffd}', "x");
    let report = world.drop_file("incoming/deals/huaxi/half.txt", gb(&half)).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 3, 1, 2), "{:?}", report.error);
    let text = GB18030.decode(&bytes_of(&world, "rejects/deal/2.csv").await).0.into_owned();
    assert_snapshot!(text.replace('\t', " | "), @r#"
    _load_id | _record | _line | _source | _errors | _key | _preamble | 成交编号 | 成交日期 | 成交时间 | 买卖标志 | 成交金额
    2 | 1 | 2 | huaxi中é€ | "amount: ""15,50.00"" does not have groups of three digits (decimal mark '.', thousands "","") (rule number)" | incoming/deals/huaxi/a_20251222.txt | 账号: 880015 | D1 | 20251222 | 09:31:05 | 买入 | 15,50.00
    2 | 3 | 4 | huaxi中é€ | "amount: ""x"" is not a number as the source declares it (decimal mark '.', thousands "","") (rule number)" | incoming/deals/huaxi/a_20251222.txt | 账号: 880015 | D3 | 20251222 | 15:00:00 | 买入 | x
    "#);
    let mended = text.replace("15,50.00", "15,500.00").replace("\tx\n", "\t9.00\n");
    let report = world.drop_file("incoming/deals/huaxi/whole.txt", gb(&mended)).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
    assert_eq!(
        world.query("select distinct account, known_at at time zone 'UTC' from deal").await,
        "880015 | 2025-12-21 16:00:00"
    );
    assert_eq!(world.query("select count(*) from etl.reject where state = 'open'").await, "0");
}

#[tokio::test]
async fn the_total_of_a_footer_is_compared_like_a_manifest() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    for (wrong, expected) in [
        (DEALS.replace("15,620.50", "15,620.51"), "sum of amount: the footer says 15620.51, the file has 15620.5"),
        (DEALS.replace("15,620.50", ""), "the footer has no number in column amount"),
        (format!("{DEALS}合计\t\t\t\t15,620.50\n"), "several lines of the footer have a number in column amount"),
    ] {
        let report = world.drop_file("incoming/deals/huaxi/a_20251222.txt", gb(&wrong)).await;
        assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("manifest_mismatch")));
        assert!(report.error.as_deref().unwrap_or_default().contains(expected), "{:?}", report.error);
    }
    assert_eq!(world.query("select count(*) from deal").await, "0");
    let report = world.drop_file("incoming/deals/huaxi/a_20251222.txt", gb(DEALS)).await;
    assert_eq!(report.statistics["footer"]["sum of amount"], "15620.5");
}

#[tokio::test]
async fn what_a_file_lacks_fails_it_with_a_message_that_says_where_to_look() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    for (key, bytes, reason, expected) in [
        (
            "a_20251222.txt",
            gb(&DEALS.replace("成交金额", "金额")),
            "missing_column",
            "the nearest is line 4, which lacks \"成交金额\"",
        ),
        (
            "b_20251222.txt",
            gb(&DEALS.replace("账号", "户名")),
            "missing_column",
            "the pattern of column account matches nothing",
        ),
        ("c.txt", gb(DEALS), "missing_column", "the pattern of column known_at matches nothing"),
        (
            "d_20251299.txt",
            gb(DEALS),
            "missing_column",
            "what is told of column known_at outside of the table is not a value of it",
        ),
        (
            "e_20251222.txt",
            b"PK\x03\x04rest of an archive".to_vec(),
            "malformed",
            "this is a zip archive (or a workbook)",
        ),
        ("f_20251222.txt", Vec::new(), "empty", "the file is empty"),
    ] {
        let report = world.drop_file(&format!("incoming/deals/huaxi/{key}"), bytes).await;
        assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some(reason)), "{key}");
        assert!(report.error.as_deref().unwrap_or_default().contains(expected), "{key}: {:?}", report.error);
    }
}

/// Nobody knows where the values of such a record end, so that none are made of it on its way back.
#[tokio::test]
async fn a_record_whose_values_touch_is_a_reject_again_unless_it_is_mended() {
    let folder = Scratch::new("sources");
    let definition =
        FIXED.replace("trim = true\n", "trim = true\nblank_between = true\n").replace("pattern = \"[0-9]+\"\n", "");
    let world = world_with(&folder, &definition).await;
    world.query(&format!("drop table deal; {}", table_of(&definition))).await;
    let report = world.drop_file("incoming/host/a.txt", "12345 20250102\n123456720250103\n").await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 1, 1), "{:?}", report.error);
    let sent = String::from_utf8(bytes_of(&world, "rejects/deal/1.csv").await).unwrap();
    let report = world.drop_file("incoming/host/b.csv", sent.clone()).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 1, 0, 1), "{:?}", report.error);
    let report = world.drop_file("incoming/host/c.csv", sent.replace("123456720250103", "1234567,20250103")).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 1, 1, 0), "{:?}", report.error);
    assert_eq!(world.query("select deal_id, account from deal order by 1").await, "1 | 12345\n2 | 1234567");
}

/// Lines of fixed width, whose column `line` is the place in the file.
const FIXED: &str = r#"
name = "deal"
table = "deal"
key = "deal_id"
version = "known_at"

[[column]]
name = "deal_id"
type = "bigint"
required = true

[[column]]
name = "account"
type = "text"
required = true
pattern = "[0-9]+"

[[column]]
name = "known_at"
type = "timestamp"
required = true

[[source]]
name = "host"
files = ["incoming/host/**"]
format = "fixed"
encoding = "windows-1252"
trim = true
zone = "UTC"

[[source.column]]
name = "deal_id"
from = "line"

[[source.column]]
name = "account"
at = [0, 6]

[[source.column]]
name = "known_at"
at = [6, 14]
form = "%Y%m%d"
"#;

#[tokio::test]
async fn a_mended_record_keeps_the_line_that_it_had_in_its_file() {
    let folder = Scratch::new("sources");
    fs::write(folder.path().join("deal.toml"), FIXED).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world
        .query("create table deal (deal_id bigint primary key, account text not null, known_at timestamptz not null)")
        .await;
    let file = b"  100120251222\n  100\xe920251223\n  100\n  100420251299\n".to_vec();
    let report = world.drop_file("incoming/host/1.txt", file).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 4, 1, 3), "{:?}", report.error);
    assert_snapshot!(world.query("select line, rule, \"column\", value, message, key from etl.reject order by id").await, @r#"
    2 | pattern | account |   100é | "100é" does not match [0-9]+ | 2
    3 | field_count | - | - | the line ends before the last cell that its source declares | -
    4 | form | known_at | 20251299 | "20251299" has a date or time that does not exist (form %Y%m%d) | 4
    "#);
    let rejects = bytes_of(&world, "rejects/deal/1.csv").await;
    let text = encoding_rs::WINDOWS_1252.decode(&rejects).0.into_owned();
    assert_snapshot!(text, @r#"
    _load_id,_record,_line,_source,_errors,_first_line,1,2
    1,2,2,hosté€ž,"account: ""100é"" does not match [0-9]+ (rule pattern)",2,"  100é",20251223
    1,3,3,hosté€ž,the line ends before the last cell that its source declares (rule field_count),3,"  100"
    1,4,4,hosté€ž,"known_at: ""20251299"" has a date or time that does not exist (form %Y%m%d) (rule form)",4,"  1004",20251299
    "#);
    let mended =
        text.replace("  100é", "1002").replace("\"  100\"\n", "1003,20251224\n").replace("20251299", "20251225");
    let report = world.drop_file("incoming/host/2.txt", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 3, 3, 0), "{:?}", report.error);
    assert_eq!(
        world.query("select deal_id, account, known_at::date from deal order by 1").await,
        "1 | 1001 | 2025-12-22\n2 | 1002 | 2025-12-23\n3 | 1003 | 2025-12-24\n4 | 1004 | 2025-12-25"
    );
}

#[tokio::test]
async fn a_byte_order_mark_that_says_another_encoding_wins_there_and_back() {
    let folder = Scratch::new("sources");
    let world = broker(&folder).await;
    let text = DEALS.replace("卖出", "赎回");
    let bytes: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let report = world.drop_file("incoming/deals/huaxi/a_20251222.txt", bytes).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 1, 1), "{:?}", report.error);
    assert_eq!(world.query("select line, key, value from etl.reject").await, "6 | D2 | 赎回");
    let rejects = bytes_of(&world, "rejects/deal/1.csv").await;
    let (text, encoding, _) = encoding_rs::UTF_8.decode(&rejects);
    assert_eq!(encoding, encoding_rs::UTF_16LE);
    let mended: Vec<u8> =
        format!("\u{feff}{}", text.replace("赎回", "卖出")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let report = world.drop_file("incoming/deals/huaxi/mended.txt", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 1, 1, 0), "{:?}", report.error);
}

/// A workbook with a number, a date and a text that would each mean something else as the other.
#[tokio::test]
async fn the_rejects_of_an_exported_workbook_come_back_cell_for_cell() {
    let folder = Scratch::new("sources");
    let formats = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/htsec_xlsx");
    let definition = fs::read_to_string(formats.join("dataset.toml")).unwrap();
    // Nothing is cheap enough: every row is a reject.
    let strict = definition
        .replace("name = \"price\"\ntype = \"decimal\"\n", "name = \"price\"\ntype = \"decimal\"\nmax = \"0\"\n");
    let sent = fs::read_dir(&formats)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "xlsx"))
        .unwrap();
    fs::write(folder.path().join("htsec.toml"), &strict).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(&table_of(&definition)).await;
    let report = world.drop_file("incoming/htsec_xlsx/1.xlsx", fs::read(sent).unwrap()).await;
    let counts = report.counts.unwrap();
    assert!(counts.read > 0 && counts.rejected > 0, "{report:?}");
    let rejects = bytes_of(&world, "rejects/htsec_xlsx/1.xlsx").await;
    // The price is right after all, and the file comes back as it was written.
    fs::write(folder.path().join("htsec.toml"), &definition).unwrap();
    let world = world.under(&[]);
    let again = world.drop_file("incoming/htsec_xlsx/mended.xlsx", rejects).await;
    assert_eq!(again.counts.unwrap().inserted, counts.rejected, "{:?}", again.error);
    let cells = "select md5(string_agg(t::text, ';' order by line)) from htsec_xlsx t";
    let mended = world.query(cells).await;
    world.query("delete from htsec_xlsx").await;
    world.query("delete from etl.lineage").await;
    let sent = bytes_of(&world, "incoming/htsec_xlsx/1.xlsx").await;
    let whole = world.drop_file("incoming/htsec_xlsx/2.xlsx", sent).await;
    assert_eq!(whole.counts.unwrap().inserted, counts.read, "{:?}", whole.error);
    assert_eq!(world.query(cells).await, mended);
}

/// The table that holds the columns of a definition.
fn table_of(definition: &str) -> String {
    let definition: toml::Table = toml::from_str(definition).unwrap();
    let columns = definition["column"].as_array().unwrap().iter().map(|column| {
        let kind = match column["type"].as_str().unwrap() {
            "decimal" => format!("numeric({}, {})", column["precision"], column["scale"]),
            "timestamp" => "timestamptz".into(),
            other => other.to_owned(),
        };
        let key = if column["name"] == definition["key"] { " primary key" } else { "" };
        format!("{} {kind}{key}", column["name"].as_str().unwrap())
    });
    format!("create table {} ({})", definition["table"].as_str().unwrap(), columns.collect::<Vec<_>>().join(", "))
}

fn say(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn validate_finds_the_source_by_the_path_or_takes_the_one_that_is_named() {
    let scratch = Scratch::new("sources");
    let datasets = scratch.path().join("datasets");
    fs::create_dir_all(&datasets).unwrap();
    fs::write(datasets.join("deal.toml"), BROKER).unwrap();
    let variables = [("SMALL_ETL__DATASETS__PATH".to_owned(), datasets.display().to_string())];
    let place = scratch.path().join("incoming/deals/huaxi");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("a_20251222.txt"), broken_deals()).unwrap();
    fs::write(scratch.path().join("b_20251222.txt"), gb(DEALS)).unwrap();

    let found =
        small_etl(&scratch, &variables, &["validate", "incoming/deals/huaxi/a_20251222.txt", "--rejects", "bad.csv"]);
    assert_eq!(found.status.code(), Some(1), "{}", say(&found));
    assert!(say(&found).contains("4 records, 1 accepted, 3 rejected"), "{}", say(&found));
    let named = small_etl(&scratch, &variables, &["validate", "b_20251222.txt", "--source", "huaxi", "--json"]);
    assert_eq!(named.status.code(), Some(0), "{}", say(&named));
    assert!(
        say(&named).contains("\"source\":\"huaxi\"") || say(&named).contains("\"source\": \"huaxi\""),
        "{}",
        say(&named)
    );
    // The rejects name their source, wherever they lie.
    let text = GB18030.decode(&fs::read(scratch.path().join("bad.csv")).unwrap()).0.into_owned();
    let mended = text.replace("赎回", "卖出").replace("15,50.00", "15,500.00").replace('\u{fffd}', "7.25");
    fs::write(scratch.path().join("mended.csv"), gb(&mended)).unwrap();
    let again = small_etl(&scratch, &variables, &["validate", "mended.csv", "--dataset", "deal"]);
    assert!(say(&again).contains("3 records, 3 accepted, 0 rejected"), "{}", say(&again));
    let unknown =
        small_etl(&scratch, &variables, &["validate", "b_20251222.txt", "--dataset", "deal", "--source", "huaxia"]);
    assert!(say(&unknown).contains("unknown source \"huaxia\"; did you mean \"huaxi\"?"), "{}", say(&unknown));
}

#[test]
fn a_source_beside_an_extractor_of_the_settings_is_refused() {
    let scratch = Scratch::new("sources");
    let datasets = scratch.path().join("datasets");
    fs::create_dir_all(&datasets).unwrap();
    fs::write(datasets.join("deal.toml"), BROKER).unwrap();
    let settings = config(&scratch, "[[pipeline.deal.extractor]]\ntype = \"s3_parquet\"\n");
    let variables = [
        ("SMALL_ETL__DATASETS__PATH".to_owned(), datasets.display().to_string()),
        ("SMALL_ETL_CONFIG".to_owned(), settings.display().to_string()),
        ("SMALL_ETL_ENV".to_owned(), "test".to_owned()),
    ];
    let refused = small_etl(&scratch, &variables, &["validate", "x.csv", "--dataset", "deal"]);
    assert!(
        say(&refused).contains("pipeline.deal.extractor: dataset deal declares sources such as \"huaxi\""),
        "{}",
        say(&refused)
    );
}
