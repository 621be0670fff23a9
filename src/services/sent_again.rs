//! The way back of rejects in their sender's form: how a file of them is known, and how its records are read by their source.

use std::borrow::Cow;
use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};

use super::sent_form::{
    Around, LOAD, OWN, RECORD, RejectsForm, SOURCE, as_rejects, dialect_of, encoded, encoded_as, lines_of, mark_of,
    unescaped,
};
use crate::data_access::sent::workbook::Container;
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
    /// What follows its name.
    mark: String,
    /// The encoding that the source declares, whatever that of the file.
    pub(super) declared: &'static Encoding,
}

impl SentRejects {
    /// Those of a source in that form.
    pub(super) fn of(source: &Source, form: RejectsForm) -> Self {
        let (told, mark, declared) = (Around::of(source, form), mark_of(source), lines_of(source).encoding);
        Self { source: as_rejects(source, form), told, mark, declared }
    }
}

/// A delimiter as messages show it. The text between the first two names of a header may be a cell, and is then not shown.
pub(super) fn shown_delimiter(delimiter: &str) -> String {
    let is_one = delimiter.chars().count() <= 3 && !delimiter.contains(char::is_alphanumeric);
    if is_one { format!("{delimiter:?}") } else { "other text".to_owned() }
}

/// The source that rejects name. If there is no such source, the name may be any cell, so that the message does not show it.
pub(super) fn source_named<'d>(dataset: &'d Dataset, name: &str) -> Result<&'d Source, String> {
    dataset.source(name).map_err(|_| {
        let known: Vec<&str> = dataset.sources.iter().map(|source| source.name.as_str()).collect();
        format!(
            "the column {SOURCE} of these rejects names no source of dataset {}; known are {}; if the source has another name now, write that \
             into the column",
            dataset.name,
            known.join(", ")
        )
    })
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

    /// Checks whether the file is a zip archive, as a workbook is.
    pub(super) fn is_zip(&self) -> bool {
        Container::of(&self.0) == Some(Container::Zip)
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
        let name = lines.next().and_then(|line| line.split(delimiter).nth(index)).map(|cell| name_in(cell).to_owned());
        let found = match (name, dataset.sources.first()) {
            (None, Some(any)) => any,
            (name, _) => source_named(dataset, &name.unwrap_or_default())?,
        };
        let written = dialect_of(found).delimiter;
        if delimiter != written {
            let name = &found.name;
            return Err(format!(
                "these rejects have {} between their cells, and source {name} writes {written:?}; save them with that",
                shown_delimiter(delimiter)
            ));
        }
        let mut rejects = SentRejects::of(found, RejectsForm::Text);
        if let Some(encoding) = self.saved_as(found, delimiter.as_bytes(), index)? {
            rejects.source = encoded_as(&rejects.source, encoding);
        }
        Ok(Some(Rejects::Sent(Box::new(rejects))))
    }

    /// The encoding in which rejects of a source were saved, if it differs from that of the source and no byte order mark tells it. The
    /// characters after the name of the source show it: all cells before that are ASCII, whatever the encoding.
    fn saved_as(&self, source: &Source, delimiter: &[u8], index: usize) -> Result<Option<&'static Encoding>, String> {
        let (declared, mark) = (lines_of(source).encoding, mark_of(source));
        if mark.is_empty() || Encoding::for_bom(&self.0).is_some() {
            return Ok(None);
        }
        let Some(line) = self.0.split(|byte| *byte == b'\n').nth(1) else { return Ok(None) };
        let mut rest = line;
        for _ in 0..index {
            let Some(at) = rest.windows(delimiter.len()).position(|bytes| bytes == delimiter) else { return Ok(None) };
            rest = &rest[at + delimiter.len()..];
        }
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_ \"'".contains(byte);
        let begin = rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len());
        match &rest[begin..] {
            // The bytes of another encoding may be those with which the text begins in UTF-8, but not the other way round.
            marked if marked.starts_with(mark.as_bytes()) => Ok(Some(UTF_8)),
            marked if marked.starts_with(&encoded(declared, &mark)) => Ok(None),
            // From before rejects were marked.
            unmarked if unmarked.first().is_none_or(u8::is_ascii) => Ok(None),
            _ => Err(format!(
                "these rejects of source {} were saved neither as {} nor as UTF-8; save them as UTF-8",
                source.name,
                declared.name()
            )),
        }
    }
}

/// The name of a source, without what shows the encoding.
pub(super) fn name_in(cell: &str) -> &str {
    let cell = cell.trim().trim_matches(QUOTES);
    let end = cell.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &cell[..end.unwrap_or(cell.len())]
}

const QUOTES: [char; 2] = ['"', '\''];

fn bare(cell: &str) -> String {
    cell.trim().trim_matches(QUOTES).to_owned()
}

/// Whether bytes are text in UTF-8 with other characters than those of ASCII.
fn is_utf_8(bytes: &[u8]) -> bool {
    !bytes.is_ascii() && std::str::from_utf8(bytes).is_ok()
}

/// The header of a file of rejects, and what stands between its cells; `None` if the file is not one of rejects.
pub(super) fn delimited(header: &str) -> Option<(&str, &str)> {
    let rest = header.trim_start_matches(QUOTES).strip_prefix(LOAD)?.trim_start_matches(QUOTES);
    let delimiter = rest[..rest.find(RECORD)?].trim_end_matches(QUOTES);
    (!delimiter.is_empty()).then_some((header, delimiter))
}

/// Where a file of rejects says what its records are.
#[derive(Clone, Debug)]
pub(super) struct Again {
    names: Vec<String>,
    told: Vec<Around>,
    mark: String,
}

impl Again {
    /// For a file with this header.
    pub(super) fn new(rejects: &SentRejects, names: &[String]) -> Self {
        Self { names: names.to_vec(), told: rejects.told.clone(), mark: rejects.mark.clone() }
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

    /// Checks that a record is one of this source, in the encoding in which the file is read.
    ///
    /// # Errors
    /// What is wrong with the record, and what to do.
    pub(super) fn check_source(&self, source: &Source, row: &Row) -> Result<(), String> {
        let cell = self.cell(row, SOURCE).unwrap_or_default().trim();
        let (name, encoding) = (&source.name, lines_of(source).encoding);
        match cell.strip_prefix(name.as_str()) {
            Some(mark) if !mark.is_empty() && mark == self.mark => Ok(()),
            // From before rejects were marked: bytes of UTF-8 are text in most other encodings, only not this text.
            Some("") if !self.mark.is_empty() && encoding != UTF_8 && is_utf_8(&row.raw) => Err(format!(
                "the record can be read as {} and as UTF-8, and nothing says which it is; write the rejects once more (small-etl rejects --export), \
                 or save them as UTF-8 with a byte order mark",
                encoding.name()
            )),
            Some("") => Ok(()),
            Some(mark) if !mark.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') => {
                Err(format!(
                    "the record is not in the encoding of those before it, {}; save the file as UTF-8",
                    encoding.name()
                ))
            }
            _ => {
                Err(format!("the record is not one of source {name}, as those before it are; give each source a file"))
            }
        }
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

    /// Restores the kind that each cell had in a workbook: one that was a number or a date is one again if its text still reads as one.
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
