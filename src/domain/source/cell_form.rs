//! From a sender's cell to the plain text of its column's type: exactly, or not at all.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDateTime, NaiveTime};
use regex::Regex;

use super::exact::Exact;
use super::fault::Fault;
use super::number::{NumberForm, Percent};
use super::time_form::{Calendar, Moment, TimeForm};
use super::zone::{Doubtful, Zone, offset_of};

/// A cell as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell<'a> {
    /// Its text: without quotes, and in UTF-8 whatever the file's encoding.
    pub text: &'a str,
    /// What it holds.
    pub kind: CellKind,
}

impl<'a> Cell<'a> {
    /// A cell of a text file.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self { text, kind: CellKind::Text }
    }
}

/// What a cell holds. Text files have cells of text alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CellKind {
    /// Text.
    #[default]
    Text,
    /// A number of a workbook, as plain digits with a point.
    Number,
    /// A date or time of a workbook, as `YYYY-MM-DDTHH:MM:SS.fff` or `HH:MM:SS.fff`.
    Moment,
    /// An error of a workbook.
    Error,
    /// No value, whatever the source says of nulls.
    Null,
    /// A number, true or false as JSON has them, or JSON that is kept as such. Marks of the sender's are not in it.
    Literal,
    /// A value of a file with types, as a plain cell of the dataset's column.
    Typed,
}

impl CellKind {
    const LETTERS: [(Self, char); 7] = [
        (Self::Text, 't'),
        (Self::Number, 'n'),
        (Self::Moment, 'd'),
        (Self::Error, 'e'),
        (Self::Null, 'z'),
        (Self::Literal, 'l'),
        (Self::Typed, 'y'),
    ];

    /// The letter by which a file of rejects tells it.
    #[must_use]
    pub fn letter(self) -> char {
        Self::LETTERS.iter().find(|(kind, _)| *kind == self).map_or('t', |(_, letter)| *letter)
    }

    /// What a letter tells.
    #[must_use]
    pub fn of_letter(letter: char) -> Self {
        Self::LETTERS.iter().find(|(_, known)| *known == letter).map_or(Self::Text, |(kind, _)| *kind)
    }
}

/// What stands around the value of each cell of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clean {
    /// White space at either end is taken off.
    pub trim: bool,
    /// `="600000"` is 600000.
    pub excel_text: bool,
    /// `'600000` and `'600000'` are 600000.
    pub apostrophes: bool,
}

impl Clean {
    /// The cell without what stands around its value.
    #[must_use]
    #[inline]
    pub fn apply<'c>(&self, cell: &'c str) -> &'c str {
        let trim = |cell: &'c str| if self.trim { cell.trim() } else { cell };
        let mut cell = trim(cell);
        if self.excel_text
            && let Some(inner) = cell.strip_prefix("=\"").and_then(|inner| inner.strip_suffix('"'))
            && !inner.contains('"')
        {
            cell = trim(inner);
        }
        if self.apostrophes
            && let Some(inner) = cell.strip_prefix('\'')
        {
            cell = trim(inner.strip_suffix('\'').unwrap_or(inner));
        }
        cell
    }
}

/// In which units time is counted from 1970 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds, with decimals if need be.
    Seconds,
    /// Thousandths.
    Milliseconds,
    /// Millionths.
    Microseconds,
    /// Billionths.
    Nanoseconds,
}

impl Epoch {
    /// The unit that a form such as `epoch_ms` names.
    #[must_use]
    pub fn parse(form: &str) -> Option<Self> {
        match form {
            "epoch_s" => Some(Self::Seconds),
            "epoch_ms" => Some(Self::Milliseconds),
            "epoch_us" => Some(Self::Microseconds),
            "epoch_ns" => Some(Self::Nanoseconds),
            _ => None,
        }
    }

    /// The form that names the unit.
    pub(in crate::domain) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "epoch_s",
            Self::Milliseconds => "epoch_ms",
            Self::Microseconds => "epoch_us",
            Self::Nanoseconds => "epoch_ns",
        }
    }

    /// The moment that the cell counts to, in UTC.
    fn read(self, cell: &str) -> Result<NaiveDateTime, Fault> {
        // Decimals of a microsecond that the unit has: its number is that many powers of ten smaller.
        let power = match self {
            Self::Seconds => 6,
            Self::Milliseconds => 3,
            Self::Microseconds => 0,
            Self::Nanoseconds => -3,
        };
        let (negative, digits) = cell.strip_prefix('-').map_or((false, cell), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').map_or((digits, "0"), |(whole, fraction)| (whole, fraction));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(Fault::Form);
        }
        let fraction = fraction.trim_end_matches('0');
        // So many digits hold every year up to 9999 in nanoseconds.
        if whole.len() > 21 {
            return Err(Fault::OutOfRange);
        }
        if fraction.len() > 12 {
            return Err(Fault::TooFine);
        }
        // In billionths of the unit's thousandth: 10^-12 of the unit.
        let number: i128 = format!("{whole}{fraction:0<12}").parse().map_err(|_| Fault::OutOfRange)?;
        let divisor = 10_i128.pow(u32::try_from(12 - power).map_err(|_| Fault::OutOfRange)?);
        if number % divisor != 0 {
            return Err(Fault::TooFine);
        }
        let micros = i64::try_from(number / divisor).map_err(|_| Fault::OutOfRange)?;
        let moment = DateTime::from_timestamp_micros(if negative { -micros } else { micros });
        Ok(moment.ok_or(Fault::OutOfRange)?.naive_utc())
    }
}

/// Where the local times of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneOf {
    /// All of them in one zone.
    Source(Zone),
    /// Each in the zone that another cell of its record names.
    Cell,
    /// The zone is unknown, and the column does not need one.
    None,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `YYYY-MM-DD`.
    Date,
    /// `HH:MM:SS.ffffff`.
    Time,
    /// A moment in UTC.
    Timestamp,
    /// Date and time of a clock, wherever it stands.
    LocalTimestamp,
}

/// How the dates or times of a column are written.
#[derive(Clone, Debug)]
pub struct TimeRule {
    /// Forms, tried in turn.
    pub forms: Vec<TimeForm>,
    /// Years and names of months.
    pub calendar: Calendar,
    /// What the column holds.
    pub wanted: Wanted,
    /// Where its local times are.
    pub zone: ZoneOf,
    /// Which times are meant that are not exactly one.
    pub doubtful: Doubtful,
}

impl TimeRule {
    #[inline]
    fn read(&self, cell: &str, zone: Option<&str>) -> Result<Exact<'static>, Fault> {
        let mut fault = Fault::Form;
        for form in &self.forms {
            match form.read(cell, &self.calendar) {
                Ok(moment) => return self.exact(moment, zone),
                Err(Fault::Form) => {}
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// Reads a true date or time.
    fn read_moment(&self, cell: &str, zone: Option<&str>) -> Result<Exact<'static>, Fault> {
        let form = if self.wanted == Wanted::Time { &CLOCK } else { &MOMENT };
        let form = form.as_ref().ok_or(Fault::Form)?;
        self.exact(form.read(cell, &self.calendar)?, zone)
    }

    #[inline]
    fn exact(&self, moment: Moment, zone: Option<&str>) -> Result<Exact<'static>, Fault> {
        let Moment { date, time, zone: own } = moment;
        let local = || date.map(|date| date.and_time(time)).ok_or(Fault::Form);
        match self.wanted {
            Wanted::Time if date.is_some() => Err(Fault::Form),
            Wanted::Time => Ok(Exact::time(time)),
            Wanted::Date if time != NaiveTime::MIN => Err(Fault::TimeOfDay),
            Wanted::Date => Exact::day(date.ok_or(Fault::Form)?),
            Wanted::LocalTimestamp => Exact::local(local()?),
            Wanted::Timestamp => {
                let zone = match (own, self.zone, zone) {
                    (Some(own), ..) => own,
                    (None, ZoneOf::Source(zone), _) => zone,
                    (None, ZoneOf::Cell, Some(name)) => Zone::of_cell(name).ok_or(Fault::UnknownZone)?,
                    (None, ..) => return Err(Fault::UnknownZone),
                };
                let local = local()?;
                Exact::instant(local, offset_of(local, zone, self.doubtful)?)
            }
        }
    }
}

/// The value of a cell.
#[derive(Clone, Debug)]
pub enum Value {
    /// As it stands: the plain form of the column's type.
    Plain,
    /// The same, and JSON.
    Json,
    /// A number.
    Number(Box<NumberForm>),
    /// The unit of a number.
    Unit(Box<NumberForm>),
    /// A date or time.
    Time(Box<TimeRule>),
    /// A time that is counted.
    Epoch(Epoch),
    /// Words for true, and words for false.
    Words(Vec<String>, Vec<String>),
    /// Values in the place of others.
    Map(BTreeMap<String, String>),
}

/// How the cells of a column are read.
#[derive(Clone, Debug)]
pub struct CellForm {
    /// What stands around each value.
    pub clean: Clean,
    /// Cells that have no value.
    pub null_values: Vec<String>,
    /// The part of a cell that counts: the first group of the pattern.
    pub part: Option<Regex>,
    /// How that is read.
    pub value: Value,
}

impl CellForm {
    /// Whether a cell has no value.
    #[must_use]
    pub fn is_null(&self, cell: Cell<'_>) -> bool {
        let text = self.clean.apply(cell.text);
        cell.kind == CellKind::Null || self.null_values.iter().any(|null| null == text)
    }

    /// Reads a cell; `zone` is the cell that names its zone. `scratch` is for a value that stands nowhere as it is.
    ///
    /// # Errors
    /// What is wrong with the cell.
    #[inline]
    pub fn read<'c>(&'c self, cell: Cell<'c>, zone: Option<&str>, scratch: &'c mut String) -> Result<Exact<'c>, Fault> {
        let mut text = self.clean.apply(cell.text);
        if self.null_values.iter().any(|null| null == text) {
            return Ok(Exact::Null);
        }
        if self.clean.excel_text && text.starts_with("=\"") {
            return Err(Fault::Formula);
        }
        match cell.kind {
            CellKind::Null => return Ok(Exact::Null),
            CellKind::Error => return Err(Fault::ErrorCell),
            _ => {}
        }
        if let Some(pattern) = &self.part {
            exactly_kept(Cell { text, ..cell })?;
            let found = pattern.captures(text).ok_or(Fault::NoMatch)?;
            text = found.get(found.len().min(2) - 1).ok_or(Fault::NoMatch)?.as_str();
            if text.is_empty() {
                return Ok(Exact::Null);
            }
        }
        self.value(Cell { text, kind: cell.kind }, zone, scratch)
    }

    /// Appends the plain form of `cell` to `out`; `zone` is the cell that names its zone. Returns whether there is a value.
    ///
    /// # Errors
    /// What is wrong with the cell; `out` is then as it was.
    pub fn write(&self, cell: Cell<'_>, zone: Option<&str>, out: &mut String) -> Result<bool, Fault> {
        Ok(self.read(cell, zone, &mut String::new())?.write(out))
    }

    #[inline]
    fn value<'c>(&'c self, cell: Cell<'c>, zone: Option<&str>, scratch: &'c mut String) -> Result<Exact<'c>, Fault> {
        let Cell { text, kind } = cell;
        match &self.value {
            Value::Map(map) => map.get(text).map(|value| Exact::Plain(value)).ok_or(Fault::Unmapped),
            Value::Plain | Value::Json => {
                if kind == CellKind::Number {
                    all_digits_kept(text)?;
                }
                Ok(Exact::Plain(text))
            }
            Value::Unit(_) if matches!(kind, CellKind::Number | CellKind::Literal | CellKind::Typed) => Ok(Exact::Null),
            // A number of a workbook, of JSON or of Parquet has no marks of its sender's.
            Value::Number(form) if matches!(kind, CellKind::Number | CellKind::Literal) => {
                if !form.double {
                    exactly_kept(cell)?;
                }
                let (exponent, whole) = (form.exponent && kind == CellKind::Literal, form.whole);
                // The percentages of a workbook are fractions.
                let percent = form.percent.filter(|percent| *percent == Percent::Multiply || kind != CellKind::Number);
                NumberForm { percent, exponent, whole, ..NumberForm::default() }.read(text, scratch)
            }
            _ if kind == CellKind::Typed => Ok(Exact::Plain(text)),
            Value::Number(form) => form.read(text, scratch),
            Value::Unit(form) => Ok(form.unit(text)?.map_or(Exact::Null, Exact::Plain)),
            Value::Time(rule) if kind == CellKind::Moment => rule.read_moment(text, zone),
            Value::Time(rule) => rule.read(text, zone),
            Value::Epoch(epoch) => {
                exactly_kept(cell)?;
                Exact::instant(epoch.read(text)?, 0)
            }
            Value::Words(..) if kind == CellKind::Literal && ["true", "false"].contains(&text) => {
                Ok(Exact::Plain(text))
            }
            Value::Words(yes, _) if yes.iter().any(|word| word == text) => Ok(Exact::Plain("true")),
            Value::Words(_, no) if no.iter().any(|word| word == text) => Ok(Exact::Plain("false")),
            Value::Words(..) => Err(Fault::Word),
        }
    }

    /// What the source says of the cells of the column, for messages.
    #[must_use]
    pub fn declared(&self, fault: Fault) -> String {
        if let (Fault::NoMatch, Some(pattern)) = (fault, &self.part) {
            return pattern.as_str().to_owned();
        }
        match &self.value {
            Value::Plain | Value::Json | Value::Map(_) => String::new(),
            Value::Number(form) | Value::Unit(form) => form.describe(),
            Value::Time(rule) => rule.forms.iter().map(TimeForm::text).collect::<Vec<_>>().join(" or "),
            Value::Epoch(epoch) => epoch.name().into(),
            Value::Words(yes, no) => {
                yes.iter().chain(no).map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// The first whole number that another one becomes in a double, as which a workbook keeps it.
const FIRST_LOST: u64 = 1 << 53;

/// Checks that a whole number of a workbook is the one that was written.
pub(super) fn exactly_kept(cell: Cell<'_>) -> Result<(), Fault> {
    let digits = cell.text.strip_prefix('-').unwrap_or(cell.text);
    let is_kept = || digits.contains('.') || digits.parse::<u64>().is_ok_and(|number| number < FIRST_LOST);
    if cell.kind != CellKind::Number || is_kept() { Ok(()) } else { Err(Fault::LostDigits) }
}

/// The character that replaces text which could not be read.
pub const UNREADABLE: &str = "\u{fffd}";

/// Whether a cell is known to say what was written there, whatever type it should have.
#[must_use]
pub fn is_exact(cell: Cell<'_>) -> bool {
    let is_lost = cell.kind == CellKind::Number && all_digits_kept(cell.text).is_err();
    !is_lost && cell.kind != CellKind::Error
}

/// A workbook keeps 15 digits of a number; a longer one is not what somebody wrote.
fn all_digits_kept(number: &str) -> Result<(), Fault> {
    let digits = number.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
    if digits > 15 { Err(Fault::LostDigits) } else { Ok(()) }
}

/// How true times, and dates with their time, are told.
static CLOCK: LazyLock<Option<TimeForm>> = LazyLock::new(|| TimeForm::parse("%H:%M:%S%.f").ok());
static MOMENT: LazyLock<Option<TimeForm>> = LazyLock::new(|| TimeForm::parse("%Y-%m-%dT%H:%M:%S%.f").ok());

#[cfg(test)]
mod tests;
