//! A number as a sender writes it becomes plain digits: signs, separators, units, percent and exponents are taken off
//! exactly as they are declared, and anything else is refused.

use schemars::JsonSchema;
use serde::Deserialize;

use super::exact::Exact;
use super::fault::Fault;
use super::unit_pattern::UnitPattern;

/// How a negative number may be written, besides with a `-` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Negative {
    /// `(5.00)`.
    Parentheses,
    /// `5.00-`.
    Trailing,
    /// `−5.00`, with the minus sign U+2212.
    Unicode,
    /// `△5.00` or `▲5.00`, as in Japan.
    Triangle,
}

/// How digits are grouped, besides in groups of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// `1,25,000`: three digits before the point, and two in every group before those.
    Indian,
}

/// What a percent sign does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `12.5%` is 12.5.
    Keep,
    /// `12.5%` is 0.125.
    Divide,
    /// 0.125 is 12.5: a workbook shows it as `12.5%`. A cell that has a percent sign is kept.
    Multiply,
}

/// The most digits that a number may have; no column holds as many.
const MOST_DIGITS: usize = 400;
/// The most signs of a number whose digits are sure to fit into 64 bits.
const LONGEST_SHORT: usize = 18;

/// How the numbers of a column are written.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that a user declares")]
pub struct NumberForm {
    /// Between the whole number and its decimals.
    pub decimal_mark: char,
    /// Between groups of three digits; the same one within a number.
    pub thousands: Vec<char>,
    /// How digits are grouped, if not by three.
    pub grouping: Option<Grouping>,
    /// Signs that may stand before or after a number.
    pub currency: Vec<String>,
    /// Units that may stand after a number.
    pub units: Vec<String>,
    /// What a unit after a number looks like, besides those. It matches the whole unit.
    pub unit_pattern: Option<UnitPattern>,
    /// How a negative number may be written.
    pub negative: Vec<Negative>,
    /// Whether a `+` may stand before a number.
    pub plus: bool,
    /// What a percent sign does; without it none is allowed.
    pub percent: Option<Percent>,
    /// Whether a number may have an exponent.
    pub exponent: bool,
    /// Whether `.5` and `5.` are numbers.
    pub bare_point: bool,
    /// Whether decimals that are all zeros are left out, since the column has none.
    pub whole: bool,
    /// Whether the column holds doubles, as a workbook does.
    pub double: bool,
}

impl Default for NumberForm {
    fn default() -> Self {
        Self {
            decimal_mark: '.',
            thousands: Vec::new(),
            grouping: None,
            currency: Vec::new(),
            units: Vec::new(),
            unit_pattern: None,
            negative: Vec::new(),
            plus: false,
            percent: None,
            exponent: false,
            bare_point: false,
            whole: false,
            double: false,
        }
    }
}

impl NumberForm {
    /// Reads a cell; `scratch` is for digits that stand nowhere as they are.
    ///
    /// # Errors
    /// What is wrong with the cell.
    #[inline]
    pub fn read<'c>(&self, cell: &str, scratch: &'c mut String) -> Result<Exact<'c>, Fault> {
        if let Some((count, decimals)) = self.short(cell) {
            return Ok(Exact::number(count, decimals));
        }
        scratch.clear();
        self.spell(cell, scratch)?;
        Ok(Exact::Plain(scratch))
    }

    /// Appends the plain digits of `cell` to `out`.
    ///
    /// # Errors
    /// What is wrong with the cell; `out` is then as it was.
    pub fn write(&self, cell: &str, out: &mut String) -> Result<(), Fault> {
        self.read(cell, &mut String::new())?.write(out);
        Ok(())
    }

    /// Reads a number as most of them are: digits with separators and a mark, and a hyphen before them. `None` for anything else.
    fn short(&self, cell: &str) -> Option<(i64, u8)> {
        let digits = cell.strip_prefix('-').unwrap_or(cell).as_bytes();
        let (first, mark) = (*digits.first()?, u8::try_from(self.decimal_mark).ok()?);
        // A zero before other digits is spelled out, since it counts as a digit.
        let zero_first = first == b'0' && digits.get(1).is_some_and(|next| *next != mark);
        let shifts = matches!(self.percent, Some(Percent::Divide | Percent::Multiply));
        if digits.len() > LONGEST_SHORT || zero_first || shifts || self.grouping.is_some() {
            return None;
        }
        let (mut count, mut at) = (0_i64, 0);
        // How many digits stand since the last separator, and which one that was.
        let (mut group, mut separator) = (0, None);
        while let Some(byte) = digits.get(at).copied().filter(|byte| *byte != mark) {
            if byte.is_ascii_digit() {
                (count, group) = (count * 10 + i64::from(byte - b'0'), group + 1);
            } else {
                let is_separator = self.thousands.contains(&char::from(byte)) && byte.is_ascii();
                let fits =
                    if separator.is_none() { (1..=3).contains(&group) } else { separator == Some(byte) && group == 3 };
                if !is_separator || !fits {
                    return None;
                }
                (group, separator) = (0, Some(byte));
            }
            at += 1;
        }
        if group == 0 || separator.is_some() && group != 3 {
            return None;
        }
        let decimals = digits.get(at + 1..).unwrap_or_default();
        if at < digits.len() && decimals.is_empty() {
            return None;
        }
        let mut rest = 0;
        for byte in decimals {
            if !byte.is_ascii_digit() {
                return None;
            }
            rest = rest * 10 + i64::from(byte - b'0');
        }
        let is_negative = digits.len() < cell.len();
        let (count, decimals) = match decimals.len() {
            zeros if zeros > 0 && rest == 0 && self.whole => (count, 0),
            decimals => (count * 10_i64.pow(u32::try_from(decimals).ok()?) + rest, u8::try_from(decimals).ok()?),
        };
        match (is_negative, count) {
            // Its hyphen would be lost.
            (true, 0) => None,
            (true, count) => Some((-count, decimals)),
            (false, count) => Some((count, decimals)),
        }
    }

    /// The unit or currency sign of `cell`, if it has one.
    ///
    /// # Errors
    /// What is wrong with the cell.
    pub fn unit<'c>(&self, cell: &'c str) -> Result<Option<&'c str>, Fault> {
        self.spell(cell, &mut String::new())
    }

    /// What is declared, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut said = vec![format!("decimal mark {:?}", self.decimal_mark)];
        if !self.thousands.is_empty() {
            let indian = if self.grouping == Some(Grouping::Indian) { " in Indian groups" } else { "" };
            said.push(format!("thousands {:?}{indian}", self.thousands.iter().collect::<String>()));
        }
        let signs: Vec<String> = self.currency.iter().chain(&self.units).map(|sign| format!("{sign:?}")).collect();
        if !signs.is_empty() {
            said.push(format!("units {}", signs.join(" ")));
        }
        if let Some(pattern) = &self.unit_pattern {
            said.push(format!("units {pattern}"));
        }
        said.join(", ")
    }

    /// Appends the plain digits of a cell. Returns the unit of the number.
    fn spell<'c>(&self, cell: &'c str, out: &mut String) -> Result<Option<&'c str>, Fault> {
        let start = out.len();
        let mut rest = cell;
        let mut marks = Marks::default();
        if self.negative.contains(&Negative::Parentheses)
            && let Some(inner) = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'))
        {
            marks.sign(true)?;
            rest = inner;
        }
        while let Some(shorter) = self.take_before(rest, &mut marks)? {
            rest = shorter;
        }
        let (exponent, mut rest) = self.digits(rest, out)?;
        while !rest.is_empty() {
            rest = self.take_after(rest, &mut marks)?;
        }
        let digits = start..out.len();
        let shift = exponent
            + match self.percent {
                Some(Percent::Divide) => -2,
                Some(Percent::Multiply) if !marks.percent => 2,
                _ => 0,
            };
        if self.percent == Some(Percent::Divide) && !marks.percent {
            return Err(Fault::NoPercent);
        }
        if shift != 0 {
            let shifted = shifted(&out[digits], shift)?;
            out.truncate(start);
            out.push_str(&shifted);
        }
        if self.whole
            && let Some(point) = out[start..].find('.')
            && out[start + point + 1..].bytes().all(|digit| digit == b'0')
        {
            out.truncate(start + point);
        }
        if marks.negative == Some(true) {
            out.insert(start, '-');
        }
        Ok(marks.unit)
    }

    /// Takes one sign or currency off the front; `None` where the number begins.
    fn take_before<'c>(&self, text: &'c str, marks: &mut Marks<'c>) -> Result<Option<&'c str>, Fault> {
        let Some(first) = text.chars().next().filter(|first| !first.is_ascii_digit()) else { return Ok(None) };
        let minus = first == '-'
            || first == '\u{2212}' && self.negative.contains(&Negative::Unicode)
            || matches!(first, '△' | '▲') && self.negative.contains(&Negative::Triangle);
        if minus || first == '+' && self.plus {
            marks.sign(minus)?;
            return Ok(Some(&text[first.len_utf8()..]));
        }
        // The longest, so that "R" does not hide "R$".
        let signs = self.currency.iter().filter_map(|sign| text.strip_prefix(sign.as_str()));
        let Some(rest) = signs.min_by_key(|rest| rest.len()) else { return Ok(None) };
        marks.unit(&text[..text.len() - rest.len()])?;
        Ok(Some(rest.trim_start_matches(is_blank)))
    }

    /// Takes the percent sign, unit, currency or sign off that follows the number; what follows it then.
    fn take_after<'c>(&self, text: &'c str, marks: &mut Marks<'c>) -> Result<&'c str, Fault> {
        let whole = text;
        let text = text.trim_start_matches(is_blank);
        if let Some(rest) = text.strip_prefix('%')
            && self.percent.is_some()
            && !std::mem::replace(&mut marks.percent, true)
        {
            return Ok(rest);
        }
        if let Some(rest) = text.strip_prefix('-')
            && self.negative.contains(&Negative::Trailing)
        {
            marks.sign(true)?;
            return Ok(rest);
        }
        // The longest, so that "m" does not hide "mn".
        let known = self.units.iter().chain(&self.currency).filter(|unit| text.starts_with(unit.as_str()));
        let known = known.map(String::len).max();
        let matches = |pattern: &UnitPattern| pattern.matches(text, text.len() < whole.len());
        let unit = if self.unit_pattern.as_ref().is_some_and(matches) { Some(text.len()) } else { known };
        let (unit, rest) = text.split_at(unit.ok_or(Fault::NotNumber)?);
        marks.unit(unit)?;
        Ok(rest)
    }

    /// Appends the digits at the start of `text`, without separators and with a point; the exponent, and what follows.
    fn digits<'c>(&self, text: &'c str, out: &mut String) -> Result<(i64, &'c str), Fault> {
        let start = out.len();
        let mut rest = push_digits(text, out);
        let mut group = out.len() - start;
        let mut separator = None;
        // Indian groups before the last have two digits.
        let indian = self.grouping == Some(Grouping::Indian);
        while let Some(mark) = rest.chars().next()
            && self.thousands.contains(&mark)
            && rest[mark.len_utf8()..].starts_with(|next: char| next.is_ascii_digit())
        {
            let longest = if indian { 2 } else { 3 };
            // A group of three that another one follows is not Indian.
            // Nobody groups a number that begins with 0: `0.500` has another decimal mark than is declared.
            let is_zero_first = separator.is_none() && out[start..].starts_with('0');
            if group > longest || group == 0 || is_zero_first || separator.is_some_and(|one| one != mark) {
                return Err(Fault::Grouping);
            }
            separator = Some(mark);
            let before = out.len();
            rest = push_digits(&rest[mark.len_utf8()..], out);
            group = out.len() - before;
            if group != 3 && !(indian && group == 2) {
                return Err(Fault::Grouping);
            }
        }
        if separator.is_some() && group != 3 {
            return Err(Fault::Grouping);
        }
        let whole = out.len() - start;
        if let Some(behind) = rest.strip_prefix(self.decimal_mark) {
            let decimals = behind.bytes().take_while(u8::is_ascii_digit).count();
            if !self.bare_point && (whole == 0 || decimals == 0) || whole + decimals == 0 {
                return Err(Fault::NotNumber);
            }
            if whole == 0 {
                out.push('0');
            }
            if decimals > 0 {
                out.push('.');
            }
            rest = push_digits(behind, out);
        } else if whole == 0 {
            return Err(Fault::NotNumber);
        }
        if out.len() - start > MOST_DIGITS {
            return Err(Fault::Exponent);
        }
        match self.exponent.then(|| exponent_at(rest)).flatten() {
            Some((exponent, length)) => Ok((exponent?, &rest[length..])),
            None => Ok((0, rest)),
        }
    }
}

/// What stood around a number.
#[derive(Default)]
struct Marks<'c> {
    negative: Option<bool>,
    unit: Option<&'c str>,
    percent: bool,
}

impl<'c> Marks<'c> {
    fn sign(&mut self, negative: bool) -> Result<(), Fault> {
        match self.negative.replace(negative) {
            None => Ok(()),
            Some(_) => Err(Fault::TwoSigns),
        }
    }

    fn unit(&mut self, unit: &'c str) -> Result<(), Fault> {
        match self.unit.replace(unit) {
            None => Ok(()),
            Some(_) => Err(Fault::TwoUnits),
        }
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\u{a0}' | '\u{202f}')
}

fn push_digits<'c>(text: &'c str, out: &mut String) -> &'c str {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    out.push_str(&text[..length]);
    &text[length..]
}

/// The exponent at the start of `text`, and how many bytes it takes.
fn exponent_at(text: &str) -> Option<(Result<i64, Fault>, usize)> {
    let signed = text.strip_prefix(['e', 'E'])?;
    let digits = signed.strip_prefix(['+', '-']).unwrap_or(signed);
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let length = text.len() - digits.len() + count;
    let number = text[1..length].strip_prefix('+').unwrap_or(&text[1..length]);
    Some((number.parse().map_err(|_| Fault::Exponent), length))
}

/// `digits` times ten to the power of `shift`, with a digit before the point and none of the zeros that it adds itself in
/// front.
fn shifted(digits: &str, shift: i64) -> Result<String, Fault> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.bytes().all(|digit| digit == b'0') {
        return Ok("0".into());
    }
    let length = i64::try_from(all.len()).map_err(|_| Fault::Exponent)?;
    let most = i64::try_from(MOST_DIGITS).map_err(|_| Fault::Exponent)?;
    let point = i64::try_from(whole.len()).map_err(|_| Fault::Exponent)?.saturating_add(shift);
    if point > most || point < -most {
        return Err(Fault::Exponent);
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let text = if point <= 0 {
        format!("0.{}{all}", zeros(-point))
    } else if point >= length {
        format!("{all}{}", zeros(point - length))
    } else {
        let (before, behind) = all.split_at(usize::try_from(point).unwrap_or(0));
        format!("{before}.{behind}")
    };
    let kept = text.trim_start_matches('0');
    Ok(if kept.starts_with('.') { format!("0{kept}") } else { kept.to_owned() })
}

#[cfg(test)]
mod tests;
