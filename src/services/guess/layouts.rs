//! Files that lay their tables out in unusual ways.

use encoding_rs::{GB18030, UTF_16LE};

use super::told::{Told, look};

/// Checks the open questions, the number of rows, and the first and the last of them.
fn check(told: &Told, questions: &[&str], rows: &[&str]) {
    assert_eq!(told.questions(), questions);
    let all: Vec<String> = (0..told.rows[0].len()).map(|row| told.row(0, row)).collect();
    assert_eq!(all, rows, "{:?}", told.guessed[0].options);
}

#[test]
fn a_text_of_two_bytes_a_sign_is_read() {
    let text = "\u{feff}Id\tDatum\tBelopp\r\n1\t2025-01-02\t-1 250,50\r\n2\t2025-01-03\t10,00\r\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&look("a.csv", &bytes, &[]), &[], &["1|2025-01-02|-1250.50", "2|2025-01-03|10.00"]);
    let without: Vec<u8> = bytes[2..].to_vec();
    let told = look("a.csv", &without, &[]);
    assert!(told.guessed[0].options.iter().any(|line| line.option == "encoding = \"utf-16le\""), "{UTF_16LE:?}");
    check(&told, &[], &["1|2025-01-02|-1250.50", "2|2025-01-03|10.00"]);
}

#[test]
fn lines_may_end_with_a_cr_alone() {
    check(&look("a.csv", b"a,b\r1.5,x\r2.5,y\r", &[]), &[], &["1.5|x", "2.5|y"]);
}

#[test]
fn cells_at_fixed_places_are_found() {
    let text = "0417001 NRVL 20251222 B   100    12.50\n0417001 TNDR 20251223 S  2500     3.75\n0417002 HLDN 20251224 B    10  1250.00\n";
    let told = look("a.txt", text.as_bytes(), &[]);
    check(
        &told,
        &[],
        &[
            "0417001|NRVL|2025-12-22|B|100|12.50",
            "0417001|TNDR|2025-12-23|S|2500|3.75",
            "0417002|HLDN|2025-12-24|B|10|1250.00",
        ],
    );
    let headed = format!("ACCOUNT SYMB DATE     S VOLUME  PRICE \n{text}");
    let told = look("a.txt", headed.as_bytes(), &[]);
    assert_eq!(told.rows[0].len(), 3, "{:?}", told.guessed[0].options);
    assert_eq!(told.row(0, 2), "0417002|HLDN|2025-12-24|B|10|1250.00");
}

#[test]
fn fixed_places_without_blanks_between_are_told_by_letters_and_digits() {
    let text = "D0417001NRVL20251222B0000100\nD0417001TNDR20251223S0002500\nD0417002HLDN20251224B0000010\n";
    let told = look("a.txt", text.as_bytes(), &[]);
    check(
        &told,
        &[],
        &[
            "D|0417001|NRVL|2025-12-22|B|0000100",
            "D|0417001|TNDR|2025-12-23|S|0002500",
            "D|0417002|HLDN|2025-12-24|B|0000010",
        ],
    );
}

#[test]
fn a_header_may_break_inside_of_its_names() {
    let text = "\"Trade\nDate\",\"Amount\n(EUR)\"\n2025-01-02,1.50\n2025-01-03,2.50\n";
    let told = look("a.csv", text.as_bytes(), &[]);
    assert_eq!(told.columns(0), ["trade_date date", "amount_eur decimal"]);
    check(&told, &[], &["2025-01-02|1.50", "2025-01-03|2.50"]);
}

#[test]
fn names_on_two_lines_are_one() {
    let text = "成交日期,成交价,数量\n(日),(元),(股)\n20250102,1.50,100\n20250103,2.50,200\n20250106,2.50,300\n";
    let told = look("a.csv", &GB18030.encode(text).0, &[]);
    check(&told, &[], &["2025-01-02|1.50|100", "2025-01-03|2.50|200", "2025-01-06|2.50|300"]);
}

#[test]
fn an_index_without_a_name_is_a_column() {
    let told = look("a.csv", b",symbol,price\n0,A,1.5\n1,B,2.5\n", &[]);
    assert_eq!(told.columns(0), ["column_1 bigint", "symbol text", "price decimal"]);
    check(&told, &[], &["0|A|1.5", "1|B|2.5"]);
}

#[test]
fn tables_of_one_file_become_datasets_of_their_own() {
    let text = "Statement,,\n\nDeposits,,\nDate,Text,Amount\n2025-01-02,Salary,100.00\n2025-01-03,Gift,10.00\n\nTrades,,,\nDate,Symbol,Qty,Price\n2025-01-02,NRVL,5,1.50\n2025-01-04,TNDR,6,2.50\n";
    let told = look("a.csv", text.as_bytes(), &[]);
    let names: Vec<&str> = told.guessed.iter().map(|guessed| guessed.place.name.as_str()).collect();
    assert_eq!(
        (names, told.rows.iter().map(Vec::len).collect::<Vec<_>>()),
        (vec!["guessed_deposits", "guessed_trades"], vec![2, 2])
    );
    assert_eq!((told.row(0, 1).as_str(), told.row(1, 1).as_str()), ("2025-01-03|Gift|10.00", "2025-01-04|TNDR|6|2.50"));
}

#[test]
fn credits_and_debits_behind_amounts_are_units() {
    let text = "Date,Amount\n2025-01-02,\"1,250.00 CR\"\n2025-01-03,20.00 DR\n";
    check(&look("a.csv", text.as_bytes(), &[]), &[], &["2025-01-02|1250.00|CR", "2025-01-03|20.00|DR"]);
}

#[test]
fn codes_before_amounts_are_units() {
    let text = "Date,Amount,Fee\n2025-01-02,\"USD 1,250.00\",€ 1.50\n2025-01-03,EUR 20.00,€ 2.50\n";
    check(&look("a.csv", text.as_bytes(), &[]), &[], &["2025-01-02|1250.00|USD|1.50", "2025-01-03|20.00|EUR|2.50"]);
}

#[test]
fn a_year_that_the_name_of_the_file_tells_is_still_asked_for() {
    let text = "Date,Text,Amount\n12/28,a,1.50\n12/31,b,2.50\n01/02,c,3.50\n";
    let told = look("statement_2025-01.csv", text.as_bytes(), &[]);
    assert_eq!(told.questions(), ["year:Date"]);
    let told = look("statement_2025-01.csv", text.as_bytes(), &["year:Date=2025-01"]);
    check(&told, &[], &["2024-12-28|a|1.50", "2024-12-31|b|2.50", "2025-01-02|c|3.50"]);
}

#[test]
fn a_year_that_nothing_tells_is_the_one_that_is_answered() {
    let text = "Date,Text,Amount\n28 Dec,a,1.50\n31 Dec,b,2.50\n";
    let told = look("statement.csv", text.as_bytes(), &["year:Date=2024"]);
    check(&told, &[], &["2024-12-28|a|1.50", "2024-12-31|b|2.50"]);
}

#[test]
fn years_of_two_digits_and_percents_are_asked_for() {
    let text = "Date,Yield\n25/01/24,1.5%\n26/01/24,(2.5%)\n27/01/24,12%\n";
    let told = look("a.csv", text.as_bytes(), &[]);
    assert_eq!(told.questions(), ["century:Date", "percent_scale:Yield"]);
    let told = look("a.csv", text.as_bytes(), &["century:Date=19", "percent_scale:Yield=divide"]);
    check(&told, &[], &["1924-01-25|0.015", "1924-01-26|-0.025", "1924-01-27|0.12"]);
}

#[test]
fn dates_that_are_missing_are_null() {
    let text = "id,expiry\n7,2025-01-02\n8,0000-00-00\n9,2025-02-13\n";
    check(&look("a.csv", text.as_bytes(), &[]), &[], &["7|2025-01-02", "8|", "9|2025-02-13"]);
}

#[test]
fn rows_that_are_alike_raise_a_question() {
    let text = "Date,Text,Amount\n2025-01-02,a,1.50\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n";
    assert_eq!(look("a.csv", text.as_bytes(), &[]).questions(), ["repeated_rows"]);
    let once = look("a.csv", text.as_bytes(), &["repeated_rows=once"]);
    assert_eq!(once.guessed[0].key.columns(), ["date", "text", "amount"]);
    assert!(look("a.csv", text.as_bytes(), &["repeated_rows=keep"]).guessed[0].key.columns().is_empty());
}

#[test]
fn a_file_with_a_header_alone_has_texts() {
    let told = look("a.csv", b"id,name,amount\n", &[]);
    assert_eq!((told.columns(0).len(), told.rows[0].len()), (3, 0));
}

#[test]
fn an_answer_counts_more_than_what_the_file_tells() {
    let text = "Date,Settled,Time (UTC)\n13/01/2025,03/02/2025,2025-01-02 10:20:30\n14/01/2025,04/02/2025,2025-01-02 11:20:30\n";
    let told = look("a.csv", text.as_bytes(), &[]);
    check(&told, &[], &["2025-01-13|2025-02-03|2025-01-02T10:20:30Z", "2025-01-14|2025-02-04|2025-01-02T11:20:30Z"]);
    let answers = ["day_month_order:Settled=month_first", "zone:Time (UTC)=Asia/Tokyo"];
    let told = look("a.csv", text.as_bytes(), &answers);
    check(&told, &[], &["2025-01-13|2025-03-02|2025-01-02T01:20:30Z", "2025-01-14|2025-04-02|2025-01-02T02:20:30Z"]);
}

#[test]
fn pieces_of_a_large_file_are_whole_lines() {
    let mut text = String::from("id,traded_at,price\n");
    for row in 0..60_000 {
        let (minute, second) = (row / 60 % 60, row % 60);
        text += &["T", &format!("{row:07},2025-01-02 10:{minute:02}:{second:02},{row}.25"), "\n"].concat();
    }
    text.push_str("Total,,1\n");
    assert!(text.len() > 1_600_000);
    let told = look("a.csv", text.as_bytes(), &["zone:traded_at=UTC"]);
    assert_eq!(told.columns(0), ["id text", "traded_at timestamp", "price decimal"]);
    assert_eq!((told.rows[0].len(), told.row(0, 59_999).as_str()), (60_000, "T0059999|2025-01-02T10:39:59Z|59999.25"));
    assert!(told.guessed[0].place.looked_at.contains("24 pieces between"), "{}", told.guessed[0].place.looked_at);
}
