//! The way back of rejects in their sender's form: how a file of them is known, and how its records are read by their source.

use std::borrow::Cow;
use std::io::{self, Read};

use encoding_rs::Encoding;

use super::sent_form::{Around, LOAD, OWN, RECORD, SOURCE, as_rejects, unescaped};
use crate::domain::source::binding::{Binding, Misfit, Surroundings};
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::{Dataset, LoadId};

/// As much of a file as tells whether it is one of rejects.
const ENOUGH: usize = 64 * 1024;

/// What kind of rejects a file has.
pub(super) enum Rejects {
    /// Those of files in the plain form.
    Plain,
    /// Those of files that a source describes.
    Sent(Box<SentRejects>),
}

/// How a file with rejects of a source is read.
pub(super) struct SentRejects {
    /// The source in the form that its rejects have.
    pub(super) source: Source,
    /// What it asks of a file besides the cells of a record.
    told: Vec<Around>,
}

/// The first bytes of a file.
pub(super) struct Beginning(Vec<u8>);

impl Beginning {
    /// Looks at the beginning of a file, and gives the whole of it back.
    pub(super) fn of<'a>(mut plain: Box<dyn Read + Send + 'a>) -> io::Result<(Self, Box<dyn Read + Send + 'a>)> {
        let mut begin = Vec::new();
        plain.by_ref().take(ENOUGH as u64).read_to_end(&mut begin)?;
        let whole = io::Cursor::new(begin.clone()).chain(plain);
        Ok((Self(begin), Box::new(whole)))
    }

    /// Checks whether the file is one of rejects.
    pub(super) fn is_of_rejects(&self) -> bool {
        delimited(self.text().lines().next().unwrap_or_default()).is_some()
    }

    /// Returns the load that rejected the first record, if the file is one of rejects and says so.
    pub(super) fn rejected_by(&self) -> Option<LoadId> {
        let text = self.text();
        let mut lines = text.lines();
        let (_, delimiter) = delimited(lines.next().unwrap_or_default())?;
        bare(lines.next()?.split(delimiter).next()?).parse().ok().map(LoadId)
    }

    fn text(&self) -> Cow<'_, str> {
        match Encoding::for_bom(&self.0) {
            Some((encoding, _)) => encoding.decode(&self.0).0,
            None => String::from_utf8_lossy(&self.0),
        }
    }

    /// What kind of rejects the file has; `None` if it is not a file of rejects. Its own columns come first and are ASCII, whatever
    /// the encoding of the others.
    pub(super) fn rejects(&self, dataset: &Dataset) -> Result<Option<Rejects>, String> {
        let text = self.text();
        let mut lines = text.lines();
        let Some((header, delimiter)) = delimited(lines.next().unwrap_or_default()) else { return Ok(None) };
        let Some(index) = header.split(delimiter).position(|cell| bare(cell) == SOURCE) else {
            return Ok(Some(Rejects::Plain));
        };
        // A file without a record has nothing to read; its header alone is checked.
        let name = lines.next().and_then(|line| line.split(delimiter).nth(index)).map(bare);
        let found = match (name, dataset.sources.first()) {
            (None, Some(any)) => any,
            (name, _) => dataset.source(&name.unwrap_or_default())?,
        };
        Ok(Some(Rejects::Sent(Box::new(SentRejects { source: as_rejects(found), told: Around::of(found) }))))
    }
}

const QUOTES: [char; 2] = ['"', '\''];

fn bare(cell: &str) -> String {
    cell.trim().trim_matches(QUOTES).to_owned()
}

/// The header of a file of rejects, and what stands between its cells; `None` if the file is not one of rejects.
fn delimited(header: &str) -> Option<(&str, &str)> {
    let rest = header.trim_start_matches(QUOTES).strip_prefix(LOAD)?.trim_start_matches(QUOTES);
    let delimiter = rest[..rest.find(RECORD)?].trim_end_matches(QUOTES);
    (!delimiter.is_empty()).then_some((header, delimiter))
}

/// Where a file of rejects says what its records are.
#[derive(Clone, Debug)]
pub(super) struct Again {
    names: Vec<String>,
    told: Vec<Around>,
}

impl Again {
    /// For a file with this header.
    pub(super) fn new(rejects: &SentRejects, names: &[String]) -> Self {
        Self { names: names.to_vec(), told: rejects.told.clone() }
    }

    fn cell<'r>(&self, row: &'r Row, name: &str) -> Option<&'r str> {
        let index = self.names.iter().position(|known| known == name)?;
        row.cell(index).map(|cell| cell.text)
    }

    /// The names of columns that the file lacks and its source needs.
    pub(super) fn lacks(&self) -> Vec<&'static str> {
        let all = [LOAD, RECORD, SOURCE].into_iter().chain(self.told.iter().map(|told| told.name()));
        all.filter(|name| !self.names.iter().any(|known| known == name)).collect()
    }

    /// The load and the record that a record is to mend.
    pub(super) fn mends<'r>(&self, row: &'r Row) -> (Option<&'r str>, Option<&'r str>) {
        (self.cell(row, LOAD), self.cell(row, RECORD))
    }

    /// The source of a record.
    pub(super) fn source<'r>(&self, row: &'r Row) -> &'r str {
        self.cell(row, SOURCE).unwrap_or_default().trim()
    }

    /// What a record says of the file that it was in.
    pub(super) fn around(&self, row: &Row) -> Surroundings {
        let text = |told: Around| {
            let cell = self.told.contains(&told).then(|| self.cell(row, told.name())).flatten();
            cell.map(unescaped).unwrap_or_default()
        };
        Surroundings {
            key: text(Around::Key),
            part: text(Around::Part),
            preamble: text(Around::Preamble).lines().map(str::to_owned).collect(),
        }
    }

    /// The number and the line that a record had in the file that it was in, where its source asks for them.
    ///
    /// # Errors
    /// The name of a column that should have one of them and does not.
    pub(super) fn place(&self, row: &Row, number: i64) -> Result<(i64, i64), &'static str> {
        let of = |told: Around, here: i64| {
            if !self.told.contains(&told) {
                return Ok(here);
            }
            self.cell(row, told.name()).and_then(|text| text.trim().parse().ok()).ok_or(told.name())
        };
        Ok((of(Around::Record, number)?, of(Around::Line, row.line)?))
    }

    /// Gives cells back what they held in a workbook: a number or a date that still reads like one is one.
    pub(super) fn restore(&self, row: &mut Row) {
        if !self.told.contains(&Around::Cells) {
            return;
        }
        let Some(kinds) = self.cell(row, Around::Cells.name()).map(|kinds| kinds.trim().to_owned()) else { return };
        let own = |name: &String| OWN.contains(&name.as_str()) || self.told.iter().any(|told| told.name() == name);
        let sent: Vec<usize> = (0..self.names.len()).filter(|index| !own(&self.names[*index])).collect();
        for (index, letter) in sent.into_iter().zip(kinds.chars()) {
            row.restore_kind(index, CellKind::of_letter(letter));
        }
    }

    /// The source, bound as a record says.
    ///
    /// # Errors
    /// [`Misfit`].
    pub(super) fn bind(&self, source: &Source, around: &Surroundings) -> Result<Binding, Misfit> {
        source.bind(&self.names, around)
    }
}
