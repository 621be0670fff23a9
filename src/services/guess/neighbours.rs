//! Files of the same sorts as those in `tests/formats`, of other senders: other names, languages, encodings and forms. Values are invented.

use encoding_rs::{BIG5, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_8, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};

use super::told::{Told, look};

/// A file, what must be asked, how many rows it has, and its first and last row.
struct Case {
    name: &'static str,
    encoding: &'static Encoding,
    text: &'static str,
    answers: &'static [&'static str],
    questions: &'static [&'static str],
    rows: usize,
    first: &'static str,
    last: &'static str,
}

const CASE: Case =
    Case { name: "export.csv", encoding: UTF_8, text: "", answers: &[], questions: &[], rows: 0, first: "", last: "" };

const CASES: &[Case] = &[
    // A Nordic broker: tabs, decimal comma, blanks between thousands.
    Case {
        text: "Id\tBokföringsdag\tTransaktionstyp\tVärdepapper\tAntal\tKurs\tBelopp\n\
               1001\t2025-01-02\tKÖPT\tNorvale AB\t1 200\t10,5\t-12 600,00\n\
               1002\t2025-01-03\tSÅLT\tTindra\t5\t1 100,25\t5 501,25\n",
        rows: 2,
        first: "1001|2025-01-02|KÖPT|Norvale AB|1200|10.5|-12600.00",
        last: "1002|2025-01-03|SÅLT|Tindra|5|1100.25|5501.25",
        ..CASE
    },
    // A German bank: windows-1252, lines before the header, dates with points, points between thousands.
    Case {
        name: "Umsatzanzeige_DE12.csv",
        encoding: WINDOWS_1252,
        text: "Umsatzanzeige;Datei erstellt am: 05.01.2025 10:11\n\nIBAN;DE12 3456\nKontoname;Girokonto\nSaldo;1.234,56;EUR\n\n\
               Buchung;Wertstellungsdatum;Auftraggeber/Empfänger;Buchungstext;Verwendungszweck;Saldo;Währung;Betrag;Währung\n\
               02.01.2025;02.01.2025;Bäckerei Groß;Lastschrift;Frühstück;1.234,56;EUR;-12,40;EUR\n\
               13.01.2025;14.01.2025;Arbeit GmbH;Gehalt;Lohn;3.456,96;EUR;2.222,40;EUR\n",
        rows: 2,
        first: "2025-01-02|2025-01-02|Bäckerei Groß|Lastschrift|Frühstück|1234.56|EUR|-12.40|EUR|DE12 3456|2025-01-05T10:11:00",
        last: "2025-01-13|2025-01-14|Arbeit GmbH|Gehalt|Lohn|3456.96|EUR|2222.40|EUR|DE12 3456|2025-01-05T10:11:00",
        ..CASE
    },
    // A wallet of China: GB18030, lines before and after, tabs behind ids.
    Case {
        name: "alipay_record_20250105.csv",
        encoding: GB18030,
        text: "支付宝交易记录明细查询\n账号:[demo@example.com]\n起始日期:[2024-12-01 00:00:00]    终止日期:[2025-01-01 00:00:00]\n\
               ---------------------------------交易记录明细列表------------------------------------\n\
               交易号                  ,商家订单号               ,交易创建时间              ,交易对方            ,金额（元）,收/支     ,交易状态    ,\n\
               2024120122001412345678901234\t,T200P123\t,2024-12-01 10:11:12 ,星野超市            ,12.30   ,支出      ,交易成功    ,\n\
               2024120222001412345678901235\t,T200P124\t,2024-12-02 10:11:12 ,拾光花店            ,1002.30   ,支出      ,交易成功    ,\n\
               ------------------------------------------------------------------------------------\n\
               共2笔记录\n已收入:0笔,0.00元\n导出时间:[2025-01-05 09:00:00]    用户:示例\n",
        questions: &["zone:交易创建时间              "],
        rows: 2,
        first: "2024120122001412345678901234|T200P123|2024-12-01T10:11:12Z|星野超市|12.30|支出|交易成功|2025-01-05",
        last: "2024120222001412345678901235|T200P124|2024-12-02T10:11:12Z|拾光花店|1002.30|支出|交易成功|2025-01-05",
        ..CASE
    },
    // A crypto exchange that says UTC in its header.
    Case {
        text: "User_ID,UTC_Time,Account,Operation,Coin,Change,Remark\n\
               41230987,2025-01-02 10:20:30,Spot,Buy,BTC,0.00120000,\n41230987,2025-01-02 10:20:30,Spot,Fee,BNB,-1E-7,\"\"\n",
        rows: 2,
        first: "41230987|2025-01-02T10:20:30Z|Spot|Buy|BTC|0.00120000|",
        last: "41230987|2025-01-02T10:20:30Z|Spot|Fee|BNB|-0.0000001|",
        ..CASE
    },
    // Another one: offset in the header, codes of coins behind amounts.
    Case {
        text: "UID,Time Created(UTC+08:00),Symbol,Side,Filled Amount,Fee\n\
               7001,2025-01-02 10:20:30,BTC-USDT,buy,0.5BTC,0.1USDT\n7001,2025-01-02 11:20:30,ETH-USDT,sell,1.25ETH,0.2USDT\n",
        rows: 2,
        first: "7001|2025-01-02T02:20:30Z|BTC-USDT|buy|0.5|BTC|0.1",
        last: "7001|2025-01-02T03:20:30Z|ETH-USDT|sell|1.25|ETH|0.2",
        ..CASE
    },
    // A broker of America: a title, dollars, parentheses, quotes around everything, a total.
    Case {
        text: "\"Transactions  for account ...123 as of 01/31/2025\"\n\
               \"Date\",\"Action\",\"Symbol\",\"Quantity\",\"Price\",\"Fees & Comm\",\"Amount\"\n\
               \"01/31/2025\",\"Buy\",\"NRVL\",\"10\",\"$12.5001\",\"\",\"-$125.00\"\n\
               \"01/30/2025\",\"Sell\",\"TNDR\",\"1,000\",\"$2.00\",\"$0.95\",\"$1,999.05\"\n\
               \"Transactions Total\",\"\",\"\",\"\",\"\",\"\",\"$1,874.05\"\n",
        rows: 2,
        first: "2025-01-31|Buy|NRVL|10|12.5001||-125.00",
        last: "2025-01-30|Sell|TNDR|1000|2.00|0.95|1999.05",
        ..CASE
    },
    // A trading terminal: dates with points first, blanks between thousands, tabs.
    Case {
        name: "history.csv",
        text: "Time\tPosition\tSymbol\tType\tVolume\tPrice\tCommission\tSwap\tProfit\n\
               2025.01.02 10:20:30\t50012345\tEURUSD\tbuy\t0.10\t1.04321\t-0.70\t0.00\t12.30\n\
               2025.01.03 11:20:30\t50012346\tXAUUSD\tsell\t1.00\t2 650.10\t-7.00\t-1.20\t-1 250.00\n",
        questions: &["zone:Time"],
        rows: 2,
        first: "2025-01-02T10:20:30Z|50012345|EURUSD|buy|0.10|1.04321|-0.70|0.00|12.30",
        last: "2025-01-03T11:20:30Z|50012346|XAUUSD|sell|1.00|2650.10|-7.00|-1.20|-1250.00",
        ..CASE
    },
    // A broker of Japan: Shift_JIS, names of columns below a title.
    Case {
        encoding: SHIFT_JIS,
        text: "約定履歴照会\n\n約定日,銘柄,銘柄コード,取引,約定数量,約定単価,受渡金額\n\
               2025/01/20,トヨタ自動車,7203,株式現物買,100,\"2,500\",\"250,120\"\n2025/01/21,任天堂,7974,株式現物売,200,\"8,100.5\",\"1,620,100\"\n",
        rows: 2,
        first: "2025-01-20|トヨタ自動車|7203|株式現物買|100|2500|250120",
        last: "2025-01-21|任天堂|7974|株式現物売|200|8100.5|1620100",
        ..CASE
    },
    // A bank of Korea.
    Case {
        encoding: EUC_KR,
        text: "거래일자,거래시간,적요,출금금액,입금금액,잔고\n\
               2025-01-02,10:11:12,카드결제,\"12,300\",0,\"1,000,000\"\n2025-01-03,11:11:12,급여,0,\"2,500,000\",\"3,500,000\"\n",
        questions: &["zone:거래시간"],
        rows: 2,
        first: "2025-01-02|10:11:12|2025-01-02T10:11:12Z|카드결제|12300|0|1000000",
        last: "2025-01-03|11:11:12|2025-01-03T11:11:12Z|급여|0|2500000|3500000",
        ..CASE
    },
    // A bank of Poland: windows-1250, commas, a unit behind.
    Case {
        encoding: WINDOWS_1250,
        text: "#Data operacji;#Opis operacji;#Rachunek;#Kwota;\n\
               2025-01-02;Płatność kartą, Łódź;eKonto;-12,50 PLN;\n2025-01-03;Przelew własny;eKonto;1 250,00 PLN;\n",
        rows: 2,
        first: "2025-01-02|Płatność kartą, Łódź|eKonto|-12.50",
        last: "2025-01-03|Przelew własny|eKonto|1250.00",
        ..CASE
    },
    // A bank of Russia.
    Case {
        encoding: WINDOWS_1251,
        text: "Дата операции;Статус;Сумма операции;Валюта;Описание\n\
               02.01.2025 10:11:12;OK;-123,45;RUB;Магазин\n03.01.2025 10:11:12;OK;2000,00;RUB;Зарплата\n",
        questions: &["zone:Дата операции"],
        rows: 2,
        first: "2025-01-02T10:11:12Z|OK|-123.45|RUB|Магазин",
        last: "2025-01-03T10:11:12Z|OK|2000.00|RUB|Зарплата",
        ..CASE
    },
    // A bank of Taiwan.
    Case {
        encoding: BIG5,
        text: "交易日期,摘要,支出,存入,餘額,備註\n2025/01/02,轉帳,\"1,200\",,\"50,000\",房租\n2025/01/15,薪資,,\"60,000\",\"110,000\",公司\n",
        rows: 2,
        first: "2025-01-02|轉帳|1200||50000|房租",
        last: "2025-01-15|薪資||60000|110000|公司",
        ..CASE
    },
    // No header, days first, decided by a row.
    Case {
        text: "02/01/2025,CARD PAYMENT,-12.30,100.00\n13/01/2025,SALARY,1000.00,1100.00\n",
        rows: 2,
        first: "2025-01-02|CARD PAYMENT|-12.30|100.00",
        last: "2025-01-13|SALARY|1000.00|1100.00",
        ..CASE
    },
    // No row decides, and there is no header to name the column by.
    Case {
        text: "02/01/2025,CARD PAYMENT,-12.30\n03/01/2025,SALARY,1000.00\n",
        questions: &["day_month_order:1"],
        rows: 2,
        first: "2025-01-02|CARD PAYMENT|-12.30",
        last: "2025-01-03|SALARY|1000.00",
        ..CASE
    },
    Case {
        text: "02/01/2025,CARD PAYMENT,-12.30\n03/01/2025,SALARY,1000.00\n",
        answers: &["day_month_order:1=mdy"],
        rows: 2,
        first: "2025-02-01|CARD PAYMENT|-12.30",
        last: "2025-03-01|SALARY|1000.00",
        ..CASE
    },
    // Marks of missing values, signs behind numbers, names of months.
    Case {
        text: "Trade Date|Settle|Qty|Net\n03-Jan-2025|06-Jan-2025|100|1,250.00-\n17-Feb-2025|N/A|--|300.00\n",
        rows: 2,
        first: "2025-01-03|2025-01-06|100|-1250.00",
        last: "2025-02-17|||300.00",
        ..CASE
    },
    // Times that are counted, in three units.
    Case {
        text: "orderId,createdTime,updateTime,execTimestamp,symbol\n\
               8886774,1735787112,1735787112123,1735787112123456,BTCUSDT\n8886775,1735787113,1735787113123,1735787113123456,BTCUSDT\n",
        rows: 2,
        first: "8886774|2025-01-02T03:05:12Z|2025-01-02T03:05:12.123000Z|2025-01-02T03:05:12.123456Z|BTCUSDT",
        last: "8886775|2025-01-02T03:05:13Z|2025-01-02T03:05:13.123000Z|2025-01-02T03:05:13.123456Z|BTCUSDT",
        ..CASE
    },
    // A terminal of China: texts as formulas, no delimiter but tabs.
    Case {
        name: "20250102成交.xls",
        encoding: GB18030,
        text: "成交日期\t成交时间\t证券代码\t证券名称\t买卖标志\t成交数量\t成交价格\t成交金额\t成交编号\n\
               =\"20250102\"\t=\"09:31:05\"\t=\"000001\"\t平安银行\t买入\t100\t11.500\t1150.00\t=\"0000123\"\n\
               =\"20250102\"\t=\"14:31:05\"\t=\"600519\"\t贵州茅台\t卖出\t100\t1500.000\t150000.00\t=\"0000124\"\n",
        answers: &["zone:成交时间=Asia/Shanghai"],
        rows: 2,
        first: "2025-01-02|09:31:05|2025-01-02T01:31:05Z|000001|平安银行|买入|100|11.500|1150.00|0000123",
        last: "2025-01-02|14:31:05|2025-01-02T06:31:05Z|600519|贵州茅台|卖出|100|1500.000|150000.00|0000124",
        ..CASE
    },
    // Months in another language, an apostrophe between thousands, a company's report.
    Case {
        text: "Datum;Beschreibung;Betrag CHF\n3. März 2025;Gebühr;-12.50\n14. Mai 2025;Zahlung;1'250.00\n",
        rows: 2,
        first: "2025-03-03|Gebühr|-12.50",
        last: "2025-05-14|Zahlung|1250.00",
        ..CASE
    },
    // Half days, and an offset without a colon.
    Case {
        text: "Executed At,Symbol,Price\n2025-01-02 09:31:05 PM +0100,AAPL,1.5\n2025-01-03 10:31:05 AM +0100,AAPL,2.5\n",
        rows: 2,
        first: "2025-01-02T20:31:05Z|AAPL|1.5",
        last: "2025-01-03T09:31:05Z|AAPL|2.5",
        ..CASE
    },
    // A lone comma that another column explains.
    Case {
        text: "Symbol,Shares,Price\nA,\"1,250\",10.5\nB,\"2,500\",7.25\n",
        rows: 2,
        first: "A|1250|10.5",
        last: "B|2500|7.25",
        ..CASE
    },
    // A lone comma that nothing explains.
    Case {
        text: "Symbol;Shares\nA;1,250\nB;2,500\n",
        questions: &["decimal_mark:Shares"],
        rows: 2,
        first: "A|1.250",
        last: "B|2.500",
        ..CASE
    },
    Case {
        text: "Symbol;Shares\nA;1,250\nB;2,500\n",
        answers: &["decimal_mark:Shares=."],
        rows: 2,
        first: "A|1250",
        last: "B|2500",
        ..CASE
    },
];

#[test]
fn files_of_other_senders_are_read_as_they_were_meant() {
    let mut wrong = Vec::new();
    for case in CASES {
        let bytes = case.encoding.encode(case.text).0;
        let told = look(case.name, &bytes, case.answers);
        let label = case.text.lines().next().unwrap();
        let mut expect = |what: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{label}: {what}\n  is     {found}\n  should {expected}"));
            }
        };
        expect("questions", format!("{:?}", told.questions()), format!("{:?}", case.questions));
        expect("rows", told.rows[0].len().to_string(), case.rows.to_string());
        if told.rows[0].len() == case.rows {
            expect("first row", told.row(0, 0), case.first.to_owned());
            expect("last row", told.row(0, case.rows - 1), case.last.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_file_and_answers_make_the_same_text() {
    use crate::domain::guess::{definition, migration};
    let case = &CASES[0];
    let text = |told: &Told| definition::definition(&told.guessed[0]) + &migration::migration(&told.guessed[0]);
    let look = || look(case.name, case.text.as_bytes(), &[]);
    assert_eq!(text(&look()), text(&look()));
    assert!(look().columns(0).contains(&"id text".to_owned()), "{:?}", look().columns(0));
}
