//! Writes a workbook with one sheet as a stream: rows leave as they come, and nothing is kept but the last one.
//!
//! The parts are those that ECMA-376 asks for and no others. Texts stand in their cells, since a table of shared texts would have to
//! be kept until the end.

use std::fmt::Write as _;
use std::io::{self, Write};

use chrono::{NaiveDate, NaiveTime};
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};

use super::bombs::LARGEST_WORKBOOK;
use super::workbook::MOST_COLUMNS;
use crate::domain::source::cell_form::{Cell, CellKind};

/// The most rows that a sheet has.
pub const MOST_ROWS: u32 = 1_048_576;
/// The most UTF-16 units that a cell holds.
const LONGEST_TEXT: usize = 32_767;
/// What may still follow the last row, and all parts but the sheet, in bytes.
const BESIDES_ROWS: u64 = 64 * 1024;
/// The errors that a cell may hold.
const ERRORS: [&str; 7] = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"];
const MILLISECONDS_OF_A_DAY: i64 = 86_400_000;

/// How a cell is shown, by its place among the forms in [`STYLES`].
#[derive(Clone, Copy)]
enum Style {
    General,
    Text,
    Date,
    Moment,
    FineMoment,
    Clock,
    FineClock,
    Duration,
    Header,
}

const STYLES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><numFmts count="5"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd"/><numFmt numFmtId="165" formatCode="yyyy\-mm\-dd\ hh:mm:ss"/><numFmt numFmtId="166" formatCode="yyyy\-mm\-dd\ hh:mm:ss.000"/><numFmt numFmtId="167" formatCode="hh:mm:ss"/><numFmt numFmtId="168" formatCode="hh:mm:ss.000"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="9"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="166" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="167" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="168" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="46" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="49" fontId="1" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"#;

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#;

const PACKAGE: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;

const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;

/// A cell to write.
#[derive(Clone, Debug)]
pub enum SheetCell<'c> {
    /// A text, which stays one when it is written over.
    Text(&'c str),
    /// A whole number.
    Count(i64),
    /// A cell as a workbook had it.
    Sent(Cell<'c>),
}

/// Why a row is not written.
#[derive(Debug)]
pub enum SheetError {
    /// Writing failed.
    Write(io::Error),
    /// No workbook that can be read again holds this row after the others, or a cell of it.
    Full,
}

impl From<io::Error> for SheetError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<ZipError> for SheetError {
    fn from(error: ZipError) -> Self {
        Self::Write(error.into())
    }
}

/// A workbook with one sheet, on its way to `W`.
pub struct SheetWriter<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    rows: u32,
    written: u64,
    line: String,
}

impl<W: Write> SheetWriter<W> {
    /// Begins a workbook whose sheet has that name and that header. A cell that is empty below one of the `texts`, places in the
    /// header from 0, stays text when it is filled in: a spreadsheet would take the zeros off `000001`.
    ///
    /// # Errors
    /// `Write`; `Full` if the header is longer than that of a sheet.
    pub fn begin(out: W, name: &str, header: &[&str], texts: &[usize]) -> Result<Self, SheetError> {
        if header.len() > MOST_COLUMNS {
            return Err(SheetError::Full);
        }
        let mut writer = Self { zip: ZipWriter::new_stream(out), rows: 0, written: 0, line: String::new() };
        let mut book = String::from(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><bookViews><workbookView/></bookViews><sheets><sheet name=""#,
        );
        push_text(name, &mut book);
        book.push_str(r#"" sheetId="1" r:id="rId1"/></sheets></workbook>"#);
        for (part, text) in [
            ("[Content_Types].xml", CONTENT_TYPES),
            ("_rels/.rels", PACKAGE),
            ("xl/workbook.xml", &book),
            ("xl/_rels/workbook.xml.rels", RELATIONS),
            ("xl/styles.xml", STYLES),
        ] {
            writer.zip.start_file(part, SimpleFileOptions::default())?;
            writer.zip.write_all(text.as_bytes())?;
        }
        writer.zip.start_file("xl/worksheets/sheet1.xml", SimpleFileOptions::default())?;
        writer.line.push_str(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>"#,
        );
        if !texts.is_empty() {
            writer.line.push_str("<cols>");
            for index in texts {
                let number = index + 1;
                let style = Style::Text as usize;
                let _ = write!(writer.line, r#"<col min="{number}" max="{number}" width="14" style="{style}"/>"#);
            }
            writer.line.push_str("</cols>");
        }
        writer.line.push_str("<sheetData>");
        writer.row(header.iter().map(|name| (SheetCell::Text(name), Style::Header)))?;
        Ok(writer)
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`SheetError`]. After `Full` the workbook is as it was before.
    pub fn push<'c>(&mut self, cells: impl Iterator<Item = SheetCell<'c>>) -> Result<(), SheetError> {
        self.row(cells.map(|cell| (cell, Style::Text)))
    }

    fn row<'c>(&mut self, cells: impl Iterator<Item = (SheetCell<'c>, Style)>) -> Result<(), SheetError> {
        let begin = self.line.len();
        let outcome = self.spell(cells);
        if outcome.is_err() || self.written + (self.line.len() as u64) > LARGEST_WORKBOOK - BESIDES_ROWS {
            self.line.truncate(begin);
            return Err(SheetError::Full);
        }
        self.rows += 1;
        self.written += self.line.len() as u64;
        self.zip.write_all(self.line.as_bytes())?;
        self.line.clear();
        Ok(())
    }

    fn spell<'c>(&mut self, cells: impl Iterator<Item = (SheetCell<'c>, Style)>) -> Result<(), TooLong> {
        let row = self.rows + 1;
        if row > MOST_ROWS {
            return Err(TooLong);
        }
        let _ = write!(self.line, "<row r=\"{row}\">");
        for (column, (cell, style)) in cells.enumerate() {
            if column >= MOST_COLUMNS {
                return Err(TooLong);
            }
            let place = Place { column, row };
            match cell {
                SheetCell::Count(number) => place.value(&number.to_string(), Style::General, &mut self.line),
                SheetCell::Text(text) => place.text(text, style, &mut self.line)?,
                SheetCell::Sent(cell) => place.sent(cell, &mut self.line)?,
            }
        }
        self.line.push_str("</row>");
        Ok(())
    }

    /// Ends the workbook, and gives back where it was written.
    ///
    /// # Errors
    /// What `W` answers.
    pub fn finish(mut self) -> io::Result<W> {
        self.zip.write_all(b"</sheetData></worksheet>")?;
        Ok(self.zip.finish()?.into_inner())
    }
}

/// A cell holds no text as long.
struct TooLong;

/// A place in a sheet: the column from 0, the row from 1.
#[derive(Clone, Copy)]
struct Place {
    column: usize,
    row: u32,
}

impl Place {
    fn open(self, style: Style, kind: &str, out: &mut String) {
        let (mut letters, mut rest) = ([0; 3], self.column + 1);
        let mut length = 0;
        while rest > 0 {
            // Between 0 and 25.
            letters[length] = u8::try_from((rest - 1) % 26).unwrap_or_default();
            (rest, length) = ((rest - 1) / 26, length + 1);
        }
        out.push_str("<c r=\"");
        letters[..length].iter().rev().for_each(|letter| out.push(char::from(b'A' + letter)));
        out.push_str(&self.row.to_string());
        out.push('"');
        if style as usize > 0 {
            let _ = write!(out, " s=\"{}\"", style as usize);
        }
        out.push_str(kind);
        out.push('>');
    }

    fn value(self, value: &str, style: Style, out: &mut String) {
        self.open(style, "", out);
        out.push_str("<v>");
        out.push_str(value);
        out.push_str("</v></c>");
    }

    fn text(self, text: &str, style: Style, out: &mut String) -> Result<(), TooLong> {
        if text.is_empty() {
            return Ok(());
        }
        if text.len() > LONGEST_TEXT && text.encode_utf16().count() > LONGEST_TEXT {
            return Err(TooLong);
        }
        self.open(style, " t=\"inlineStr\"", out);
        out.push_str("<is><t xml:space=\"preserve\">");
        push_text(text, out);
        out.push_str("</t></is></c>");
        Ok(())
    }

    /// Writes a cell so that it is read as it was.
    fn sent(self, cell: Cell<'_>, out: &mut String) -> Result<(), TooLong> {
        let Cell { text, kind } = cell;
        match kind {
            CellKind::Number if is_number(text) => self.value(text, Style::General, out),
            CellKind::Moment if let Some((serial, style)) = serial(text) => self.value(&serial, style, out),
            // A duration of a day or more, and a day that never was.
            CellKind::Error if is_number(text) => self.value(text, Style::Duration, out),
            CellKind::Error if text == "1900-02-29" => self.value("60", Style::Date, out),
            CellKind::Error => {
                self.open(Style::General, " t=\"e\"", out);
                out.push_str("<v>");
                out.push_str(ERRORS.into_iter().find(|error| *error == text).unwrap_or("#VALUE!"));
                out.push_str("</v></c>");
            }
            _ => self.text(text, Style::Text, out)?,
        }
        Ok(())
    }
}

/// Checks whether a text is a number as a workbook keeps it: the shortest digits of a double.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|number| number.is_finite() && number.to_string() == text)
}

/// The number that a date or time is in a workbook, and how it is shown; `None` if it is not one to the millisecond.
fn serial(text: &str) -> Option<(String, Style)> {
    let of_day = |clock: &str| {
        let time = NaiveTime::parse_from_str(clock, "%H:%M:%S%.f").ok()?;
        let micros = (time - NaiveTime::MIN).num_microseconds()?;
        (micros % 1000 == 0).then_some(micros / 1000)
    };
    let Some((day, clock)) = text.split_once('T') else {
        let milliseconds = of_day(text)?;
        let style = if milliseconds % 1000 == 0 { Style::Clock } else { Style::FineClock };
        return Some((number(0, milliseconds), style));
    };
    let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    let milliseconds = of_day(clock)?;
    // Workbooks count a 29 February 1900, which never was.
    let before = NaiveDate::from_ymd_opt(1900, 3, 1)?;
    let first = NaiveDate::from_ymd_opt(1899, 12, if date < before { 31 } else { 30 })?;
    let days = (date - first).num_days();
    let style = match milliseconds {
        0 => Style::Date,
        whole if whole % 1000 == 0 => Style::Moment,
        _ => Style::FineMoment,
    };
    (days >= 1).then(|| (number(days, milliseconds), style))
}

#[expect(clippy::cast_precision_loss, reason = "a workbook keeps moments as doubles, which hold every millisecond")]
fn number(days: i64, milliseconds: i64) -> String {
    (days as f64 + milliseconds as f64 / MILLISECONDS_OF_A_DAY as f64).to_string()
}

/// Appends a text as XML. Signs that XML has no place for, and what looks like one that was escaped, are escaped as workbooks do.
fn push_text(text: &str, out: &mut String) {
    for (at, sign) in text.char_indices() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '_' if is_escape(&text.as_bytes()[at..]) => out.push_str("_x005F_"),
            '\n' | '\t' => out.push(sign),
            sign if u32::from(sign) < 0x20 || matches!(sign, '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "_x{:04X}_", u32::from(sign));
            }
            sign => out.push(sign),
        }
    }
}

/// Checks whether a text begins like `_x000D_`.
fn is_escape(text: &[u8]) -> bool {
    matches!(text, [b'_', b'x', digits @ .., ] if digits.len() >= 5 && digits[4] == b'_' && digits[..4].iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use chrono::NaiveDateTime;
    use proptest::prelude::*;

    use super::super::Rows;
    use super::super::workbook::Workbook;
    use super::*;
    use crate::domain::source::row::Row;

    /// Writes rows and reads them.
    fn again(rows: &[Vec<(String, CellKind)>]) -> Vec<Vec<(String, CellKind)>> {
        let mut writer = SheetWriter::begin(Vec::new(), "a & b", &["x"], &[0]).unwrap();
        for row in rows {
            writer.push(row.iter().map(|(text, kind)| SheetCell::Sent(Cell { text, kind: *kind }))).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut book = Workbook::open(Cursor::new(bytes)).unwrap();
        assert_eq!(book.sheets(), ["a & b"]);
        let mut sheet = book.rows("a & b", None).unwrap();
        let mut row = Row::default();
        assert!(sheet.read(&mut row).unwrap());
        assert_eq!(row.cell(0).unwrap(), Cell::text("x"));
        let mut found = Vec::new();
        while sheet.read(&mut row).unwrap() {
            found.push(row.cells().map(|cell| (cell.text.to_owned(), cell.kind)).collect());
        }
        found
    }

    fn comes_back(cells: &[(&str, CellKind)]) {
        let row: Vec<_> = cells.iter().map(|(text, kind)| ((*text).to_owned(), *kind)).collect();
        assert_eq!(again(std::slice::from_ref(&row)), [row]);
    }

    #[test]
    fn cells_come_back_as_they_were() {
        comes_back(&[
            ("000037", CellKind::Text),
            ("", CellKind::Text),
            ("4.99", CellKind::Number),
            ("0.30000000000000004", CellKind::Number),
            ("100000000000000000000", CellKind::Number),
            ("2025-01-12T00:00:00", CellKind::Moment),
            ("1900-01-01T00:00:00", CellKind::Moment),
            ("1900-02-28T12:00:00", CellKind::Moment),
            ("9999-12-31T23:59:59.999", CellKind::Moment),
            ("12:59:02.400", CellKind::Moment),
            ("00:00:00", CellKind::Moment),
            ("#N/A", CellKind::Error),
            ("1.5", CellKind::Error),
            ("-1", CellKind::Error),
            ("1900-02-29", CellKind::Error),
            (" a\tb\r\nc <&>\"_x000D_ \u{1}_x41_", CellKind::Text),
            ("价格", CellKind::Text),
        ]);
    }

    #[test]
    fn what_no_cell_holds_is_refused_and_leaves_the_workbook_as_it_was() {
        let mut writer = SheetWriter::begin(Vec::new(), "a", &["x"], &[]).unwrap();
        let long = "x".repeat(LONGEST_TEXT + 1);
        writer.push([SheetCell::Text(&long[1..])].into_iter()).unwrap();
        assert!(matches!(writer.push([SheetCell::Text(&long)].into_iter()), Err(SheetError::Full)));
        writer.push([SheetCell::Count(7)].into_iter()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut book = Workbook::open(Cursor::new(bytes)).unwrap();
        let mut sheet = book.rows("a", None).unwrap();
        let mut row = Row::default();
        let mut first = Vec::new();
        while sheet.read(&mut row).unwrap() {
            first.push(row.first().len());
        }
        assert_eq!(first, [1, LONGEST_TEXT, 1]);
    }

    proptest! {
        #[test]
        fn every_text_number_and_millisecond_comes_back(
            texts in prop::collection::vec("\\PC{1,8}|[_x0-9A-F]{1,12}", 1..5),
            number in any::<f64>().prop_filter("a workbook has no others", |number| number.is_finite()),
            milliseconds in 0_i64..(2_958_465 * MILLISECONDS_OF_A_DAY),
        ) {
            let mut row: Vec<_> = texts.into_iter().map(|text| (text, CellKind::Text)).collect();
            row.push((number.to_string(), CellKind::Number));
            let first = NaiveDateTime::new(NaiveDate::from_ymd_opt(1899, 12, 30).unwrap(), NaiveTime::MIN);
            let moment = first + chrono::TimeDelta::milliseconds(milliseconds);
            if moment.date() >= NaiveDate::from_ymd_opt(1900, 3, 1).unwrap() {
                let form = if milliseconds % 1000 == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%.3f" };
                row.push((moment.format(form).to_string(), CellKind::Moment));
            }
            prop_assert_eq!(again(std::slice::from_ref(&row)), [row]);
        }
    }
}
