//! Which columns of a sheet a workbook shows as percentages: the numbers in them are fractions of what a person sees.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Seek};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::members::Members;

/// The forms of numbers 9 and 10 of every workbook are `0%` and `0.00%`.
const OF_EVERY_WORKBOOK: [u32; 2] = [9, 10];
/// So many rows are enough to know a column.
const ENOUGH: usize = 20_000;

/// The columns of a sheet, from 0, all of whose numbers are shown as percentages. None of a workbook that cannot be read so.
#[must_use]
pub fn percentages<F: Read + Seek>(file: F, sheet: &str) -> BTreeSet<usize> {
    let found = || {
        let mut members = Members::open(file).ok()?;
        let styles = percent_styles(&mut member(&mut members, "xl/styles.xml")?);
        if styles.is_empty() {
            return None;
        }
        let id = sheet_id(&mut member(&mut members, "xl/workbook.xml")?, sheet)?;
        let target = target(&mut member(&mut members, "xl/_rels/workbook.xml.rels")?, &id)?;
        let path = target.strip_prefix('/').map_or_else(|| format!("xl/{target}"), str::to_owned);
        Some(columns(&mut member(&mut members, &path)?, &styles))
    };
    found().unwrap_or_default()
}

fn member<'m, F: Read + Seek>(
    members: &'m mut Members<F>,
    name: &str,
) -> Option<Reader<BufReader<impl Read + use<'m, F>>>> {
    let found = members.read(name).ok()??;
    Some(Reader::from_reader(BufReader::new(found)))
}

/// Passes each element that begins to `each`, until that returns `false` or the text ends or is broken.
fn elements<R: BufRead>(reader: &mut Reader<R>, mut each: impl FnMut(&BytesStart<'_>) -> bool) {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element) | Event::Empty(element)) if !each(&element) => return,
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.attributes().flatten().find(|attribute| attribute.key.as_ref() == name)?;
    quick_xml::escape::unescape(&found.value).ok().map(std::borrow::Cow::into_owned)
}

/// The styles of cells that show a percentage.
fn percent_styles<R: BufRead>(reader: &mut Reader<R>) -> BTreeSet<usize> {
    let mut forms: BTreeSet<u32> = OF_EVERY_WORKBOOK.into();
    let (mut styles, mut of_cells, mut next) = (BTreeSet::new(), false, 0);
    elements(reader, |element| {
        let form = || attribute(element, "numFmtId").and_then(|id| id.parse::<u32>().ok());
        match element.local_name().as_ref() {
            "numFmt" => {
                let is_percent = attribute(element, "formatCode").is_some_and(|code| shows_percent(&code));
                forms.extend(form().filter(|_| is_percent));
            }
            "cellXfs" => of_cells = true,
            "cellStyles" | "dxfs" => of_cells = false,
            "xf" if of_cells => {
                if form().is_some_and(|form| forms.contains(&form)) {
                    styles.insert(next);
                }
                next += 1;
            }
            _ => {}
        }
        true
    });
    styles
}

/// Checks whether a form of numbers has a percent sign that counts.
fn shows_percent(code: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    code.chars().any(|c| {
        let literal = escaped;
        escaped = c == '\\' && !literal;
        quoted ^= c == '"' && !literal;
        c == '%' && !quoted && !literal
    })
}

fn sheet_id<R: BufRead>(reader: &mut Reader<R>, sheet: &str) -> Option<String> {
    let mut id = None;
    elements(reader, |element| {
        if element.local_name().as_ref() == "sheet" && attribute(element, "name").as_deref() == Some(sheet) {
            id = attribute(element, "r:id");
        }
        id.is_none()
    });
    id
}

fn target<R: BufRead>(reader: &mut Reader<R>, id: &str) -> Option<String> {
    let mut target = None;
    elements(reader, |element| {
        if attribute(element, "Id").as_deref() == Some(id) {
            target = attribute(element, "Target");
        }
        target.is_none()
    });
    target
}

fn columns<R: BufRead>(reader: &mut Reader<R>, styles: &BTreeSet<usize>) -> BTreeSet<usize> {
    // How many numbers of a column are shown as percentages, and how many are not.
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut rows = 0;
    elements(reader, |element| {
        match element.local_name().as_ref() {
            "row" => rows += 1,
            "c" if attribute(element, "t").is_none_or(|kind| kind == "n") => {
                let column = attribute(element, "r").and_then(|place| column_of(&place));
                let style = attribute(element, "s").and_then(|style| style.parse().ok()).unwrap_or(0);
                if let Some(column) = column {
                    let count = counts.entry(column).or_default();
                    *(if styles.contains(&style) { &mut count.0 } else { &mut count.1 }) += 1;
                }
            }
            _ => {}
        }
        rows <= ENOUGH
    });
    counts.into_iter().filter(|(_, (shown, other))| *shown > 0 && *other == 0).map(|(column, _)| column).collect()
}

/// `C7` is in column 2.
fn column_of(place: &str) -> Option<usize> {
    let letters: Vec<u8> = place.bytes().take_while(u8::is_ascii_uppercase).collect();
    let number = letters.iter().fold(0, |number, letter| number * 26 + usize::from(letter - b'A') + 1);
    (1..=16_384).contains(&number).then(|| number - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_counts_outside_of_quotes() {
        assert!(["0%", "0.00%", "0.0 %;[Red]-0.0%", "\"x\"0%"].iter().all(|code| shows_percent(code)));
        assert!(!["0.00", "0\"%\"", "0\\%", "General"].iter().any(|code| shows_percent(code)));
    }

    #[test]
    fn columns_are_those_whose_numbers_all_have_such_a_style() {
        let styles = "<styleSheet><numFmts><numFmt numFmtId=\"170\" formatCode=\"0.0%\"/></numFmts>\
            <cellStyleXfs><xf numFmtId=\"9\"/></cellStyleXfs>\
            <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"10\"/><xf numFmtId=\"170\"/></cellXfs></styleSheet>";
        let styles = percent_styles(&mut Reader::from_reader(styles.as_bytes()));
        assert_eq!(styles, [1, 2].into());
        let sheet = "<sheetData><row><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\" t=\"s\"/></row>\
            <row><c r=\"A2\"><v>7</v></c><c r=\"B2\" s=\"1\"><v>0.125</v></c><c r=\"C2\" s=\"2\"/></row>\
            <row><c r=\"B3\" s=\"2\"><v>0.5</v></c><c r=\"C3\"><v>1</v></c></row></sheetData>";
        assert_eq!(columns(&mut Reader::from_reader(sheet.as_bytes()), &styles), [1].into());
        assert_eq!((column_of("C7"), column_of("AA1"), column_of("7")), (Some(2), Some(26), None));
    }
}
