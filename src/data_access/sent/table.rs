//! A table in a file: lines before its header, the header, its records, and what follows its end.

use std::collections::VecDeque;

use super::Rows;
use crate::data_access::csv::SplitError;
use crate::domain::source::binding::{Binding, Misfit, Surroundings, header_name};
use crate::domain::source::cell_form::{Cell, UNREADABLE, is_exact};
use crate::domain::source::layout::{End, Format, Header, Layout, is_drawn};
use crate::domain::source::model::Source;
use crate::domain::source::row::{Row, RowFault};

/// How much may stand before a header.
const LONGEST_PREAMBLE: usize = 1024 * 1024;
/// How many rows of a footer are kept, to look for totals in them.
const MOST_FOOTERS: usize = 1000;

/// What of a file is not a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Lines before the header.
    pub preamble: u64,
    /// Lines after the end of the table.
    pub footer: u64,
    /// Lines with nothing but white space, quotes and delimiters, wherever they stand.
    pub blank: u64,
    /// Lines that are comments.
    pub comment: u64,
    /// Lines between the records that the source says are none: the header again, lines of dashes, subtotals.
    pub between: u64,
}

/// Why a file has no table that its source describes.
#[derive(Debug)]
pub enum TableError {
    /// The file cannot be split.
    Split(SplitError),
    /// There is no header, not even a blank one.
    Empty,
    /// No line begins the section of this name.
    NoSection(String),
    /// The line on which the header should be is not there, or blank.
    NoLine(u64),
    /// No line has all columns. The one that has most of them, if any has one, and what it lacks.
    NotFound(Option<(i64, Vec<String>)>),
    /// More than a megabyte stands before the header.
    LongPreamble,
    /// The header, on this line, does not fit the source.
    Misfit(i64, Misfit),
}

impl From<SplitError> for TableError {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

/// The records of a table.
pub struct Table<R> {
    rows: R,
    layout: Layout,
    source: Source,
    ended: bool,
    over: bool,
    dropped: Dropped,
    footers: Vec<Row>,
    /// The cells of each line of the header, if a line that repeats one is no record.
    header: Vec<Vec<String>>,
    /// The names of the columns of a section.
    names: Vec<String>,
    /// The places of cells between which a blank stands.
    apart: Vec<(usize, usize)>,
    /// Records that may turn out to be the last lines, and rows to fill.
    waiting: VecDeque<Row>,
    spare: Vec<Row>,
}

/// What stands before the records of a table.
#[derive(Debug)]
pub struct Head {
    /// The rows of the header; none where there is no header.
    pub header: Vec<Row>,
    /// The name of each column.
    pub names: Vec<String>,
    /// What else the file tells.
    pub around: Surroundings,
}

impl Head {
    /// Binds the source to the file with this head.
    ///
    /// # Errors
    /// `Misfit`.
    pub fn bind(&self, source: &Source) -> Result<Binding, TableError> {
        source.bind(&self.names, &self.around).map_err(|misfit| TableError::Misfit(self.line(), misfit))
    }

    /// The line of the header.
    #[must_use]
    pub fn line(&self) -> i64 {
        self.header.first().map_or(1, |row| row.line)
    }
}

impl<R: Rows> Table<R> {
    /// Reads up to the first record. `around` has what is known of the object; the lines before the header are added to it.
    ///
    /// # Errors
    /// [`TableError`] where the file is not as the source says.
    pub fn open(rows: R, source: &Source, around: Surroundings) -> Result<(Self, Head), TableError> {
        let mut table = Self {
            rows,
            layout: source.layout.clone(),
            source: source.clone(),
            ended: false,
            over: false,
            dropped: Dropped::default(),
            footers: Vec::new(),
            header: Vec::new(),
            names: Vec::new(),
            apart: apart(source),
            waiting: VecDeque::new(),
            spare: Vec::new(),
        };
        let mut before = Before { around, length: 0 };
        if let Some(section) = &source.layout.section {
            table.find_section(section, &mut before)?;
        }
        let header = match source.layout.header {
            Header::None => Vec::new(),
            Header::First => table.first(&mut before)?,
            Header::Line(line) => table.on_line(line, &mut before)?,
            Header::Find => table.find(&mut before)?,
        };
        let names = source.names_of(&header);
        if source.layout.between.header {
            table.header = header.iter().map(|row| table.cells_of(row)).collect();
        }
        if source.layout.section.is_some() && header.len() == 1 {
            table.names.clone_from(&names);
        }
        Ok((table, Head { header, names, around: before.around }))
    }

    fn find_section(&mut self, section: &str, before: &mut Before) -> Result<(), TableError> {
        let mut row = Row::default();
        while self.rows.read_before_table(&mut row)? {
            self.rows.keep_first_line(&mut row);
            if header_name(self.first_cell(&row)) == header_name(section) {
                self.note(&row, before)?;
                return Ok(());
            }
        }
        Err(TableError::NoSection(section.to_owned()))
    }

    fn first_cell<'r>(&self, row: &'r Row) -> &'r str {
        self.source.clean.apply(row.first()).trim()
    }

    /// Notes a line that is not a part of the table.
    fn note(&mut self, row: &Row, before: &mut Before) -> Result<(), TableError> {
        if row.is_blank() {
            self.dropped.blank += 1;
            return Ok(());
        }
        self.dropped.preamble += 1;
        before.length += row.text().len();
        if before.length > LONGEST_PREAMBLE {
            return Err(TableError::LongPreamble);
        }
        let told = if matches!(self.source.format, Format::Workbook(_)) {
            told_by_cells(row)
        } else {
            row.text().trim().to_owned()
        };
        before.around.preamble.push(told);
        Ok(())
    }

    /// The header that begins with the first line that is not blank.
    fn first(&mut self, before: &mut Before) -> Result<Vec<Row>, TableError> {
        let mut row = Row::default();
        loop {
            if !self.rows.read(&mut row)? {
                return Err(TableError::Empty);
            }
            if !row.is_blank() {
                return self.with_further_lines(row);
            }
            self.note(&row, before)?;
        }
    }

    fn with_further_lines(&mut self, first: Row) -> Result<Vec<Row>, TableError> {
        let mut header = vec![first];
        while header.len() < self.layout.header_lines {
            let mut row = Row::default();
            if !self.rows.read(&mut row)? {
                return Err(TableError::Empty);
            }
            header.push(row);
        }
        Ok(header)
    }

    fn on_line(&mut self, line: u64, before: &mut Before) -> Result<Vec<Row>, TableError> {
        let mut row = Row::default();
        loop {
            if !self.rows.read_before_table(&mut row)? {
                return Err(TableError::NoLine(line));
            }
            match u64::try_from(row.line).unwrap_or_default().cmp(&line) {
                std::cmp::Ordering::Equal if !row.is_blank() => return self.with_further_lines(row),
                std::cmp::Ordering::Less => {
                    self.rows.keep_first_line(&mut row);
                    self.note(&row, before)?;
                }
                _ => return Err(TableError::NoLine(line)),
            }
        }
    }

    /// The header is the first that has every column that the source needs.
    fn find(&mut self, before: &mut Before) -> Result<Vec<Row>, TableError> {
        let mut window: VecDeque<Row> = VecDeque::new();
        let mut nearest: Option<(i64, Vec<String>)> = None;
        loop {
            let mut row = self.spare.pop().unwrap_or_default();
            if !self.rows.read_before_table(&mut row)? {
                return Err(TableError::NotFound(nearest));
            }
            window.push_back(row);
            if window.len() == self.layout.header_lines {
                let names = self.source.names_of(window.make_contiguous());
                let lacks = self.source.lacks(&names);
                if lacks.is_empty() {
                    return Ok(window.into());
                }
                let needs = self.source.lacks(&[]).len();
                let better = nearest.as_ref().map_or(needs, |(_, known)| known.len()) > lacks.len();
                if better {
                    nearest = Some((window[0].line, lacks));
                }
            }
            if let Some(last) = window.back_mut() {
                self.rows.keep_first_line(last);
            }
            if window.len() == self.layout.header_lines
                && let Some(row) = window.pop_front()
            {
                self.note(&row, before)?;
                self.spare.push(row);
            }
        }
    }

    /// Reads the next record into `row`. Returns whether there was one.
    ///
    /// # Errors
    /// [`SplitError`]; after it the rest of the file has no meaning.
    pub fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        let End::LastLines(count) = self.layout.end else { return self.read_record(row) };
        while self.waiting.len() <= count {
            let mut next = self.spare.pop().unwrap_or_default();
            if !self.read_record(&mut next)? {
                let footers = std::mem::take(&mut self.waiting);
                for footer in &footers {
                    self.keep_footer(footer);
                }
                return Ok(false);
            }
            self.waiting.push_back(next);
        }
        if let Some(mut first) = self.waiting.pop_front() {
            std::mem::swap(row, &mut first);
            self.spare.push(first);
        }
        Ok(true)
    }

    fn read_record(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        loop {
            if self.over || !self.rows.read(row)? {
                self.over = true;
                return Ok(false);
            }
            if self.is_blank(row) {
                self.dropped.blank += 1;
                self.ended |= self.layout.end == End::Blank;
                self.over = self.ended && self.layout.section.is_some();
                if self.over {
                    self.check_rest()?;
                }
                continue;
            }
            if self.is_between(row) {
                self.dropped.between += 1;
                continue;
            }
            let is_footer = match &self.layout.end {
                End::Cells(cells) => {
                    let first = self.first_cell(row);
                    cells.iter().any(|cell| first.starts_with(cell.as_str()))
                        || self.ended && self.layout.anything_after_end
                }
                _ => self.ended,
            };
            if is_footer {
                self.ended = true;
                self.keep_footer(row);
                continue;
            }
            if self.ended {
                if self.layout.section.is_some() {
                    self.over = true;
                    self.check_rest()?;
                    return Ok(false);
                }
                row.fault = row.fault.or(Some(RowFault::AfterEnd));
            }
            if touch(row, &self.apart) {
                row.fault = row.fault.or(Some(RowFault::Touching));
            }
            return Ok(true);
        }
    }

    /// Refuses a file in which a section that has ended begins once more, with its header. Nobody would read its rows.
    fn check_rest(&mut self) -> Result<(), SplitError> {
        let section = self.layout.section.take().filter(|_| !self.names.is_empty());
        let (mut row, mut begins) = (Row::default(), None);
        while let Some(section) = &section
            && self.rows.read_before_table(&mut row)?
        {
            self.rows.keep_first_line(&mut row);
            if row.is_blank() {
                continue;
            }
            if let Some(line) = begins.take()
                && self.source.names_of(std::slice::from_ref(&row)) == self.names
            {
                return Err(SplitError::SectionAgain(line));
            }
            begins = (header_name(self.first_cell(&row)) == header_name(section)).then_some(row.line);
        }
        Ok(())
    }

    /// The cells of a row as those of a header are compared, without blank ones at its end.
    fn cells_of(&self, row: &Row) -> Vec<String> {
        let name = |cell: Cell<'_>| header_name(self.source.clean.apply(cell.text)).into_owned();
        let mut cells: Vec<String> = row.cells().map(name).collect();
        while cells.pop_if(|cell| cell.is_empty()).is_some() {}
        cells
    }

    /// Checks whether a row is one of the lines between the records that are none.
    fn is_between(&self, row: &Row) -> bool {
        let between = &self.layout.between;
        if between.is_empty() {
            return false;
        }
        let clean = self.source.clean;
        let first = || row.cells().map(|cell| clean.apply(cell.text).trim()).find(|cell| !cell.is_empty());
        let drawn = || if row.is_empty() { is_drawn(row.text()) } else { row.cells().all(|cell| is_drawn(cell.text)) };
        between.ruled && drawn()
            || !between.first_cells.is_empty()
                && first().is_some_and(|cell| between.first_cells.iter().any(|known| known.is(cell)))
            || between.header && {
                let cells = self.cells_of(row);
                self.header.contains(&cells)
            }
    }

    fn keep_footer(&mut self, row: &Row) {
        self.dropped.footer += 1;
        if self.footers.len() < MOST_FOOTERS {
            self.footers.push(row.clone());
        }
    }

    /// The columns that the source needs and no record had, once all are read.
    #[must_use]
    pub fn absent(&self) -> Vec<String> {
        self.rows.absent()
    }

    /// The names of columns that the source does not read and the header does not name, once all records are read.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        self.rows.others()
    }

    /// Whether a row is a blank line. An object is a record, whatever it holds.
    fn is_blank(&self, row: &Row) -> bool {
        let by_name = matches!(self.source.format, Format::JsonLines | Format::Parquet);
        row.is_blank() && (row.is_empty() || !by_name)
    }

    /// What was no record so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped { comment: self.rows.comments(), ..self.dropped }
    }

    /// The rows of the footer, once the last record is read: at most a thousand.
    #[must_use]
    pub fn footers(&self) -> &[Row] {
        &self.footers
    }
}

/// The cells at fixed places that follow each other, by their places among the fields of the source.
#[must_use]
pub fn apart(source: &Source) -> Vec<(usize, usize)> {
    let Format::Fixed(_, fields) = &source.format else { return Vec::new() };
    if !source.layout.blank_between {
        return Vec::new();
    }
    let next = |one: usize| (0..fields.len()).find(|other| fields[*other].from == fields[one].to);
    (0..fields.len()).filter_map(|one| Some((one, next(one)?))).collect()
}

/// The texts of the cells of a row before the table, with a tab between them. A cell that is an error, or whose number may not be the one that was
/// written, counts as unreadable.
fn told_by_cells(row: &Row) -> String {
    let texts = row.cells().map(|cell| if is_exact(cell) { cell.text } else { UNREADABLE });
    texts.collect::<Vec<_>>().join("\t").trim().to_owned()
}

/// Whether two cells of a row touch that stand at these places, and should have a blank between them.
#[must_use]
pub fn touch(row: &Row, apart: &[(usize, usize)]) -> bool {
    let text = |place: usize| row.cell(place).map_or("", |cell| cell.text);
    let full = |c: char| !c.is_whitespace();
    apart.iter().any(|(one, next)| text(*one).ends_with(full) && text(*next).starts_with(full))
}

/// What was read before the table.
struct Before {
    around: Surroundings,
    length: usize,
}
