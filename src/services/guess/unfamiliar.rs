//! Exports that are unlike those in `tests/formats`: each is read right, raises a question, or is refused, and none is read
//! wrongly without a word. Values are invented.

use super::told::{Told, look, refusal};

/// What must become of a file.
enum Must {
    /// These rows, and no question.
    Be(&'static [&'static str]),
    /// These questions, and these rows once they are answered.
    Ask(&'static [&'static str], &'static [&'static str], &'static [&'static str]),
    /// A message that has these words.
    Refuse(&'static str),
}

use Must::{Ask, Be, Refuse};

type Case = (&'static str, &'static str, Must);

const CASES: &[Case] = &[
    // Two tables, and no line between them that names the second one.
    (
        "two_tables.csv",
        "Date,Text,Amount\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n\nSymbol,Quantity,Price\nNRVL,10,1.25\nTNDR,20,2.25\n",
        Refuse("line 5: another table begins there (\"Symbol\", \"Quantity\", \"Price\", …)"),
    ),
    // A table of other width right below.
    (
        "two_tables.csv",
        "Date,Amount\n2025-01-02,1.50\n2025-01-03,2.50\nSymbol,Quantity,Price\nNRVL,10,1.25\nTNDR,20,2.25\n",
        Refuse("another table begins there"),
    ),
    // Each line names its table.
    (
        "activity.csv",
        "Statement,Header,Field Name,Field Value\nStatement,Data,Title,Activity Statement\n\
         Trades,Header,Currency,Symbol,Date/Time,Quantity\nTrades,Data,USD,NRVL,2025-01-03,100\nTrades,Data,USD,TNDR,2025-01-13,10\n\
         Trades,Total,USD,,,110\nNotes,Header,Text\nNotes,Data,\"a long\nnote, of two lines\"\nDividends,Header,Currency,Date,Amount\nDividends,Data,USD,2025-01-15,25\n",
        Refuse("each line names the table that it is of"),
    ),
    (
        "documents.csv",
        "doc,kind,note\n1,Header,a\n1,Data,b\n2,Header,c\n2,Data,d\n",
        Be(&["1|Header|a", "1|Data|b", "2|Header|c", "2|Data|d"]),
    ),
    // The lines before the table are quoted like its cells.
    (
        "quoted.csv",
        "\"Account Number:\",\"0012-345 678\"\n\"Currency:\",\"USD\"\n\nDate,Text,Amount\n2025-01-31,a,1.50\n2025-01-30,b,2.50\n",
        Be(&["2025-01-31|a|1.50|0012-345 678|USD", "2025-01-30|b|2.50|0012-345 678|USD"]),
    ),
    // The rate has another decimal mark than the amounts.
    (
        "rates.csv",
        "Date;Text;Amount;FX Rate\n2025-01-31;a;12,50;1.039\n2025-01-30;b;1,25;1.041\n",
        Ask(
            &["decimal_mark:FX Rate"],
            &["decimal_mark:FX Rate=."],
            &["2025-01-31|a|12.50|1.039", "2025-01-30|b|1.25|1.041"],
        ),
    ),
    // The side of an account, and the zone of each row.
    (
        "sides.csv",
        "Date,Time,Zone,Amount\n2025-01-31,10:00:00,PST,450.00 Dr\n2025-07-30,11:00:00,PDT,\"25,000.00 Dr\"\n",
        Be(&[
            "2025-01-31|10:00:00|2025-01-31T18:00:00Z|PST|450.00|Dr",
            "2025-07-30|11:00:00|2025-07-30T18:00:00Z|PDT|25000.00|Dr",
        ]),
    ),
    // What begins with a text at the end is a row, as the first one does.
    (
        "held.csv",
        "Symbol,Name,Class,Quantity\nBRK.B,Berkshire,Stock,10\n700,Tencent,Stock,100\n9988,Alibaba,Stock,50\n1299,AIA,Stock,70\n\
         BF.B,Brown Forman,Stock,\n",
        Be(&[
            "BRK.B|Berkshire|Stock|10",
            "700|Tencent|Stock|100",
            "9988|Alibaba|Stock|50",
            "1299|AIA|Stock|70",
            "BF.B|Brown Forman|Stock|",
        ]),
    ),
    (
        "valuta.csv",
        "Bokföringsdag;Belopp;Valuta\n2025-01-31;1,50;SEK\n2025-01-30;2,50;EUR\n",
        Be(&["2025-01-31|1.50|SEK", "2025-01-30|2.50|EUR"]),
    ),
    // The header is on every page.
    (
        "pages.csv",
        "Order Ref,Date,Amount\nR1,2025-01-02,1.50\nR2,2025-01-03,2.50\nOrder Ref,Date,Amount\nR3,2025-01-04,3.50\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50", "R3|2025-01-04|3.50"]),
    ),
    // A mark of the page and the title, too.
    (
        "pages.csv",
        "Orders\nOrder Ref,Date,Amount\nR1,2025-01-02,1.50\nR2,2025-01-03,2.50\nPage 1 of 2\nOrders\nOrder Ref,Date,Amount\nR3,2025-01-04,3.50\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50", "R3|2025-01-04|3.50"]),
    ),
    // The header again, of another account: its lines are not pages of one table.
    (
        "accounts.csv",
        "Account A;EUR;\nDate;Text;Amount;\n30.01.2025;rent;-850,00;\n29.01.2025;food;-23,45;\n\nAccount B;USD;\nDate;Text;Amount;\n\
         28.01.2025;interest;1,10;\n27.01.2025;interest;1,20;\n",
        Refuse("line 7: another table begins there"),
    ),
    // An account of several groups of digits is never cut.
    (
        "account.csv",
        "Account:;0234 00123456.01\nDate;Text;Amount\n30.01.2025;rent;-850,00\n29.01.2025;food;-23,45\n",
        Be(&["2025-01-30|rent|-850.00|0234 00123456.01", "2025-01-29|food|-23.45|0234 00123456.01"]),
    ),
    (
        "account.csv",
        "IBAN: GB33 BUKB 2020 1555 5555 55;\nDate;Text;Amount\n30.01.2025;rent;-850,00\n29.01.2025;food;-23,45\n",
        Be(&[
            "2025-01-30|rent|-850.00|GB33 BUKB 2020 1555 5555 55",
            "2025-01-29|food|-23.45|GB33 BUKB 2020 1555 5555 55",
        ]),
    ),
    (
        "account.csv",
        "Account: 1234/5678-90\nDate;Text;Amount\n30.01.2025;rent;-850,00\n29.01.2025;food;-23,45\n",
        Be(&["2025-01-30|rent|-850.00|1234/5678-90", "2025-01-29|food|-23.45|1234/5678-90"]),
    ),
    // One answer cannot be true of two zones.
    (
        "fills.csv",
        "Fill Ref,Time,Price\nF1,2025-01-15 10:31:05 HKT,5.5\nF2,2025-01-15 10:31:06 JST,7.5\n",
        Be(&["F1|2025-01-15 10:31:05 HKT|5.5", "F2|2025-01-15 10:31:06 JST|7.5"]),
    ),
    // Thousands and millions: without them the numbers mean nothing.
    ("screener.csv", "Ticker,Volume\nNRVL,45.2M\nTNDR,950.5K\n", Be(&["NRVL|45.2M", "TNDR|950.5K"])),
    ("aum.csv", "Fund,AUM\nNorvale,45.2m\nTindra,950.5m\n", Be(&["Norvale|45.2|m", "Tindra|950.5|m"])),
    // The name of the sender before the mark of each page.
    (
        "pages.txt",
        "ACME BROKER   Page 1 of 2\nOrder Ref,Date,Amount\nR1,2025-01-02,1.50\nR2,2025-01-03,2.50\nACME BROKER   Page 2 of 2\n\
         Order Ref,Date,Amount\nR3,2025-01-04,3.50\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50", "R3|2025-01-04|3.50"]),
    ),
    // What is no table of cells.
    ("list.json", "[{\"a\": 1, \"b\": 2}, {\"a\": 3, \"b\": 4}]\n", Refuse("jq -c '.[]'")),
    ("report.xls", "<html><body><table><tr><td>a</td><td>b</td></tr></table></body></html>\n", Refuse("a web page")),
    ("stmt.sta", ":20:STARTUMS\n:25:12345678/1234567890\n:28C:1/1\n", Refuse("MT940")),
    // A symbol that reads like a word for true.
    ("symbols.csv", "Symbol,Price\nTRUE,1.50\n", Be(&["TRUE|1.50"])),
    // Two days in a name are a range, and neither is that of the rows.
    ("statement_2025-01-01_2025-01-31.csv", "Symbol,Quantity\nNRVL,10.5\nTNDR,20.5\n", Be(&["NRVL|10.5", "TNDR|20.5"])),
    // A line of dashes below the header.
    (
        "ruled.csv",
        "Order Ref;Date;Amount\n---------;----;------\nR1;2025-01-02;1.50\nR2;2025-01-03;2.50\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50"]),
    ),
    // Subtotals and comments between rows.
    (
        "subtotals.csv",
        "Order Ref,Date,Text,Amount\nR1,2025-01-02,a,1.50\nR2,2025-01-03,b,2.50\nSubtotal,,,4.00\n# second account,,,\nR3,2025-01-04,c,3.50\nR4,2025-01-05,d,1.00\nSubtotal,,,4.50\nR5,2025-01-06,e,1.00\nTotal,,,9.50\n",
        Be(&[
            "R1|2025-01-02|a|1.50",
            "R2|2025-01-03|b|2.50",
            "R3|2025-01-04|c|3.50",
            "R4|2025-01-05|d|1.00",
            "R5|2025-01-06|e|1.00",
        ]),
    ),
    // Headings of groups: they may be thrown away, or not.
    (
        "groups.csv",
        "Order Ref,Date,Text,Amount\nEquities,,,\nR1,2025-01-02,a,1.50\nR2,2025-01-03,b,2.50\nBonds,,,\nR3,2025-01-04,c,3.50\n",
        Ask(
            &["heading_lines"],
            &["heading_lines=skip"],
            &["R1|2025-01-02|a|1.50", "R2|2025-01-03|b|2.50", "R3|2025-01-04|c|3.50"],
        ),
    ),
    // Bars around every row, as in Markdown and psql.
    (
        "table.md",
        "| Order Ref | Date | Amount |\n|---|:---:|---:|\n| R1 | 2025-01-02 | 1.50 |\n| R2 | 2025-01-03 | 2.50 |\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50"]),
    ),
    (
        "table.txt",
        "+-----------+------------+--------+\n| Order Ref | Date       | Amount |\n+-----------+------------+--------+\n| R1        | 2025-01-02 |   1.50 |\n| R2        | 2025-01-03 |   2.50 |\n+-----------+------------+--------+\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50"]),
    ),
    (
        "table.txt",
        " order_ref |    date    | amount \n-----------+------------+--------\n R1        | 2025-01-02 |   1.50\n R2        | 2025-01-03 |   2.50\n(2 rows)\n",
        Be(&["R1|2025-01-02|1.50", "R2|2025-01-03|2.50"]),
    ),
    // Cells at fixed places: blanks in names, commas in numbers, and in texts.
    (
        "fixed.txt",
        "Order Ref  Trade Date    Net Amount\nR1         2025-01-02      1,250.00\nR2         2025-01-03         12.50\nR3         2025-01-04    321,000.00\n",
        Be(&["R1|2025-01-02|1250.00", "R2|2025-01-03|12.50", "R3|2025-01-04|321000.00"]),
    ),
    (
        "fixed.txt",
        "Order Ref  Trade Date  Paid To        Amount\nR1         2025-01-02  Coffee, Milk     1.50\nR2         2025-01-03  Bread           12.50\nR3         2025-01-04  Tea             32.00\nR4         2025-01-05  Salt             2.00\n",
        Be(&[
            "R1|2025-01-02|Coffee, Milk|1.50",
            "R2|2025-01-03|Bread|12.50",
            "R3|2025-01-04|Tea|32.00",
            "R4|2025-01-05|Salt|2.00",
        ]),
    ),
    // A lone point below German names, in a file with commas between its cells.
    (
        "depot.csv",
        "Auftrag Nr,Datum,Stück\nR1,2025-01-02,1.250\nR2,2025-01-03,2.500\n",
        Ask(&["decimal_mark:Stück"], &["decimal_mark:Stück=,"], &["R1|2025-01-02|1250", "R2|2025-01-03|2500"]),
    ),
    // Counted times of which some are 0.
    (
        "orders.csv",
        "order_id,close_time,price\n7,1766361603960,1.5\n8,0,2.5\n",
        Ask(
            &["zero_time:close_time"],
            &["zero_time:close_time=null"],
            &["7|2025-12-22T00:00:03.960000Z|1.5", "8||2.5"],
        ),
    ),
    (
        "orders.csv",
        "order_id,close_time,price\n7,1766361603960,1.5\n8,0,2.5\n",
        Ask(
            &["zero_time:close_time"],
            &["zero_time:close_time=epoch"],
            &["7|2025-12-22T00:00:03.960000Z|1.5", "8|1970-01-01T00:00:00Z|2.5"],
        ),
    ),
    // The account is in the cell beside its label.
    (
        "statement.csv",
        "\"Account Number\",\"\",\"DE7712-99\"\n\nDate,Text,Amount\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n",
        Be(&["2025-01-02|a|1.50|DE7712-99", "2025-01-03|b|2.50|DE7712-99"]),
    ),
    // Lakhs and crores.
    (
        "ledger.csv",
        "Voucher Ref,Date,Amount,Balance\nR1,2025-01-02,\"1,25,000.00\",\"12,34,56,789.50\"\nR2,2025-01-03,\"1,250.00\",\"500.00\"\n",
        Be(&["R1|2025-01-02|125000.00|123456789.50", "R2|2025-01-03|1250.00|500.00"]),
    ),
    // A triangle is a minus in Japan.
    (
        "torihiki.csv",
        "注文番号,約定日,損益\nR1,2025/01/02,\"△1,250\"\nR2,2025/01/03,\"3,000\"\n",
        Be(&["R1|2025-01-02|-1250", "R2|2025-01-03|3000"]),
    ),
    // Halves of the day in Korean, Japanese and Chinese.
    (
        "체결.csv",
        "주문 ID,일시,수량\nR1,2025-01-02 오전 9:05:00,1\nR2,2025-01-02 오후 1:05:30,2\n",
        Ask(&["zone:일시"], &["zone:일시=Asia/Seoul"], &["R1|2025-01-02T00:05:00Z|1", "R2|2025-01-02T04:05:30Z|2"]),
    ),
    (
        "約定.csv",
        "注文ID,日時,数量\nR1,2025年1月2日 午前9時05分,1\nR2,2025年1月2日 午後1時05分,2\n",
        Ask(&["zone:日時"], &["zone:日時=Asia/Tokyo"], &["R1|2025-01-02T00:05:00Z|1", "R2|2025-01-02T04:05:00Z|2"]),
    ),
    // Names of zones: those of New York tell their offset, others are those of several countries.
    (
        "fills.csv",
        "fill_id,at,price\nR1,2025-03-08 09:30:00 EST,1.5\nR2,2025-03-10 09:30:00 EDT,2.5\n",
        Be(&["R1|2025-03-08T14:30:00Z|1.5", "R2|2025-03-10T13:30:00Z|2.5"]),
    ),
    (
        "fills.csv",
        "fill_id,at,price\nR1,2025-03-08 09:30:00 CST,1.5\nR2,2025-03-10 09:30:00 CST,2.5\n",
        Ask(&["zone:at"], &["zone:at=Asia/Shanghai"], &["R1|2025-03-08T01:30:00Z|1.5", "R2|2025-03-10T01:30:00Z|2.5"]),
    ),
    // The time at which a file was made has a zone, or is in the afternoon.
    (
        "report.csv",
        "Generated: 2025-01-05T10:11:12Z\nOrder Ref,Date,Amount\nR1,2025-01-02,1.50\nR2,2025-01-03,2.50\n",
        Be(&["R1|2025-01-02|1.50|2025-01-05T10:11:12Z", "R2|2025-01-03|2.50|2025-01-05T10:11:12Z"]),
    ),
    (
        "report.csv",
        "Generated: 2025-01-05 10:11 PM\nOrder Ref,Date,Amount\nR1,2025-01-02,1.50\nR2,2025-01-03,2.50\n",
        Be(&["R1|2025-01-02|1.50|2025-01-05T22:11:00", "R2|2025-01-03|2.50|2025-01-05T22:11:00"]),
    ),
    // A number in the name of a file tells an account, or nothing; a ticker tells whose prices these are.
    (
        "export_83712.csv",
        "Date,Text,Amount\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n",
        Ask(&["file_code"], &["file_code=keep"], &["2025-01-02|a|1.50|83712", "2025-01-03|b|2.50|83712"]),
    ),
    (
        "export_83712.csv",
        "Date,Text,Amount\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n",
        Ask(&["file_code"], &["file_code=drop"], &["2025-01-02|a|1.50", "2025-01-03|b|2.50"]),
    ),
    (
        "NRVL.csv",
        "Date,Open,High,Low,Close,Volume\n2025-01-02,1.5,1.7,1.4,1.6,1000\n2025-01-03,1.6,1.8,1.5,1.7,2000\n",
        Ask(
            &["file_code"],
            &["file_code=keep"],
            &["2025-01-02|1.5|1.7|1.4|1.6|1000|NRVL", "2025-01-03|1.6|1.8|1.5|1.7|2000|NRVL"],
        ),
    ),
    // A name that is a word is no pair of currencies.
    (
        "STATEMENT_JANUARY.csv",
        "Date,Text,Amount\n2025-01-02,a,1.50\n2025-01-03,b,2.50\n",
        Ask(&["file_code"], &["file_code=drop"], &["2025-01-02|a|1.50", "2025-01-03|b|2.50"]),
    ),
];

fn rows(told: &Told) -> Vec<String> {
    let shown = |row: usize| match &told.rows[0][row] {
        Ok(_) => told.row(0, row),
        Err(reason) => format!("!{reason}"),
    };
    (0..told.rows[0].len()).map(shown).collect()
}

/// What is wrong with what became of a file.
fn judge((name, text, must): &Case) -> Option<String> {
    let label = format!("{name}: {}", text.lines().next().unwrap_or(""));
    let differ = |what: &str, is: String, should: String| {
        (is != should).then(|| format!("{label}: {what}\n  is     {is}\n  should {should}"))
    };
    match must {
        Refuse(words) => match refusal(name, text.as_bytes()) {
            Some(message) if message.contains(words) => None,
            other => Some(format!("{label}: {other:?} instead of {words:?}")),
        },
        Be(expected) => {
            let told = look(name, text.as_bytes(), &[]);
            let questions = differ("questions", format!("{:?}", told.questions()), "[]".into());
            questions.or_else(|| differ("rows", format!("{:?}", rows(&told)), format!("{expected:?}")))
        }
        Ask(questions, answers, expected) => {
            let asked = look(name, text.as_bytes(), &[]).questions();
            let told = look(name, text.as_bytes(), answers);
            let wrong = differ("questions", format!("{asked:?}"), format!("{questions:?}"));
            let open = || differ("open", format!("{:?}", told.questions()), "[]".into());
            wrong.or_else(open).or_else(|| differ("rows", format!("{:?}", rows(&told)), format!("{expected:?}")))
        }
    }
}

#[test]
fn no_unfamiliar_file_is_read_wrongly_without_a_word() {
    let wrong: Vec<String> = CASES.iter().filter_map(judge).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn prices_of_a_day_keep_every_day() {
    let text = "Fund,ISIN,NAV Date,NAV\nNorvale,US9X40K7A101,2025-11-28,12.50\nTindra,SE00ZK71Q200,2025-11-28,13.50\n";
    let told = look("navs.csv", text.as_bytes(), &[]);
    assert_eq!(told.guessed[0].key.columns(), ["isin", "nav_date"]);
}

#[test]
fn what_happens_has_no_key_of_account_and_day_or_of_an_instrument() {
    for text in [
        "Konto;Datum;Betrag;Notiz\n0815;05.02.2025;-1.234,50;Miete\n0815;13.02.2025;1.000,00;Gehalt\n",
        "Ex Date,Symbol,Amount\n2025-05-07,AAPL,12.75\n2025-05-08,MSFT,1.75\n",
        "Account No,Date,Amount\nA1,2025-02-05,1.50\nA1,2025-02-06,2.50\n",
        "Date,Coin,Change\n2025-02-05,BTC,1.50\n2025-02-05,ETH,2.50\n",
    ] {
        assert_eq!(look("few.csv", text.as_bytes(), &[]).guessed[0].key.columns(), [] as [&str; 0], "{text}");
    }
    // One balance a day, and holdings of a day that is written without signs.
    let balances = "Account,Date,Cash,Total\nA1,2025-02-05,1.50,2.50\nA1,2025-02-06,1.50,3.50\n";
    assert_eq!(look("balances.csv", balances.as_bytes(), &[]).guessed[0].key.columns(), ["account", "date"]);
    let holdings = "ACCT|CUSIP|QTY|AS_OF_DT\n0001|037833100|100|20250131\n0001|912828E37|5|20250131\n";
    assert_eq!(look("h.txt", holdings.as_bytes(), &[]).guessed[0].key.columns(), ["acct", "cusip", "as_of_dt"]);
}

#[test]
fn an_account_of_cash_is_a_text_and_what_is_on_it_a_number() {
    let text = "资金账号,资金余额,Cash Account,Account Balance\n3300871942,100,4471,5\n3300871943,200,4472,6\n";
    let told = look("cash.csv", text.as_bytes(), &[]);
    let kinds: Vec<&str> = told.guessed[0].fields.iter().map(|field| field.kind.name()).collect();
    assert_eq!(kinds, ["text", "decimal", "text", "decimal"]);
}

#[test]
fn the_id_of_an_order_is_no_key_of_its_fills() {
    let key = |text: &str| look("few.csv", text.as_bytes(), &[]).guessed[0].key.columns().to_vec();
    for text in [
        "Order ID,Symbol,Fill Price,Fill Qty\nO1001,NRVL,10.50,100\nO1002,TNDR,20.50,200\n",
        "委托编号,证券代码,成交价格,成交数量\nO1001,600519,10.50,100\nO1002,000037,20.50,200\n",
    ] {
        assert_eq!(key(text), [] as [&str; 0], "{text}");
    }
    let orders =
        "Order ID,Symbol,Status,Filled Qty,Avg Fill Price\nO1001,NRVL,filled,100,10.50\nO1002,TNDR,new,0,0.00\n";
    assert_eq!(key(orders), ["order_id"]);
    let fills = "Order ID,Exec ID,Symbol,Fill Price,Fill Qty\nO1001,E1,NRVL,10.50,100\nO1002,E2,TNDR,20.50,200\n";
    assert_eq!(key(fills), ["exec_id"]);
}

#[test]
fn an_encoding_that_bytes_do_not_tell_is_asked_for() {
    let spanish = b"Id,Nombre,Importe\n1,Pe\xf1a Nieto,1.50\n2,Espa\xf1a,2.50\n";
    let told = look("e.csv", spanish, &[]);
    assert_eq!(told.questions(), ["encoding"]);
    let question = told.guessed[0].open().next().unwrap();
    assert_eq!(question.values[0], "Pe\u{144}a / Pe\u{f1}a");
    let told = look("e.csv", spanish, &["encoding=windows-1252"]);
    assert_eq!((told.questions().len(), told.row(0, 0)), (0, "1|Pe\u{f1}a Nieto|1.50".to_owned()));
    // Words in no encoding that is known.
    let mac = b"Id,Name,Amount\n1,M\x9fller,1.50\n2,Caf\x8e,2.50\n";
    assert_eq!(look("m.csv", mac, &[]).questions(), ["encoding"]);
    assert_eq!(look("m.csv", mac, &["encoding=macintosh"]).row(0, 1), "2|Caf\u{e9}|2.50");
}

#[test]
fn a_section_has_no_column_from_lines_that_it_does_not_see() {
    let text = "Account: 880015\nPositions\nSymbol,Quantity\nNRVL,10.5\nTNDR,20.5\n\nOrders\nSymbol,State,Quantity\nNRVL,filled,1.5\n";
    let told = look("report.csv", text.as_bytes(), &[]);
    assert_eq!((told.row(0, 1), told.row(1, 0)), ("TNDR|20.5".to_owned(), "NRVL|filled|1.5".to_owned()));
}

#[test]
fn a_number_that_is_wider_than_its_place_is_refused() {
    let text = "R1 2025-01-02   12.50\nR2 2025-01-03 1234.00\nR3 2025-01-04    3.25\n";
    let told = look("fixed.txt", text.as_bytes(), &[]);
    assert!(told.guessed[0].options.iter().any(|line| line.option == "blank_between = true"));
    let later = format!("{text}R4 2025-01-05123456.00\n");
    let rows = told.read_again("fixed.txt", later.as_bytes());
    assert!(rows[3].is_err());
}
