//! What every format keeps to: the same small table, written in each of them, is read as the same values, and its records can be cut again.

use std::io::{Cursor, Seek as _, Write as _};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{ArrayRef, Date32Array, Decimal128Array, NullArray, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use encoding_rs::GB18030;

use super::Rows;
use super::file_format::{About, Asked, Input};
use super::format::{FORMATS, format_of};
use super::hostile::{sheet_row, workbook};
use super::kept::Kept;
use super::table::Table;
use crate::domain::source::binding::{PlainRow, Surroundings};
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::{Dataset, Datasets};

const DATASET: &str = r#"
name = "deal"
table = "deal"
key = "code"
version = "arrival"
[[column]]
name = "code"
type = "text"
required = true
[[column]]
name = "amount"
type = "decimal"
precision = 20
scale = 2
[[column]]
name = "day"
type = "date"
[[source]]
name = "sender"
files = ["in/**"]
"#;

/// The table: a text, a number and a day; a row with a character that is not ASCII and an amount that is null; one that is negative.
const EXPECTED: [&str; 3] = ["007|1234.50|2025-12-22", "价格,\"a\"|-|2024-02-29", "x|-0.05|1999-01-01"];

/// A format: what the source declares, and the table as a file.
struct Sample {
    options: &'static str,
    file: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        Sample {
            options: "",
            file: text("code,amount,day\n007,1234.50,2025-12-22\n\"价格,\"\"a\"\"\",,2024-02-29\nx,-0.05,1999-01-01\n"),
        },
        Sample {
            options: "encoding = \"gb18030\"\ndelimiter = \";\"\ndecimal_mark = \",\"\nthousands = \".\"\n[[source.column]]\nname = \"day\"\nform = \"%d.%m.%Y\"",
            file: GB18030
                .encode("code;amount;day\r\n007;1.234,50;22.12.2025\r\n\"价格,\"\"a\"\"\";;29.02.2024\r\nx;-0,05;01.01.1999\r\n")
                .0
                .into_owned(),
        },
        Sample {
            options: "format = \"fixed\"\ntrim = true\n[[source.column]]\nname = \"code\"\nat = [0, 6]\n[[source.column]]\nname = \"amount\"\nat = [6, 13]\n[[source.column]]\nname = \"day\"\nat = [13, 23]",
            file: text("007   1234.502025-12-22\n价格,\"a\"       2024-02-29\nx       -0.051999-01-01\n"),
        },
        Sample {
            options: "format = \"json_lines\"",
            file: text(
                "{\"code\": \"007\", \"amount\": 1234.50, \"day\": \"2025-12-22\"}\n\n\
                 {\"day\": \"2024-02-29\", \"code\": \"价格,\\\"a\\\"\", \"amount\": null}\n\
                 {\"code\": \"x\", \"amount\": \"-0.05\", \"day\": \"1999-01-01\", \"other\": {}}\n",
            ),
        },
        Sample { options: "format = \"parquet\"", file: parquet() },
        Sample {
            options: "format = \"xlsx\"",
            file: workbook(
                &[
                    sheet_row(1, &[&cell("A1", "code"), &cell("B1", "amount"), &cell("C1", "day")]),
                    sheet_row(2, &[&cell("A2", "007"), "<c r=\"B2\"><v>1234.5</v></c>", "<c r=\"C2\" s=\"1\"><v>46013</v></c>"]),
                    sheet_row(3, &[&cell("A3", "价格,\"a\""), "<c r=\"C3\" s=\"1\"><v>45351</v></c>"]),
                    sheet_row(4, &[&cell("A4", "x"), "<c r=\"B4\"><v>-0.05</v></c>", "<c r=\"C4\" s=\"1\"><v>36161</v></c>"]),
                ]
                .concat(),
            ),
        },
    ]
}

fn cell(at: &str, text: &str) -> String {
    format!("<c r=\"{at}\" t=\"str\"><v>{text}</v></c>")
}

fn parquet() -> Vec<u8> {
    let amounts =
        Decimal128Array::from(vec![Some(12_345_000), None, Some(-500)]).with_precision_and_scale(20, 4).unwrap();
    let columns: [(&str, ArrayRef); 4] = [
        ("day", Arc::new(Date32Array::from(vec![20_444, 19_782, 10_592]))),
        ("note", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("code", Arc::new(StringArray::from(vec!["007", "价格,\"a\"", "x"]))),
        ("amount", Arc::new(amounts)),
    ];
    parquet_of(&columns)
}

fn parquet_of(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let fields = columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).unwrap();
    let values = columns.iter().map(|(_, values)| Arc::clone(values)).collect();
    writer.write(&RecordBatch::try_new(schema, values).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

fn dataset(options: &str) -> Dataset {
    let text = format!("{DATASET}{options}\n");
    let datasets = Datasets::parse([("deal.toml", text.as_str())]).unwrap_or_else(|error| panic!("{options}: {error}"));
    datasets.get("deal").unwrap().clone()
}

/// Opens a file as its format wants it.
fn open(dataset: &Dataset, file: &[u8], take: &mut dyn FnMut(&mut dyn Rows)) -> std::io::Result<()> {
    let source = &dataset.sources[0];
    let format = format_of(source);
    let mut copy = tempfile::tempfile().unwrap();
    copy.write_all(file).unwrap();
    copy.rewind().unwrap();
    let input =
        if format.needs_file() { Input::File(copy) } else { Input::Stream(Box::new(Cursor::new(file.to_vec()))) };
    let asked = Asked { name: "deals", source, sheet: "", columns: dataset.file_columns() };
    format.read(input, &asked, &mut |rows: &mut dyn Rows, _: About<'_>| {
        take(rows);
        Ok(())
    })
}

/// Reads all records, each with its values as text.
fn records(rows: &mut dyn Rows, source: &Source) -> Vec<(Row, String)> {
    let (mut table, head) = Table::open(rows, source, Surroundings::default()).unwrap();
    let mut binding = head.bind(source).unwrap();
    let (mut row, mut plain) = (Row::default(), PlainRow::default());
    let mut all = Vec::new();
    while table.read(&mut row).unwrap() {
        assert_eq!((row.fault, binding.fits(&row)), (None, true), "{row:?}");
        binding.translate(&row, 1, &mut plain);
        let value = |index| plain.value(index).unwrap().unwrap_or("-").to_owned();
        all.push((row.clone(), (0..source.columns.len()).map(value).collect::<Vec<_>>().join("|")));
    }
    all
}

fn cells(row: &Row) -> Vec<(String, CellKind)> {
    row.cells().map(|cell| (cell.text.to_owned(), cell.kind)).collect()
}

#[test]
fn every_format_has_a_sample() {
    for (nth, format) in FORMATS.iter().enumerate() {
        let has = samples().iter().any(|sample| format.is_of(&dataset(sample.options).sources[0].format));
        assert!(has, "format {nth} has no sample");
    }
}

#[test]
fn a_table_means_the_same_in_every_format() {
    for Sample { options, file } in samples() {
        let dataset = dataset(options);
        let mut found = Vec::new();
        open(&dataset, &file, &mut |rows| found = records(rows, &dataset.sources[0])).unwrap();
        // Of an amount, zeros at the end are not a part of the value.
        let plain = |text: &str| {
            text.replace("1234.5000|", "1234.50|").replace("1234.5|", "1234.50|").replace("-0.0500|", "-0.05|")
        };
        let values: Vec<String> = found.iter().map(|(_, values)| plain(values)).collect();
        assert_eq!(values, EXPECTED, "{options}");
        let lines: Vec<i64> = found.iter().map(|(row, _)| row.line).collect();
        assert!(lines.is_sorted_by(|one, next| one < next), "{options}: {lines:?}");
    }
}

#[test]
fn a_record_of_every_format_can_be_cut_again_from_its_bytes() {
    for Sample { options, file } in samples() {
        let dataset = dataset(options);
        let source = &dataset.sources[0];
        let format = format_of(source);
        let mut kept = Vec::new();
        let mut found = Vec::new();
        open(&dataset, &file, &mut |rows| {
            found =
                if format.is_text() { records(rows, source) } else { records(&mut Kept::new(rows, &mut kept), source) };
        })
        .unwrap();
        let bytes = if format.is_text() { &file } else { &kept };
        assert_eq!(found.len(), EXPECTED.len());
        for (row, _) in found {
            let start = usize::try_from(row.offset).unwrap();
            assert_eq!(&bytes[start..start + row.raw.len()], &row.raw[..], "{options}");
            let mut again = Row::default();
            again.begin(row.line, row.offset);
            again.raw.clone_from(&row.raw);
            format.cut(source, &mut again);
            assert_eq!((cells(&again), again.fault), (cells(&row), None), "{options}");
        }
    }
}

#[test]
fn a_file_of_another_format_is_refused_and_not_misread() {
    for Sample { options, .. } in samples() {
        let dataset = dataset(options);
        for other in samples() {
            let is_same = |options: &str| options.lines().next().unwrap_or_default().to_owned();
            if is_same(options) == is_same(other.options) || options.contains("fixed") {
                continue;
            }
            let source = &dataset.sources[0];
            let mut misread = false;
            // What can be opened has no header that the source knows, or no record that is good.
            let opened = open(&dataset, &other.file, &mut |rows| {
                let Ok((mut table, head)) = Table::open(rows, source, Surroundings::default()) else { return };
                let Ok(binding) = head.bind(source) else { return };
                let mut row = Row::default();
                while let Ok(true) = table.read(&mut row) {
                    misread |= row.fault.is_none() && binding.fits(&row);
                }
            });
            assert!(opened.is_err() || !misread, "{options} read {}", other.options);
        }
    }
}

#[test]
fn what_an_object_holds_is_taken_exactly_or_refused() {
    let options = "format = \"json_lines\"\ndecimal_mark = \",\"\nthousands = \".\"\n[[source.column]]\nname = \"code\"\nheader = [\"id\", \"code\"]\n[[source.column]]\nname = \"day\"\nform = \"%Y%m%d\"";
    let dataset = dataset(options);
    let source = &dataset.sources[0];
    let read = |line: &str| {
        let mut found = String::new();
        open(&dataset, line.as_bytes(), &mut |rows| {
            let (mut table, head) = Table::open(rows, source, Surroundings::default()).unwrap();
            let mut binding = head.bind(source).unwrap();
            let (mut row, mut plain) = (Row::default(), PlainRow::default());
            assert!(table.read(&mut row).unwrap(), "{line}");
            binding.translate(&row, 1, &mut plain);
            let value = |index| match plain.value(index) {
                Ok(value) => value.unwrap_or("-").to_owned(),
                Err(fault) => format!("[{}]", fault.rule()),
            };
            let values = (0..3).map(value).collect::<Vec<_>>().join("|");
            found = row.fault.map_or(values, |fault| format!("[{}]", fault.rule()));
        })
        .unwrap();
        found
    };
    for (line, expected) in [
        // A number has no marks of the sender's, and a text has.
        (r#"{"id": "a", "amount": 10.799, "day": 20251222}"#, "a|10.799|2025-12-22"),
        (r#"{"code": "a", "amount": "10.799,5", "day": "20251222"}"#, "a|10799.5|2025-12-22"),
        (r#"{"code": "a", "amount": 1e3, "day": null}"#, "a|[number]|-"),
        (r#"{"code": 7, "amount": null}"#, "7|-|-"),
        (r#"{"code": "\u4ef7", "amount": 12345678901234567890.12}"#, "价|12345678901234567890.12|-"),
        ("{}", "-|-|-"),
        // Two names of one column, a member twice, an object for a column, no object at all.
        (r#"{"id": "a", "code": "b"}"#, "[json]"),
        (r#"{"id": "a", "id ": "b"}"#, "[json]"),
        (r#"{"amount": 1, "amount": 2}"#, "[json]"),
        (r#"{"code": {"a": 1}}"#, "[json]"),
        ("[1]", "[json]"),
        (r#"{"code": "a"} x"#, "[json]"),
        (r#"{"code": "a\u0000"}"#, "[encoding]"),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
}

#[test]
fn a_member_that_no_object_has_is_known() {
    let dataset = dataset(
        "format = \"json_lines\"\n[[source.column]]\nname = \"day\"\noptional = true\n[[source.column]]\nname = \"amount\"\nheader = \"amuont\"",
    );
    let mut absent = Vec::new();
    open(&dataset, b"{\"code\": \"a\", \"amount\": 1}\n{\"code\": \"b\"}\n", &mut |rows| {
        let (mut table, _) = Table::open(rows, &dataset.sources[0], Surroundings::default()).unwrap();
        while table.read(&mut Row::default()).unwrap() {}
        absent = table.absent();
    })
    .unwrap();
    assert_eq!(absent, ["amuont"]);
}

/// As pyarrow writes a column without values.
#[test]
fn a_parquet_column_of_nothing_but_nulls_fits_every_type() {
    let file = parquet_of(&[
        ("code", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("amount", Arc::new(NullArray::new(2))),
        ("day", Arc::new(NullArray::new(2))),
    ]);
    let dataset = dataset("format = \"parquet\"");
    let mut found = Vec::new();
    open(&dataset, &file, &mut |rows| found = records(rows, &dataset.sources[0])).unwrap();
    assert_eq!(found.into_iter().map(|(_, values)| values).collect::<Vec<_>>(), ["a|-|-", "b|-|-"]);
}

#[test]
fn the_type_of_a_parquet_column_has_to_fit() {
    // A day for a decimal, and a decimal for a day.
    for (column, header) in [("amount", "day"), ("day", "amount")] {
        let options = format!("format = \"parquet\"\n[[source.column]]\nname = \"{column}\"\nheader = \"{header}\"");
        let error =
            open(&dataset(&options), &parquet(), &mut |_| panic!("{column} was read from {header}")).unwrap_err();
        assert!(error.to_string().contains("cannot be read as"), "{error}");
    }
}
