//! What the cells of a sheet mean: empty ones wherever they stand, formulas, errors, booleans, dates and times.

use super::hostile::{read, sheet_row, source_of, workbook, workbook_since};
use crate::domain::source::kind::Kind;

const COLUMNS: [(&str, Kind); 4] =
    [("code", Kind::Text), ("amount", Kind::Decimal), ("day", Kind::Date), ("note", Kind::Text)];

fn text(place: &str, text: &str) -> String {
    format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

/// The cells of a row with what each is: `A1=…`.
fn row(number: usize, cells: &[String]) -> String {
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    sheet_row(number, &cells)
}

fn header() -> String {
    row(1, &["A1", "B1", "C1", "D1"].into_iter().zip(COLUMNS).map(|(at, (name, _))| text(at, name)).collect::<Vec<_>>())
}

/// What each row of a sheet with these rows after its header holds.
fn held(rows: &[String]) -> Vec<String> {
    let source = source_of(&COLUMNS, "format = \"xlsx\"\n");
    read(&source, &workbook(&(header() + &rows.concat()))).unwrap()
}

#[test]
fn an_empty_cell_is_null_wherever_it_stands() {
    let amount = |place: &str| format!("<c r=\"{place}\"><v>1.5</v></c>");
    let day = |place: &str| format!("<c r=\"{place}\" s=\"1\"><v>45669</v></c>");
    let styled = |place: &str| format!("<c r=\"{place}\" s=\"3\"/>");
    assert_eq!(
        held(&[
            row(2, &[text("A2", "a"), amount("B2"), day("C2"), text("D2", "x")]),
            // At the end, at the beginning, in between; not written, or written without a value.
            row(3, &[text("A3", "a")]),
            row(4, &[text("A4", "a"), amount("B4"), styled("C4"), styled("D4")]),
            row(5, &[text("D5", "x")]),
            row(6, &[styled("A6"), amount("B6")]),
            row(7, &[text("A7", "a"), text("D7", "x")]),
            row(8, &[text("A8", "a"), text("B8", ""), text("C8", "")]),
            // A row in which nothing is at all is no record.
            row(9, &[styled("A9"), styled("B9")]),
            row(10, &[text("A10", "a"), styled("E10"), styled("F10")]),
        ]),
        ["a|1.5|2025-01-12|x", "a|-|-|-", "a|1.5|-|-", "-|-|-|x", "-|1.5|-|-", "a|-|-|x", "a|-|-|-", "a|-|-|-",]
    );
    // What is written after the last column is not dropped.
    assert_eq!(held(&[row(2, &[text("A2", "a"), text("E2", "y")])]), ["[fields]"]);
}

/// Of cells that are merged the first has the value, and the others are empty.
#[test]
fn merged_cells_have_one_value() {
    let source = source_of(&COLUMNS, "format = \"xlsx\"\n");
    let rows = [
        header(),
        row(2, &[text("A2", "a"), text("D2", "for both")]),
        row(3, &[text("A3", "b"), "<c r=\"D3\" s=\"1\"/>".to_owned()]),
    ];
    let bytes = workbook(&rows.concat());
    assert_eq!(read(&source, &bytes).unwrap(), ["a|-|-|for both", "b|-|-|-"]);
}

#[test]
fn a_formula_is_the_value_that_was_computed_and_refused_without_one() {
    let formula = |kind: &str, value: &str| format!("<c r=\"B2\"{kind}><f>SUM(A1:A9)</f>{value}</c>");
    let of = |cell: String| held(&[row(2, &[text("A2", "a"), cell])]);
    assert_eq!(of(formula("", "<v>12.5</v>")), ["a|12.5|-|-"]);
    assert_eq!(of(formula(" t=\"str\"", "<v>12.5</v>")), ["a|12.5|-|-"]);
    assert_eq!(of(formula(" t=\"str\"", "<v></v>")), ["a|-|-|-"]);
    assert_eq!(of(formula(" t=\"e\"", "<v>#DIV/0!</v>")), ["a|[cell]|-|-"]);
    // Nobody knows what it would have been.
    assert_eq!(of(formula("", "")), ["a|[cell]|-|-"]);
    assert_eq!(of(formula("", "<v></v>")), ["a|[cell]|-|-"]);
    let shared = |place: &str, of: &str| format!("<c r=\"{place}\"><f t=\"shared\" si=\"0\"{of}>B1</f></c>");
    assert_eq!(
        held(&[
            row(2, &[text("A2", "a"), shared("B2", " ref=\"B2:B3\"")]),
            row(3, &[text("A3", "b"), shared("B3", "")])
        ]),
        ["a|[cell]|-|-", "b|[cell]|-|-"]
    );
}

/// Their form is that of the workbook, whatever form the sender's texts have.
#[test]
fn a_true_date_and_a_true_time_are_one_moment() {
    let source = source_of(
        &[("code", Kind::Text), ("at", Kind::LocalTimestamp)],
        "format = \"xlsx\"\nzone = \"none\"\n[[source.column]]\nname = \"at\"\njoin = [\"day\", \"clock\"]\nform = \"%Y-%d-%m %H:%M:%S\"\n",
    );
    let head = row(1, &[text("A1", "code"), text("B1", "day"), text("C1", "clock")]);
    let of = |date: &str, clock: &str| {
        read(&source, &workbook(&(head.clone() + &row(2, &[text("A2", "a"), date.to_owned(), clock.to_owned()]))))
    };
    let (date, clock) = ("<c r=\"B2\" s=\"1\"><v>45669</v></c>", "<c r=\"C2\" s=\"2\"><v>0.5</v></c>");
    assert_eq!(of(date, clock).unwrap(), ["a|2025-01-12T12:00:00"]);
    assert_eq!(of(&text("B2", "2025-12-01"), &text("C2", "12:00:00")).unwrap(), ["a|2025-01-12T12:00:00"]);
    assert_eq!(of(&text("B2", "2025-01-12"), &text("C2", "12:00:00")).unwrap(), ["a|2025-12-01T12:00:00"]);
}

#[test]
fn booleans_percentages_durations_and_times_are_what_they_are() {
    let columns = [
        ("flag", Kind::Boolean),
        ("share", Kind::Decimal),
        ("at", Kind::Time),
        ("moment", Kind::LocalTimestamp),
        ("day", Kind::Date),
    ];
    let source = |more: &str| {
        source_of(
            &columns,
            &format!(
                "format = \"xlsx\"\nzone = \"none\"\n[[source.column]]\nname = \"flag\"\ntrue_values = [\"TRUE\", \"yes\"]\nfalse_values = [\"FALSE\", \"no\"]\n{more}"
            ),
        )
    };
    let head = columns.iter().zip('A'..).map(|((name, _), letter)| text(&format!("{letter}1"), name));
    let head = row(1, &head.collect::<Vec<_>>());
    let cell = |letter: char, kind: &str, value: &str| format!("<c r=\"{letter}2\"{kind}><v>{value}</v></c>");
    let of = |year: u16, more: &str, cells: &[String]| {
        read(&source(more), &workbook_since(year, &(head.clone() + &row(2, cells)))).unwrap().remove(0)
    };
    let (date, time, percent, duration, both) = (" s=\"1\"", " s=\"2\"", " s=\"3\"", " s=\"4\"", " s=\"5\"");
    let good = [
        cell('A', " t=\"b\"", "1"),
        cell('B', percent, "0.125"),
        cell('C', time, "0.75"),
        cell('D', both, "45669.5"),
        cell('E', date, "45669"),
    ];
    assert_eq!(of(1900, "", &good), "true|0.125|18:00:00|2025-01-12T12:00:00|2025-01-12");
    assert_eq!(of(1904, "", &good), "true|0.125|18:00:00|2029-01-13T12:00:00|2029-01-13");
    let multiplied = "[[source.column]]\nname = \"share\"\npercent = \"multiply\"\n";
    assert_eq!(of(1900, multiplied, &good), "true|12.5|18:00:00|2025-01-12T12:00:00|2025-01-12");
    // A date with a time of day is not a date, a duration of a day and more no time of day, a number no flag, a date no number.
    let bad = [
        cell('A', "", "1"),
        cell('B', date, "45669"),
        cell('C', duration, "1.5"),
        cell('D', "", "45669.5"),
        cell('E', both, "45669.25"),
    ];
    assert_eq!(of(1900, "", &bad), "[form]|[number]|[cell]|[form]|[form]");
    let first = [cell('C', time, "0.0000000001"), cell('E', date, "1"), cell('D', both, "60.5")];
    let first = [first[0].clone(), first[2].clone(), first[1].clone()];
    assert_eq!(of(1900, "", &first), "-|-|00:00:00|[cell]|1900-01-01");
}
