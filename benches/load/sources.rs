//! How much longer it takes to check a file as its sender writes it than the same rows in the plain form.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{NaiveDateTime, TimeDelta};
use encoding_rs::GB18030;

use crate::Sizes;
use crate::figures::{Figures, Line};
use crate::world::{World, seconds};

const TRADE: &str = include_str!("../../datasets/trade.toml");

/// The form of a broker: GB18030, names of its own, times in its zone, numbers with a decimal comma and thousands, words for the
/// direction.
const SOURCE: &str = r#"
[[source]]
name = "broker"
files = ["broker/**"]
encoding = "gb18030"
delimiter = "\t"
zone = "Asia/Shanghai"
decimal_mark = ","
thousands = "."

[[source.column]]
name = "account_id"
header = "资金账号"
[[source.column]]
name = "account_type"
header = "账号类型"
[[source.column]]
name = "traded_id"
header = "成交编号"
[[source.column]]
name = "stock_code"
header = "证券代码"
[[source.column]]
name = "traded_time"
header = "成交时间"
form = "%Y%m%d %H:%M:%S"
[[source.column]]
name = "traded_price"
header = "成交价格"
[[source.column]]
name = "traded_volume"
header = "成交数量"
[[source.column]]
name = "traded_amount"
header = "成交金额"
[[source.column]]
name = "strategy_name"
header = "策略名称"
[[source.column]]
name = "order_remark"
header = "备注"
[[source.column]]
name = "direction"
header = "方向"
map = { "不区分" = 0, "买入" = 48, "卖出" = 49 }
[[source.column]]
name = "offset_flag"
header = "买卖标志"
map = { "买入" = 48, "卖出" = 49 }
[[source.column]]
name = "created_at"
header = "创建时间"
form = ["%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S"]
[[source.column]]
name = "updated_at"
header = "更新时间"
form = "%d.%m.%Y %H:%M:%S"
"#;
const HEADER: &str = "编号\t资金账号\t账号类型\t成交编号\t证券代码\t成交时间\t成交价格\t成交数量\t成交金额\t策略名称\t备注\t方向\t买卖标志\t创建时间\t更新时间";
const HOURS_AHEAD: TimeDelta = TimeDelta::hours(8);

/// `validate` of the same trades in the form of the broker and in the plain form, in turn.
pub fn sources(world: &World, sizes: &Sizes) -> Line {
    let plain = world.trades(sizes.rows, 0);
    let folder = world.scratch.path().join("sources");
    let declared = folder.join("trades.txt");
    std::fs::create_dir_all(folder.join("datasets")).expect("create a folder");
    std::fs::write(folder.join("datasets/trade.toml"), format!("{TRADE}{SOURCE}")).expect("write a definition");
    write_as_broker(&plain, &declared);
    let mut pairs = Vec::new();
    for run in 0..=sizes.runs {
        let pair = (validate(&declared, &folder, "broker"), validate(&plain, &folder, ""));
        println!("run {run}: {:.2} / {:.2} s", pair.0, pair.1);
        if run > 0 {
            pairs.push(pair);
        }
    }
    let of = |nth: fn(&(f64, f64)) -> f64| -> Figures { pairs.iter().map(nth).collect() };
    let work = format!(
        "`small-etl validate` of {} trades in GB18030, with forms of dates, a decimal comma, thousands and maps",
        sizes.rows
    );
    let (own, other) = (format!("{} s", of(|pair| pair.0)), format!("plain form {} s", of(|pair| pair.1)));
    Line::at_most(&work, own, other, (&Figures::ratios(&pairs), " x"), 1.25)
}

fn validate(file: &Path, folder: &Path, source: &str) -> f64 {
    let mut program = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    program.args(["validate", "--dataset", "trade"]).arg(file);
    if !source.is_empty() {
        program.args(["--source", source]);
    }
    // The plain form is read by the dataset that is compiled in.
    if !source.is_empty() {
        program.env("SMALL_ETL__DATASETS__PATH", folder.join("datasets"));
    }
    seconds(&mut program)
}

fn write_as_broker(plain: &Path, declared: &PathBuf) {
    let mut out = BufWriter::new(File::create(declared).expect("create a file"));
    let mut put = |line: &str| {
        let (bytes, ..) = GB18030.encode(line);
        out.write_all(&bytes).and_then(|()| out.write_all(b"\r\n")).expect("write a line");
    };
    put(HEADER);
    for line in BufReader::new(File::open(plain).expect("open the file")).lines().skip(1) {
        let line = line.expect("read a line");
        let cells: Vec<String> = line.split(',').enumerate().map(|(at, cell)| as_broker(at, cell)).collect();
        put(&cells.join("\t"));
    }
    out.flush().expect("write the file");
}

fn as_broker(column: usize, cell: &str) -> String {
    match column {
        5 => moment(cell, "%Y%m%d %H:%M:%S"),
        13 => moment(cell, "%Y-%m-%d %H:%M:%S"),
        14 => moment(cell, "%d.%m.%Y %H:%M:%S"),
        6..=8 => grouped(cell),
        11 | 12 => match cell {
            "48" => "买入".to_owned(),
            "49" => "卖出".to_owned(),
            _ => "不区分".to_owned(),
        },
        _ => cell.to_owned(),
    }
}

fn moment(cell: &str, form: &str) -> String {
    let moment = NaiveDateTime::parse_from_str(cell, "%Y-%m-%dT%H:%M:%S").expect("a sample has times");
    (moment + HOURS_AHEAD).format(form).to_string()
}

fn grouped(number: &str) -> String {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let mut digits = whole.to_owned();
    let mut at = digits.len();
    while at > 3 {
        at -= 3;
        digits.insert(at, '.');
    }
    if decimals.is_empty() { digits } else { format!("{digits},{decimals}") }
}
