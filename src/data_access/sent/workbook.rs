//! The rows of a sheet of a workbook (`xlsx`, `xls`): numbers and dates exactly, text as text.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use calamine::{Data, DataRef, ExcelDateTime, Reader, SheetType, Xls, Xlsx, XlsxCellReader};
use chrono::NaiveDate;
use encoding_rs::UTF_8;
use globset::GlobBuilder;

use super::Rows;
use super::bombs::check_workbook;
use super::file_format::{About, Asked, FileFormat, Input, Take};
use super::kept::kept_row;
use super::members::Members;
use super::workbook_error::WorkbookError;
use crate::data_access::csv::SplitError;
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::layout::{self, Format, Sheet};
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::violation::quoted;
use crate::error::{Error, Reason};

/// What an `xls` begins with, as every compound file does.
const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const ZIP: &[u8] = b"PK\x03\x04";
/// A zip archive with nothing in it begins so.
const EMPTY_ZIP: &[u8] = b"PK\x05\x06";
/// An `xls` is read as a whole.
const LARGEST_XLS: u64 = 64 * 1024 * 1024;
/// The part of a workbook that lists its sheets, and how much of it is read.
const SHEETS: &str = "xl/workbook.xml";
const LONGEST_LIST: u64 = 1024 * 1024;
/// The most columns that a sheet has.
pub const MOST_COLUMNS: usize = 16_384;
/// What a formula without a value shows.
const NOT_COMPUTED: &str = "#not computed";
/// The day after the last one that a workbook can hold.
const END_OF_TIME: f64 = 2_958_466.0;

/// What may have members or sheets, by its first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A zip archive, as workbooks of today are.
    Zip,
    /// A compound file, as workbooks of before 2007 are.
    Compound,
}

impl Container {
    /// What begins so; `None` if it is neither.
    #[must_use]
    pub fn of(begin: &[u8]) -> Option<Self> {
        match begin {
            zip if zip.starts_with(ZIP) || zip.starts_with(EMPTY_ZIP) => Some(Self::Zip),
            compound if compound.starts_with(COMPOUND) => Some(Self::Compound),
            _ => None,
        }
    }
}

/// A workbook.
pub enum Workbook<F: Read + Seek> {
    /// Of today.
    Xlsx(Box<Xlsx<BufReader<F>>>),
    /// Of before 2007.
    Xls(Box<Xls<BufReader<F>>>),
}

impl<F: Read + Seek> Workbook<F> {
    /// Opens a workbook.
    ///
    /// # Errors
    /// [`WorkbookError`].
    pub fn open(mut file: F) -> Result<Self, WorkbookError> {
        let mut begin = [0; 8];
        file.seek(SeekFrom::Start(0))?;
        let length = read_up_to(&mut file, &mut begin)?;
        if begin[..length].starts_with(ZIP) {
            check_workbook(&mut file)?;
            file.seek(SeekFrom::Start(0))?;
            let book = Xlsx::new(BufReader::new(file)).map_err(|_| WorkbookError::Broken)?;
            return Ok(Self::Xlsx(Box::new(book)));
        }
        if begin[..length].starts_with(COMPOUND) {
            if file.seek(SeekFrom::End(0))? > LARGEST_XLS {
                return Err(WorkbookError::TooLarge);
            }
            file.seek(SeekFrom::Start(0))?;
            let book = Xls::new(BufReader::new(file)).map_err(|_| WorkbookError::Broken)?;
            return Ok(Self::Xls(Box::new(book)));
        }
        Err(WorkbookError::NoWorkbook)
    }

    /// The names of all sheets with cells, in the order of the workbook.
    #[must_use]
    pub fn sheets(&self) -> Vec<String> {
        let all = match self {
            Self::Xlsx(book) => book.sheets_metadata(),
            Self::Xls(book) => book.sheets_metadata(),
        };
        all.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).map(|sheet| sheet.name.clone()).collect()
    }

    /// The names of the sheets that a source reads: one by its number or name, or all that its pattern matches.
    #[must_use]
    pub fn chosen(&self, wanted: Option<&Sheet>) -> Vec<String> {
        let sheets = self.sheets();
        let at = |index: usize| sheets.get(index).cloned().into_iter().collect();
        match wanted {
            None => at(0),
            Some(Sheet::Numbered(number)) => at(number - 1),
            Some(Sheet::Named(name)) if sheets.contains(name) => vec![name.clone()],
            Some(Sheet::Named(pattern)) => {
                let Ok(glob) = GlobBuilder::new(pattern).build() else { return Vec::new() };
                let glob = glob.compile_matcher();
                sheets.into_iter().filter(|name| glob.is_match(name)).collect()
            }
        }
    }

    /// The rows of a sheet. Numbers are cut to `digits` significant ones, if that is declared.
    ///
    /// # Errors
    /// `Broken` where the sheet cannot be read.
    pub fn rows(&mut self, sheet: &str, digits: Option<usize>) -> Result<SheetRows<'_, F>, WorkbookError> {
        let cells = match self {
            Self::Xlsx(book) => {
                let cells = book.worksheet_cells_reader(sheet).map_err(|_| WorkbookError::Broken)?;
                Cells::Streamed(Box::new(cells))
            }
            Self::Xls(book) => {
                let range = book.worksheet_range(sheet).map_err(|_| WorkbookError::Broken)?;
                let (row, column) = range.start().unwrap_or_default();
                let used = range
                    .used_cells()
                    .map(|(down, right, value)| ((row as usize + down, column as usize + right), value.clone()));
                Cells::Held(used.collect::<Vec<_>>().into_iter())
            }
        };
        Ok(SheetRows { cells, digits, next: None, row: 0, begun: false, columns: Vec::new() })
    }
}

/// The first rows of a sheet that are not blank, as far as there are two; `None` if a file is not an `xlsx` with a sheet of that
/// name. Of any other file no more than a list of its sheets is unpacked.
///
/// # Errors
/// [`WorkbookError`].
pub fn first_rows<F: Read + Seek + Send>(mut file: F, sheet: &str) -> Result<Option<[Option<Row>; 2]>, WorkbookError> {
    let mut listed = Vec::new();
    {
        let Ok(mut members) = Members::open(&mut file) else { return Ok(None) };
        let Ok(Some(list)) = members.read(SHEETS) else { return Ok(None) };
        list.take(LONGEST_LIST).read_to_end(&mut listed)?;
    }
    if memchr::memmem::find(&listed, sheet.as_bytes()).is_none() {
        return Ok(None);
    }
    let mut book = Workbook::open(file)?;
    if !book.sheets().iter().any(|name| name == sheet) {
        return Ok(None);
    }
    let mut rows = book.rows(sheet, None)?;
    let mut next = || {
        let mut row = Row::default();
        loop {
            match rows.read(&mut row) {
                Ok(true) if row.is_blank() => {}
                Ok(true) => return Ok(Some(row)),
                Ok(false) => return Ok(None),
                Err(SplitError::Read(error)) => return Err(WorkbookError::Read(error)),
                Err(_) => return Err(WorkbookError::Broken),
            }
        }
    };
    Ok(Some([next()?, next()?]))
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

enum Cells<'a, F: Read + Seek> {
    Streamed(Box<XlsxCellReader<'a, BufReader<F>>>),
    Held(std::vec::IntoIter<((usize, usize), Data)>),
}

/// Workbooks: `xlsx` and `xls`.
pub struct WorkbookFormat;

impl FileFormat for WorkbookFormat {
    fn is_of(&self, declared: &Format) -> bool {
        matches!(declared, Format::Workbook(_))
    }

    fn needs_file(&self) -> bool {
        true
    }

    fn is_text(&self) -> bool {
        false
    }

    fn read(&self, file: Input<'_>, asked: &Asked<'_>, take: Take<'_>) -> io::Result<()> {
        let Format::Workbook(wanted) = &asked.source.format else { return Ok(()) };
        let mut book = Workbook::open(file.file()?).map_err(|error| error.into_io(asked.name))?;
        let by_part = Sheet::Named(asked.sheet.to_owned());
        let sheets = book.chosen(if asked.sheet.is_empty() { wanted.sheet.as_ref() } else { Some(&by_part) });
        let [sheet] = &sheets[..] else {
            let has: Vec<String> = book.sheets().iter().take(MOST_SHEETS).map(|name| quoted(name)).collect();
            let (name, reads, fit) = (&asked.source.name, sheet_of(wanted, asked.sheet), sheets.len());
            let message = format!(
                "{}: source {name} reads {reads}, and {fit} of {} sheets fit; small-etl validate names them",
                asked.name,
                book.sheets().len()
            );
            let cells = format!("the workbook has {}", has.join(", "));
            return Err(io::Error::other(Error::file(Reason::Malformed, message).with_cells(cells)));
        };
        let rows = book.rows(sheet, wanted.significant_digits);
        let mut rows = rows.map_err(|error| error.into_io(asked.name))?;
        take(&mut rows, About { encoding: UTF_8, sheet })
    }

    fn cut(&self, _: &Source, row: &mut Row) {
        kept_row(row);
    }
}

/// So many names of sheets are shown in a message.
const MOST_SHEETS: usize = 10;

/// Which sheet of a workbook is read, for people.
fn sheet_of(workbook: &layout::Workbook, part: &str) -> String {
    match &workbook.sheet {
        _ if !part.is_empty() => format!("sheet {}", quoted(part)),
        Some(Sheet::Named(name)) => format!("sheet {}", quoted(name)),
        Some(Sheet::Numbered(number)) => format!("sheet {number}"),
        None => "the first sheet".to_owned(),
    }
}

/// A cell with its text.
struct Told {
    row: usize,
    column: usize,
    text: String,
    kind: CellKind,
}

/// The rows of a sheet, one after the other. A row that is left out is a blank one.
pub struct SheetRows<'a, F: Read + Seek> {
    cells: Cells<'a, F>,
    digits: Option<usize>,
    next: Option<Told>,
    row: usize,
    begun: bool,
    columns: Vec<(String, CellKind)>,
}

impl<F: Read + Seek> SheetRows<'_, F> {
    fn next_cell(&mut self) -> Result<Option<Told>, SplitError> {
        let broken = || SplitError::Read(io::Error::new(io::ErrorKind::InvalidData, "the sheet is broken"));
        let told = |row, column, (text, kind)| Told { row, column, text, kind };
        loop {
            let cell = match &mut self.cells {
                Cells::Streamed(cells) => {
                    let cell = cells.next_cell_with_formula_metadata().map_err(|_| broken())?;
                    let Some(cell) = cell else { return Ok(None) };
                    let text = match (cell.value, cell.formula) {
                        // A program wrote the formula and did not compute it.
                        (DataRef::Empty, Some(_)) => (NOT_COMPUTED.to_owned(), CellKind::Error),
                        (value, _) => text_of(value.into(), self.digits),
                    };
                    told(cell.pos.0 as usize, cell.pos.1 as usize, text)
                }
                Cells::Held(cells) => {
                    let Some(((row, column), value)) = cells.next() else { return Ok(None) };
                    told(row, column, text_of(value, self.digits))
                }
            };
            let in_order = cell.row >= self.row && cell.column < MOST_COLUMNS;
            if !in_order || cell.row == self.row && cell.column < self.columns.len() {
                return Err(broken());
            }
            if !cell.text.is_empty() {
                return Ok(Some(cell));
            }
        }
    }
}

impl<F: Read + Seek + Send> Rows for SheetRows<'_, F> {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.next = self.next_cell()?;
        }
        if self.next.is_none() {
            return Ok(false);
        }
        while let Some(cell) = self.next.take_if(|cell| cell.row == self.row) {
            self.columns.resize(cell.column, (String::new(), CellKind::Text));
            self.columns.push((cell.text, cell.kind));
            self.next = self.next_cell()?;
        }
        self.row += 1;
        row.begin(i64::try_from(self.row).unwrap_or(i64::MAX), 0);
        for (text, kind) in self.columns.drain(..) {
            row.push_cell(&text, kind);
        }
        Ok(true)
    }
}

/// The text of a cell, and what it holds.
fn text_of(value: Data, digits: Option<usize>) -> (String, CellKind) {
    match value {
        Data::Empty => (String::new(), CellKind::Text),
        Data::String(text) | Data::DurationIso(text) => (text, CellKind::Text),
        Data::Bool(true) => ("TRUE".into(), CellKind::Text),
        Data::Bool(false) => ("FALSE".into(), CellKind::Text),
        Data::Int(number) => (number.to_string(), CellKind::Number),
        Data::Float(number) => (number_text(number, digits), CellKind::Number),
        Data::DateTime(moment) => moment_text(&moment),
        // One in UTC is no time of a clock, as the others are.
        Data::DateTimeIso(text) if text.ends_with('Z') => (text, CellKind::Text),
        Data::DateTimeIso(text) => (text, CellKind::Moment),
        Data::Error(error) => (error.to_string(), CellKind::Error),
    }
}

/// A double as plain digits: the shortest that are this double, or so many significant ones.
fn number_text(number: f64, digits: Option<usize>) -> String {
    let Some(digits) = digits else { return number.to_string() };
    // The shortest form of the double that is nearest to the rounded digits has no more digits than they.
    let rounded: f64 = format!("{number:.*e}", digits.saturating_sub(1)).parse().unwrap_or(number);
    rounded.to_string()
}

/// A date or time, to the millisecond: a workbook keeps no more.
fn moment_text(moment: &ExcelDateTime) -> (String, CellKind) {
    let serial = moment.as_f64();
    let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    let clock = if milli == 0 { clock } else { format!("{clock}.{milli:03}") };
    let date = NaiveDate::from_ymd_opt(year.into(), month.into(), day.into());
    match date {
        _ if !(0.0..END_OF_TIME).contains(&serial) => (serial.to_string(), CellKind::Error),
        // To the millisecond it is the whole day.
        _ if serial < 1.0 && hour == 0 && serial > 0.5 => (serial.to_string(), CellKind::Error),
        _ if serial < 1.0 => (clock, CellKind::Moment),
        // A duration of a day or more is neither a date nor a time of day.
        _ if moment.is_duration() => (serial.to_string(), CellKind::Error),
        Some(date) => (format!("{date}T{clock}"), CellKind::Moment),
        // Workbooks have a 29 February 1900, which never was.
        None => (format!("{year:04}-{month:02}-{day:02}"), CellKind::Error),
    }
}

#[cfg(test)]
mod tests {
    use calamine::ExcelDateTimeType;

    use super::*;

    #[test]
    fn a_number_is_plain_digits() {
        for (number, expected) in [
            (1700.0, "1700"),
            (4.99, "4.99"),
            (-0.000_000_12, "-0.00000012"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "100000000000000000000"),
        ] {
            assert_eq!(number_text(number, None), expected);
        }
        for (number, expected) in [
            (0.1 + 0.2, "0.3"),
            (3_300_871_942.0, "3300871942"),
            (123_456.789_012_345_67, "123456.789012346"),
            (1e20, "100000000000000000000"),
        ] {
            assert_eq!(number_text(number, Some(15)), expected);
        }
    }

    #[test]
    fn a_date_is_to_the_millisecond_and_exists() {
        let text = |serial: f64, kind, is_1904| moment_text(&ExcelDateTime::new(serial, kind, is_1904));
        let date = |serial| text(serial, ExcelDateTimeType::DateTime, false);
        assert_eq!(date(45_669.0), ("2025-01-12T00:00:00".into(), CellKind::Moment));
        assert_eq!(date(45_669.968_738_425_92), ("2025-01-12T23:14:59".into(), CellKind::Moment));
        assert_eq!(date(45_943.541), ("2025-10-13T12:59:02.400".into(), CellKind::Moment));
        assert_eq!(date(0.5), ("12:00:00".into(), CellKind::Moment));
        assert_eq!(date(61.0).0, "1900-03-01T00:00:00");
        assert_eq!(date(60.0), ("1900-02-29".into(), CellKind::Error));
        assert_eq!(date(-1.0).1, CellKind::Error);
        assert_eq!(date(0.999_999_999_999), ("0.999999999999".into(), CellKind::Error));
        assert_eq!(date(0.999_999_99).0, "23:59:59.999");
        assert_eq!(date(2_958_466.0).1, CellKind::Error);
        assert_eq!(text(1.5, ExcelDateTimeType::TimeDelta, false).1, CellKind::Error);
        assert_eq!(text(44_207.0, ExcelDateTimeType::DateTime, true).0, "2025-01-12T00:00:00");
    }
}
