//! The options of a source that say what its files consist of and where the table is in them.

use encoding_rs::{Encoding, REPLACEMENT, UTF_8};

use super::layout::{
    Between, Dialect, End, Field, FirstCell, Format, Header, Layout, Sheet, TextLines, Workbook, is_drawn,
};
use super::schema::{
    EndDefinition, FormatName, HeaderDefinition, HeaderName, LineEnd, SheetDefinition, SourceDefinition,
};
use crate::domain::definition_text::DefinitionText;
use crate::domain::spanned::Spanned;

/// An option: its name, where it stands, and the formats that have it.
type Given<'a> = (&'static str, Option<std::ops::Range<usize>>, &'a [FormatName]);

const LINES: &[FormatName] = &[FormatName::Csv, FormatName::Fixed];
const TABLES: &[FormatName] = &[FormatName::Csv, FormatName::Fixed, FormatName::Xlsx];

fn span<T>(option: Option<&Spanned<T>>) -> Option<std::ops::Range<usize>> {
    option.map(Spanned::span)
}

/// Every option of the layout stands only where its format has a use for it.
fn check_options(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<(), String> {
    let csv: &[FormatName] = &[FormatName::Csv];
    let xlsx: &[FormatName] = &[FormatName::Xlsx];
    let cells: &[FormatName] = &[FormatName::Csv, FormatName::Xlsx];
    let fixed: &[FormatName] = &[FormatName::Fixed];
    let given: [Given<'_>; 21] = [
        ("sheet", span(source.sheet.as_ref()), xlsx),
        ("significant_digits", span(source.significant_digits.as_ref()), xlsx),
        ("section", span(source.section.as_ref()), cells),
        ("encoding", span(source.encoding.as_ref()), LINES),
        ("delimiter", span(source.delimiter.as_ref()), csv),
        ("quote", span(source.quote.as_ref()), csv),
        ("escape", span(source.escape.as_ref()), csv),
        ("comment", span(source.comment.as_ref()), LINES),
        ("line_end", span(source.line_end.as_ref()), LINES),
        ("header", span(source.header.as_ref()), TABLES),
        ("header_lines", span(source.header_lines.as_ref()), cells),
        ("end", span(source.end.as_ref()), TABLES),
        ("footer_lines", span(source.footer_lines.as_ref()), TABLES),
        ("anything_after_end", span(source.anything_after_end.as_ref()), TABLES),
        ("trailing_delimiter", span(source.trailing_delimiter.as_ref()), cells),
        ("longer", span(source.longer.as_ref()), TABLES),
        ("shorter", span(source.shorter.as_ref()), TABLES),
        ("repeated_header", span(source.repeated_header.as_ref()), cells),
        ("ruled", span(source.ruled.as_ref()), TABLES),
        ("skip", span(source.skip.as_ref()), TABLES),
        ("blank_between", span(source.blank_between.as_ref()), fixed),
    ];
    for (name, at, formats) in given {
        if let Some(at) = at.filter(|_| !formats.contains(&source.format)) {
            let message = format!("{name} says nothing of a file of format {:?}", source.format.name());
            return Err(text.error_at(at.start, message));
        }
    }
    Ok(())
}

/// Reads what the files consist of, and where the table is in them. The fields of a fixed width are added later.
pub(super) fn read_layout(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<(Format, Layout), String> {
    check_options(text, source)?;
    let format = match source.format {
        FormatName::Csv => Format::Delimited(text_lines(text, source)?, dialect(text, source)?),
        FormatName::Fixed => Format::Fixed(text_lines(text, source)?, Vec::new()),
        FormatName::JsonLines => Format::JsonLines,
        FormatName::Parquet => Format::Parquet,
        FormatName::Xlsx => Format::Workbook(workbook(text, source)?),
    };
    let is = |option: &Option<Spanned<bool>>| option.as_ref().is_some_and(|value| *value.get_ref());
    let layout = Layout {
        header: header(text, source)?,
        header_lines: header_lines(text, source)?,
        section: source.section.as_ref().map(|section| section.get_ref().trim().to_owned()),
        end: end(text, source)?,
        anything_after_end: is(&source.anything_after_end),
        trailing_delimiter: is(&source.trailing_delimiter),
        longer: source.longer.is_some(),
        // A workbook does not write empty cells at the end of a row.
        shorter: source.shorter.is_some() || source.format == FormatName::Xlsx,
        between: between(text, source)?,
        blank_between: is(&source.blank_between),
    };
    if let Some(at) = source.repeated_header.as_ref().filter(|_| layout.header == Header::None) {
        return Err(text.error(at, "repeated_header contradicts header = \"none\""));
    }
    if let Some(at) = source.anything_after_end.as_ref().filter(|_| !matches!(layout.end, End::Cells(_))) {
        return Err(text.error(at, "anything_after_end goes with an end that lists first cells"));
    }
    if let Some(at) = source.section.as_ref().filter(|section| section.get_ref().trim().is_empty()) {
        return Err(text.error(at, "a section begins with a cell that is not blank"));
    }
    Ok((format, layout))
}

fn text_lines(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<TextLines, String> {
    let encoding = match &source.encoding {
        None => UTF_8,
        Some(label) => Encoding::for_label(label.get_ref().as_bytes())
            .filter(|encoding| *encoding != REPLACEMENT)
            .ok_or_else(|| {
                let message =
                    format!("unknown encoding {:?}; use a label such as utf-8, gb18030, windows-1252", label.get_ref());
                text.error(label, message)
            })?,
    };
    Ok(TextLines {
        encoding,
        cr_ends_line: source.line_end.as_ref().is_some_and(|end| *end.get_ref() == LineEnd::Cr),
        comment: source.comment.as_ref().map(|comment| *comment.get_ref()),
    })
}

fn dialect(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<Dialect, String> {
    let plain = Dialect::plain();
    let delimiter = source.delimiter.as_ref().map_or(plain.delimiter, |delimiter| delimiter.get_ref().clone());
    let ascii = |at: &Spanned<char>, name: &str| {
        u8::try_from(*at.get_ref())
            .ok()
            .filter(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !byte.is_ascii_control())
            .ok_or_else(|| text.error(at, format!("{name} {:?} is not an ASCII sign", at.get_ref())))
    };
    let quote = match &source.quote {
        None => plain.quote,
        Some(quote) if quote.get_ref() == "none" => None,
        Some(quote) => {
            let mut characters = quote.get_ref().chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) => Some(ascii(&Spanned::new(quote.span(), one), "quote")?),
                _ => return Err(text.error(quote, "quote is one character, or \"none\"")),
            }
        }
    };
    let escape = source.escape.as_ref().map(|escape| ascii(escape, "escape")).transpose()?;
    if let Some(at) = &source.delimiter {
        let wrong = match delimiter.as_str() {
            "" => Some("delimiter is empty"),
            signs if signs.contains(['\n', '\r', '\0']) => Some("delimiter ends a line"),
            signs if quote.iter().chain(&escape).any(|byte| signs.contains(char::from(*byte))) => {
                Some("delimiter contains the quote or the escape")
            }
            _ => None,
        };
        if let Some(message) = wrong {
            return Err(text.error(at, message));
        }
    }
    match &source.escape {
        Some(at) if escape == quote => {
            Err(text.error(at, "a quote that escapes a quote is the plain form; leave escape out"))
        }
        _ => Ok(Dialect { delimiter, quote, escape, padded: source.values().clean().trim }),
    }
}

fn workbook(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<Workbook, String> {
    let sheet = match &source.sheet {
        None => None,
        Some(at) => Some(match at.get_ref() {
            SheetDefinition::Numbered(0) => return Err(text.error(at, "sheets are numbered from 1")),
            SheetDefinition::Numbered(number) => Sheet::Numbered(*number),
            SheetDefinition::Named(name) => Sheet::Named(name.clone()),
        }),
    };
    let significant_digits = match &source.significant_digits {
        Some(at) if !(1..=17).contains(at.get_ref()) => {
            return Err(text.error(at, "significant_digits is a number from 1 to 17; Excel shows 15"));
        }
        digits => digits.as_ref().map(|digits| *digits.get_ref()),
    };
    Ok(Workbook { sheet, significant_digits })
}

fn header(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<Header, String> {
    let Some(at) = &source.header else {
        return Ok(if source.format == FormatName::Fixed { Header::None } else { Header::First });
    };
    let header = match at.get_ref() {
        HeaderDefinition::Line(0) => return Err(text.error(at, "lines are numbered from 1")),
        HeaderDefinition::Line(line) => Header::Line(*line),
        HeaderDefinition::Named(HeaderName::First) => Header::First,
        HeaderDefinition::Named(HeaderName::Find) => Header::Find,
        HeaderDefinition::Named(HeaderName::None) => Header::None,
    };
    match header {
        Header::Find if source.format == FormatName::Fixed => {
            Err(text
                .error(at, "the columns of a fixed width are told by their characters; give the line of the header"))
        }
        Header::Line(_) if source.section.is_some() => {
            Err(text.error(at, "a section moves with the lines before it; use \"first\" or \"find\""))
        }
        header => Ok(header),
    }
}

fn header_lines(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<usize, String> {
    let none = matches!(source.header.as_ref().map(Spanned::get_ref), Some(HeaderDefinition::Named(HeaderName::None)));
    match &source.header_lines {
        None => Ok(1),
        Some(at) if none => Err(text.error(at, "header_lines contradicts header = \"none\"")),
        Some(at) if !(1..=10).contains(at.get_ref()) => Err(text.error(at, "a header has 1 to 10 lines")),
        Some(at) => Ok(*at.get_ref()),
    }
}

fn end(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<End, String> {
    match (&source.end, &source.footer_lines) {
        (Some(_), Some(at)) => {
            Err(text.error(at, "end and footer_lines contradict each other; a table ends in one way"))
        }
        (None, None) => Ok(End::Never),
        (None, Some(at)) if !(1..=1000).contains(at.get_ref()) => Err(text.error(at, "a footer has 1 to 1000 lines")),
        (None, Some(_)) if source.section.is_some() => Err(text.error_at(
            source.footer_lines.as_ref().map_or(0, |at| at.span().start),
            "a section ends with a cell or a blank line",
        )),
        (None, Some(at)) => Ok(End::LastLines(*at.get_ref())),
        (Some(at), None) => match at.get_ref() {
            EndDefinition::Blank(_) => Ok(End::Blank),
            EndDefinition::Cells(cells) if cells.is_empty() || cells.iter().any(|cell| cell.trim().is_empty()) => {
                Err(text.error(
                    at,
                    "end lists what first cells begin with, none of it blank; \"blank\" is for a blank line",
                ))
            }
            EndDefinition::Cells(cells) => Ok(End::Cells(cells.iter().map(|cell| cell.trim().to_owned()).collect())),
        },
    }
}

/// A text, or the beginning of one that ends in `*`.
fn between(text: DefinitionText<'_>, source: &SourceDefinition) -> Result<Between, String> {
    let mut first_cells = Vec::new();
    for cell in source.skip.iter().flat_map(Spanned::get_ref) {
        let (begin, is_whole) = cell.strip_suffix('*').map_or((cell.as_str(), true), |begin| (begin, false));
        let begin = begin.trim();
        if begin.is_empty() || !is_whole && is_drawn(begin) {
            let at = source.skip.as_ref().map_or(0, |skip| skip.span().start);
            let message = format!(
                "{cell:?} would skip records; skip lists first cells, or what they begin with and a *; lines of dashes are skipped by ruled = true"
            );
            return Err(text.error_at(at, message));
        }
        first_cells.push(if is_whole { FirstCell::Is(begin.to_owned()) } else { FirstCell::Begins(begin.to_owned()) });
    }
    if let Some(at) = source.skip.as_ref().filter(|skip| skip.get_ref().is_empty()) {
        return Err(text.error(at, "skip lists no first cell"));
    }
    let is = |option: &Option<Spanned<bool>>| option.as_ref().is_some_and(|value| *value.get_ref());
    Ok(Between { header: is(&source.repeated_header), ruled: is(&source.ruled), first_cells })
}

/// The place of a field among all of them.
pub(super) fn field(
    text: DefinitionText<'_>,
    at: &Spanned<[usize; 2]>,
    fields: &mut Vec<Field>,
) -> Result<usize, String> {
    let [from, to] = *at.get_ref();
    if from >= to || to > 1_000_000 {
        return Err(text.error(at, "at is the first character of a cell, from 0, and the one after its last"));
    }
    let field = Field { from, to };
    Ok(fields.iter().position(|known| *known == field).unwrap_or_else(|| {
        fields.push(field);
        fields.len() - 1
    }))
}
