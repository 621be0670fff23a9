//! Further files of brokers, banks and exchanges. Values are invented.

use encoding_rs::{GB18030, WINDOWS_1252};

use super::told::{Told, look};

fn check(told: &Told, questions: &[&str], first: &str, last: &str, rows: usize) {
    let shown = || format!("{:?} {:?}", told.columns(0), told.guessed[0].options);
    assert_eq!(told.questions(), questions, "{}", shown());
    assert_eq!(told.rows[0].len(), rows, "{}", shown());
    assert_eq!((told.row(0, 0).as_str(), told.row(0, rows - 1).as_str()), (first, last), "{}", shown());
}

#[test]
fn an_exchange_with_lines_before_the_header_and_a_zone_in_each_time() {
    let text = "\nTransactions\nUser,Demo Person,0b9c1f6a-1111-2222-3333-444455556666\nID,Timestamp,Transaction Type,Asset,Quantity Transacted,Price Currency,Price at Transaction,Subtotal,Notes\n\
                675a1,2025-01-02 10:20:30 UTC,Buy,BTC,0.00123,EUR,€95000.123,€116.85,Bought 0.00123 BTC for €116.85\n\
                675a2,2025-01-03 11:20:30 UTC,Send,ETH,-0.5,EUR,€3100.00,-€1550.00,\n";
    check(
        &look("Coins_2025.csv", text.as_bytes(), &[]),
        &[],
        "675a1|2025-01-02T10:20:30Z|Buy|BTC|0.00123|EUR|95000.123|116.85|Bought 0.00123 BTC for €116.85",
        "675a2|2025-01-03T11:20:30Z|Send|ETH|-0.5|EUR|3100.00|-1550.00|",
        2,
    );
}

#[test]
fn a_ledger_of_times_with_four_decimals() {
    let text = "\"txid\",\"refid\",\"time\",\"type\",\"aclass\",\"asset\",\"amount\",\"fee\",\"balance\"\n\
                \"LA1\",\"TB1\",\"2025-01-02 10:20:30.1234\",\"trade\",\"currency\",\"ZEUR\",\"-100.0000\",\"0.2600\",\"50.1000\"\n\
                \"LA2\",\"TB1\",\"2025-01-02 10:20:30.1234\",\"trade\",\"currency\",\"XXBT\",\"0.0010000000\",\"0.0000000000\",\"0.0010000000\"\n";
    check(
        &look("ledgers.csv", text.as_bytes(), &["zone:time=UTC"]),
        &[],
        "LA1|TB1|2025-01-02T10:20:30.123400Z|trade|currency|ZEUR|-100.0000|0.2600|50.1000",
        "LA2|TB1|2025-01-02T10:20:30.123400Z|trade|currency|XXBT|0.0010000000|0.0000000000|0.0010000000",
        2,
    );
}

#[test]
fn a_broker_that_names_a_currency_beside_each_amount() {
    let text = "Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Result,Total,ID\n\
                Market buy,2025-01-02 14:30:05.123,US0378331005,AAPL,\"Apple, Inc.\",0.5000000000,243.1200000000,USD,1.03910000,,117.05,EOF1234\n\
                Deposit,2025-01-03 09:00:00,,,,,,,Not available,,500.00,a1b2c3\n";
    check(
        &look("from_2025-01-01_to_2025-01-31.csv", text.as_bytes(), &["zone:Time=UTC"]),
        &[],
        "Market buy|2025-01-02T14:30:05.123000Z|US0378331005|AAPL|Apple, Inc.|0.5000000000|243.1200000000|USD|1.03910000||117.05|EOF1234",
        "Deposit|2025-01-03T09:00:00Z|||||||||500.00|a1b2c3",
        2,
    );
}

#[test]
fn a_bank_with_a_title_in_quotes_and_an_empty_last_column() {
    let text = "\"Kontonummer:\";\"DE99 1234 / Girokonto\";\n\n\"Von:\";\"01.01.2025\";\n\"Bis:\";\"31.01.2025\";\n\"Kontostand vom 31.01.2025:\";\"1.234,56 EUR\";\n\n\
                \"Buchungstag\";\"Wertstellung\";\"Buchungstext\";\"Auftraggeber / Begünstigter\";\"Verwendungszweck\";\"Betrag (EUR)\";\"Gläubiger-ID\";\n\
                \"31.01.2025\";\"31.01.2025\";\"LASTSCHRIFT\";\"Strom AG\";\"Rechnung 12, Januar\";\"-45,00\";\"DE98ZZZ\";\n\
                \"15.01.2025\";\"15.01.2025\";\"GUTSCHRIFT\";\"Arbeit GmbH\";\"Lohn\";\"2.500,00\";\"\";\n";
    let told = look("1234567890.csv", &WINDOWS_1252.encode(text).0, &[]);
    assert_eq!(told.questions(), Vec::<String>::new());
    assert!(
        told.row(0, 0).starts_with("2025-01-31|2025-01-31|LASTSCHRIFT|Strom AG|Rechnung 12, Januar|-45.00|DE98ZZZ"),
        "{}",
        told.row(0, 0)
    );
    assert!(
        told.row(0, 1).starts_with("2025-01-15|2025-01-15|GUTSCHRIFT|Arbeit GmbH|Lohn|2500.00|"),
        "{}",
        told.row(0, 1)
    );
}

#[test]
fn a_bank_of_china_with_padded_cells_and_a_total() {
    let text = "明细查询文件下载\t\n卡号: 6222************1234\t\n\n交易日期,摘要,交易场所,交易国家或地区简称,钞/汇,交易金额(收入),交易金额(支出),交易币种,余额\n\
                2025-01-08\t,消费\t,星野超市\t,CHN\t,钞\t,\t,\"1,023.50\"\t,人民币\t,\"5,000.00\"\t\n\
                2025-01-07\t,工资\t,\t,CHN\t,钞\t,\"8,000.00\"\t,\t,人民币\t,\"6,023.50\"\t\n\
                合计金额\t,\t,\t,\t,\t,\"8,000.00\"\t,\"1,023.50\"\t,\t,\t\n";
    let told = look("hisdetail1736300000.csv", &GB18030.encode(text).0, &[]);
    check(
        &told,
        &[],
        "2025-01-08|消费|星野超市|CHN|钞||1023.50|人民币|5000.00|6222************1234",
        "2025-01-07|工资||CHN|钞|8000.00||人民币|6023.50|6222************1234",
        2,
    );
}

#[test]
fn a_wallet_with_date_time_and_zone_apart() {
    let text = "\"Date\",\"Time\",\"TimeZone\",\"Name\",\"Type\",\"Status\",\"Currency\",\"Gross\",\"Fee\",\"Net\",\"Transaction ID\"\n\
                \"02/01/2025\",\"10:20:30\",\"GMT\",\"A Shop\",\"Payment\",\"Completed\",\"GBP\",\"-1,012.99\",\"0.00\",\"-1,012.99\",\"8AB12345CD678901E\"\n\
                \"28/01/2025\",\"11:20:30\",\"GMT\",\"B Ltd\",\"Refund\",\"Completed\",\"GBP\",\"10.00\",\"-0.30\",\"9.70\",\"9AB12345CD678901E\"\n";
    check(
        &look("Download.CSV", text.as_bytes(), &[]),
        &[],
        "2025-01-02|10:20:30|2025-01-02T10:20:30Z|GMT|A Shop|Payment|Completed|GBP|-1012.99|0.00|-1012.99|8AB12345CD678901E",
        "2025-01-28|11:20:30|2025-01-28T11:20:30Z|GMT|B Ltd|Refund|Completed|GBP|10.00|-0.30|9.70|9AB12345CD678901E",
        2,
    );
}

#[test]
fn positions_of_a_broker_of_america_with_notes_after_them() {
    let text = "\u{feff}Account Number,Account Name,Symbol,Description,Quantity,Last Price,Last Price Change,Current Value,Percent Of Account,Type\r\n\
                X12345678,Individual,NRVL,NORVALE ROBOTICS,10.5,$101.25,+$1.10,$1063.13,52.50%,Cash,\r\n\
                X12345678,Individual,SPAXX**,MONEY MARKET,,,,$961.87,47.50%,Cash,\r\n\
                \r\n\"The data and information in this spreadsheet is provided to you solely for your use, and not for distribution.\"\r\n\r\n\"Date downloaded Jan-31-2025 4:05 p.m ET\"\r\n";
    check(
        &look("Portfolio_Positions_Jan-31-2025.csv", text.as_bytes(), &["percent_scale:Percent Of Account=keep"]),
        &[],
        "X12345678|Individual|NRVL|NORVALE ROBOTICS|10.5|101.25|1.10|1063.13|52.50|Cash",
        "X12345678|Individual|SPAXX**|MONEY MARKET||||961.87|47.50|Cash",
        2,
    );
}

#[test]
fn a_terminal_of_china_with_names_of_columns_padded() {
    let text = " 成交日期 , 合约 , 买卖 , 开平 , 成交价 , 手数 , 手续费 , 平仓盈亏 \n\
                20250106 , rb2505 , 买 , 开 , 3321.00 , 2 , 6.64 , 0.00 \n20250107 , IF2501 , 卖 , 平今 , 3,912.40 , 1 , 270.01 , -1,260.00 \n";
    let told = look("成交明细.txt", &GB18030.encode(text).0, &[]);
    // Numbers with commas between delimiters that are commas cannot be told apart: the row is refused, not loaded wrongly.
    assert_eq!(told.rows[0].len(), 2);
    assert!(told.row(0, 0).starts_with("2025-01-06|rb2505|买|开|3321.00|2|6.64|0.00"), "{}", told.row(0, 0));
    assert!(told.rows[0][1].is_err());
}

#[test]
fn statements_with_the_day_and_the_month_in_words() {
    let text = "Date,Details,Paid out,Paid in,Balance\n01 Apr 2025,CARD 12,\"1,012.00\",,88.00\n,CARD 13,5.00,,83.00\n30 Sept 2025,IN,,10.00,93.00\n";
    let told = look("a.csv", text.as_bytes(), &[]);
    assert_eq!(told.rows[0].len(), 3);
    assert!(told.row(0, 0).ends_with("|CARD 12|1012.00||88.00"), "{}", told.row(0, 0));
}

#[test]
fn orders_with_nested_texts_and_flags() {
    let text = "order_id;placed_at;payload;is_taker;filled\n\
                550e8400-e29b-41d4-a716-446655440000;2025-01-02T10:20:30+01:00;\"{\"\"a\"\": 1}\";true;1,5\n\
                550e8400-e29b-41d4-a716-446655440001;2025-01-02T10:21:30+01:00;;false;0,25\n";
    let told = look("orders.csv", text.as_bytes(), &[]);
    assert_eq!(
        told.columns(0),
        ["order_id uuid", "placed_at timestamp", "payload json", "is_taker boolean", "filled decimal"]
    );
    check(
        &told,
        &[],
        "550e8400-e29b-41d4-a716-446655440000|2025-01-02T09:20:30Z|{\"a\": 1}|true|1.5",
        "550e8400-e29b-41d4-a716-446655440001|2025-01-02T09:21:30Z||false|0.25",
        2,
    );
}

#[test]
fn a_broker_of_hong_kong_with_a_zone_in_parentheses() {
    let text = "方向,代码,名称,成交数量,成交价格,成交金额,成交时间,市场,币种\n\
                买入,00700,腾讯控股,100,405.200,\"40,520.00\",2025/01/02 10:20:30,港股,HKD\n卖出,AAPL,苹果,5,243.12,\"1,215.60\",2025/01/03 22:31:05,美股,USD\n";
    let told = look("历史成交_20250105.csv", text.as_bytes(), &["zone:成交时间=Asia/Hong_Kong"]);
    assert_eq!(told.questions(), Vec::<String>::new());
    assert!(
        told.row(0, 0).starts_with("买入|00700|腾讯控股|100|405.200|40520.00|2025-01-02T02:20:30Z|港股|HKD"),
        "{}",
        told.row(0, 0)
    );
    assert!(
        told.row(0, 1).starts_with("卖出|AAPL|苹果|5|243.12|1215.60|2025-01-03T14:31:05Z|美股|USD"),
        "{}",
        told.row(0, 1)
    );
}
