//! Files that look like something else: none is read wrongly without a word.

use super::told::look;
use crate::domain::guess::key::Key;

fn key(name: &str, text: &str) -> Vec<String> {
    look(name, text.as_bytes(), &[]).guessed[0].key.columns().to_vec()
}

#[test]
fn the_account_that_a_file_tells_is_a_part_of_the_key_of_its_rows() {
    let rows = "symbol,qty,price\nNRVL,1,1.5\nTNDR,2,2.5\n";
    assert_eq!(key("p.csv", &format!("Account: 0077\n\n{rows}")), ["account", "symbol"]);
    assert_eq!(key("positions_U1234567.csv", rows), ["file_code", "symbol"]);
    assert_eq!(key("p.csv", rows), ["symbol"]);
    // An id of its own names a row wherever it is.
    let trades = "Account: 0077\n\ntrade_id,qty\nT-91,1\nT-92,2\n";
    assert_eq!(key("t.csv", trades), ["trade_id"]);
}

#[test]
fn a_number_that_begins_at_1_in_each_file_is_no_key() {
    for header in ["Transaction No", "Record No", "row number", "Ref", "\u{5e8f}\u{53f7}"] {
        let text = format!("{header},date,amount,desc\n1,2025-01-02,5.5,a\n2,2025-01-02,6.5,b\n");
        assert_eq!(key("t.csv", &text), [] as [&str; 0], "{header}");
    }
    assert_eq!(key("t.csv", "Trade Ref,date,amount\n71,2025-01-02,5.5\n72,2025-01-02,6.5\n"), ["trade_ref"]);
    let backwards = "Transaction No,date,amount\n3,2025-01-02,5.5\n2,2025-01-02,6.5\n1,2025-01-02,6.5\n";
    assert_eq!(key("t.csv", backwards), [] as [&str; 0]);
    assert_eq!(key("t.csv", "id,price\n1,5.5\n2,6.5\n"), ["id"]);
}

/// The next payment has the same one, and would overwrite this one.
#[test]
fn what_a_payer_calls_a_payment_is_no_key() {
    for header in [
        "Reference",
        "Ref No",
        "Mandate Reference",
        "Customer Reference",
        "Référence",
        "Payment Reference",
        "Payment Mandate ID",
    ] {
        let text = format!(
            "Date,{header},Type,Amount\n2025-01-31,850012345678,DEBIT,-85.00\n2025-01-30,NFLX123,CARD,-10.99\n"
        );
        assert_eq!(key("t.csv", &text), [] as [&str; 0], "{header}");
    }
    let exchanged = "Datum;Währung;Betrag;Kurs;Gegenwert\n31.01.2025;USD;1250,00;1,0392;1202,85\n30.01.2025;GBP;500,00;0,8361;598,01\n";
    assert_eq!(key("fx.csv", exchanged), [] as [&str; 0]);
    let dividends = "Payment Date,ISIN,Security,Shares,Amount,Currency\n2025-10-30,US0378331005,Apple,10,4.51,USD\n\
                     2025-10-31,US5949181045,Microsoft,5,3.20,USD\n";
    assert_eq!(key("div.csv", dividends), [] as [&str; 0]);
}

#[test]
fn a_person_chooses_another_key_if_that_tells_every_row_from_every_other() {
    let fills =
        "Order ID,Fill Price,Filled Qty,Time,Side\n1,1.5,5,2025-01-31 10:00:00,buy\n2,1.5,5,2025-01-31 10:00:01,buy\n";
    let of = |answer: &str| {
        let told = look("fills.csv", fills.as_bytes(), &["zone:Time=UTC", answer]);
        let open: Vec<String> = told.guessed[0].open().map(|question| question.id.clone()).collect();
        (told.guessed[0].key.columns().join(","), open.join(","))
    };
    assert_eq!(of("key=order_id"), ("order_id".into(), String::new()));
    assert_eq!(of("key=Side, order_id"), ("side,order_id".into(), String::new()), "by header or name");
    assert_eq!(of("key=content"), (String::new(), String::new()));
    for wrong in ["key=side", "key=nothing", "key=order_id,nothing", "key=order_id,order_id"] {
        assert_eq!(of(wrong).1, "key", "{wrong}");
    }
}

#[test]
fn holdings_without_a_day_have_the_key_of_what_is_held() {
    let held = "Account Number,Symbol,Description,Quantity,Last Price,Current Value\nZ1,AAPL,APPLE INC,10,236.00,2360.00\n\
                Z1,MSFT,MICROSOFT CORP,5,415.06,2075.30\n";
    assert_eq!(key("held.csv", held), ["account_number", "symbol"]);
    for sold in [
        "Symbol,Side,Quantity,Price\nAAPL,sell,10,236.00\nMSFT,buy,5,415.06\n",
        "Account,Ticker,Action,Shares,Price,Commission\nA1,AAPL,sell,10,236.00,1.0\nA1,MSFT,buy,5,415.06,1.0\n",
        "Account,Fund,Debit,Credit,Balance\nA1,NRVL,10.5,,236.00\nA1,TNDR,,5.5,415.06\n",
    ] {
        assert_eq!(key("sold.csv", sold), [] as [&str; 0], "the next file sells the same: {sold}");
    }
}

/// A file that overlaps another one has the same rows with other numbers of lines.
#[test]
fn what_differs_from_file_to_file_is_no_content_of_a_row() {
    let left_out = |text: &str| {
        let told = look("t.csv", text.as_bytes(), &[]);
        let Key::Content(_, of_file) = &told.guessed[0].key else { panic!("{:?}", told.guessed[0].key) };
        of_file.join(",")
    };
    let text = "Radnummer;Datum;Text;Belopp\n1;2025-01-31;a;1,50\n2;2025-01-30;b;2,50\n3;2025-01-15;c;3,75\n";
    assert_eq!(left_out(text), "radnummer");
    // Values that happen to count.
    for text in [
        "Date,Text,Amount\n2025-01-31,Coffee,1\n2025-01-31,Tea,2\n2025-01-31,Milk,3\n",
        "Amount,Date,Text\n1,2025-01-31,Coffee\n2,2025-01-31,Tea\n3,2025-01-31,Milk\n",
        "Quantity,Date,Text\n1,2025-01-31,Coffee\n2,2025-01-31,Tea\n3,2025-01-31,Milk\n",
        "Level,Date,Text\n1,2025-01-31,Coffee\n",
        "Date,Account,Opening Balance,Fee\n2025-01-31,A,0.00,1.50\n2025-01-31,A,0.00,2.50\n",
        "Date,Amount\n",
    ] {
        assert_eq!(left_out(text), "", "{text}");
    }
}

#[test]
fn a_row_whose_code_is_a_word_is_a_row() {
    for (text, last) in [
        ("code,name,qty\n600519,Moutai,5\n000001,PingAn,6\n601318,Ping,7\nHK0700,Tencent,\n", "HK0700|Tencent|"),
        ("valor,name,qty,note\n1222171,ABB,5,x\n1213860,Roche,6,y\nCASH,,1500.25,\n", "CASH||1500.25|"),
        ("code,name,region\n1001,foo,x\n1002,bar,y\n1003,bar,y\nABC,baz,z\n", "ABC|baz|z"),
        (
            "symbol,name,qty,price,note\nAAPL,Apple,5,1.5,a\nMSFT,Micro,7,3.5,b\nTOTAL GABON,Oil of Gabon,6,2.5,\n",
            "TOTAL GABON|Oil of Gabon|6|2.5|",
        ),
    ] {
        let told = look("rows.csv", text.as_bytes(), &[]);
        assert_eq!(told.row(0, told.rows[0].len() - 1), last, "{text}");
    }
    for footer in [
        "Total,,12,,",
        "Total Equities,,19,,USD",
        "Total Long,All,19,,",
        "END,,,,",
        "Confidential,,,,",
        "Total USD,,12,,",
        "Generated by the back office,,,,",
        "All figures are unaudited,,,,",
    ] {
        let text = format!("symbol,name,qty,price,note\nAAPL,Apple,5,1.5,a\nMSFT,Micro,7,3.5,b\n{footer}\n");
        assert_eq!(look("rows.csv", text.as_bytes(), &[]).rows[0].len(), 2, "{footer}");
    }
}

/// Neither days nor numbers stand beside words for the end of a file.
#[test]
fn the_last_line_of_a_statement_is_no_row_of_it() {
    for footer in [
        "Saldo,,,105.50,",
        "Closing,,,105.50,",
        "Trailer,3,,,",
        "END,3,,,",
        "TRL,2,,,",
        "Total amount,All bookings,5.50,,EUR",
    ] {
        let days = format!(
            "date,text,amount,balance,ccy\n2025-01-02,a,1.50,101.50,EUR\n2025-01-03,b,4.00,105.50,EUR\n{footer}\n"
        );
        let told = look("s.csv", days.as_bytes(), &[]);
        assert_eq!((told.rows[0].len(), &*told.columns(0)[0]), (2, "date date"), "{footer}");
        let numbers =
            format!("valor,name,qty,value,ccy\n1222171,ABB,5,101.50,CHF\n1213860,Roche,6,105.50,CHF\n{footer}\n");
        assert_eq!(look("s.csv", numbers.as_bytes(), &[]).rows[0].len(), 2, "{footer}");
    }
}

#[test]
fn six_digits_are_a_time_of_day_only_where_the_name_says_so() {
    for header in ["value date", "date", "valuta", "day"] {
        let text = format!("id,{header},x\nA,150125,1\nB,160125,2\nC,200125,3\n");
        let columns = look("d.csv", text.as_bytes(), &[]).columns(0);
        assert!(!columns[1].ends_with(" time"), "{header}: {columns:?}");
    }
    let columns = look("d.csv", b"id,trade time,x\nA,150125,1\nB,160125,2\n", &[]).columns(0);
    assert_eq!(columns[1], "trade_time time");
}

#[test]
fn when_and_where_a_file_was_made_is_not_the_zone_of_its_times() {
    let rows = "id,trade time,amount\nA,2025-01-02 10:00:00,5.5\nB,2025-01-03 10:00:00,6.5\n";
    for line in [
        "Report generated 2025-02-01 08:00 UTC",
        "Generated,2025-02-01 08:00:00 UTC",
        "Prices as of 17:00 America/New_York close",
        "Server time: UTC+3, trade times are exchange local time",
        "\u{5bfc}\u{51fa}\u{65f6}\u{95f4}\u{ff1a}2025-02-01 08:00 UTC+8",
        "Platz 3, 08:00 UTC",
        "Arizona branch, 08:00 UTC",
        "Export time: 2025-02-01 08:00 UTC",
        "Report time,2025-02-01 08:00 UTC",
        "Run date and time: 2025-02-01 08:00 UTC",
        "Period 2025-01-01 to 2025-01-31, closing time 17:00 America/New_York",
        "\u{67e5}\u{8be2}\u{65f6}\u{95f4}\u{ff1a}2025-02-01 08:00 UTC+8",
    ] {
        let told = look("t.csv", format!("{line}\n\n{rows}").as_bytes(), &[]);
        assert_eq!(told.questions(), ["zone:trade time"], "{line}");
    }
    for line in [
        "All times are UTC",
        "Time zone: Europe/Paris",
        "Time: UTC",
        "4. \u{6587}\u{4e2d}\u{65f6}\u{95f4}\u{5747}\u{4e3a}UTC+08:00\u{65f6}\u{95f4}",
        "Report generated 2025-02-01 (Time zone: UTC)",
        "Uhrzeit: UTC",
    ] {
        let told = look("t.csv", format!("{line}\n\n{rows}").as_bytes(), &[]);
        assert_eq!(told.questions(), [] as [&str; 0], "{line}");
    }
}

#[test]
fn codes_with_points_and_signs_stay_what_they_are() {
    let told = look("c.csv", b"code,qty\n1.1,5\n1.10,6\n1.2,7\n", &[]);
    assert_eq!((told.columns(0)[0].as_str(), told.row(0, 1).as_str()), ("code text", "1.10|6"));
    let told = look("w.csv", b"symbol,weight in portfolio\nA,1.5\nB,2.25\n", &[]);
    assert_eq!(told.columns(0)[1], "weight_in_portfolio decimal");
    let told = look("s.csv", b"id,sign,amount\nA,+,5.5\nB,-,6.5\nC,-,1.5\n", &[]);
    assert_eq!(told.row(0, 1), "B|-|6.5");
    assert_eq!(look("n.csv", b"id,country,amount\nA,NO,5.5\nB,NO,6.5\n", &[]).row(0, 0), "A|NO|5.5");
}
