//! The options of a source that say how dates and times are written, and where local times are.

use std::collections::BTreeSet;

use super::cell_form::{CellForm, Epoch, TimeRule, Value, Wanted, ZoneOf};
use super::columns::Columns;
use super::kind::{Kind, TargetColumn};
use super::model::{Named, Outside, YearFrom};
use super::schema::{FormatName, YearDefinition, YearOrigin};
use super::time_form::{Calendar, TimeForm};
use super::values::{Group, Several, Values, ZoneDefinition};
use super::zone::{Doubtful, Zone};
use crate::domain::spanned::Spanned;

impl Columns<'_> {
    pub(super) fn time_form(
        &self,
        target: &TargetColumn,
        values: &Values,
        time: &TimeOptions<'_>,
        at: &Spanned<impl Sized>,
    ) -> Result<(CellForm, Option<Named>), String> {
        if let Some(epoch) = self.epoch(target, time)? {
            if let Some(year) = &time.year {
                return Err(self.text.error(year, "a counted time has its year"));
            }
            if let Some((option, at)) = time.own.and_then(Values::first_time) {
                return Err(self.text.error(&at, format!("{option} says nothing of a counted time")));
            }
            return Ok((self.plain(values, Value::Epoch(epoch)), None));
        }
        let (zone, zone_header) = self.zone(values)?;
        let workbook = self.source.format == FormatName::Xlsx;
        let forms = match time.forms {
            Some(forms) => self.forms(forms)?,
            None if !workbook && (zone == ZoneOf::None || target.kind != Kind::Timestamp) => {
                if let Some(year) = &time.year {
                    return Err(self.text.error(year, "a year goes with a form that has none"));
                }
                let idle = time.own.and_then(|own| own.first_of(Group::Dates));
                if let Some((option, at)) = idle {
                    return Err(self.text.error(&at, format!("{option} goes with a form")));
                }
                return Ok((self.plain(values, Value::Plain), None));
            }
            None => plain_forms(target.kind).map_err(|message| self.text.error(at, message))?,
        };
        let calendar = Calendar {
            pivot: values.pivot.as_ref().map(|pivot| *pivot.get_ref()),
            months: values.months.as_ref().map(|months| months.get_ref().clone()),
            year: None,
        };
        if let Some(months) = values.months.as_ref() {
            let names: BTreeSet<String> = months.get_ref().iter().map(|name| name.to_lowercase()).collect();
            if names.len() != 12 || months.get_ref().len() != 12 {
                return Err(self.text.error(months, "months has twelve names, each of them once"));
            }
        }
        self.check_calendar(time, &forms)?;
        let at_forms = time.forms.map_or_else(|| at.span(), Spanned::span);
        let wanted = check_forms(target, &forms, &calendar, zone, time.year.is_some())
            .map_err(|message| self.text.error_at(at_forms.start, format!("column {:?}: {message}", target.name)))?;
        for (index, form) in forms.iter().enumerate() {
            if let Some(other) = forms[..index].iter().find(|other| other.may_be_taken_for(form, &calendar)) {
                let message = format!(
                    "forms {:?} and {:?} would guess which number is which: some cells can be read by both, as different times",
                    other.text(),
                    form.text()
                );
                return Err(self.text.error_at(at_forms.start, message));
            }
        }
        let doubtful = Doubtful {
            fold: values.fold.as_ref().map(|fold| *fold.get_ref()),
            gap: values.gap.as_ref().map(|gap| *gap.get_ref()),
        };
        let rule = TimeRule { forms, calendar, wanted, zone, doubtful };
        let zone_header = zone_header.filter(|_| target.kind == Kind::Timestamp);
        Ok((self.plain(values, Value::Time(Box::new(rule))), zone_header))
    }

    /// What a column says of its years and months must be of use to one of its forms.
    fn check_calendar(&self, time: &TimeOptions<'_>, forms: &[TimeForm]) -> Result<(), String> {
        let Some(own) = time.own else { return Ok(()) };
        if let Some(pivot) = own.pivot.as_ref().filter(|_| !forms.iter().any(|form| form.parts().short_year)) {
            return Err(self.text.error(pivot, "pivot goes with a form that has a year of two digits, %y"));
        }
        if let Some(months) = own.months.as_ref().filter(|_| !forms.iter().any(TimeForm::names_months)) {
            return Err(self.text.error(months, "months goes with a form that has the name of a month, %b or %B"));
        }
        Ok(())
    }

    fn epoch(&self, target: &TargetColumn, time: &TimeOptions<'_>) -> Result<Option<Epoch>, String> {
        let Some(forms) = time.forms else { return Ok(None) };
        let texts = forms.get_ref().to_vec();
        match texts.iter().find_map(|form| Epoch::parse(form)) {
            Some(_) if texts.len() > 1 => Err(self.text.error(forms, "a counted time goes with no other form")),
            Some(_) if target.kind != Kind::Timestamp => {
                Err(self.text.error(forms, format!("a counted time is a moment; column {:?} is not", target.name)))
            }
            found => Ok(found),
        }
    }

    fn forms(&self, forms: &Spanned<Several<String>>) -> Result<Vec<TimeForm>, String> {
        let parse = |form: &String| TimeForm::parse(form).map_err(|message| self.text.error(forms, message));
        let parsed = forms.get_ref().to_vec().iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if parsed.is_empty() {
            return Err(self.text.error(forms, "form lists no form"));
        }
        Ok(parsed)
    }

    fn zone(&self, values: &Values) -> Result<(ZoneOf, Option<Named>), String> {
        let Some(at) = &values.zone else { return Ok((ZoneOf::None, None)) };
        match at.get_ref() {
            ZoneDefinition::Named(name) if name == "none" => Ok((ZoneOf::None, None)),
            ZoneDefinition::Named(name) => {
                let zone = Zone::parse(name).ok_or_else(|| {
                    let names = "a name such as Europe/Paris, an offset such as +02:00, or \"none\"";
                    self.text.error(at, format!("unknown zone {name:?}; use {names}"))
                })?;
                Ok((ZoneOf::Source(zone), None))
            }
            ZoneDefinition::Cell(cell) => Ok((ZoneOf::Cell, Some(Named { names: cell.header.to_vec(), nth: None }))),
        }
    }

    /// What tells the year; `None` if it is the same for every file.
    pub(super) fn year(&self, year: &Spanned<YearDefinition>) -> Result<Option<YearFrom>, String> {
        let definition = match year.get_ref() {
            YearDefinition::Fixed(number) if (1000..=9999).contains(number) => return Ok(None),
            YearDefinition::Fixed(_) => return Err(self.text.error(year, "a year is a number from 1000 to 9999")),
            YearDefinition::Told(told) => told,
        };
        let pattern = regex::Regex::new(&definition.pattern)
            .map_err(|error| self.text.error(year, format!("{:?} is not a pattern: {error}", definition.pattern)))?;
        if !matches!(pattern.captures_len(), 2 | 3) {
            return Err(self
                .text
                .error(year, "the pattern of year has a group for the year, and one for the month if it is told"));
        }
        let origin = match definition.from {
            YearOrigin::Key => Outside::Key,
            YearOrigin::Preamble => Outside::Preamble,
            YearOrigin::Part => Outside::Part,
        };
        Ok(Some(YearFrom { origin, pattern }))
    }
}

/// Checks the forms against what the column holds, and says what that is.
fn check_forms(
    target: &TargetColumn,
    forms: &[TimeForm],
    calendar: &Calendar,
    zone: ZoneOf,
    has_year: bool,
) -> Result<Wanted, String> {
    let wanted = match target.kind {
        Kind::Date => Wanted::Date,
        Kind::Time => Wanted::Time,
        Kind::Timestamp => Wanted::Timestamp,
        _ => Wanted::LocalTimestamp,
    };
    for form in forms {
        let (parts, text) = (form.parts(), form.text());
        let (needs_date, needs_time) = (wanted != Wanted::Time, wanted == Wanted::Time);
        if parts.date != needs_date || needs_time && !parts.time {
            let what = if needs_time { "a time of day and no date" } else { "a date" };
            return Err(format!("form {text:?} does not have what the column holds: {what}"));
        }
        if needs_date && parts.year == has_year {
            let message = if has_year {
                "has a year, and year says where it is told"
            } else {
                "has no year; say with year where it is told"
            };
            return Err(format!("form {text:?} {message}"));
        }
        if parts.short_year && calendar.pivot.is_none() {
            return Err(format!(
                "form {text:?} has a year of two digits; say with pivot which is the last that they may mean"
            ));
        }
        match wanted {
            Wanted::Timestamp if zone == ZoneOf::None && !parts.zone => {
                return Err(format!(
                    "form {text:?} has no offset; say with zone where its times are: \"UTC\", or a name such as Europe/Paris"
                ));
            }
            Wanted::LocalTimestamp if parts.zone => {
                return Err(format!("form {text:?} has a zone, which a timestamp without time zone would lose"));
            }
            Wanted::Date | Wanted::Time if parts.zone => {
                return Err(format!("form {text:?} has a zone, which the column would lose"));
            }
            _ => {}
        }
    }
    if wanted == Wanted::LocalTimestamp && zone != ZoneOf::None {
        return Err("a timestamp without time zone needs zone = \"none\", or it would lose its zone".into());
    }
    Ok(wanted)
}

/// What a column says of its dates besides the options of values.
pub(super) struct TimeOptions<'a> {
    pub(super) forms: Option<&'a Spanned<Several<String>>>,
    pub(super) year: Option<Spanned<()>>,
    /// The options of the column itself, if it is declared.
    pub(super) own: Option<&'a Values>,
}

/// The plain forms of the contract, for times that are local or cells that may be true dates.
fn plain_forms(kind: Kind) -> Result<Vec<TimeForm>, String> {
    let forms: &[&str] = match kind {
        Kind::Date => &["%Y-%m-%d"],
        Kind::Time => &["%H:%M:%S%.f"],
        Kind::Timestamp => &["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ"],
        _ => &["%Y-%m-%dT%H:%M:%S%.f"],
    };
    forms.iter().map(|form| TimeForm::parse(form)).collect()
}
