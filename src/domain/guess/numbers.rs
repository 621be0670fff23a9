//! How the numbers of a column are written: marks, signs, units. Each hypothesis is a [`NumberForm`], tested on every cell.

use std::collections::BTreeSet;

use crate::domain::source::number::{Grouping, Negative, NumberForm, Percent};
use crate::domain::source::unit_pattern::UnitPattern;

/// Signs and codes of currencies that stand beside numbers.
const CURRENCIES: &[&str] = &[
    "$", "€", "£", "¥", "￥", "₩", "₹", "₽", "฿", "₺", "₫", "₪", "₱", "US$", "HK$", "C$", "CA$", "A$", "AU$", "NZ$",
    "S$", "R$", "NT$", "MX$", "zł", "Kč", "kr", "kr.", "Ft", "lei", "Fr.", "CHF", "USD", "EUR", "GBP", "JPY", "CNY",
    "RMB", "HKD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "CAD", "AUD", "NZD", "SGD", "INR", "KRW", "BRL",
    "MXN", "ZAR", "TRY", "RUB", "USDT", "USDC", "BTC", "ETH", "Rs.", "Rs", "TWD",
];

/// A cell, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that a cell has or lacks")]
struct Apart<'c> {
    before: &'c str,
    core: &'c str,
    exponent: bool,
    after: &'c str,
    parentheses: bool,
    plus: bool,
    trailing: bool,
    wide_minus: bool,
    triangle: bool,
    percent: bool,
}

/// What stands between digits.
fn is_separator(c: char) -> bool {
    matches!(c, '.' | ',' | '\'' | '’' | ' ' | '\u{a0}' | '\u{202f}' | '_')
}

/// Takes a cell apart, if it has one number, and beside it nothing but signs and a unit.
fn take_apart(cell: &str) -> Option<Apart<'_>> {
    let whole = cell.trim();
    let (parentheses, inner) = match whole.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => (true, inner.trim()),
        None => (false, whole),
    };
    let (before, rest) = inner.split_at(begin_of_number(inner)?);
    let (core, after) = rest.split_at(end_of_number(rest));
    let after_exponent = after_exponent(after);
    let exponent = after_exponent.is_some();
    let mut apart = Apart { core, exponent, parentheses, ..Apart::default() };
    let mut signs = apart.take_signs(before.trim());
    apart.after = after_exponent.unwrap_or(after).trim();
    if let Some(rest) = apart.after.strip_suffix('-') {
        (apart.after, apart.trailing) = (rest.trim(), true);
        signs += 1;
    }
    if let Some(rest) = apart.after.strip_prefix('%') {
        (apart.after, apart.percent) = (rest.trim(), true);
    }
    let has_one_unit = apart.before.is_empty() || apart.after.is_empty();
    (signs <= 1 && is_unit_before(apart.before) && is_unit_after(apart.after) && has_one_unit).then_some(apart)
}

/// Where a number begins: `.5` is one; `Rs.5` is one with a unit.
fn begin_of_number(text: &str) -> Option<usize> {
    let first = text.find(|c: char| c.is_ascii_digit())?;
    let point = text[..first].strip_suffix(['.', ',']).filter(|before| !before.ends_with(char::is_alphanumeric));
    Some(point.map_or(first, str::len))
}

/// Where the number ends with which a text begins.
fn end_of_number(text: &str) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c.is_ascii_digit() {
            end = at + 1;
        } else if !is_separator(c) || at > 0 && text[at + c.len_utf8()..].starts_with(is_separator) {
            break;
        }
    }
    let is_point = text[end..].starts_with('.') && !text[end + 1..].starts_with(char::is_alphanumeric);
    if is_point { end + 1 } else { end }
}

/// What comes after the exponent with which a text begins.
fn after_exponent(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(['e', 'E'])?;
    let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    (after.len() < digits.len()).then_some(after)
}

impl<'a> Apart<'a> {
    /// Takes the signs off what comes before a number. Returns how many there are.
    fn take_signs(&mut self, before: &'a str) -> usize {
        let mut signs = 0;
        self.before = before;
        for _ in 0..2 {
            for sign in ['-', '+', '\u{2212}', '△', '▲'] {
                let stripped = self.before.strip_prefix(sign).or_else(|| self.before.strip_suffix(sign));
                if let Some(rest) = stripped {
                    self.before = rest.trim();
                    signs += 1;
                    self.plus |= sign == '+';
                    self.wide_minus |= sign == '\u{2212}';
                    self.triangle |= matches!(sign, '△' | '▲');
                }
            }
        }
        signs
    }
}

fn is_unit_before(text: &str) -> bool {
    text.is_empty() || CURRENCIES.contains(&text)
}

fn is_unit_after(text: &str) -> bool {
    let fine = |c: char| {
        !c.is_numeric() && !matches!(c, '+' | '-' | '.' | ',' | ':' | '/' | '%' | '"' | '\'' | '=' | '@' | '#')
    };
    let ends =
        |c: char| c.is_alphabetic() || matches!(c, ')' | ']' | '°') || CURRENCIES.iter().any(|sign| sign.ends_with(c));
    text.is_empty()
        || CURRENCIES.contains(&text)
        || text.chars().count() <= 10 && text.chars().all(fine) && text.ends_with(ends) && !text.contains(' ')
}

/// Which of two marks stands before the decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Point,
    Comma,
}

impl Mark {
    pub(super) fn sign(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }
}

/// How the numbers of a column are written, as far as its own cells tell.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that cells have or lack")]
pub(super) struct Numbers {
    /// The mark that its cells allow; `None` if they allow both, with other values each.
    pub(super) mark: Option<Mark>,
    /// Whether no cell has a mark that could be either, so that both read the same.
    pub(super) indifferent: bool,
    /// Whether one of its cells cannot be read with the other mark.
    pub(super) sure: bool,
    /// Cells that raise the question.
    pub(super) doubtful: Vec<String>,
    /// Whether every cell has one mark before three digits, so that none of them speaks for thousands.
    pub(super) lone: bool,
    /// Whether digits are grouped as in India.
    pub(super) indian: bool,
    /// Separators that are not points or commas.
    others: BTreeSet<char>,
    has_point: bool,
    has_comma: bool,
    /// The units, and whether some cells have none.
    pub(super) units: Vec<String>,
    pub(super) some_without_unit: bool,
    pub(super) units_before: bool,
    pub(super) percent: bool,
    pub(super) plus: bool,
    pub(super) exponent: bool,
    pub(super) bare_point: bool,
    pub(super) parentheses: bool,
    pub(super) trailing: bool,
    pub(super) wide_minus: bool,
    pub(super) triangle: bool,
    /// The cells that are not numbers: a number with something added after it.
    pub(super) odd: Vec<usize>,
}

/// Looks at the cells of a column. `None` if they are not numbers. At most one in ten may be a number with something added.
pub(super) fn look(cells: &[&str]) -> Option<Numbers> {
    if cells.is_empty() {
        return None;
    }
    let apart: Vec<Option<Apart<'_>>> = cells.iter().map(|cell| take_apart(cell)).collect();
    let odd: Vec<usize> = (0..cells.len()).filter(|at| apart[*at].is_none()).collect();
    if odd.len() * 10 > cells.len() || odd.iter().any(|at| !has_number_first(cells[*at])) {
        return None;
    }
    let there: Vec<&Apart<'_>> = apart.iter().flatten().collect();
    let units: BTreeSet<&str> =
        there.iter().flat_map(|apart| [apart.before, apart.after]).filter(|unit| !unit.is_empty()).collect();
    let with_unit = there.iter().filter(|apart| !apart.before.is_empty() || !apart.after.is_empty()).count();
    if !units.is_empty() && !are_units(&units, &there) {
        return None;
    }
    // What has an exponent and no point is a code such as 41e07.
    if there.iter().any(|apart| apart.exponent) && !there.iter().any(|apart| apart.core.contains(['.', ','])) {
        return None;
    }
    let (has_point, has_comma) =
        (there.iter().any(|apart| apart.core.contains('.')), there.iter().any(|apart| apart.core.contains(',')));
    let others: BTreeSet<char> = there
        .iter()
        .flat_map(|apart| apart.core.chars())
        .filter(|c| is_separator(*c) && !matches!(c, '.' | ','))
        .collect();
    let mut numbers = Numbers {
        mark: None,
        indifferent: !has_point && !has_comma,
        sure: false,
        doubtful: Vec::new(),
        lone: there.iter().all(|apart| has_lone_mark(apart.core)),
        indian: there.iter().any(|apart| is_indian(apart.core)),
        others,
        has_point,
        has_comma,
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
        some_without_unit: with_unit > 0 && with_unit < there.len(),
        units_before: there.iter().any(|apart| !apart.before.is_empty()),
        percent: there.iter().any(|apart| apart.percent),
        plus: there.iter().any(|apart| apart.plus),
        exponent: there.iter().any(|apart| apart.exponent),
        bare_point: there.iter().any(|apart| apart.core.starts_with(['.', ',']) || apart.core.ends_with('.')),
        parentheses: there.iter().any(|apart| apart.parentheses),
        trailing: there.iter().any(|apart| apart.trailing),
        wide_minus: there.iter().any(|apart| apart.wide_minus),
        triangle: there.iter().any(|apart| apart.triangle),
        odd,
    };
    let reads = |mark| {
        let form = numbers.form(mark, None);
        let read = |at: usize| {
            // 0,123 is not a number with a thousands separator.
            let other = if mark == Mark::Point { ',' } else { '.' };
            let core = apart[at].as_ref().map_or("", |apart| apart.core);
            let zero = core.starts_with('0') && core[1..].starts_with(other);
            let mut plain = String::new();
            (!zero && form.write(cells[at].trim(), &mut plain).is_ok()).then_some(plain)
        };
        (0..cells.len()).filter(|at| apart[*at].is_some()).map(read).collect::<Option<Vec<String>>>()
    };
    match (reads(Mark::Point), reads(Mark::Comma)) {
        (None, None) => return None,
        (Some(_), None) => (numbers.mark, numbers.sure) = (Some(Mark::Point), true),
        (None, Some(_)) => (numbers.mark, numbers.sure) = (Some(Mark::Comma), true),
        (Some(one), Some(other)) if one == other => numbers.mark = Some(Mark::Point),
        (Some(one), Some(other)) => {
            let read: Vec<usize> = (0..cells.len()).filter(|at| apart[*at].is_some()).collect();
            let differ = one.iter().zip(&other).zip(read).filter(|((one, other), _)| one != other);
            numbers.doubtful = differ.map(|(_, at)| cells[at].to_owned()).collect();
        }
    }
    Some(numbers)
}

/// `1,25,000.00`: groups of two digits before one of three.
fn is_indian(core: &str) -> bool {
    let whole = core.split('.').next().unwrap_or(core);
    let groups: Vec<&str> = whole.split(',').collect();
    let [first, middle @ .., last] = groups.as_slice() else { return false };
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    !middle.is_empty()
        && groups.iter().all(digits)
        && first.len() <= 2
        && last.len() == 3
        && middle.iter().all(|group| group.len() == 2)
}

/// `5.79(refunded 2.00)`: a number, and then something that is not a part of it.
fn has_number_first(cell: &str) -> bool {
    let cell = cell.trim();
    let end = cell.find(|c: char| !c.is_ascii_digit() && !is_separator(c) && c != '-').unwrap_or(cell.len());
    let number = cell[..end].trim();
    !number.is_empty()
        && number.contains(|c: char| c.is_ascii_digit())
        && cell[end..].starts_with(['(', '（', '[', '*', '/', '（'])
}

/// Words for how many. If they differ from row to row, the numbers alone mean nothing.
const MULTIPLES: &[&str] = &[
    "k", "m", "mn", "mm", "b", "bn", "t", "tn", "mio", "mrd", "tsd", "lakh", "crore", "million", "billion", "thousand",
    "万", "萬", "亿", "億", "千", "百万", "万股", "亿元", "万元", "만", "억",
];

/// `1.039`: one to three digits, a point or a comma, and three digits.
fn has_lone_mark(core: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    core.split_once(['.', ','])
        .is_some_and(|(whole, rest)| whole.len() <= 3 && rest.len() == 3 && digits(whole) && digits(rest))
}

/// Marks of the two sides of an account.
const SIDES: &[&str] =
    &["dr", "cr", "db", "d", "c", "s", "h", "deb", "cred", "debit", "credit", "soll", "haben", "贷", "借", "貸"];

fn is_one_of(words: &[&str], unit: &str) -> bool {
    words.contains(&unit.trim_end_matches('.').to_lowercase().as_str())
}

/// Whether what stands beside numbers is a unit, and the whole not a code such as `12A`.
fn are_units(units: &BTreeSet<&str>, cells: &[&Apart<'_>]) -> bool {
    let decimals = cells.iter().any(|apart| apart.core.contains(is_separator) || apart.percent);
    let known = |unit: &&str| CURRENCIES.contains(unit) || !unit.is_ascii() || unit.starts_with('(');
    let few = units.len() <= 3.max(cells.len() * 2 / 3);
    let leading_zero = cells.iter().any(|apart| {
        apart.core.len() > 1 && apart.core.starts_with('0') && apart.core.bytes().all(|byte| byte.is_ascii_digit())
    });
    let with_unit = cells.iter().filter(|apart| !apart.before.is_empty() || !apart.after.is_empty()).count();
    if units.iter().any(|unit| is_one_of(MULTIPLES, unit)) && (units.len() > 1 || with_unit < cells.len()) {
        return false;
    }
    let apart_by_blank = units.len() == 1 && units.iter().all(|unit| unit.chars().all(char::is_lowercase));
    !leading_zero && few && (decimals || units.iter().all(known) || apart_by_blank)
}

impl Numbers {
    /// The form with which the cells are read.
    pub(super) fn form(&self, mark: Mark, percent: Option<Percent>) -> NumberForm {
        let units = || self.units.clone();
        NumberForm {
            decimal_mark: mark.sign(),
            thousands: self.thousands(mark),
            grouping: self.indian.then_some(Grouping::Indian),
            currency: units(),
            units: Vec::new(),
            unit_pattern: self
                .unit_pattern()
                .and_then(|pattern| regex::Regex::new(&format!("^(?:{pattern})$")).ok())
                .map(UnitPattern::new),
            negative: self.negative(),
            plus: self.plus,
            percent: percent.or(self.percent.then_some(Percent::Keep)),
            exponent: self.exponent,
            bare_point: self.bare_point,
            whole: false,
            double: false,
        }
    }

    /// What stands between groups of digits.
    pub(super) fn thousands(&self, mark: Mark) -> Vec<char> {
        let other = match mark {
            Mark::Point => self.has_comma.then_some(','),
            Mark::Comma => self.has_point.then_some('.'),
        };
        other.into_iter().chain(self.others.iter().copied()).collect()
    }

    fn negative(&self) -> Vec<Negative> {
        let ways = [
            (self.parentheses, Negative::Parentheses),
            (self.trailing, Negative::Trailing),
            (self.wide_minus, Negative::Unicode),
            (self.triangle, Negative::Triangle),
        ];
        ways.into_iter().filter(|(there, _)| *there).map(|(_, way)| way).collect()
    }

    /// How the ways of negative numbers are declared.
    pub(super) fn negative_names(&self) -> Vec<&'static str> {
        let name = |way: &Negative| match way {
            Negative::Parentheses => "parentheses",
            Negative::Trailing => "trailing",
            Negative::Unicode => "unicode",
            Negative::Triangle => "triangle",
        };
        self.negative().iter().map(name).collect()
    }

    /// Whether the unit differs from row to row, so that it is a value of its own.
    pub(super) fn unit_varies(&self) -> bool {
        // The next file has the other side, or other multiples.
        let may_vary = |unit: &String| is_one_of(SIDES, unit) || is_one_of(MULTIPLES, unit);
        self.units.len() > 1 || self.some_without_unit || self.units.iter().any(may_vary)
    }

    /// A pattern for units of which there may be more than were seen.
    pub(super) fn unit_pattern(&self) -> Option<String> {
        if self.units_before || !self.unit_varies() {
            return None;
        }
        let all = |test: fn(char) -> bool| self.units.iter().all(|unit| unit.chars().all(test));
        let in_parentheses = self.units.iter().all(|unit| {
            unit.strip_prefix('(')
                .and_then(|unit| unit.strip_suffix(')'))
                .is_some_and(|unit| unit.bytes().all(|byte| byte.is_ascii_uppercase()))
        });
        match () {
            () if all(|c| c.is_ascii_uppercase()) => Some("[A-Z]+".into()),
            () if all(|c| c.is_ascii_alphanumeric()) => Some("[A-Za-z][A-Za-z0-9]*".into()),
            () if in_parentheses => Some(r"\([A-Z]+\)".into()),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(cells: &[&str]) -> Option<Mark> {
        look(cells).unwrap().mark
    }

    #[test]
    fn the_decimal_mark_is_told_by_the_cells() {
        for (cells, expected) in [
            (&["1.5", "2"][..], Some(Mark::Point)),
            (&["1,5", "2"], Some(Mark::Comma)),
            (&["1,234.50", "2.5"], Some(Mark::Point)),
            (&["1.234,50"], Some(Mark::Comma)),
            (&["1,234,567"], Some(Mark::Point)),
            (&["1 234,50", "12"], Some(Mark::Comma)),
            (&["0,123"], Some(Mark::Comma)),
            (&["12345,678"], Some(Mark::Comma)),
            (&["1'234.50"], Some(Mark::Point)),
            (&["12", "13"], Some(Mark::Point)),
            (&["23,845", "524,080"], None),
            (&["1.234", "5.678"], None),
        ] {
            assert_eq!(mark(cells), expected, "{cells:?}");
        }
        assert_eq!(look(&["23,845", "1"]).unwrap().doubtful, ["23,845"]);
    }

    #[test]
    fn signs_and_units_are_found() {
        let numbers = look(&["($10,614.48)", "$208.43"]).unwrap();
        assert!(numbers.parentheses && numbers.units == ["$"] && !numbers.unit_varies());
        let numbers = look(&["-$3,491.75", "€1.46", "-€2.00"]).unwrap();
        assert!(numbers.unit_varies() && numbers.units_before && numbers.unit_pattern().is_none());
        for (cells, pattern) in
            [(["450.00 Dr", "25,000.00 Dr"], "[A-Za-z][A-Za-z0-9]*"), (["50,00 S", "1.170,55 S"], "[A-Z]+")]
        {
            assert_eq!(look(&cells).unwrap().unit_pattern().as_deref(), Some(pattern), "the side of one month");
        }
        assert!(["2.31万", "101.08M"].into_iter().all(|cell| look(&[cell, cell]).unwrap().unit_varies()));
        assert!(look(&["1.039", "-1.041"]).unwrap().lone && !look(&["1.039", "0.9"]).unwrap().lone);
        let numbers = look(&["0.00019348SOL", "0.01375015BTC"]).unwrap();
        assert_eq!((numbers.unit_varies(), numbers.unit_pattern().as_deref()), (true, Some("[A-Z]+")));
        let numbers = look(&["1,543.71", "-5,448.48(CN)", "468.20(HK)"]).unwrap();
        assert_eq!(numbers.unit_pattern().as_deref(), Some(r"\([A-Z]+\)"));
        let numbers = look(&["-4.15%", "+1.31%"]).unwrap();
        assert!(numbers.percent && numbers.plus);
        assert!(look(&["5.00-", "6.00"]).unwrap().trailing);
        assert!(look(&["\u{2212}5.00", "6.00"]).unwrap().wide_minus);
        assert!(look(&["△5,000", "▲6"]).unwrap().triangle);
        let indian = look(&["1,25,000.00", "1,234", "12"]).unwrap();
        assert!(indian.indian && indian.mark == Some(Mark::Point));
        assert!(look(&[".7314", "19.1934"]).unwrap().bare_point);
        assert_eq!(look(&["32.21元", "-5,946.45元"]).unwrap().units, ["元"]);
        assert_eq!(look(&["12,50 €", "1.234,00 €"]).unwrap().mark, Some(Mark::Comma));
    }

    #[test]
    fn a_number_with_something_added_is_odd_and_a_code_is_no_number() {
        let mut cells = vec!["39.44"; 11];
        cells.push("5.79(已退款20.00)");
        assert_eq!(look(&cells).unwrap().odd, [11]);
        for cells in [
            &["T4400", "T4401"][..],
            &["12A", "13B"],
            &["41e00", "42e01"],
            &["Sparkonto", "9912034"],
            &["2025-01-02"],
            &["09:51"],
            &["600519.SH"],
        ] {
            assert!(look(cells).is_none(), "{cells:?}");
        }
    }
}
