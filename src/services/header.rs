//! The header of a file: where the columns of a dataset stand, and what may be said of the others.
//!
//! A header cell that no dataset declares may hold anything: in a file without a header it is a cell of the first record. So it is
//! called by its position, and by its name only where the header has every column of the dataset.

use std::collections::HashMap;

use super::form::Form;
use super::reading::{LONGEST_NAME, shown};
use super::sent_again::{delimited, shown_delimiter};
use crate::data_access::csv::{MOST_COLUMNS, Record};
use crate::domain::Dataset;
use crate::domain::expression::nearest;
use crate::error::{Error, Reason, Result};

/// The columns of a rejects file by which a record is known again. Names that begin with `_` are ours.
const LOAD_COLUMN: &str = "_load_id";
const RECORD_COLUMN: &str = "_record";

/// Names that are kept of columns which the dataset does not declare.
pub(super) const MOST_NAMES: usize = 100;

/// Where each column of the dataset stands in the file.
pub(super) struct Header {
    /// Its own bytes, but for names that are too long to be shown.
    pub(super) raw: Vec<u8>,
    pub(super) width: usize,
    pub(super) positions: Vec<usize>,
    /// What the dataset does not declare, as it may be shown.
    pub(super) extra: Vec<String>,
    /// Where `_load_id` and `_record` stand, which say what a record is to mend.
    pub(super) mends: Option<(usize, usize)>,
    pub(super) form: Form,
}

impl Header {
    /// Reads the first record of a file.
    ///
    /// # Errors
    /// `File`, saying what is wrong with it.
    pub(super) fn read(file: &str, record: &Record<'_>, dataset: &Dataset) -> Result<Self> {
        let place = format!("{file} line {}", record.line);
        check_width(&place, record.len())?;
        let malformed = |what: &str| Error::file(Reason::Malformed, format!("{place}: {what}"));
        let text = record
            .text()
            .ok_or_else(|| malformed("the header has a NUL or bytes that are not UTF-8; save the file as UTF-8"))?;
        let names: Vec<&str> = (0..record.len()).map(|index| record.cell(text, index)).collect();
        if names.iter().any(|name| has_lone_return(name)) {
            return Err(malformed(
                "the header has a carriage return without a line feed; where that ends the lines of the file, save it with LF or CRLF",
            ));
        }
        let Columns { positions, extra } = Columns::find(&place, &names, dataset, Form::Csv)?;
        let ours = |name: &str| names.iter().position(|known| *known == name);
        let mends = ours(LOAD_COLUMN).zip(ours(RECORD_COLUMN));
        let raw = if names.iter().any(|name| is_long(name, dataset)) {
            rewritten(&names, dataset)?
        } else {
            record.raw.to_vec()
        };
        Ok(Self { raw, width: names.len(), positions, extra, mends, form: Form::Csv })
    }
}

/// Where the columns of a dataset stand among those of a file.
pub(super) struct Columns {
    pub(super) positions: Vec<usize>,
    /// The names of the others, as they may be shown.
    pub(super) extra: Vec<String>,
}

impl Columns {
    /// Looks for the columns of a dataset among the names of those of a file.
    ///
    /// # Errors
    /// `File`, where one is missing or comes twice, or there are too many.
    pub(super) fn find(place: &str, names: &[&str], dataset: &Dataset, form: Form) -> Result<Self> {
        check_width(place, names.len())?;
        let position = |column: &str| names.iter().position(|name| *name == column);
        let (mut positions, mut missing) = (Vec::new(), Vec::new());
        for column in dataset.file_columns() {
            match position(&column.name) {
                Some(position) => positions.push(position),
                None => missing.push(column.name.as_str()),
            }
        }
        if !missing.is_empty() {
            return Err(lacking(place, names, dataset, &missing, form));
        }
        check_twice(place, names)?;
        let is_extra = |name: &&&str| {
            let is_declared = dataset.file_columns().iter().any(|column| column.name == **name)
                || dataset.ignored.iter().any(|column| column == **name);
            !name.is_empty() && !is_declared && !name.starts_with('_')
        };
        let others = names.iter().filter(is_extra).count();
        let mut extra: Vec<String> = names.iter().filter(is_extra).take(MOST_NAMES).map(|name| shown(name)).collect();
        if others > extra.len() {
            extra.push(format!("and {} more", others - extra.len()));
        }
        Ok(Self { positions, extra })
    }
}

fn check_width(place: &str, width: usize) -> Result<()> {
    if width <= MOST_COLUMNS {
        return Ok(());
    }
    let message =
        format!("{place}: the file has {width} columns, more than the limit of {MOST_COLUMNS}; leave some out");
    Err(Error::file(Reason::Malformed, message))
}

/// Names no column of the file, since without every column of the dataset nobody knows whether those are names at all.
fn lacking(place: &str, names: &[&str], dataset: &Dataset, missing: &[&str], form: Form) -> Error {
    if let [only] = names
        && let Some((_, delimiter)) = delimited(only)
    {
        let has = shown_delimiter(delimiter);
        let message = format!("{place}: these rejects have {has} between their cells; save them with commas");
        return Error::file(Reason::MissingColumn, message);
    }
    if missing.len() == dataset.file_columns().len() {
        let hint = if form == Form::Csv { "is the header missing? " } else { "" };
        let (dataset, needed) = (&dataset.name, missing.join(", "));
        let message = format!("{place}: none of the columns of dataset {dataset} is named; {hint}it needs {needed}");
        return Error::file(Reason::MissingColumn, message);
    }
    let short: Vec<&str> = names.iter().copied().filter(|name| name.len() <= LONGEST_NAME).collect();
    let near = |column: &str| {
        let near = nearest(column, &short).filter(|near| dataset.column(near).is_none())?;
        names.iter().position(|name| *name == near)
    };
    let (mut likely, mut called) = (Vec::new(), Vec::new());
    for column in missing {
        if let Some(position) = near(column) {
            likely.push(format!("{column} (is it column {}?)", position + 1));
            called.push(format!("column {} is called {:?}", position + 1, names[position]));
        } else {
            likely.push((*column).to_owned());
        }
    }
    let what = if form == Form::Csv { "header" } else { "file" };
    let message = format!("{place}: the {what} lacks column {}; add it", likely.join(", "));
    let error = Error::file(Reason::MissingColumn, message);
    if called.is_empty() { error } else { error.with_cells(called.join(", ")) }
}

/// Spreadsheets leave columns without a name after the last one; they are as good as absent. Ours come twice where a rejects file
/// was rejected.
fn check_twice(place: &str, names: &[&str]) -> Result<()> {
    let mut seen = HashMap::new();
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty() && !name.starts_with('_')) {
        if let Some(first) = seen.insert(name, index) {
            let (name, first, second) = (shown(name), first + 1, index + 1);
            let message =
                format!("{place}: columns {first} and {second} are both called {name:?}; remove or rename one");
            return Err(Error::file(Reason::DuplicateColumn, message));
        }
    }
    Ok(())
}

/// Whether a carriage return is part of a name. A file whose lines end so would be one long header.
fn has_lone_return(name: &str) -> bool {
    name.match_indices('\r').any(|(at, _)| !name[at + 1..].starts_with('\n'))
}

fn is_long(name: &str, dataset: &Dataset) -> bool {
    name.chars().nth(LONGEST_NAME).is_some() && dataset.column(name).is_none()
}

/// The header with names that may be shown. Each that is cut stays different from all others.
fn rewritten(names: &[&str], dataset: &Dataset) -> Result<Vec<u8>> {
    let name = |(index, name): (usize, &&str)| {
        if !is_long(name, dataset) {
            return (*name).to_owned();
        }
        let place = format!("… (column {})", index + 1);
        name.chars().take(LONGEST_NAME - place.chars().count()).chain(place.chars()).collect()
    };
    let mut header = ::csv::WriterBuilder::new().terminator(::csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = header.write_record(names.iter().enumerate().map(name)).map_err(std::io::Error::other);
    let written = written.and_then(|()| header.into_inner().map_err(|error| std::io::Error::other(error.to_string())));
    let mut raw = written.map_err(|error| Error::system("write the header", error))?;
    raw.pop();
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_access::csv::{Records, fields_of};
    use crate::domain::Datasets;

    const COLUMNS: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";

    fn read(text: &str) -> Result<Header> {
        let datasets = Datasets::parse([("asset.toml", include_str!("../../datasets/asset.toml"))]).unwrap();
        let mut records = Records::new(text.as_bytes()).unwrap();
        Header::read("a.csv", &records.header().unwrap().unwrap(), datasets.get("asset").unwrap())
    }

    fn message(text: &str) -> String {
        read(text).err().unwrap().chain()
    }

    #[test]
    fn without_every_column_no_cell_of_the_header_is_named() {
        let lacking = COLUMNS.replace("frozen_cash", "frozen");
        let error = read(&lacking).err().unwrap();
        assert_eq!(error.chain(), "a.csv line 1: the header lacks column frozen_cash (is it column 4?); add it");
        assert_eq!(error.cells(), Some("column 4 is called \"frozen\""));
        for cells in ["7261,7261,7261", &format!("{lacking},7261,7261"), &format!("{COLUMNS}\r7261,2"), "cash,x\r7261"]
        {
            assert!(!message(cells).contains("7261"), "{}", message(cells));
        }
        assert!(message("7261,7261,7261").contains("is the header missing?"));
        assert!(message(&format!("{COLUMNS}\r7261,2,3")).contains("carriage return"));
    }

    #[test]
    fn with_every_column_the_others_are_named_in_63_characters() {
        let long = "é".repeat(64);
        let header = read(&format!("{COLUMNS},note,{long},_ours,,id,\"a\r\nb\"")).unwrap();
        assert_eq!(header.extra, ["note", &format!("{}…", "é".repeat(62)), "a\r\nb"]);
        let error = message(&format!("{COLUMNS},{long},note,{long}"));
        assert_eq!(
            error,
            format!("a.csv line 1: columns 8 and 10 are both called \"{}…\"; remove or rename one", "é".repeat(62))
        );
    }

    #[test]
    fn names_that_are_too_long_are_cut_in_what_is_kept_and_stay_different() {
        let plain = format!("{COLUMNS},\"a,b\",{}", "x".repeat(63));
        assert_eq!(read(&plain).unwrap().raw, plain.as_bytes());
        let long = "\"x,\"".repeat(40);
        let header = read(&format!("{COLUMNS},{long}1,{long}2")).unwrap();
        let names: Vec<String> =
            fields_of(&header.raw).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names.len(), header.width);
        assert!(names.iter().all(|name| name.chars().count() <= 63), "{names:?}");
        assert_eq!(read(std::str::from_utf8(&header.raw).unwrap()).unwrap().positions, header.positions);
    }

    #[test]
    fn a_header_has_so_many_columns_and_so_many_of_their_names_are_kept() {
        let others: String = (0..150).fold(String::new(), |names, nth| names + &format!(",x{nth}"));
        let extra = read(&format!("{COLUMNS}{others}")).unwrap().extra;
        assert_eq!((extra.len(), extra.last().unwrap().as_str()), (MOST_NAMES + 1, "and 50 more"));
        assert!(read(&format!("{COLUMNS}{}", ",".repeat(MOST_COLUMNS - 7))).is_ok());
        assert_eq!(
            message(&format!("{COLUMNS}{}", ",".repeat(MOST_COLUMNS))),
            "a.csv line 1: the file has 16391 columns, more than the limit of 16384; leave some out"
        );
    }
}
