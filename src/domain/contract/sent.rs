//! Plain cells in the form of a sender: what a source would read as exactly this value, or nothing.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeZone as _};

use super::Delivered;
use crate::domain::source::cell_form::{Cell, CellForm, Epoch, TimeRule, Value, Wanted, ZoneOf};
use crate::domain::source::number::{NumberForm, Percent};
use crate::domain::source::zone::Zone;

impl Delivered<'_> {
    /// A plain cell as the sender writes it; `None` if this cell alone does not tell the value. It is read back, so that an example is never
    /// one that would be rejected.
    #[must_use]
    pub fn sent(&self, plain: &str) -> Option<String> {
        let (Some(column), Some(form)) = (self.column, self.form) else { return Some(plain.to_owned()) };
        if form.year.is_some() || form.zone_header.is_some() {
            return None;
        }
        let form = &form.form;
        if plain.is_empty() {
            return form.null_values.first().cloned();
        }
        let sent = write(form, plain)?;
        let mut read = String::new();
        let same = form.write(Cell::text(&sent), None, &mut read) == Ok(true);
        let same = same && column.kind.canonical(&read) == column.kind.canonical(plain);
        match self.joined.filter(|_| same) {
            None => same.then_some(sent),
            // Joined cells have a blank between them.
            Some((place, of)) => {
                let parts: Vec<&str> = sent.split(' ').collect();
                parts.get(place).filter(|_| parts.len() == of).map(|part| (*part).to_owned())
            }
        }
    }
}

fn write(form: &CellForm, plain: &str) -> Option<String> {
    if form.part.is_some() {
        return None;
    }
    match &form.value {
        Value::Plain | Value::Json => Some(plain.to_owned()),
        Value::Number(number) => write_number(number, plain),
        Value::Unit(_) => None,
        Value::Time(rule) => rule.forms.iter().find_map(|form| write_time(rule, form.text(), plain)),
        Value::Epoch(epoch) => write_epoch(*epoch, plain),
        Value::Words(yes, no) => if plain == "true" { yes.first() } else { no.first() }.cloned(),
        Value::Map(map) => map.iter().filter(|(_, value)| *value == plain).map(|(sent, _)| sent.clone()).min(),
    }
}

fn write_number(form: &NumberForm, plain: &str) -> Option<String> {
    let sent = plain.replace('.', &form.decimal_mark.to_string());
    match form.percent {
        Some(Percent::Divide | Percent::Multiply) => None,
        Some(Percent::Keep) => Some(format!("{sent}%")),
        None => Some(sent),
    }
}

/// A plain date, time or moment.
fn moment(plain: &str) -> Option<NaiveDateTime> {
    let text = plain.trim_end_matches('Z');
    let date = || text.parse::<NaiveDate>().ok().map(|date| date.and_time(NaiveTime::MIN));
    let time = || text.parse::<NaiveTime>().ok().map(|time| NaiveDate::default().and_time(time));
    text.parse().ok().or_else(date).or_else(time)
}

fn write_time(rule: &TimeRule, form: &str, plain: &str) -> Option<String> {
    let moment = moment(plain)?;
    let zone = match rule.zone {
        ZoneOf::Source(zone) if rule.wanted == Wanted::Timestamp => zone,
        ZoneOf::Cell => return None,
        _ => Zone::UTC,
    };
    let offset = match zone {
        Zone::Fixed(seconds) => chrono::FixedOffset::east_opt(seconds)?,
        Zone::Named(zone) | Zone::Letters(zone, _) => zone.offset_from_utc_datetime(&moment).fix(),
    };
    let local = offset.from_utc_datetime(&moment);
    let mut sent = String::new();
    // A specifier that cannot be written is an error here.
    std::fmt::Write::write_fmt(&mut sent, format_args!("{}", local.format(form))).ok()?;
    Some(sent)
}

fn write_epoch(epoch: Epoch, plain: &str) -> Option<String> {
    let moment = moment(plain)?.and_utc();
    Some(
        match epoch {
            Epoch::Seconds => moment.timestamp(),
            Epoch::Milliseconds => moment.timestamp_millis(),
            Epoch::Microseconds => moment.timestamp_micros(),
            Epoch::Nanoseconds => DateTime::timestamp_nanos_opt(&moment)?,
        }
        .to_string(),
    )
}
