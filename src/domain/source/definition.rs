//! The text of a `[[source]]` becomes a [`Source`]; what is wrong is reported with file and line.

use serde::Deserialize;

use super::cell_form::Value;
use super::columns::Columns;
use super::kind::TargetColumn;
use super::layout::{Format, Header};
use super::layout_definition::read_layout;
use super::model::{Origin, Source, SourceColumn};
use super::schema::{FormatName, SourceDefinition};
use super::time_form::TimeForm;
use super::values::Group;
use crate::domain::definition_text::DefinitionText;
use crate::domain::expression::unknown;
use crate::domain::files::Files;
use crate::domain::spanned::Spanned;

/// A file of sources: a dataset's sources may stand in files of their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcesFile {
    source: Vec<Spanned<SourceDefinition>>,
}

/// Reads a text that has nothing but the sources of a dataset with these columns and these null values.
///
/// # Errors
/// A message with file and line.
pub fn parse_sources(
    file: &str,
    text: &str,
    targets: &[TargetColumn],
    null_values: &[String],
) -> Result<Vec<Source>, String> {
    let text = DefinitionText { file, text };
    let sources: SourcesFile = text.read()?;
    read_sources(text, &sources.source, targets, null_values)
}

/// Reads the sources of a dataset with these columns and these null values.
///
/// # Errors
/// A message with file and line.
pub(in crate::domain) fn read_sources(
    text: DefinitionText<'_>,
    definitions: &[Spanned<SourceDefinition>],
    targets: &[TargetColumn],
    null_values: &[String],
) -> Result<Vec<Source>, String> {
    let mut sources: Vec<Source> = Vec::new();
    for definition in definitions {
        let source = read_source(text, definition.get_ref(), targets, null_values)?;
        if sources.iter().any(|known| known.name == source.name) {
            let message = format!("source {:?} is declared twice", source.name);
            return Err(text.error(&definition.get_ref().name, message));
        }
        let common = |known: &&Source| known.files.common_key(&source.files).is_some();
        let other = sources.iter().filter(|known| !known.reads_parts() && !source.reads_parts()).find(common);
        if let Some(other) = other {
            let message =
                format!("sources {:?} and {:?} claim the same files; narrow the files of one", other.name, source.name);
            return Err(text.error(&definition.get_ref().files, message));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn read_source(
    text: DefinitionText<'_>,
    definition: &SourceDefinition,
    targets: &[TargetColumn],
    null_values: &[String],
) -> Result<Source, String> {
    let name = definition.name.get_ref();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) {
        let message = format!("{name:?} is not a name; use lowercase letters, digits and _, at most 40");
        return Err(text.error(&definition.name, message));
    }
    if definition.files.get_ref().is_empty() {
        return Err(text.error(&definition.files, "files lists no pattern; no object would ever be read"));
    }
    let (mut format, layout) = read_layout(text, definition)?;
    let mut fields = Vec::new();
    let values = definition.values();
    let clean = values.clean();
    let columns =
        Columns { text, source: definition, values, header: layout.header, null_values }.read(targets, &mut fields)?;
    check_unused(text, definition, &columns, targets)?;
    check_names(text, definition, &columns)?;
    if let Format::Fixed(_, known) = &mut format {
        *known = fields;
    }
    Ok(Source {
        name: name.clone(),
        files: Files::read(definition.files.get_ref()).map_err(|message| text.error(&definition.files, message))?,
        member: member(text, definition)?,
        strict: strict(text, definition, layout.header)?,
        totals: totals(text, definition, targets, &columns)?,
        clean,
        format,
        layout,
        columns,
    })
}

fn member(text: DefinitionText<'_>, definition: &SourceDefinition) -> Result<Option<String>, String> {
    let Some(at) = &definition.member else { return Ok(None) };
    Files::read(std::slice::from_ref(at.get_ref())).map_err(|message| text.error(at, message))?;
    Ok(Some(at.get_ref().clone()))
}

/// Columns without names cannot be told from others.
fn strict(text: DefinitionText<'_>, definition: &SourceDefinition, header: Header) -> Result<bool, String> {
    match &definition.columns {
        Some(at) if header == Header::None || definition.format == FormatName::Fixed => {
            Err(text.error(at, "columns = \"strict\" goes with a header, which names the columns of a file"))
        }
        columns => Ok(columns.is_some()),
    }
}

fn totals(
    text: DefinitionText<'_>,
    definition: &SourceDefinition,
    targets: &[TargetColumn],
    columns: &[SourceColumn],
) -> Result<Vec<String>, String> {
    let Some(at) = &definition.total else { return Ok(Vec::new()) };
    if definition.end.is_none() && definition.footer_lines.is_none() {
        return Err(text.error(at, "a total stands in a footer; say with end or footer_lines which lines are one"));
    }
    let totals = at.get_ref().to_vec();
    for total in &totals {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        match targets.iter().find(|target| target.name == *total) {
            None => return Err(text.error(at, unknown("column", total, &names))),
            Some(target) if !target.kind.is_number() => {
                return Err(text.error(at, format!("column {total:?} is not a number and has no total")));
            }
            Some(_) => {}
        }
        let is_cell = |column: &&SourceColumn| matches!(column.origin, Origin::Header { .. } | Origin::Position(_));
        if !columns.iter().filter(is_cell).any(|column| column.name == *total) {
            return Err(text.error(at, format!("column {total:?} is not a cell, and a footer has no total of it")));
        }
    }
    Ok(totals)
}

/// In an expression the case of letters does not tell two names apart.
fn check_names(
    text: DefinitionText<'_>,
    definition: &SourceDefinition,
    columns: &[SourceColumn],
) -> Result<(), String> {
    let mut names: Vec<&String> = Vec::new();
    for column in columns {
        let Origin::Expression(expression) = &column.origin else { continue };
        for name in expression.reads() {
            if let Some(other) =
                names.iter().find(|other| **other != name && other.to_lowercase() == name.to_lowercase())
            {
                let message =
                    format!("expressions read {other:?} and {name:?}, which differ in the case of letters alone");
                return Err(text.error(&definition.name, message));
            }
            names.push(name);
        }
    }
    Ok(())
}

/// An option that no column has a use for was meant to say something: it is refused.
fn check_unused(
    text: DefinitionText<'_>,
    definition: &SourceDefinition,
    columns: &[SourceColumn],
    targets: &[TargetColumn],
) -> Result<(), String> {
    let values = definition.values();
    for group in [Group::Numbers, Group::Moments, Group::Dates, Group::Booleans] {
        let Some((option, at)) = values.first_of(group) else { continue };
        let units = columns.iter().any(SourceColumn::is_unit) && group == Group::Numbers;
        if !units && !targets.iter().any(|target| group.fits(target.kind)) {
            let message = format!("{option} applies to {}, and no column holds any", group.name());
            return Err(text.error(&at, message));
        }
    }
    let forms = || {
        columns.iter().filter_map(|column| match &column.form.value {
            Value::Time(rule) => Some(&rule.forms),
            _ => None,
        })
    };
    if let Some(pivot) = values.pivot.as_ref().filter(|_| !forms().flatten().any(|form| form.parts().short_year)) {
        return Err(text.error(pivot, "pivot goes with a form that has a year of two digits, %y"));
    }
    if let Some(months) = values.months.as_ref().filter(|_| !forms().flatten().any(TimeForm::names_months)) {
        return Err(text.error(months, "months goes with a form that has the name of a month, %b or %B"));
    }
    let zones = values.zone.is_some() || definition.column.iter().any(|column| column.get_ref().has_zone());
    let doubts = values.fold.as_ref().map(Spanned::span).or_else(|| values.gap.as_ref().map(Spanned::span));
    match doubts {
        Some(at) if !zones => {
            Err(text.error_at(at.start, "fold and gap say which local time is meant, and no zone is declared"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::kind::Kind;
    use crate::domain::source::layout::{End, Header};

    const COLUMNS: [(&str, Kind); 9] = [
        ("code", Kind::Text),
        ("volume", Kind::Whole),
        ("price", Kind::Decimal),
        ("day", Kind::Date),
        ("clock", Kind::Time),
        ("made_at", Kind::Timestamp),
        ("seen_at", Kind::LocalTimestamp),
        ("open", Kind::Boolean),
        ("unit", Kind::Text),
    ];

    fn targets() -> Vec<TargetColumn> {
        COLUMNS.iter().map(|(name, kind)| TargetColumn { name: (*name).to_owned(), kind: *kind }).collect()
    }

    fn parse(text: &str) -> Result<Source, String> {
        let text = format!("[[source]]\nname = \"huaxi\"\nfiles = [\"in/*.csv\"]\n{text}");
        parse_sources("t.toml", &text, &targets(), &[String::new()]).map(|mut sources| sources.remove(0))
    }

    fn error(text: &str) -> String {
        parse(text).err().unwrap_or_else(|| panic!("accepted: {text}"))
    }

    fn column(name: &str, options: &str) -> String {
        format!("[[source.column]]\nname = \"{name}\"\n{options}\n")
    }

    #[test]
    fn a_source_without_a_word_reads_the_plain_form() {
        let source = parse("").unwrap();
        assert!(source.claims("in/a.csv") && !source.claims("in/b/a.csv"));
        assert_eq!((source.layout.header, &source.layout.end), (Header::First, &End::Never));
        assert_eq!(source.prefixes().collect::<Vec<_>>(), ["in/"]);
        for column in &source.columns {
            assert!(matches!(&column.form.value, Value::Plain), "{column:?}");
            assert!(matches!(&column.origin, Origin::Header { header, .. } if header.names == [column.name.clone()]));
        }
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_line() {
        assert_eq!(
            error("delimeter = \";\""),
            "t.toml line 4: unknown field `delimeter`, expected one of `name`, `files`, `format`, `member`, `sheet`, `section`, \
             `encoding`, `delimiter`, `quote`, `escape`, `comment`, `line_end`, `header`, `header_lines`, `end`, `footer_lines`, \
             `anything_after_end`, `trailing_delimiter`, `longer`, `shorter`, `repeated_header`, `ruled`, `skip`, `blank_between`, `significant_digits`, `columns`, `total`, `column`, `trim`, \
             `excel_text`, `apostrophes`, `null_values`, `decimal_mark`, `thousands`, `grouping`, `currency`, `unit`, `unit_pattern`, \
             `negative`, `plus`, `percent`, `exponent`, `bare_point`, `zone`, `fold`, `gap`, `pivot`, `months`, `true_values`, \
             `false_values`"
        );
        for (text, expected) in [
            ("encoding = \"gb1803\"", "line 4: unknown encoding"),
            ("encoding = \"iso-2022-kr\"", "line 4: unknown encoding"),
            ("delimiter = \"\"", "line 4: delimiter is empty"),
            ("delimiter = \"\\\"\"", "line 4: delimiter contains the quote"),
            ("quote = \"''\"", "line 4: quote is one character"),
            ("quote = \"é\"", "line 4: quote 'é' is not an ASCII sign"),
            ("escape = \"\\\"\"", "line 4: a quote that escapes a quote is the plain form"),
            ("header = 0", "line 4: lines are numbered from 1"),
            ("header = \"second\"", "line 4: \"first\", \"find\", \"none\", or the number of a line"),
            ("header_lines = 0", "line 4: a header has 1 to 10 lines"),
            ("header = \"none\"\nheader_lines = 2", "line 5: header_lines contradicts"),
            ("header = \"none\"", "line 2: source \"huaxi\" has no header, and does not say where column \"code\" is"),
            ("end = [\" \"]", "line 4: end lists what first cells begin with"),
            ("end = \"blank\"\nfooter_lines = 2", "line 5: end and footer_lines contradict"),
            ("end = \"blank\"\nanything_after_end = true", "line 5: anything_after_end goes with"),
            ("sheet = 1", "line 4: sheet says nothing of a file of format \"csv\""),
            ("format = \"xlsx\"\nencoding = \"utf-8\"", "line 5: encoding says nothing of a file of format \"xlsx\""),
            ("format = \"xlsx\"\nsignificant_digits = 18", "line 5: significant_digits is a number from 1 to 17"),
            ("format = \"parquet\"\nheader = 2", "line 5: header says nothing of a file of format \"parquet\""),
            ("format = \"json_lines\"\nencoding = \"utf-8\"", "line 5: encoding says nothing of a file of format"),
            ("pivot = 2000", "line 4: pivot goes with a form that has a year of two digits"),
            ("months = [\"a\"]", "line 4: months goes with a form that has the name of a month"),
            ("section = \"a\"\nheader = 3", "line 5: a section moves"),
            ("total = \"price\"", "line 4: a total stands in a footer"),
            ("end = [\"x\"]\ntotal = \"prize\"", "line 5: unknown column \"prize\"; did you mean \"price\"?"),
            ("end = [\"x\"]\ntotal = \"code\"", "line 5: column \"code\" is not a number"),
        ] {
            assert!(error(text).starts_with(&format!("t.toml {expected}")), "{text}: {}", error(text));
        }
    }

    #[test]
    fn options_of_values_that_contradict_each_other_are_refused() {
        for (text, expected) in [
            ("thousands = \".\"", "line 4: thousands and decimal_mark are both '.'"),
            ("decimal_mark = \"1\"", "line 4: decimal_mark '1' is not a mark"),
            ("decimal_mark = \",,\"", "line 4: invalid value"),
            ("unit = \"%\"", "line 4: a percent sign is not a unit"),
            ("unit = \" kg\"", "line 4: \" kg\" cannot be told from a part of a number"),
            ("unit_pattern = \"(\"", "line 4: \"(\" is not a pattern"),
            ("true_values = \"Y\"", "line 4: true_values and false_values need each other"),
            ("true_values = \"Y\"\nfalse_values = [\"N\", \"Y\"]", "line 5: \"Y\" cannot be both"),
            ("fold = \"first\"", "line 4: fold and gap say which local time is meant"),
            ("zone = \"Mars\"", "line 4: unknown zone \"Mars\""),
        ] {
            let more = column("made_at", "form = \"%F %T%:z\"") + &column("seen_at", "zone = \"none\"");
            let message = error(&format!("{text}\n{more}"));
            assert!(message.starts_with(&format!("t.toml {expected}")), "{text}: {message}");
        }
    }

    #[test]
    fn options_of_a_column_fit_what_it_holds() {
        for (name, options, expected) in [
            ("cord", "header = \"x\"", "line 5: unknown column \"cord\"; did you mean \"code\"?"),
            ("code", "decimal_mark = \",\"", "line 6: decimal_mark applies to numbers"),
            ("code", "form = \"%F\"", "line 6: form applies to dates and times"),
            ("price", "zone = \"UTC\"", "line 6: zone applies to timestamps"),
            ("price", "pivot = 2000", "line 6: pivot applies to dates and times"),
            ("price", "true_values = \"Y\"", "line 6: true_values applies to booleans"),
            (
                "day",
                "form = \"%H:%M\"",
                "line 6: column \"day\": form \"%H:%M\" does not have what the column holds: a date",
            ),
            (
                "clock",
                "form = \"%F %T\"",
                "line 6: column \"clock\": form \"%F %T\" does not have what the column holds: a time",
            ),
            (
                "day",
                "form = \"%d/%m/%y\"",
                "line 6: column \"day\": form \"%d/%m/%y\" has a year of two digits; say with pivot",
            ),
            ("day", "form = \"%d/%m\"", "line 6: column \"day\": form \"%d/%m\" has no year"),
            (
                "day",
                "form = \"%F\"\nyear = { from = \"key\", pattern = '(\\d{4})' }",
                "line 6: column \"day\": form \"%F\" has a year, and year says",
            ),
            (
                "day",
                "form = \"%d/%m\"\nyear = { from = \"key\", pattern = 'x' }",
                "line 7: the pattern of year has a group",
            ),
            ("day", "form = [\"%d/%m/%Y\", \"%m/%d/%Y\"]", "line 6: forms \"%d/%m/%Y\" and \"%m/%d/%Y\" would guess"),
            ("day", "form = []", "line 6: form lists no form"),
            ("day", "form = \"%F\"\nmonths = [\"jan\"]", "line 7: months has twelve names"),
            ("made_at", "form = \"%F %T\"", "line 6: column \"made_at\": form \"%F %T\" has no offset; say with zone"),
            (
                "made_at",
                "form = \"%F %T\"\nzone = \"none\"",
                "line 6: column \"made_at\": form \"%F %T\" has no offset",
            ),
            (
                "seen_at",
                "form = \"%F %T%:z\"\nzone = \"none\"",
                "line 6: column \"seen_at\": form \"%F %T%:z\" has a zone",
            ),
            (
                "seen_at",
                "form = \"%F %T\"\nzone = \"UTC\"",
                "line 6: column \"seen_at\": a timestamp without time zone needs zone = \"none\"",
            ),
            ("day", "form = \"epoch_s\"", "line 6: a counted time is a moment"),
            ("made_at", "form = [\"epoch_s\", \"epoch_ms\"]", "line 6: a counted time goes with no other form"),
            ("price", "header = \"a\"\nposition = 1", "line 7: a column comes from one place"),
            ("price", "header = []", "line 6: header lists no name"),
            ("price", "header = \"a\"\nnth = 0", "line 7: nth is numbered from 1"),
            ("price", "position = 0", "line 6: positions are numbered from 1"),
            ("price", "position = 1\nnth = 1", "line 7: nth goes with a header"),
            ("price", "at = [0, 3]", "line 6: at says nothing of a file whose format"),
            ("price", "join = [\"a\"]", "line 6: join names two columns"),
            ("price", "partial = \"null\"", "line 6: partial goes with join"),
            ("price", "from = \"constant\"", "line 6: a constant needs a value"),
            ("price", "value = 1", "line 6: value goes with from"),
            ("price", "from = \"preamble\"", "line 6: the preamble has several lines"),
            ("price", "from = \"key\"\npattern = '(a)(b)'", "line 7: \"(a)(b)\" has several groups"),
            ("code", "from = \"record\"\ntrim = true", "line 7: trim says nothing of a column that is no cell"),
            ("price", "from = \"constant\"\nvalue = 1\nplus = true", "line 8: plus says nothing of a column"),
            ("price", "expression = \"a\"\ndecimal_mark = \",\"", "line 7: decimal_mark says nothing of a column"),
            ("made_at", "form = \"epoch_s\"\nzone = \"UTC\"", "line 7: zone says nothing of a counted time"),
            ("day", "pivot = 2000", "line 6: pivot goes with a form"),
            ("day", "form = \"%F\"\npivot = 2000", "line 7: pivot goes with a form that has a year of two digits"),
            ("day", "form = \"%F\"\nmonths = [\"a\"]", "line 7: months"),
            ("day", "year = { from = \"key\", pattern = '(.)' }", "line 6: a year goes with a form that has none"),
            ("unit", "part = \"unit\"\nunit = \"m\"\nform = \"%F\"", "line 6: a unit has no form and no year"),
            ("made_at", "map = { a = \"b\" }\nzone = \"UTC\"", "line 6: a map lists whole cells"),
            ("price", "expression = \"a +\"", "line 6: "),
            ("price", "expression = \"getenv('HOME')\"", "line 6: unknown function \"getenv\""),
            ("unit", "header = \"a\"\npart = \"unit\"", "line 7: say with currency, unit or unit_pattern"),
            ("price", "part = \"unit\"\nunit = \"m\"", "line 6: a unit is text"),
            ("code", "map = { a = \"b\" }\nexpression = \"x\"", "line 6: map goes with a cell"),
            ("day", "map = { a = \"b\" }\nform = \"%F\"", "line 6: a map lists whole cells"),
        ] {
            let message = error(&column(name, options));
            assert!(message.starts_with(&format!("t.toml {expected}")), "{name} {options}: {message}");
        }
        let twice = column("code", "") + &column("code", "");
        assert!(error(&twice).starts_with("t.toml line 8: column \"code\" is declared twice"), "{}", error(&twice));
    }

    #[test]
    fn an_option_that_no_column_uses_is_refused() {
        let only_text = [TargetColumn { name: "code".into(), kind: Kind::Text }];
        let text = |option: &str| format!("[[source]]\nname = \"a\"\nfiles = [\"b\"]\n{option}\n");
        for option in ["thousands = \",\"", "zone = \"UTC\"", "pivot = 2000"] {
            let message = parse_sources("t.toml", &text(option), &only_text, &[]).err().unwrap();
            assert!(message.contains("no column holds any"), "{message}");
        }
        assert!(parse_sources("t.toml", &text("trim = true"), &only_text, &[]).is_ok());
    }

    #[test]
    fn a_footer_has_totals_of_cells_alone() {
        let constant = column("price", "from = \"constant\"\nvalue = 1");
        let message = error(&format!("end = [\"x\"]\ntotal = \"price\"\n{constant}"));
        assert!(message.starts_with("t.toml line 5: column \"price\" is not a cell"), "{message}");
    }

    #[test]
    fn two_sources_that_claim_the_same_files_are_refused_unless_they_read_parts() {
        let two = |first: &str, second: &str| {
            let text = format!(
                "[[source]]\nname = \"a\"\nfiles = [\"in/**\"]\n{first}\n[[source]]\nname = \"b\"\nfiles = [\"in/b/*\"]\n{second}\n"
            );
            parse_sources("t.toml", &text, &[], &[])
        };
        let message = two("", "").err().unwrap();
        assert!(message.contains("sources \"a\" and \"b\" claim the same files; narrow the files of one"), "{message}");
        assert!(two("member = \"a\"", "member = \"b\"").is_ok());
    }

    #[test]
    fn names_in_expressions_differ_in_more_than_the_case_of_letters() {
        let columns = column("code", "expression = \"Symbol || symbol\"");
        assert!(error(&columns).contains("differ in the case of letters alone"), "{}", error(&columns));
    }

    #[test]
    fn a_source_has_a_name_of_its_own() {
        let text = "[[source]]\nname = \"a\"\nfiles = [\"b\"]\n".repeat(2);
        let message = parse_sources("t.toml", &text, &[], &[]).err().unwrap();
        assert_eq!(message, "t.toml line 5: source \"a\" is declared twice");
        let message = parse_sources("t.toml", &text.replace("\"a\"", "\"A b\""), &[], &[]).err().unwrap();
        assert!(message.starts_with("t.toml line 2: \"A b\" is not a name"), "{message}");
    }
}
