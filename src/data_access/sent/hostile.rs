//! Files that are not quite as their sources say: whatever is not exactly declared is refused, and nothing is lost in silence.

use std::io::{Cursor, Write};

use encoding_rs::GB18030;
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::Rows;
use super::table::{Table, TableError};
use super::text_rows::{Cut, TextRows};
use super::workbook::Workbook;
use crate::data_access::csv::SplitError;
use crate::domain::source::binding::{Misfit, PlainRow, Surroundings};
use crate::domain::source::fault::Fault;
use crate::domain::source::kind::{Kind, TargetColumn};
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::source::parse_sources;
use crate::domain::source::row::Row;

/// The columns of the tables here.
const COLUMNS: [(&str, Kind); 3] = [("code", Kind::Text), ("amount", Kind::Decimal), ("day", Kind::Date)];

pub(super) fn source_of(columns: &[(&str, Kind)], options: &str) -> Source {
    let targets: Vec<TargetColumn> =
        columns.iter().map(|(name, kind)| TargetColumn { name: (*name).to_owned(), kind: *kind }).collect();
    let text = format!("[[source]]\nname = \"sender\"\nfiles = [\"**\"]\n{options}");
    parse_sources("t.toml", &text, &targets, &[String::new()])
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .remove(0)
}

fn source(options: &str) -> Source {
    source_of(&COLUMNS, options)
}

/// The rows as `a|b|c`, where an empty cell is `-` and a refused one its rule in brackets.
fn rows<R: Rows>(rows: R, source: &Source) -> Result<Vec<String>, TableError> {
    let (mut table, head) = Table::open(rows, source, Surroundings::default())?;
    let mut binding = head.bind(source)?;
    let (mut row, mut plain) = (Row::default(), PlainRow::default());
    let mut all = Vec::new();
    while table.read(&mut row)? {
        if let Some(fault) = row.fault {
            all.push(format!("[{}]", fault.rule()));
        } else if binding.fits(&row) {
            binding.translate(&row, 1, &mut plain);
            let cell = |index| match plain.value(index) {
                Ok(value) => value.unwrap_or("-").to_owned(),
                Err(fault) => format!("[{}]", fault.rule()),
            };
            all.push((0..source.columns.len()).map(cell).collect::<Vec<_>>().join("|"));
        } else {
            all.push("[fields]".into());
        }
    }
    Ok(all)
}

pub(super) fn read(source: &Source, bytes: &[u8]) -> Result<Vec<String>, TableError> {
    match &source.format {
        Format::Delimited(lines, dialect) => {
            rows(TextRows::new(bytes, *lines, Cut::Delimited(dialect.clone())).unwrap(), source)
        }
        Format::Fixed(lines, fields) => {
            let cut = Cut::Fixed(fields.clone(), source.layout.shorter);
            rows(TextRows::new(bytes, *lines, cut).unwrap(), source)
        }
        Format::Workbook(wanted) => {
            let mut book = Workbook::open(Cursor::new(bytes)).unwrap();
            let sheet = book.chosen(wanted.sheet.as_ref()).remove(0);
            rows(book.rows(&sheet, wanted.significant_digits).unwrap(), source)
        }
        other => panic!("{other:?}"),
    }
}

fn texts(source: &Source, text: &str) -> Vec<String> {
    read(source, text.as_bytes()).unwrap()
}

fn missing(outcome: Result<Vec<String>, TableError>) -> Vec<String> {
    match outcome {
        Err(TableError::Misfit(_, Misfit::Missing(columns))) => columns,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_in_another_encoding_does_not_fit_or_loses_no_row() {
    let text = "代码,amount,day\n买入,1,2025-01-02\n";
    let renamed = "[[source.column]]\nname = \"code\"\nheader = \"代码\"\n";
    let gb = source(&format!("encoding = \"gb18030\"\n{renamed}"));
    let utf8 = source(renamed);
    let gb_bytes = GB18030.encode(text).0;
    assert_eq!(read(&gb, &gb_bytes).unwrap(), ["买入|1|2025-01-02"]);
    assert_eq!(missing(read(&gb, text.as_bytes())), ["\"代码\""]);
    assert_eq!(missing(read(&utf8, &gb_bytes)), ["\"代码\""]);
    // Where the header does not show it, each record that does is refused.
    let mixed =
        [b"code,amount,day\nA,1,2025-01-02\n".as_slice(), &GB18030.encode("买,2,2025-01-02\n").0, b"B,3,2025-01-02\n"];
    assert_eq!(read(&source(""), &mixed.concat()).unwrap(), ["A|1|2025-01-02", "[encoding]", "B|3|2025-01-02"]);
}

#[test]
fn a_form_that_fits_half_of_the_rows_loads_that_half() {
    let source = source("decimal_mark = \",\"\n[[source.column]]\nname = \"day\"\nform = \"%d/%m/%Y\"\n");
    let text = "code,amount,day\nA,\"1,5\",13/02/2025\nB,1.5,02/13/2025\nC,2,30/02/2025\nD,\"2.000,5\",2025-01-01\n";
    assert_eq!(texts(&source, text), ["A|1.5|2025-02-13", "B|[number]|[form]", "C|2|[form]", "D|[number]|[form]"]);
}

#[test]
fn a_row_that_looks_like_a_footer_hides_no_row_after_it() {
    let text = "code,amount,day\nA,1,2025-01-02\n合计基金,2,2025-01-02\nB,3,2025-01-02\n合计,6,\n";
    assert_eq!(texts(&source("end = [\"合计\"]\n"), text), ["A|1|2025-01-02", "[end]"]);
    assert_eq!(texts(&source("end = [\"合计\"]\nanything_after_end = true\n"), text), ["A|1|2025-01-02"]);
    let last = texts(&source("footer_lines = 1\n"), text);
    assert_eq!(last, ["A|1|2025-01-02", "合计基金|2|2025-01-02", "B|3|2025-01-02"]);
    let blank = "code,amount,day\nA,1,2025-01-02\n\nsome words\n,,\nB,2,2025-01-02\n";
    assert_eq!(texts(&source("end = \"blank\"\n"), blank), ["A|1|2025-01-02"]);
    assert_eq!(texts(&source("footer_lines = 9\n"), blank), [""; 0]);
}

#[test]
fn a_preamble_that_has_moved_is_found_or_refused() {
    let text = "one\ntwo\n\"three\ncode,amount,day\nA,1,2025-01-02\n";
    assert_eq!(texts(&source("header = 4\n"), text), ["A|1|2025-01-02"]);
    assert_eq!(texts(&source("header = \"find\"\n"), text), ["A|1|2025-01-02"]);
    assert_eq!(missing(read(&source("header = 2\n"), text.as_bytes())), ["\"code\"", "\"amount\"", "\"day\""]);
    assert!(matches!(read(&source("header = 9\n"), text.as_bytes()), Err(TableError::NoLine(9))));
    let nearly = text.replace(",day", ",days");
    match read(&source("header = \"find\"\n"), nearly.as_bytes()) {
        Err(TableError::NotFound(Some((4, lacks)))) => assert_eq!(lacks, ["\"day\""]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(read(&source("header = \"find\"\n"), b"one\n"), Err(TableError::NotFound(None))));
    let long = "x".repeat(1000) + "\n";
    let outcome = read(&source("header = \"find\"\n"), long.repeat(1100).as_bytes());
    assert!(matches!(outcome, Err(TableError::LongPreamble)));
}

/// A value from the lines before the table is exact, as any other is, or the file is refused.
#[test]
fn a_value_of_a_preamble_that_cannot_be_read_is_refused() {
    let told = |pattern: &str| {
        format!("header = \"find\"\n[[source.column]]\nname = \"code\"\nfrom = \"preamble\"\npattern = '{pattern}'\n")
    };
    let source = source(&told("Konto: (.+)"));
    let table = "\namount,day\n1,2025-01-02\n";
    assert_eq!(texts(&source, &format!("Konto: Müller{table}")), ["Müller|1|2025-01-02"]);
    let unreadable = |outcome| matches!(outcome, Err(TableError::Misfit(_, Misfit::Unreadable(_, Fault::Undecodable))));
    for line in [b"Konto: M\xfcller".as_slice(), b"Konto: a\0b"] {
        assert!(unreadable(read(&source, &[line, table.as_bytes()].concat())));
    }
    // A bad line that tells nothing does no harm.
    let other = [b"M\xfcller\nKonto: 7", table.as_bytes()].concat();
    assert_eq!(read(&source, &other).unwrap(), ["7|1|2025-01-02"]);
}

#[test]
fn each_value_in_the_preamble_of_a_workbook_is_one_cell() {
    let of = |pattern: &str, cells: &[&str]| {
        let source = source(&format!(
            "format = \"xlsx\"\nheader = \"find\"\n[[source.column]]\nname = \"code\"\nfrom = \"preamble\"\npattern = '{pattern}'\n"
        ));
        let text = |at: &str, text: &str| format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
        let header = [text("A2", "amount"), text("B2", "day")];
        let data = ["<c r=\"A3\"><v>1</v></c>", "<c r=\"B3\" s=\"1\"><v>45669</v></c>"];
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let rows = [sheet_row(1, cells), sheet_row(2, &header), sheet_row(3, &data)];
        read(&source, &workbook(&rows.concat())).map(|mut rows| rows.remove(0))
    };
    let text = |at: char, text: &str| format!("<c r=\"{at}1\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
    let number = |at: char, number: &str| format!("<c r=\"{at}1\"><v>{number}</v></c>");
    let error = |at: char| format!("<c r=\"{at}1\" t=\"e\"><v>#N/A</v></c>");
    let depot = [text('A', "Depot:"), number('B', "12"), number('C', "345")];
    let depot: Vec<&str> = depot.iter().map(String::as_str).collect();
    assert_eq!(of(r"Depot:\s*(\d+)", &depot).unwrap(), "12|1|2025-01-12");
    // A pattern that was made for cells without anything between them.
    assert_eq!(of(r"Depot:(\d+)$", &depot[..2]).unwrap(), "12|1|2025-01-12");
    let untold = |outcome| matches!(outcome, Err(TableError::Misfit(_, Misfit::Untold(_))));
    assert!(untold(of(r"Depot:(\d+)$", &depot)), "it would be two cells");
    let account = text('A', "Konto:");
    assert!(untold(of(r"Konto:\s*(\d+)", &[&account, &number('B', "6222021234567890123")])));
    let unreadable = of(r"Konto:\s*(.+)", &[&account, &error('B')]);
    assert!(matches!(unreadable, Err(TableError::Misfit(_, Misfit::Unreadable(_, Fault::Undecodable)))));
}

/// What a key or the lines before a table tell holds for every row.
#[test]
fn what_a_file_tells_is_told_by_the_group_of_the_pattern_and_a_year_by_four_digits() {
    let of = |options: &str, key: &str, before: &str| -> Result<String, String> {
        let source = source(&format!("header = \"find\"\n[[source.column]]\n{options}"));
        let text = format!("{before}code,amount,day\nA,1,01-05\n");
        let (Format::Delimited(lines, dialect), around) = (&source.format, key) else { panic!("it is text") };
        let rows = TextRows::new(text.as_bytes(), *lines, Cut::Delimited(dialect.clone())).unwrap();
        let around = Surroundings { key: around.to_owned(), ..Surroundings::default() };
        let (mut table, head) = Table::open(rows, &source, around).map_err(|error| format!("{error:?}"))?;
        let mut binding = head.bind(&source).map_err(|error| format!("{error:?}"))?;
        let (mut row, mut plain) = (Row::default(), PlainRow::default());
        assert!(table.read(&mut row).unwrap());
        binding.translate(&row, 1, &mut plain);
        Ok((0..3).map(|at| plain.value(at).unwrap().unwrap_or("-").to_owned()).collect::<Vec<_>>().join("|"))
    };
    let day = |pattern: &str| {
        format!("name = \"day\"\nform = \"%m-%d\"\nyear = {{ from = \"key\", pattern = '{pattern}' }}\n")
    };
    assert_eq!(of(&day(r"_(\d{4})\."), "s_2025.csv", "").unwrap(), "A|1|2025-01-05");
    let short = of(&day(r"_(\d\d)(\d\d)\."), "s_2501.csv", "").unwrap_err();
    assert!(short.contains("Unreadable(\"day\", NoSuchDate)"), "the year 25: {short}");
    assert!(of(&day(r"_(\d{4})\."), "s.csv", "").unwrap_err().contains("Untold(\"day\")"));
    let account = |pattern: &str| {
        format!(
            "name = \"code\"\nfrom = \"preamble\"\npattern = '{pattern}'\n[[source.column]]\nname = \"day\"\nform = \"%m-%d\"\nyear = 2025\n"
        )
    };
    let lines = "Account:\nAccount: 77\n";
    assert_eq!(of(&account(r"Account:(?: (\w+))?"), "", lines).unwrap(), "77|1|2025-01-05");
    assert!(of(&account(r"Account:(?: (\w+))?"), "", "Account:\n").unwrap_err().contains("Untold(\"code\")"));
}

#[test]
fn a_header_is_matched_by_whole_names() {
    let named = |header: &str| source(&format!("[[source.column]]\nname = \"code\"\nheader = {header}\n"));
    let row = "\nA,1,2025-01-02\n";
    // Composed or not, with blanks around it or not.
    assert_eq!(texts(&named("\"Qualité\""), &format!(" Qualite\u{301} ,amount,day{row}")), ["A|1|2025-01-02"]);
    assert_eq!(texts(&named("[\"Symbol\", \"Ticker\"]"), &format!("Ticker,amount,day{row}")), ["A|1|2025-01-02"]);
    assert_eq!(missing(read(&named("\"Symbol\""), format!("symbol,amount,day{row}").as_bytes())), ["\"Symbol\""]);
    let twice = format!("Symbol,amount,day,Ticker{row}");
    let outcome = read(&named("[\"Symbol\", \"Ticker\"]"), twice.as_bytes());
    assert!(matches!(outcome, Err(TableError::Misfit(1, Misfit::Twice(_)))), "{outcome:?}");
    let lines = "header_lines = 2\n[[source.column]]\nname = \"code\"\nheader = \"Security code\"\n";
    assert_eq!(texts(&source(lines), &format!("Security,,day\ncode,amount,{row}")), ["A|1|2025-01-02"]);
}

#[test]
fn a_record_of_another_width_is_refused_unless_that_is_declared() {
    let text = "code,amount,day\nA,1,2025-01-02,x\nB,2\nC,3,2025-01-02,\n";
    assert_eq!(texts(&source(""), text), ["[fields]"; 3]);
    assert_eq!(texts(&source("trailing_delimiter = true\n"), text), ["[fields]", "[fields]", "C|3|2025-01-02"]);
    assert_eq!(texts(&source("longer = \"ignore\"\n"), text), ["A|1|2025-01-02", "[fields]", "C|3|2025-01-02"]);
    assert_eq!(texts(&source("shorter = \"null\"\n"), text), ["[fields]", "B|2|-", "[fields]"]);
}

#[test]
fn lines_of_a_fixed_width_are_cut_by_their_characters() {
    let options = "format = \"fixed\"\ntrim = true\nheader = 2\nfooter_lines = 1\n\
         [[source.column]]\nname = \"code\"\nat = [0, 4]\n\
         [[source.column]]\nname = \"amount\"\nat = [4, 10]\n\
         [[source.column]]\nname = \"day\"\nat = [10, 18]\nform = \"%Y%m%d\"\n";
    let text = "a title\nCODEAMOUNTDAY\n买入    1.5020250102\nA     2.5020250102  \nB     3.50202501\nC     4.5020250102x\nEND\n";
    assert_eq!(texts(&source(options), text), ["买入|1.50|2025-01-02", "A|2.50|2025-01-02", "[fields]", "[fields]"]);
}

#[test]
fn a_section_ends_where_it_says_and_is_missed() {
    let text = "First,\n\ncode,amount,day\nA,1,2025-01-02\nTotal,1,\n\nSecond,\ncode,amount,day\nB,2,2025-01-02\nC,3,2025-01-02\n";
    let of = |section: &str| source(&format!("section = \"{section}\"\nheader = \"find\"\nend = [\"Total\"]\n"));
    assert_eq!(texts(&of("First"), text), ["A|1|2025-01-02"]);
    assert_eq!(texts(&of("Second"), text), ["B|2|2025-01-02", "C|3|2025-01-02"]);
    assert!(matches!(read(&of("Third"), text.as_bytes()), Err(TableError::NoSection(name)) if name == "Third"));
}

/// Only the first one is read, and its rows would be all that anybody sees.
#[test]
fn a_section_that_begins_once_more_is_refused() {
    let block = |name: &str, row: &str| format!("{name}\ncode,amount,day\n{row}\n\n");
    let text = block("Deals", "A,1,2025-01-02") + &block("Cash", "B,2,2025-01-02") + &block("Deals", "C,3,2025-01-02");
    for options in ["end = \"blank\"\n", "end = [\"Total\"]\n"] {
        let text = text.replace("\n\n", if options.contains("Total") { "\nTotal\n\n" } else { "\n\n" });
        match read(&source(&format!("section = \"Deals\"\n{options}")), text.as_bytes()) {
            Err(TableError::Split(SplitError::SectionAgain(line))) => {
                assert_eq!(text.lines().nth(usize::try_from(line).unwrap() - 1), Some("Deals"));
                assert!(line > 5);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(texts(&source(&format!("section = \"Cash\"\n{options}")), &text), ["B|2|2025-01-02"]);
    }
    // A row may begin with the name of a section.
    let text = block("Deals", "A,1,2025-01-02") + &block("Summary", "Deals,2,2025-01-02\nCash,3,2025-01-02");
    assert_eq!(texts(&source("section = \"Deals\"\nend = \"blank\"\n"), &text), ["A|1|2025-01-02"]);
}

/// A workbook with one sheet of these rows, as XML. Style 1 is a date, 2 a time of day, 3 a percentage, 4 a duration, 5 both date and time.
pub(super) fn workbook(rows: &str) -> Vec<u8> {
    workbook_since(1900, rows)
}

/// The same, which counts days from the beginning of that year.
pub(super) fn workbook_since(year: u16, rows: &str) -> Vec<u8> {
    let since = if year == 1904 { r#"<workbookPr date1904="1"/>"# } else { "" };
    let parts = [
        (
            "_rels/.rels",
            r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#.to_owned(),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#.to_owned(),
        ),
        (
            "xl/workbook.xml",
            format!(r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">{since}<sheets><sheet name="One" sheetId="1" r:id="rId1"/></sheets></workbook>"#),
        ),
        (
            "xl/styles.xml",
            r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="21"/><xf numFmtId="10"/><xf numFmtId="46"/><xf numFmtId="22"/></cellXfs></styleSheet>"#.to_owned(),
        ),
        (
            "xl/worksheets/sheet1.xml",
            format!(r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>"#),
        ),
    ];
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(super) fn sheet_row(number: usize, cells: &[&str]) -> String {
    format!("<row r=\"{number}\">{}</row>", cells.concat())
}

const HEADER: [&str; 3] = [
    r#"<c r="A1" t="str"><v>code</v></c>"#,
    r#"<c r="B1" t="str"><v>amount</v></c>"#,
    r#"<c r="C1" t="str"><v>day</v></c>"#,
];

#[test]
fn a_workbook_holds_numbers_dates_and_texts_as_they_are() {
    let rows = [
        sheet_row(1, &HEADER),
        sheet_row(
            2,
            &[
                r#"<c r="A2" t="str"><v>007</v></c>"#,
                r#"<c r="B2"><v>1.5</v></c>"#,
                r#"<c r="C2" s="1"><v>45669</v></c>"#,
            ],
        ),
        sheet_row(
            4,
            &[
                r#"<c r="A4"><v>300861</v></c>"#,
                r#"<c r="B4" t="str"><v>1,5</v></c>"#,
                r#"<c r="C4"><v>20250112</v></c>"#,
            ],
        ),
        sheet_row(
            5,
            &[
                r#"<c r="A5"><v>4200096707290865642545563469</v></c>"#,
                r#"<c r="B5" t="e"><v>#N/A</v></c>"#,
                r#"<c r="C5" s="1"><v>45669.5</v></c>"#,
            ],
        ),
    ];
    let source = source(
        "format = \"xlsx\"\n[[source.column]]\nname = \"amount\"\ndecimal_mark = \",\"\n[[source.column]]\nname = \"day\"\nform = \"%Y%m%d\"\n",
    );
    assert_eq!(
        read(&source, &workbook(&rows.concat())).unwrap(),
        ["007|1.5|2025-01-12", "300861|1.5|2025-01-12", "[number]|[cell]|[form]"]
    );
}

#[test]
fn a_sheet_whose_cells_are_out_of_order_is_refused() {
    let rows = [
        sheet_row(1, &HEADER),
        sheet_row(3, &[r#"<c r="A3"><v>1</v></c>"#]),
        sheet_row(2, &[r#"<c r="A2"><v>1</v></c>"#]),
    ];
    assert!(matches!(read(&source("format = \"xlsx\"\n"), &workbook(&rows.concat())), Err(TableError::Split(_))));
}

#[test]
fn a_sheet_that_is_missing_is_known_to_be() {
    let book = Workbook::open(Cursor::new(workbook(&sheet_row(1, &HEADER)))).unwrap();
    let chosen = |options: &str| match source(&format!("format = \"xlsx\"\n{options}")).format {
        Format::Workbook(wanted) => book.chosen(wanted.sheet.as_ref()),
        other => panic!("{other:?}"),
    };
    assert_eq!(chosen(""), ["One"]);
    assert_eq!((chosen("sheet = 1\n"), chosen("sheet = \"O*\"\n")), (vec!["One".to_owned()], vec!["One".to_owned()]));
    assert!(chosen("sheet = 2\n").is_empty() && chosen("sheet = \"Two\"\n").is_empty());
}

#[test]
fn a_text_that_is_named_like_a_workbook_is_not_one() {
    let outcome = Workbook::open(Cursor::new(b"code\tamount\n".to_vec()));
    assert!(matches!(outcome, Err(super::workbook_error::WorkbookError::NoWorkbook)));
}

/// A way to write a table: what the definition says, and what it does to cells.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
struct Way {
    encoding: &'static str,
    delimiter: &'static str,
    crlf: bool,
    comma: bool,
    grouped: bool,
    unit: bool,
    date: &'static str,
    null: &'static str,
    preamble: usize,
    footer: bool,
    trailing: bool,
    tabbed: bool,
}

fn way() -> impl Strategy<Value = Way> {
    let sample = prop::sample::select::<&'static str>;
    let dialect = (sample(vec!["utf-8", "gb18030"]), sample(vec![",", ";", "\t", "|"]), any::<bool>());
    let numbers = (any::<bool>(), any::<bool>(), any::<bool>());
    let dates = sample(vec!["%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%Y年%m月%d日", "%d %b %Y"]);
    let rest = (sample(vec!["-", "N/A", "NULL"]), 0_usize..4, any::<bool>(), any::<bool>(), any::<bool>());
    (dialect, numbers, dates, rest).prop_map(|(dialect, numbers, date, rest)| Way {
        encoding: dialect.0,
        delimiter: dialect.1,
        crlf: dialect.2,
        comma: numbers.0,
        grouped: numbers.1,
        unit: numbers.2,
        date,
        null: rest.0,
        preamble: rest.1,
        footer: rest.2,
        trailing: rest.3,
        tabbed: rest.4,
    })
}

impl Way {
    fn definition(&self) -> String {
        let mut options = format!(
            "encoding = {:?}\ndelimiter = {:?}\nheader = \"find\"\nnull_values = [{:?}]\n",
            self.encoding, self.delimiter, self.null
        );
        let (mark, separator) = if self.comma { (',', '.') } else { ('.', ',') };
        let lines = [
            (self.comma, format!("decimal_mark = \"{mark}\"\n")),
            (self.grouped, format!("thousands = \"{separator}\"\n")),
            (self.unit, "unit = \"元\"\n".into()),
            (self.footer, "end = [\"合计\"]\n".into()),
            (self.trailing, "trailing_delimiter = true\n".into()),
            (self.tabbed, "trim = true\n".into()),
        ];
        options.extend(lines.into_iter().filter(|(holds, _)| *holds).map(|(_, line)| line));
        format!("{options}[[source.column]]\nname = \"day\"\nform = {:?}\n", self.date)
    }

    fn number(&self, cents: i64) -> String {
        let (mark, separator) = if self.comma { (',', '.') } else { ('.', ',') };
        let mut whole = (cents.abs() / 100).to_string();
        let mut at = whole.len();
        while self.grouped && at > 3 {
            at -= 3;
            whole.insert(at, separator);
        }
        let sign = if cents < 0 { "-" } else { "" };
        format!("{sign}{whole}{mark}{:02}{}", cents.abs() % 100, if self.unit { "元" } else { "" })
    }

    fn write(&self, rows: &[(String, Option<i64>, chrono::NaiveDate)]) -> Vec<u8> {
        let cell = |text: &str| {
            let padded = if self.tabbed { format!("\t{text} ") } else { text.to_owned() };
            format!("\"{}\"", padded.replace('"', "\"\""))
        };
        let mut lines = vec!["导出 \"一".to_owned(); self.preamble];
        lines.push(["day", "code", "amount"].map(cell).join(self.delimiter));
        for (code, cents, day) in rows {
            let amount = cents.map_or(self.null.to_owned(), |cents| self.number(cents));
            let cells = [day.format(self.date).to_string(), code.clone(), amount].map(|text| cell(&text));
            lines.push(cells.join(self.delimiter) + if self.trailing { self.delimiter } else { "" });
        }
        if self.footer {
            lines.push("合计".into());
        }
        let end = if self.crlf { "\r\n" } else { "\n" };
        let text = lines.join(end) + end;
        encoding_rs::Encoding::for_label(self.encoding.as_bytes()).unwrap().encode(&text).0.into_owned()
    }
}

proptest! {
    /// Any table that is written in any declared way comes back.
    #[test]
    fn a_table_comes_back_from_every_way_of_writing_it(
        way in way(),
        rows in prop::collection::vec(("[A-Za-z价,;|\" ]{0,6}[A-Z]", prop::option::of(-99_999_999_999_i64..99_999_999_999), 1_i32..=730_000), 0..8),
    ) {
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(code, cents, day)| (code.trim().to_owned(), cents, chrono::NaiveDate::from_num_days_from_ce_opt(day + 365).unwrap()))
            .collect();
        // A code that looks like a footer or a null is another matter.
        prop_assume!(rows.iter().all(|(code, ..)| code != way.null));
        let expected: Vec<String> = rows
            .iter()
            .map(|(code, cents, day)| {
                let sign = if cents.is_some_and(|cents| cents < 0) { "-" } else { "" };
                let amount = cents.map_or("-".into(), |cents| format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100));
                format!("{code}|{amount}|{}", day.format("%Y-%m-%d"))
            })
            .collect();
        let source = source(&way.definition());
        prop_assert_eq!(read(&source, &way.write(&rows)).unwrap(), expected);
    }
}
