//! The parts of an object that are loads of their own: members of an archive, sheets of a workbook, sections of a text.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::reading::{HashWriter, Stoppable, empty, malformed, member_error, read_error, workbook_error};
use super::sent::Sent;
use super::sent_again::Beginning;
use super::sent_sheet::RejectsSheet;
use super::{Extracted, Extractor};
use crate::data_access::archive::{Tee, unpacked};
use crate::data_access::duckdb::{Stage, Stages, blocking};
use crate::data_access::sent::Rows;
use crate::data_access::sent::file_format::{About, Asked, Input};
use crate::data_access::sent::format::format_of;
use crate::data_access::sent::members::Members;
use crate::data_access::sent::table::Table;
use crate::data_access::sent::workbook::{Container, Workbook};
use crate::domain::object::with_part;
use crate::domain::source::binding::Surroundings;
use crate::domain::source::layout::{End, Format, Sheet};
use crate::domain::source::model::Source;
use crate::domain::source::row::Row;
use crate::domain::violation::quoted;
use crate::domain::{Dataset, LoadId, ObjectVersion};
use crate::error::{Error, Result};

/// The ledger takes no longer name of a part, in bytes: it is a part of a key of an index, as bucket, key and version are.
const LONGEST_NAME: usize = 512;
/// So many names of members or sheets are shown in a message.
const SHOWN: usize = 10;
/// So many bytes tell what an object is.
const BEGIN: u64 = 8;

/// The plain bytes of an object on this machine, from which its parts are read.
pub struct ObjectCopy {
    file: NamedTempFile,
    sha256: String,
    modified: Option<DateTime<Utc>>,
}

impl ObjectCopy {
    /// Unpacks `body` into a file in `folder`. `name` is that of the object, for messages.
    ///
    /// # Errors
    /// `File` if it is empty or a broken archive, `Connection`, `System`.
    pub(super) fn of(body: &mut (impl Read + Send), name: &str, folder: &Path, stage: &Stage) -> Result<Self> {
        let failed = |error| Error::system("keep a copy of the object", error);
        let mut file = NamedTempFile::with_prefix_in("small-etl-object-", folder).map_err(failed)?;
        let mut hash = HashWriter(Sha256::new());
        let mut body = Tee::new(Stoppable(body, stage), &mut hash);
        if let Some(mut content) = unpacked(&mut body, name).map_err(|error| read_error(name, error))? {
            std::io::copy(&mut content.plain, &mut file).map_err(|error| read_error(name, error))?;
        } else {
            return Err(empty(name));
        }
        // What follows the end of an archive is a part of the object, too.
        std::io::copy(&mut body, &mut std::io::sink()).map_err(|error| read_error(name, error))?;
        file.flush().map_err(failed)?;
        Ok(Self { file, sha256: hex::encode(hash.0.finalize()), modified: None })
    }

    /// The same, written then.
    #[must_use]
    pub(super) fn written(self, modified: Option<DateTime<Utc>>) -> Self {
        Self { modified, ..self }
    }

    /// The SHA-256 of the object as it lies there, packed or not, in hexadecimal digits.
    #[must_use]
    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    fn open(&self) -> Result<File> {
        self.file.reopen().map_err(|error| Error::system("read the copy of the object", error))
    }

    /// The load whose rejects these are, if the object is a file of rejects: it is loaded as a whole.
    ///
    /// # Errors
    /// `System`.
    pub fn rejects_of(&self) -> Result<Option<Option<LoadId>>> {
        if let Some(sheet) = RejectsSheet::of(&self.open()?) {
            return Ok(Some(sheet.rejected_by()));
        }
        let (beginning, _) = Beginning::of(Box::new(self.open()?)).map_err(|error| read_error("the copy", error))?;
        Ok(beginning.is_of_rejects().then(|| beginning.rejected_by()))
    }

    /// The parts that are to be loaded. Of several readers of one part the first has it. A pattern may match nothing as long as another
    /// reader finds a part; a name has to be there, and its load says so if it is not. `name` is that of the object, for messages.
    ///
    /// # Errors
    /// `File` if no reader finds a part, saying what the object has; if two members have one name; if the archive or workbook cannot be
    /// opened. `System`.
    pub async fn parts(self: &Arc<Self>, name: String, readers: &[PartReader<'_>]) -> Result<FoundParts> {
        let copy = Arc::clone(self);
        let owned = |PartReader { dataset, source }: &PartReader<'_>| (dataset.name.clone(), (*source).clone());
        let readers: Vec<(String, Source)> = readers.iter().map(owned).collect();
        blocking(move || find(&name, &copy, &readers)).await
    }

    /// Reads a part into the stage, as `source` describes it.
    ///
    /// # Errors
    /// `File` when the part is unusable, `System`.
    pub async fn extract(
        self: &Arc<Self>,
        object: &ObjectVersion,
        dataset: &Dataset,
        (source, part): (&Source, &str),
        stage: &Arc<Stage>,
    ) -> Result<Extracted> {
        let (copy, stage) = (Arc::clone(self), Arc::clone(stage));
        let (key, part, name) = (object.key.to_string(), part.to_owned(), with_part(object.display_name(), part));
        let (dataset, source) = (dataset.clone(), source.clone());
        blocking(move || {
            let sent = Sent { name: &name, key: &key, part: &part, dataset: &dataset, stage: &stage, original: None };
            let extracted = sent.stage_kept(copy.open()?, &source)?;
            Ok(Extracted { sha256: copy.sha256.clone(), modified: copy.modified, ..extracted })
        })
        .await
    }
}

/// Fetches an object to read its parts.
///
/// # Errors
/// Those of [`Extractor::keep`]; `File` if it is larger than the disk.
pub async fn fetch(extractor: &dyn Extractor, object: &ObjectVersion, stages: &Stages) -> Result<ObjectCopy> {
    let stage = Arc::new(stages.open(Arc::default())?);
    fetch_beside(extractor, object, stages, &stage).await
}

/// The same, which ends early when the stage is cancelled.
///
/// # Errors
/// Those of [`fetch`].
pub async fn fetch_beside(
    extractor: &dyn Extractor,
    object: &ObjectVersion,
    stages: &Stages,
    stage: &Arc<Stage>,
) -> Result<ObjectCopy> {
    stage.check_room(object)?;
    extractor.keep(object, &stages.temp_folder(), stage).await
}

/// Something that reads parts of an object.
#[derive(Clone, Copy, Debug)]
pub struct PartReader<'a> {
    /// The dataset of the rows.
    pub dataset: &'a Dataset,
    /// The source that describes them.
    pub source: &'a Source,
}

/// A part of an object, and what reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPart {
    /// The name of the member, sheet or section.
    pub name: String,
    /// The dataset of its rows.
    pub dataset: String,
    /// The source that describes them.
    pub source: String,
}

/// What an object consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundParts {
    /// The parts that are to be loaded, each once.
    pub parts: Vec<FoundPart>,
    /// The members, and the numbers of the sheets, that no source reads.
    pub unread: Vec<String>,
}

/// The parts that datasets read, each by a source.
fn find(name: &str, copy: &ObjectCopy, readers: &[(String, Source)]) -> Result<FoundParts> {
    let mut object = Object::open(name, copy)?;
    let mut owners: HashMap<String, &String> = HashMap::new();
    let mut parts: Vec<(FoundPart, String, &Source)> = Vec::new();
    let mut beside: HashMap<String, usize> = HashMap::new();
    for (dataset, source) in readers {
        for (name, container) in object.names(source)? {
            check_name(object.name, &name)?;
            if let Some(first) = owners.get(&name) {
                let other = dataset;
                tracing::warn!(part = name, first, other, "two sources read the same part, which goes to the first");
                continue;
            }
            owners.insert(name.clone(), dataset);
            *beside.entry(container.clone()).or_default() += 1;
            parts.push((FoundPart { name, dataset: dataset.clone(), source: source.name.clone() }, container, source));
        }
    }
    let all = object.all()?;
    if parts.is_empty() {
        return Err(object.nothing_matches(&all, readers));
    }
    // Of several parts in one place, the lines on which they begin.
    let mut lines: Vec<i64> = Vec::new();
    for (_, container, source) in &parts {
        let is_alone = beside.get(container).is_none_or(|count| *count < 2);
        lines.push(if is_alone { 0 } else { first_line(name, copy, source, container) });
    }
    let in_place = || {
        parts.iter().zip(&lines).filter(|((_, _, source), line)| source.layout.section.is_some() && **line < i64::MAX)
    };
    for ((part, container, source), line) in in_place() {
        let next = in_place().find(|((_, other, _), later)| other == container && *later > line);
        if let (End::Never, Some(((other, ..), later))) = (&source.layout.end, next) {
            let (section, other) = (quoted(&part.name), quoted(&other.name));
            let message = format!(
                "{section} has no end, and {other} has records from line {later} on; say with end what ends it in source {}",
                source.name
            );
            return Err(malformed(object.name, &message));
        }
    }
    let places: HashMap<&String, usize> = all.iter().zip(0..).collect();
    let datasets: Vec<&String> = readers.iter().map(|(dataset, _)| dataset).collect();
    // Of the parts of a dataset the later one is the newer one, whichever source reads it.
    let mut parts: Vec<_> = parts.into_iter().zip(lines).collect();
    parts.sort_by_cached_key(|((part, container, _), line)| {
        (datasets.iter().position(|dataset| **dataset == part.dataset), places.get(container).copied(), *line)
    });
    let containers: BTreeSet<&String> = parts.iter().map(|((_, container, _), _)| container).collect();
    let is_book = matches!(object.content, Content::Workbook(_));
    let told = |(name, number): (&String, usize)| if is_book { format!("sheet {number}") } else { name.clone() };
    let unread = all.iter().zip(1..).filter(|(name, _)| !containers.contains(name)).map(told).collect();
    Ok(FoundParts { parts: parts.into_iter().map(|((part, ..), _)| part).collect(), unread })
}

/// The line on which the records of a section begin; the last one if it has none, or cannot be read, as its load will say.
fn first_line(name: &str, copy: &ObjectCopy, source: &Source, container: &str) -> i64 {
    let (format, mut line) = (format_of(source), i64::MAX);
    let asked = Asked { name, source, sheet: if source.member.is_none() { container } else { "" }, columns: &[] };
    let mut look = |rows: &mut dyn Rows, _: About<'_>| {
        let around = Surroundings { key: String::new(), part: String::new(), preamble: Vec::new() };
        let (mut row, opened) = (Row::default(), Table::open(rows, source, around));
        if let Ok((mut table, _)) = opened
            && table.read(&mut row).is_ok_and(|there| there)
        {
            line = row.line;
        }
        Ok(())
    };
    let mut read = || -> Result<()> {
        let failed = |error| read_error(name, error);
        match &source.member {
            Some(_) if format.needs_file() => Ok(()),
            Some(_) => {
                let mut members = Members::open(copy.open()?).map_err(|error| member_error(name, error))?;
                let Some(member) = members.read(container).map_err(|error| member_error(name, error))? else {
                    return Ok(());
                };
                match unpacked(member, name).map_err(failed)? {
                    Some(content) => format.read(Input::Stream(content.plain), &asked, &mut look).map_err(failed),
                    None => Ok(()),
                }
            }
            None if format.needs_file() => format.read(Input::File(copy.open()?), &asked, &mut look).map_err(failed),
            None => format.read(Input::Stream(Box::new(copy.open()?)), &asked, &mut look).map_err(failed),
        }
    };
    drop(read());
    line
}

/// Refuses a name that the ledger cannot hold.
fn check_name(object: &str, name: &str) -> Result<()> {
    if name.len() > LONGEST_NAME {
        let name = quoted(name);
        let message = format!("the name of {name} has more than {LONGEST_NAME} bytes; give it a shorter one");
        return Err(malformed(object, &message));
    }
    if name.contains('\0') || name.is_empty() {
        return Err(malformed(object, "a part has no name, or a NUL in it, which the ledger cannot hold; rename it"));
    }
    Ok(())
}

/// An object that is looked into.
struct Object<'a> {
    name: &'a str,
    content: Content,
}

/// What an object is.
enum Content {
    Archive(Members<File>),
    Workbook(Workbook<File>),
    Text,
}

impl<'a> Object<'a> {
    fn open(name: &'a str, copy: &ObjectCopy) -> Result<Self> {
        let mut begin = Vec::new();
        copy.open()?.take(BEGIN).read_to_end(&mut begin).map_err(|error| read_error(name, error))?;
        let archive = || Members::open(copy.open()?).map_err(|error| member_error(name, error));
        let book = || Workbook::open(copy.open()?).map_err(|error| workbook_error(name, error));
        let content = match Container::of(&begin) {
            None => Content::Text,
            Some(Container::Compound) => Content::Workbook(book()?),
            Some(Container::Zip) => {
                let members = archive()?;
                let is_book = !members.matching("xl/workbook.*").map_err(|error| member_error(name, error))?.is_empty();
                if is_book { Content::Workbook(book()?) } else { Content::Archive(members) }
            }
        };
        Ok(Self { name, content })
    }

    /// The parts that a source reads, each with its member or sheet; none if it reads objects of another kind.
    fn names(&mut self, source: &Source) -> Result<Vec<(String, String)>> {
        let containers = match (&mut self.content, &source.member, &source.format) {
            (Content::Archive(members), Some(pattern), _) => {
                members.matching(pattern).map_err(|error| member_error(self.name, error))?
            }
            (Content::Workbook(book), None, Format::Workbook(wanted)) => {
                let chosen = book.chosen(wanted.sheet.as_ref());
                match &wanted.sheet {
                    // Its load says that it is not there.
                    Some(Sheet::Named(wanted)) if chosen.is_empty() && !is_pattern(wanted) => vec![wanted.clone()],
                    _ => chosen,
                }
            }
            (Content::Text, None, Format::Delimited(..) | Format::Fixed(..)) => {
                return Ok(source.layout.section.iter().map(|section| (section.clone(), String::new())).collect());
            }
            _ => Vec::new(),
        };
        Ok(containers.into_iter().map(|container| (source.part_in(&container), container)).collect())
    }

    /// The names of all members or sheets.
    fn all(&mut self) -> Result<Vec<String>> {
        match &mut self.content {
            Content::Archive(members) => members.matching("**").map_err(|error| member_error(self.name, error)),
            Content::Workbook(book) => Ok(book.sheets()),
            Content::Text => Ok(Vec::new()),
        }
    }

    fn nothing_matches(&self, all: &[String], readers: &[(String, Source)]) -> Error {
        let wanted: Vec<String> = readers.iter().map(|(_, source)| wanted(source)).collect();
        let has = match &self.content {
            Content::Archive(_) => format!("an archive with {}", listed(all)),
            Content::Workbook(_) => format!("a workbook with {} sheets", all.len()),
            Content::Text => "a text, neither an archive nor a workbook".to_owned(),
        };
        let error = malformed(self.name, &format!("it has nothing for {}; it is {has}", wanted.join(", ")));
        // The name of a sheet may be any text, such as a cell.
        if matches!(self.content, Content::Workbook(_)) {
            error.with_cells(format!("it has {}", listed(all)))
        } else {
            error
        }
    }
}

/// The first names, and how many more there are.
#[must_use]
pub fn listed(names: &[String]) -> String {
    let mut listed: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    if names.len() > SHOWN {
        listed.push(format!("and {} more", names.len() - SHOWN));
    }
    if listed.is_empty() { "nothing in it".to_owned() } else { listed.join(", ") }
}

/// What a source looks for, for people.
fn wanted(source: &Source) -> String {
    let name = &source.name;
    match (&source.member, &source.format) {
        (Some(pattern), _) => format!("source {name} (member {pattern:?})"),
        (None, Format::Workbook(wanted)) => match &wanted.sheet {
            Some(Sheet::Named(sheet)) => format!("source {name} (sheet {sheet:?})"),
            Some(Sheet::Numbered(number)) => format!("source {name} (sheet {number})"),
            None => format!("source {name}"),
        },
        (None, _) => format!("source {name} (section {:?})", source.layout.section.as_deref().unwrap_or_default()),
    }
}

fn is_pattern(sheet: &str) -> bool {
    sheet.contains(['*', '?', '[', '{'])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::data_access::duckdb::{StageOptions, Stages};
    use crate::domain::Datasets;
    use crate::error::ErrorKind;

    const COLUMNS: &str = "key = \"ref\"\nversion = \"at\"\n[[column]]\nname = \"ref\"\ntype = \"text\"\nrequired = true\n\
        [[column]]\nname = \"at\"\ntype = \"timestamp\"\nrequired = true\n";

    /// Datasets `a`, `b`, …, each with the sources that these lines describe.
    fn datasets(sources: &[&str]) -> Datasets {
        let files: Vec<(String, String)> = sources
            .iter()
            .zip('a'..)
            .map(|(source, name)| {
                let head = format!("name = \"{name}\"\ntable = \"{name}\"\n{COLUMNS}");
                let text = format!("{head}[[source]]\nname = \"s\"\nfiles = [\"in/*\"]\n{source}\n");
                (format!("{name}.toml"), text)
            })
            .collect();
        Datasets::parse(files.iter().map(|(file, text)| (file.as_str(), text.as_str()))).unwrap()
    }

    fn archive(members: &[&str]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for name in members {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(b"x").unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn copy(content: &[u8]) -> ObjectCopy {
        let stages = Stages::new(StageOptions { memory_limit_mb: 64, threads: 1, temp_folder: None });
        let stage = stages.open(Arc::default()).unwrap();
        ObjectCopy::of(&mut &*content, "o", &stages.temp_folder(), &stage).unwrap()
    }

    /// What is found, as text: `dataset part` of each, and what nobody reads after a bar.
    fn found(content: &[u8], datasets: &Datasets) -> Result<String> {
        let readers: Vec<_> =
            datasets.all().map(|dataset| (dataset.name.clone(), dataset.sources[0].clone())).collect();
        let found = find("o", &copy(content), &readers)?;
        let parts: Vec<String> = found.parts.iter().map(|part| format!("{} {}", part.dataset, part.name)).collect();
        Ok(format!("{} | {}", parts.join(", "), found.unread.join(", ")))
    }

    fn refusal(content: &[u8], datasets: &Datasets) -> String {
        let error = found(content, datasets).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File(crate::error::Reason::Malformed));
        error.to_string()
    }

    #[test]
    fn members_go_to_the_first_source_whose_pattern_matches() {
        let datasets = datasets(&["member = \"t_*.csv\"", "member = \"*.csv\""]);
        let object = archive(&["t_1.csv", "p.csv", "notes.txt", "t_2.csv", "folder/"]);
        assert_eq!(found(&object, &datasets).unwrap(), "a t_1.csv, a t_2.csv, b p.csv | notes.txt");
        assert_eq!(found(&archive(&["p.csv"]), &datasets).unwrap(), "b p.csv | ", "a pattern may match nothing");
    }

    #[test]
    fn a_section_that_would_run_into_the_next_one_is_refused() {
        let text = b"Fills\nref,at\na,2025-01-02T00:00:00\n\nStocks\nref,at\nb,2025-01-02T00:00:00\n";
        let of = |first: &str, second: &str| {
            datasets(&[
                &format!("zone = \"UTC\"\nsection = \"Fills\"\n{first}"),
                &format!("zone = \"UTC\"\nsection = \"Stocks\"\n{second}"),
            ])
        };
        let said = refusal(text, &of("", "end = \"blank\""));
        assert!(said.contains("\"Fills\" has no end, and \"Stocks\" has records from line 7 on"), "{said}");
        assert_eq!(found(text, &of("end = \"blank\"", "")).unwrap(), "a Fills, b Stocks | ", "the last one needs none");
        let alone = b"Fills\nref,at\na,2025-01-02T00:00:00\n";
        assert_eq!(found(alone, &of("", "")).unwrap(), "a Fills, b Stocks | ", "the other one is not there");
    }

    #[test]
    fn an_object_without_a_part_for_any_source_says_what_it_has() {
        let datasets = datasets(&["member = \"t_*.csv\"", "member = \"p_*.csv\""]);
        assert_eq!(
            refusal(&archive(&["notes.txt", "p.csv"]), &datasets),
            "o: it has nothing for source s (member \"t_*.csv\"), source s (member \"p_*.csv\"); \
             it is an archive with \"notes.txt\", \"p.csv\""
        );
        assert!(refusal(&archive(&[]), &datasets).ends_with("an archive with nothing in it"));
        assert!(refusal(b"a,b\n1,2\n", &datasets).ends_with("it is a text, neither an archive nor a workbook"));
        assert!(refusal(b"PK\x03\x04 and no more", &datasets).contains("not a zip archive"));
    }

    #[test]
    fn sections_are_parts_of_a_text_alone() {
        let datasets = datasets(&["section = \"Cash\"", "section = \"Investments\""]);
        assert_eq!(found(b"Cash\n", &datasets).unwrap(), "a Cash, b Investments | ");
        assert!(refusal(&archive(&["Cash"]), &datasets).contains("section \"Cash\""));
    }

    #[test]
    fn sections_of_a_member_are_parts_of_their_own() {
        let datasets =
            datasets(&["member = \"*.csv\"\nsection = \"Cash\"", "member = \"*.csv\"\nsection = \"Positions\""]);
        let object = archive(&["1.csv", "notes.txt"]);
        assert_eq!(found(&object, &datasets).unwrap(), "a 1.csv/Cash, b 1.csv/Positions | notes.txt");
        let source = &datasets.get("b").unwrap().sources[0];
        assert_eq!(source.container_of("1.csv/Positions"), "1.csv");
        assert_eq!(source.container_of("1.csv"), "1.csv");
    }

    #[test]
    fn a_name_that_the_ledger_cannot_hold_is_refused() {
        let datasets = datasets(&["member = \"**\""]);
        assert!(found(&archive(&[&"é".repeat(256)]), &datasets).is_ok());
        let message = refusal(&archive(&[&"é".repeat(257)]), &datasets);
        assert!(message.contains("more than 512 bytes") && message.len() < 300, "{message}");
    }
}
