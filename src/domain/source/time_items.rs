//! The parts of a form of dates and times, cut at its `%` specifiers.

use super::zone::Colon;

/// What a specifier reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Exactly this text.
    Literal(String),
    /// `%Y`: four digits.
    Year,
    /// `%y`: two digits.
    ShortYear,
    /// A number of one or two digits, or of two exactly where another number follows or precedes.
    Two(Field, Width),
    /// `%b`, `%B`: the name of a month.
    MonthName,
    /// `%a`, `%A`: the name of a weekday.
    WeekdayName,
    /// `%p`, `%P`: AM or PM.
    HalfDay,
    /// `%.f`: a point and digits, or nothing; `%.3f` exactly three.
    Decimals(Option<usize>),
    /// `%3f`: digits without a point.
    Digits(usize),
    /// `%z`, `%:z`: the offset from UTC.
    Offset(Colon),
    /// `%Z`: the name of a zone.
    ZoneName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Month,
    Day,
    Hour,
    Hour12,
    Minute,
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    OneOrTwo,
}

/// The items of a form.
pub(super) fn items_of(form: &str) -> Result<Vec<Item>, String> {
    lex(form).map(fix_widths)
}

fn lex(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some(specifier) = rest.strip_prefix('%') else {
            literal(&mut items, first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        // The padding matters to who writes a time, not to who reads it.
        let specifier = specifier.strip_prefix(['-', '_', '0']).unwrap_or(specifier);
        let known = SPECIFIERS.iter().find_map(|(name, meaning)| Some((specifier.strip_prefix(name)?, meaning)));
        let Some((after, meaning)) = known else {
            let shown: String = specifier.chars().take(2).collect();
            return Err(format!("form {text:?} has %{shown}, which is not a specifier that can be read"));
        };
        match meaning {
            Meaning::Is(item) => items.push(item.clone()),
            Meaning::Character(character) => literal(&mut items, *character),
            Meaning::Short(form) => items.extend(lex(form)?),
        }
        rest = after;
    }
    Ok(items)
}

fn literal(items: &mut Vec<Item>, character: char) {
    match items.last_mut() {
        Some(Item::Literal(text)) => text.push(character),
        _ => items.push(Item::Literal(character.to_string())),
    }
}

enum Meaning {
    Is(Item),
    Character(char),
    Short(&'static str),
}

const fn two(field: Field) -> Meaning {
    Meaning::Is(Item::Two(field, Width::OneOrTwo))
}

const SPECIFIERS: &[(&str, Meaning)] = &[
    ("Y", Meaning::Is(Item::Year)),
    ("y", Meaning::Is(Item::ShortYear)),
    ("m", two(Field::Month)),
    ("d", two(Field::Day)),
    ("e", two(Field::Day)),
    ("H", two(Field::Hour)),
    ("k", two(Field::Hour)),
    ("I", two(Field::Hour12)),
    ("l", two(Field::Hour12)),
    ("M", two(Field::Minute)),
    ("S", two(Field::Second)),
    ("b", Meaning::Is(Item::MonthName)),
    ("h", Meaning::Is(Item::MonthName)),
    ("B", Meaning::Is(Item::MonthName)),
    ("a", Meaning::Is(Item::WeekdayName)),
    ("A", Meaning::Is(Item::WeekdayName)),
    ("p", Meaning::Is(Item::HalfDay)),
    ("P", Meaning::Is(Item::HalfDay)),
    (".3f", Meaning::Is(Item::Decimals(Some(3)))),
    (".6f", Meaning::Is(Item::Decimals(Some(6)))),
    (".9f", Meaning::Is(Item::Decimals(Some(9)))),
    (".f", Meaning::Is(Item::Decimals(None))),
    ("3f", Meaning::Is(Item::Digits(3))),
    ("6f", Meaning::Is(Item::Digits(6))),
    ("9f", Meaning::Is(Item::Digits(9))),
    (":z", Meaning::Is(Item::Offset(Colon::Needed))),
    ("#z", Meaning::Is(Item::Offset(Colon::Free))),
    ("z", Meaning::Is(Item::Offset(Colon::Free))),
    ("Z", Meaning::Is(Item::ZoneName)),
    ("%", Meaning::Character('%')),
    ("T", Meaning::Short("%H:%M:%S")),
    ("R", Meaning::Short("%H:%M")),
    ("F", Meaning::Short("%Y-%m-%d")),
    ("D", Meaning::Short("%m/%d/%y")),
];

/// A number beside another one has two digits; any other may have one.
fn fix_widths(mut items: Vec<Item>) -> Vec<Item> {
    let is_number =
        |item: Option<&Item>| matches!(item, Some(Item::Year | Item::ShortYear | Item::Two(..) | Item::Digits(_)));
    for at in 0..items.len() {
        let beside = is_number(items.get(at + 1)) || at > 0 && is_number(items.get(at - 1));
        if let Item::Two(_, width) = &mut items[at]
            && beside
        {
            *width = Width::Two;
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SPECIFIERS;

    #[test]
    fn the_page_on_sources_lists_every_specifier() {
        let page = include_str!("../../../docs/sources.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Forms of dates and times"));
        let cells = section.unwrap().lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let listed: BTreeSet<&str> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .filter_map(|code| code.strip_prefix('%'))
            .collect();
        let known: BTreeSet<&str> = SPECIFIERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, known);
    }
}
