//! Forms of dates and times, in chrono's `%` syntax, compiled once and read without allocating.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Weekday};

use super::fault::Fault;
use super::fixed_form::{FixedForm, Part};
use super::time_items::{Field, Item, Width, items_of};
use super::zone::{Zone, offset_at};

/// The names of the months in English.
pub const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];
/// Before and after noon, in English, Korean, Japanese and Chinese.
const HALF_DAYS: [(&str, bool); 8] = [
    ("am", false),
    ("pm", true),
    ("오전", false),
    ("오후", true),
    ("午前", false),
    ("午後", true),
    ("上午", false),
    ("下午", true),
];
const SHORT_NAME: usize = 3;

/// A form of dates or times.
#[derive(Clone, Debug)]
pub struct TimeForm {
    text: String,
    items: Vec<Item>,
    /// The same where most cells have each part at its own place.
    fixed: Option<FixedForm>,
}

/// What a source says besides the form itself.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    /// The last year that two digits may mean.
    pub pivot: Option<i32>,
    /// The names of the months, where they are not English.
    pub months: Option<Vec<String>>,
    /// The year of dates that have none.
    pub year: Option<StatementYear>,
}

/// The year that a file's name or preamble tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementYear {
    /// The year.
    pub year: i32,
    /// The month of the statement, where it is known: a later month belongs to the year before.
    pub month: Option<u32>,
}

impl StatementYear {
    fn of(self, month: u32) -> i32 {
        if self.month.is_some_and(|statement| month > statement) { self.year - 1 } else { self.year }
    }
}

/// What a cell says, as far as its form goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The date, where the form has one.
    pub date: Option<NaiveDate>,
    /// The time of day; midnight where the form has none.
    pub time: NaiveTime,
    /// The zone or offset, where the cell has one.
    pub zone: Option<Zone>,
}

/// What a form has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part that a form has or lacks")]
pub struct Parts {
    /// A day, with month.
    pub date: bool,
    /// A year of four digits, or two.
    pub year: bool,
    /// A year of two digits.
    pub short_year: bool,
    /// An hour.
    pub time: bool,
    /// An offset or a zone.
    pub zone: bool,
}

impl TimeForm {
    /// Whether it has the name of a month.
    #[must_use]
    pub fn names_months(&self) -> bool {
        self.items.contains(&Item::MonthName)
    }

    /// Compiles a form.
    ///
    /// # Errors
    /// A message that says which specifier is not one, or what the form lacks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items = items_of(text)?;
        let fixed = FixedForm::of(&items);
        let form = Self { text: text.to_owned(), items, fixed };
        form.check().map_err(|message| format!("form {text:?} {message}"))?;
        Ok(form)
    }

    /// The form as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the form has.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let short_year = self.items.contains(&Item::ShortYear);
        Parts {
            date: self.has(Field::Day),
            year: short_year || self.items.contains(&Item::Year),
            short_year,
            time: self.has(Field::Hour) || self.has(Field::Hour12),
            zone: self.ends_in_z() || self.items.iter().any(|item| matches!(item, Item::Offset(_) | Item::ZoneName)),
        }
    }

    /// Checks whether a date or time that is written in one of the two forms may also be read by the other, as another one. Together they
    /// would guess.
    #[must_use]
    pub fn may_be_taken_for(&self, other: &Self, calendar: &Calendar) -> bool {
        let read = |form: &Self, cell: &str| form.read(cell, calendar).ok().map(|moment| (moment.date, moment.time));
        let is_likely = |date: Option<NaiveDate>| date.is_none_or(|date| (1900..2100).contains(&date.year()));
        [(self, other), (other, self)].into_iter().any(|(one, other)| {
            one.samples().any(|cell| {
                let (meant, taken) = (read(one, &cell), read(other, &cell));
                meant.is_some() && taken.is_some_and(|taken| Some(taken) != meant && is_likely(taken.0))
            })
        })
    }

    /// Some times in this form. None of their numbers is the same.
    fn samples(&self) -> impl Iterator<Item = String> {
        let seconds = [981_173_106, 1_352_538_487, 1_318_425_255, 1_767_225_598, 1_895_544_306];
        let times = seconds.into_iter().filter_map(|seconds| DateTime::from_timestamp(seconds, 0));
        times.filter_map(|time| {
            let mut cell = String::new();
            write!(cell, "{}", time.format(&self.text)).ok().map(|()| cell)
        })
    }

    fn has(&self, field: Field) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Two(known, _) if *known == field))
    }

    fn ends_in_z(&self) -> bool {
        // The Z of MEZ is a letter of a word.
        let is_zone = |text: &str| text.strip_suffix('Z').is_some_and(|before| !before.ends_with(char::is_alphabetic));
        matches!(self.items.last(), Some(Item::Literal(text)) if is_zone(text) || text == "TZ")
    }

    fn check(&self) -> Result<(), String> {
        let month = self.has(Field::Month) || self.items.contains(&Item::MonthName);
        let years = self.items.iter().filter(|item| matches!(item, Item::Year | Item::ShortYear)).count();
        let (day, hour, half) = (self.has(Field::Day), self.has(Field::Hour), self.has(Field::Hour12));
        let any_time = [Field::Minute, Field::Second].iter().any(|field| self.has(*field));
        let twice = (1..self.items.len()).any(|at| {
            let same = |item: &Item| match (item, &self.items[at]) {
                (Item::Two(one, _), Item::Two(other, _)) => one == other,
                (Item::Literal(_), _) => false,
                (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
            };
            self.items[..at].iter().any(same)
        });
        if twice || years > 1 || self.has(Field::Month) && self.items.contains(&Item::MonthName) || hour && half {
            return Err("has a part twice".into());
        }
        if day != month || years == 1 && !day {
            return Err("needs day and month, or neither of them and no year".into());
        }
        if any_time && !hour && !half {
            return Err("has minutes or seconds and no hour".into());
        }
        if !day && !hour && !half {
            return Err("has neither a day nor an hour".into());
        }
        if half != self.items.contains(&Item::HalfDay) {
            return Err("needs %p with %I, and %I with %p".into());
        }
        Ok(())
    }

    /// Reads a cell that has this form from end to end.
    ///
    /// # Errors
    /// `Form` where the cell has another form, else what is wrong with its value.
    pub fn read(&self, cell: &str, calendar: &Calendar) -> Result<Moment, Fault> {
        let fixed = self.fixed.as_ref().and_then(|form| Found::at_places(form, cell));
        let (mut found, rest, items) = match fixed {
            Some((found, rest)) => (found, rest, &self.items[self.fixed.as_ref().map_or(0, FixedForm::items)..]),
            None => (Found { second: Some(0), ..Found::default() }, cell, &self.items[..]),
        };
        let mut rest = rest;
        for item in items {
            rest = found.take(item, rest, calendar)?;
        }
        if !rest.is_empty() {
            return Err(Fault::Form);
        }
        if self.ends_in_z() && found.zone.is_none() {
            found.zone = Some(Zone::UTC);
        }
        found.moment(calendar)
    }
}

/// The numbers of a cell.
#[derive(Default)]
struct Found {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    hour: u32,
    minute: u32,
    second: Option<u32>,
    microseconds: u32,
    afternoon: Option<bool>,
    weekday: Option<Weekday>,
    zone: Option<Zone>,
}

impl Found {
    /// Reads the parts that stand at fixed places, and returns what follows them; `None` if one of them does not.
    fn at_places<'c>(form: &FixedForm, cell: &'c str) -> Option<(Self, &'c str)> {
        let digits = form.digits(cell.as_bytes())?;
        let mut found = Self { second: Some(0), ..Self::default() };
        for (part, at) in form.parts() {
            let two = |at: usize| u32::from(digits[at] - b'0') * 10 + u32::from(digits[at + 1] - b'0');
            match part {
                Part::Year => found.year = i32::try_from(two(*at) * 100 + two(*at + 2)).ok(),
                Part::Of(field) => found.set(*field, two(*at)),
            }
        }
        Some((found, &cell[digits.len()..]))
    }

    fn set(&mut self, field: Field, value: u32) {
        match field {
            Field::Month => self.month = Some(value),
            Field::Day => self.day = Some(value),
            Field::Hour | Field::Hour12 => self.hour = value,
            Field::Minute => self.minute = value,
            Field::Second => self.second = Some(value),
        }
    }

    /// Reads one item off the front of `text`, and returns what follows it.
    fn take<'c>(&mut self, item: &Item, text: &'c str, calendar: &Calendar) -> Result<&'c str, Fault> {
        match item {
            Item::Literal(literal) => text.strip_prefix(literal.as_str()).ok_or(Fault::Form),
            Item::Year => {
                let (year, rest) = number(text, 4, 4)?;
                self.year = i32::try_from(year).ok();
                Ok(rest)
            }
            Item::ShortYear => {
                let (year, rest) = number(text, 2, 2)?;
                let year = i32::try_from(year).map_err(|_| Fault::Form)?;
                self.year = calendar.pivot.map(|last| last - (last - year).rem_euclid(100));
                Ok(rest)
            }
            Item::Two(field, width) => {
                let (value, rest) = number(text, if *width == Width::Two { 2 } else { 1 }, 2)?;
                self.set(*field, value);
                Ok(rest)
            }
            Item::MonthName => {
                let (month, rest) = match &calendar.months {
                    Some(names) => named(text, names.iter().map(String::as_str).zip(1..), usize::MAX),
                    None => named(text, MONTHS.into_iter().zip(1..), SHORT_NAME),
                }
                .ok_or(Fault::Form)?;
                self.month = Some(month);
                Ok(rest)
            }
            Item::WeekdayName => {
                let (weekday, rest) = named(text, WEEKDAYS.into_iter(), SHORT_NAME).ok_or(Fault::Form)?;
                self.weekday = Some(weekday);
                Ok(rest)
            }
            Item::HalfDay => {
                let halves = HALF_DAYS.into_iter();
                let (afternoon, rest) = named(text, halves, usize::MAX).ok_or(Fault::Form)?;
                self.afternoon = Some(afternoon);
                Ok(rest)
            }
            Item::Decimals(None) if !text.starts_with('.') => Ok(text),
            Item::Decimals(count) => self.decimals(text.strip_prefix('.').ok_or(Fault::Form)?, *count),
            Item::Digits(count) => self.decimals(text, Some(*count)),
            Item::Offset(colon) => {
                let (seconds, length) = offset_at(text.as_bytes(), *colon).ok_or(Fault::Form)?;
                self.zone = Some(Zone::Fixed(seconds));
                Ok(&text[length..])
            }
            Item::ZoneName => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-');
                // A colon stands between the hours and the minutes of an offset.
                let is_colon = |at: usize| {
                    let hours = text[..at].trim_end_matches(|c: char| c.is_ascii_digit());
                    text[at..].starts_with(':') && hours.len() < at && hours.ends_with(['+', '-'])
                };
                let mut ends = text.char_indices().filter(|(at, c)| !is_name(*c) && !is_colon(*at));
                let length = ends.next().map_or(text.len(), |(at, _)| at);
                self.zone = Some(Zone::of_cell(&text[..length]).ok_or(Fault::UnknownZone)?);
                Ok(&text[length..])
            }
        }
    }

    fn decimals<'c>(&mut self, text: &'c str, count: Option<usize>) -> Result<&'c str, Fault> {
        let there = text.bytes().take_while(u8::is_ascii_digit).count();
        let length = count.unwrap_or(there);
        if length == 0 || there < length {
            return Err(Fault::Form);
        }
        let (digits, rest) = text.split_at(length);
        let (kept, lost) = digits.split_at(length.min(6));
        if lost.bytes().any(|digit| digit != b'0') {
            return Err(Fault::TooFine);
        }
        self.microseconds = (kept.len()..6).fold(kept.parse().map_err(|_| Fault::Form)?, |number: u32, _| number * 10);
        Ok(rest)
    }

    fn moment(self, calendar: &Calendar) -> Result<Moment, Fault> {
        let hour = match self.afternoon {
            None => self.hour,
            Some(_) if self.hour == 0 || self.hour > 12 => return Err(Fault::NoSuchDate),
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let second = self.second.unwrap_or(0);
        let time = NaiveTime::from_hms_micro_opt(hour, self.minute, second, self.microseconds);
        let date = match (self.day, self.month) {
            (Some(day), Some(month)) => {
                let year = self.year.or_else(|| calendar.year.map(|statement| statement.of(month)));
                let year = year.filter(|year| (1..=9999).contains(year)).ok_or(Fault::NoSuchDate)?;
                Some(NaiveDate::from_ymd_opt(year, month, day).ok_or(Fault::NoSuchDate)?)
            }
            _ => None,
        };
        if date.zip(self.weekday).is_some_and(|(date, weekday)| date.weekday() != weekday) {
            return Err(Fault::Weekday);
        }
        Ok(Moment { date, time: time.ok_or(Fault::NoSuchDate)?, zone: self.zone })
    }
}

fn number(text: &str, least: usize, most: usize) -> Result<(u32, &str), Fault> {
    let bytes = text.as_bytes();
    let (mut value, mut length) = (0, 0);
    while length < most
        && let Some(byte) = bytes.get(length).filter(|byte| byte.is_ascii_digit())
    {
        value = value * 10 + u32::from(byte - b'0');
        length += 1;
    }
    if length < least { Err(Fault::Form) } else { Ok((value, &text[length..])) }
}

/// The value whose name `text` begins with, whatever its case. A name is either whole or its first `short` letters.
fn named<'c, 'n, T>(
    text: &'c str,
    names: impl Iterator<Item = (&'n str, T)> + Clone,
    short: usize,
) -> Option<(T, &'c str)> {
    let starts = |name: &str| {
        let mut rest = text.chars();
        let begins =
            name.chars().all(|letter| rest.next().is_some_and(|found| found.to_lowercase().eq(letter.to_lowercase())));
        begins.then_some(rest.as_str())
    };
    // The longest, so that "jun" does not hide "june", nor "maio" of another language "mai".
    let whole = names.clone().filter_map(|(name, value)| Some((name.len(), value, starts(name)?)));
    let short = names.filter_map(|(name, value)| Some((short, value, starts(name.get(..short)?)?)));
    whole.chain(short).max_by_key(|(length, ..)| *length).map(|(_, value, rest)| (value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar() -> Calendar {
        Calendar { pivot: Some(2068), months: None, year: None }
    }

    /// Reads a cell at fixed places and item by item, which must make no difference.
    fn read_by(form: &str, cell: &str, calendar: &Calendar) -> Result<Moment, Fault> {
        let form = TimeForm::parse(form).unwrap();
        let outcome = form.read(cell, calendar);
        assert_eq!(outcome, TimeForm { fixed: None, ..form }.read(cell, calendar), "{cell:?}");
        outcome
    }

    fn read(form: &str, cell: &str) -> Result<String, Fault> {
        let moment = read_by(form, cell, &calendar())?;
        let date = moment.date.map_or(String::new(), |date| date.to_string());
        let zone = moment.zone.map_or(String::new(), |zone| format!(" {zone:?}"));
        Ok(format!("{date} {}{zone}", moment.time).trim().to_owned())
    }

    #[test]
    fn a_cell_is_read_by_its_form() {
        for (form, cell, expected) in [
            ("%Y%m%d", "20250310", "2025-03-10 00:00:00"),
            ("%m/%d/%Y", "12/8/2025", "2025-12-08 00:00:00"),
            ("%d %b %Y", "28 Nov 2025", "2025-11-28 00:00:00"),
            ("%d %B %Y", "1 june 2025", "2025-06-01 00:00:00"),
            ("%d/%m/%y %H:%M:%S", "06/01/25 15:00:00", "2025-01-06 15:00:00"),
            ("%d.%m.%y", "31.12.69", "1969-12-31 00:00:00"),
            ("%Y%m%d-%H:%M:%S%.f", "20251222-09:31:00.366", "2025-12-22 09:31:00.366"),
            ("%H:%M:%S%.f", "11:16:32", "11:16:32"),
            ("%H%M%S%3f", "111632007", "11:16:32.007"),
            ("%I:%M %p", "12:05 AM", "00:05:00"),
            ("%I:%M%p", "1:05pm", "13:05:00"),
            ("%Y-%m-%d %H:%M:%S%:z", "2025-11-04 21:15:02-05:00", "2025-11-04 21:15:02 Fixed(-18000)"),
            ("%Y-%m-%dT%H:%M:%S%.fZ", "2025-03-03T09:31:05.299746Z", "2025-03-03 09:31:05.299746 Fixed(0)"),
            ("%a, %d %b %Y", "Fri, 28 Nov 2025", "2025-11-28 00:00:00"),
            ("%F %T", "2025-01-02 03:04:05", "2025-01-02 03:04:05"),
            ("%Y年%m月%d日", "2025年1月2日", "2025-01-02 00:00:00"),
        ] {
            assert_eq!(read(form, cell).as_deref(), Ok(expected), "{form} {cell}");
        }
    }

    #[test]
    fn a_cell_of_another_form_is_refused() {
        for (form, cell) in [
            ("%Y-%m-%d", "2025-1"),
            ("%Y-%m-%d", "2025-01-02 "),
            ("%Y-%m-%d", " 2025-01-02"),
            ("%Y-%m-%d", "25-01-02"),
            ("%Y-%m-%d", "２０２５-01-02"),
            ("%Y%m%d", "2025131"),
            ("%Y%m%d", "202501021"),
            ("%d %b %Y", "28 Nox 2025"),
            ("%H:%M:%S%.3f", "11:16:32"),
            ("%H:%M:%S%.3f", "11:16:32.0071"),
            ("%H:%M", "1:"),
            ("%Y-%m-%d %H:%M:%S%:z", "2025-11-04 21:15:02-0500"),
        ] {
            assert_eq!(read(form, cell), Err(Fault::Form), "{form} {cell}");
        }
    }

    #[test]
    fn a_value_that_does_not_exist_is_refused() {
        for (form, cell, fault) in [
            ("%d/%m/%Y", "31/02/2025", Fault::NoSuchDate),
            ("%d/%m/%Y", "12/13/2025", Fault::NoSuchDate),
            ("%d/%m/%Y", "01/01/0000", Fault::NoSuchDate),
            ("%H:%M:%S", "24:00:00", Fault::NoSuchDate),
            ("%H:%M:%S", "23:59:60", Fault::NoSuchDate),
            ("%I:%M %p", "13:00 PM", Fault::NoSuchDate),
            ("%I:%M %p", "0:30 AM", Fault::NoSuchDate),
            ("%a %d %b %Y", "Mon 28 Nov 2025", Fault::Weekday),
            ("%H:%M:%S%.f", "11:16:32.1234567", Fault::TooFine),
            ("%d/%m %H:%M", "01/02 10:00", Fault::NoSuchDate),
            ("%F %T %Z", "2025-01-01 10:00:00 XDT", Fault::UnknownZone),
        ] {
            assert_eq!(read(form, cell), Err(fault), "{form} {cell}");
        }
        assert_eq!(read("%H:%M:%S%.f", "11:16:32.123456000").as_deref(), Ok("11:16:32.123456"));
    }

    #[test]
    fn a_date_without_a_year_takes_that_of_its_statement() {
        let form = TimeForm::parse("%m/%d").unwrap();
        let year = Some(StatementYear { year: 2025, month: Some(1) });
        let date = |cell| form.read(cell, &Calendar { year, ..Calendar::default() }).unwrap().date.unwrap();
        assert_eq!((date("12/29").to_string(), date("01/02").to_string()), ("2024-12-29".into(), "2025-01-02".into()));
        let whole_year = Calendar { year: Some(StatementYear { year: 2025, month: None }), ..Calendar::default() };
        assert_eq!(form.read("12/29", &whole_year).unwrap().date.unwrap().to_string(), "2025-12-29");
        assert_eq!(form.read("02/29", &whole_year), Err(Fault::NoSuchDate));
    }

    #[test]
    fn months_have_the_names_that_the_source_declares() {
        let months = ["jan", "fév", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc"];
        let calendar = Calendar { months: Some(months.map(String::from).to_vec()), ..Calendar::default() };
        let form = TimeForm::parse("%d %b. %Y").unwrap();
        let date = |cell| form.read(cell, &calendar).map(|moment| moment.date.unwrap().to_string());
        assert_eq!(date("3 DÉC. 2025").as_deref(), Ok("2025-12-03"));
        assert_eq!(date("3 dec. 2025"), Err(Fault::Form));
    }

    #[test]
    fn a_form_that_cannot_be_read_is_refused() {
        for (form, why) in [
            ("%Q", "%Q, which is not a specifier"),
            ("%", "which is not a specifier"),
            ("%Y-%m", "needs day and month"),
            ("%Y %H", "needs day and month"),
            ("%d", "needs day and month"),
            ("text", "neither a day nor an hour"),
            ("%I:%M", "needs %p"),
            ("%H:%M %p", "needs %p"),
            ("%M:%S", "no hour"),
            ("%Y-%m-%d %d", "a part twice"),
            ("%m %b %d", "a part twice"),
            ("%y %Y-%m-%d", "a part twice"),
        ] {
            let message = TimeForm::parse(form).unwrap_err();
            assert!(message.contains(why), "{form}: {message}");
        }
    }

    #[test]
    fn forms_that_would_guess_day_and_month_are_known() {
        let guess = |one, other| {
            let (one, other) = (TimeForm::parse(one).unwrap(), TimeForm::parse(other).unwrap());
            assert_eq!(one.may_be_taken_for(&other, &calendar()), other.may_be_taken_for(&one, &calendar()));
            one.may_be_taken_for(&other, &calendar())
        };
        for (one, other) in [
            ("%d/%m/%Y", "%m/%d/%Y"),
            ("%-d/%-m/%Y", "%m/%d/%Y"),
            ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S%.f"),
            ("%y-%m-%d", "%d-%m-%y"),
            ("%d%m%y", "%y%m%d"),
        ] {
            assert!(guess(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("%d/%m/%Y", "%m-%d-%Y"),
            ("%d/%m/%Y", "%d/%m/%Y"),
            ("%d/%b/%Y", "%b/%d/%Y"),
            ("%Y%m%d", "%d%m%Y"),
            ("%H:%M", "%I:%M %p"),
            ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"),
            ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%.f"),
        ] {
            assert!(!guess(one, other), "{one} {other}");
        }
    }

    proptest! {
        /// Cells that are almost in a form: `read_by` compares the two ways to read them.
        #[test]
        fn fixed_places_make_no_difference(
            form in prop::sample::select(vec!["%Y%m%d %H:%M:%S", "%d.%m.%Y", "%-m/%-d/%Y%H", "%H:%M:%S%.f", "%Y-%m-%dZ"]),
            cell in "[0-9]{1,4}[-./]?[0-9]{1,4}[-./]?[0-9]{1,4}( [0-9]{2}:[0-9]{2}(:[0-9]{1,2})?)?Z?é?",
        ) {
            let _ = read_by(form, &cell, &Calendar::default());
        }

        /// What chrono prints by a form is read back by it.
        #[test]
        fn a_time_comes_back_from_every_form(
            seconds in -62_135_596_800_i64..253_402_300_799,
            micros in 0_u32..1_000_000,
            date in prop::sample::select(vec!["%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%-m/%-d/%Y", "%d %b %Y", "%A %e %B %Y"]),
            time in prop::sample::select(vec!["%H:%M:%S%.6f", "%H%M%S%6f", "%I:%M:%S%.6f %p", "%-H:%M:%S%.6f"]),
            between in prop::sample::select(vec![" ", "T", "-", "，"]),
        ) {
            let moment = DateTime::from_timestamp(seconds, micros * 1000).unwrap().naive_utc();
            let form = format!("{date}{between}{time}");
            // A blank pads the day that %e writes; a cell has it without.
            let cell = moment.format(&form).to_string().replace("  ", " ");
            let read = read_by(&form, &cell, &Calendar::default()).unwrap();
            prop_assert_eq!((read.date, read.time), (Some(moment.date()), moment.time()));
        }
    }
}
