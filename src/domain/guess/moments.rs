//! The form of a column of dates or times: the fewest forms that read every cell.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate, NaiveTime};

use super::months::months;
use super::times::{are_of_one_zone, forms_of};
use crate::domain::source::time_form::{Calendar, Moment, StatementYear, TimeForm};

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Date,
    Time,
    /// A date and a time.
    Moment,
}

/// The order of day, month and year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "they are called so")]
pub(super) enum Order {
    DayFirst,
    MonthFirst,
    YearFirst,
}

impl Order {
    /// Its name in answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DayFirst => "day_first",
            Self::MonthFirst => "month_first",
            Self::YearFirst => "year_first",
        }
    }

    /// The order that an answer means.
    pub(super) fn parse(answer: &str) -> Option<Self> {
        let answer = answer.to_ascii_lowercase().replace([' ', '-'], "_");
        let begins = |names: &[&str]| names.iter().any(|name| answer.starts_with(name));
        match () {
            () if begins(&["d", "%d", "%e"]) => Some(Self::DayFirst),
            () if begins(&["m", "%m", "us"]) => Some(Self::MonthFirst),
            () if begins(&["y", "%y"]) => Some(Self::YearFirst),
            () => None,
        }
    }

    fn of(form: &str) -> Self {
        let place = |items: &[&str]| items.iter().filter_map(|item| form.find(item)).min().unwrap_or(usize::MAX);
        let (day, month, year) = (place(&["%d"]), place(&["%m", "%b"]), place(&["%Y", "%y"]));
        match () {
            () if year < day && year < month => Self::YearFirst,
            () if month < day => Self::MonthFirst,
            () => Self::DayFirst,
        }
    }
}

/// A way to read a column.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that cells have or lack")]
pub(super) struct Reading {
    /// The forms, in the order in which they are tried.
    pub(super) forms: Vec<String>,
    /// What they read.
    pub(super) what: What,
    /// Which number of a date is which.
    pub(super) order: Order,
    /// Whether every cell tells its zone.
    pub(super) zoned: bool,
    /// Whether years have two digits.
    pub(super) short_year: bool,
    /// Whether there is no year.
    pub(super) no_year: bool,
    /// The names of months, if they are not English.
    pub(super) months: Option<Vec<String>>,
    /// Whether every time of day is midnight.
    pub(super) midnight: bool,
    years: (i32, i32),
}

impl Reading {
    /// `093105`: a time of day in six digits.
    pub(super) fn clock_digits() -> Self {
        Self {
            forms: vec!["%H%M%S".into()],
            what: What::Time,
            order: Order::DayFirst,
            zoned: false,
            short_year: false,
            no_year: false,
            months: None,
            midnight: false,
            years: (0, 0),
        }
    }

    /// The sign after the first number of its dates.
    pub(super) fn sign(&self) -> Option<char> {
        self.forms[0].strip_prefix('%')?.chars().nth(1)
    }
}

/// How many different cells are looked at for forms; all are read with them.
const MOST_LOOKED_AT: usize = 60;
/// How many forms a column may have.
const MOST_FORMS: usize = 3;

/// All ways to read a column; none if its cells are not dates or times.
pub(super) fn readings(cells: &[&str]) -> Vec<Reading> {
    let different: BTreeSet<&str> = cells.iter().copied().collect();
    let step = different.len().div_ceil(MOST_LOOKED_AT).max(1);
    let looked_at: Vec<&str> = different.iter().copied().step_by(step).collect();
    let mut forms: BTreeMap<String, usize> = BTreeMap::new();
    for (place, cell) in looked_at.iter().enumerate() {
        let own = forms_of(cell);
        if own.is_empty() {
            return Vec::new();
        }
        // A few cells suffice to show all forms that exist, except rare ones.
        for form in own {
            *forms.entry(form).or_insert(0) += 1;
        }
        if forms.len() > 200 || place > MOST_LOOKED_AT {
            break;
        }
    }
    let names = cells.iter().any(|cell| cell.chars().any(|c| c.is_alphabetic() && !matches!(c, 'T' | 'Z')));
    for months in months().take(if names { usize::MAX } else { 1 }) {
        let found = with_months(&different, &forms, months.as_ref());
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn with_months(cells: &BTreeSet<&str>, forms: &BTreeMap<String, usize>, months: Option<&Vec<String>>) -> Vec<Reading> {
    let year = Some(StatementYear { year: 2024, month: None });
    let calendar = Calendar { pivot: Some(2068), months: months.cloned(), year };
    let mut by_class: BTreeMap<(Order, bool, bool), Vec<(String, TimeForm)>> = BTreeMap::new();
    for form in forms.keys() {
        let Ok(parsed) = TimeForm::parse(form) else { continue };
        let parts = parsed.parts();
        let order = if parts.date { Order::of(form) } else { Order::DayFirst };
        by_class.entry((order, parts.date, parts.time)).or_default().push((form.clone(), parsed));
    }
    // Dates alone may stand among dates with a time.
    let mixed: Vec<_> = by_class.keys().filter(|(_, date, time)| *date && *time).copied().collect();
    for (order, ..) in mixed {
        let dates = by_class.get(&(order, true, false)).cloned().unwrap_or_default();
        if let Some(class) = by_class.get_mut(&(order, true, true)) {
            class.extend(dates);
        }
    }
    let read = by_class.into_values().filter_map(|class| cover(cells, class, &calendar, months));
    let all: Vec<Reading> = read.filter(|reading| are_of_one_zone(&reading.forms)).collect();
    plausible(all)
}

/// The fewest forms of a class that read all cells.
fn cover(
    cells: &BTreeSet<&str>,
    mut class: Vec<(String, TimeForm)>,
    calendar: &Calendar,
    months: Option<&Vec<String>>,
) -> Option<Reading> {
    let mut left: Vec<&str> = cells.iter().copied().collect();
    let mut chosen: Vec<String> = Vec::new();
    let mut moments: Vec<(Moment, bool, bool)> = Vec::new();
    while !left.is_empty() {
        if chosen.len() == MOST_FORMS {
            return None;
        }
        let reads = |form: &TimeForm| left.iter().filter(|cell| form.read(cell, calendar).is_ok()).count();
        let counts: Vec<usize> = class.iter().map(|(_, form)| reads(form)).collect();
        // Of forms that read as many cells, the one with decimals that may be missing, then the shortest.
        let rank = |at: &usize| (counts[*at], class[*at].0.contains("%.f"), std::cmp::Reverse(class[*at].0.len()));
        let best = (0..class.len()).max_by_key(rank).filter(|at| counts[*at] > 0)?;
        let (text, form) = class.remove(best);
        let parts = form.parts();
        left.retain(|cell| match form.read(cell, calendar) {
            Ok(moment) => {
                moments.push((moment, parts.short_year, parts.year));
                false
            }
            Err(_) => true,
        });
        chosen.push(text);
    }
    let dates: Vec<NaiveDate> = moments.iter().filter_map(|(moment, ..)| moment.date).collect();
    let times: Vec<NaiveTime> = moments.iter().map(|(moment, ..)| moment.time).collect();
    let parts: Vec<_> = chosen.iter().filter_map(|form| TimeForm::parse(form).ok()).map(|form| form.parts()).collect();
    let what = match (parts.iter().any(|parts| parts.date), parts.iter().any(|parts| parts.time)) {
        (true, true) => What::Moment,
        (true, false) => What::Date,
        (false, _) => What::Time,
    };
    let zoned = parts.iter().filter(|parts| parts.zone).count();
    if zoned > 0 && zoned < parts.len() {
        return None;
    }
    let years = dates.iter().map(Datelike::year);
    let short_year = parts.iter().any(|parts| parts.short_year);
    let no_year = what != What::Time && !parts.iter().any(|parts| parts.year);
    if what != What::Time && parts.iter().any(|parts| parts.year) != parts.iter().all(|parts| parts.year) {
        return None;
    }
    Some(Reading {
        order: if what == What::Time { Order::DayFirst } else { Order::of(&chosen[0]) },
        what,
        zoned: zoned > 0,
        short_year,
        no_year,
        months: months.cloned(),
        midnight: what == What::Moment && times.iter().all(|time| *time == NaiveTime::MIN),
        years: (years.clone().min().unwrap_or(0), years.max().unwrap_or(0)),
        forms: chosen,
    })
}

/// Leaves out what nobody means: years out of reach, and a year first that makes a period of decades out of days.
fn plausible(mut all: Vec<Reading>) -> Vec<Reading> {
    let in_reach = |reading: &Reading| {
        reading.what == What::Time || reading.no_year || reading.years.0 >= 1900 && reading.years.1 <= 2200
    };
    all.retain(in_reach);
    // Forms with a time say more than those without.
    let spread = |reading: &Reading| reading.years.1 - reading.years.0;
    let least = all.iter().filter(|reading| reading.short_year).map(spread).min();
    if let Some(least) = least {
        // Files of a few years are usual, and days that are all the same are not.
        let most = |reading: &Reading| least + if reading.order == Order::YearFirst { 1 } else { 5 };
        all.retain(|reading| !reading.short_year || spread(reading) <= most(reading));
    }
    let fewest = all.iter().map(|reading| reading.forms.len()).min().unwrap_or(0);
    all.retain(|reading| reading.forms.len() <= fewest);
    all
}

/// Whether digits alone are dates: every one exists and none is far away.
pub(super) fn are_compact_dates(cells: &[&str], hinted: bool) -> bool {
    let year = |cell: &&str| {
        cell.get(..4).and_then(|year| year.parse::<u32>().ok()).is_some_and(|year| (1980..=2060).contains(&year))
    };
    let different: BTreeSet<&&str> = cells.iter().collect();
    let compact = |cell: &&str| cell.len() >= 8 && cell.bytes().take(8).all(|byte| byte.is_ascii_digit());
    cells.iter().all(compact) && cells.iter().all(year) && (hinted || different.len() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(cells: &[&str]) -> Reading {
        let found = readings(cells);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn a_day_that_is_always_the_same_is_no_year() {
        for cells in [["01.02.23", "01.03.24", "01.12.25"], ["10/03/22", "10/03/23", "10/03/24"]] {
            assert!(readings(&cells).iter().any(|reading| reading.order == Order::DayFirst), "{cells:?}");
        }
    }

    #[test]
    fn a_cell_decides_the_order_for_its_column() {
        assert_eq!(one(&["03/04/2025", "13/04/2025"]).forms, ["%d/%m/%Y"]);
        assert_eq!(one(&["03/04/2025", "04/13/2025"]).forms, ["%m/%d/%Y"]);
        let orders: Vec<Order> = readings(&["03/04/2025", "05/06/2025"]).iter().map(|reading| reading.order).collect();
        assert_eq!(orders, [Order::DayFirst, Order::MonthFirst]);
        assert!(readings(&["13/04/2025", "04/13/2025"]).is_empty());
    }

    #[test]
    fn decimals_may_be_missing_and_forms_may_be_mixed() {
        assert_eq!(one(&["03:46:32.061", "11:16:32"]).forms, ["%H:%M:%S%.f"]);
        let mixed = one(&["2025-03-10 09:31:00", "2025-03-11"]);
        assert_eq!((mixed.forms.len(), mixed.what), (2, What::Moment));
    }

    #[test]
    fn a_year_of_two_digits_is_not_the_day() {
        let reading = one(&["06/01/25", "22/01/25", "28/01/25"]);
        assert_eq!((reading.forms.clone(), reading.short_year), (vec!["%d/%m/%y".to_owned()], true));
        assert_eq!(one(&["25/12/01", "25/12/22"]).order, Order::YearFirst);
    }

    #[test]
    fn zones_and_months_of_other_languages_are_read() {
        assert!(one(&["2025-11-04 21:15:02-05:00", "2025-10-30 10:46:51-04:00"]).zoned);
        assert_eq!(one(&["3 mai 2025", "4 déc. 2025"]).forms.len(), 2);
        assert!(one(&["12/27", "12/28"]).no_year);
        assert!(one(&["2025-03-10 00:00:00", "2025-03-11 00:00:00"]).midnight);
        assert!(readings(&["2025-03-10", "x"]).is_empty());
    }

    #[test]
    fn eight_digits_are_dates_only_if_all_are() {
        assert!(are_compact_dates(&["20250310", "20250311", "20250312"], false));
        assert!(!are_compact_dates(&["20250310"], false) && are_compact_dates(&["20250310"], true));
        assert!(!are_compact_dates(&["60110240", "20250311"], true));
    }
}
