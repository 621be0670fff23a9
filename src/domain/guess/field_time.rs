//! A column of dates, times or moments.

use super::column::{Cells, is_zero};
use super::field::{ColumnOption, Field, FieldType};
use super::known_table::Table;
use super::moments::{Order, Reading, What};
use super::outside;
use super::question::Asked;
use super::toml_text;
use super::zones;

/// How a column of times says where they are.
pub(super) enum ZoneIs {
    /// Each cell tells.
    InCells,
    /// Something in the file tells: the zone, and what told it.
    Told(String, String),
    /// The column with this header tells.
    Column(String),
    /// A question, and its answer or what stands for one.
    Asked(Asked),
}

impl ZoneIs {
    /// The option for it, and whether the times are moments.
    pub(super) fn option(&self) -> (Option<ColumnOption>, bool) {
        match self {
            Self::InCells => (None, true),
            Self::Told(zone, _) => (Some(ColumnOption::new("zone", toml_text::text(zone))), true),
            Self::Column(header) => {
                (Some(ColumnOption::new("zone", format!("{{ header = {} }}", toml_text::text(header)))), true)
            }
            Self::Asked(asked) => {
                let zone = asked.answer.as_deref().unwrap_or("UTC");
                (Some(ColumnOption::asked("zone", toml_text::text(zone), asked)), zone != "none")
            }
        }
    }

    pub(super) fn evidence(&self) -> String {
        match self {
            Self::InCells => "each with its zone".into(),
            Self::Told(zone, by) => format!("in {zone}, as {by} says"),
            Self::Column(header) => format!("in the zone that column {header} names"),
            Self::Asked(asked) => match &asked.answer {
                Some(zone) => format!("in {zone}, by your answer"),
                None => "in a zone that the file does not tell".into(),
            },
        }
    }
}

/// Where the local times of a column are.
pub(super) fn zone_of(table: &Table<'_>, at: usize) -> ZoneIs {
    if let Some(told) = told_zone(table, at).filter(|_| !table.is_answered(at, "zone")) {
        return told;
    }
    let why = "the times are local, and neither cell nor header nor file tells their zone".to_owned();
    let offered = zones::OFFERED.iter().map(|zone| (*zone).to_owned()).collect();
    ZoneIs::Asked(table.ask(at, "zone", why, (table.examples(at), offered), zones::understood))
}

fn told_zone(table: &Table<'_>, at: usize) -> Option<ZoneIs> {
    let header = |at: usize| table.sent[at].header.as_deref();
    if let Some(zone) = header(at).and_then(zones::told) {
        return Some(ZoneIs::Told(zone, "the header".into()));
    }
    let names_zones = |other: &usize| {
        let found = &table.found[*other];
        matches!(found.cells, Cells::Zones) && found.there == found.rows && table.sent[*other].nth == 0
    };
    let named = (0..table.sent.len()).find(names_zones).and_then(header);
    if let Some(header) = named {
        return Some(ZoneIs::Column(table.clean.apply(header).trim().to_owned()));
    }
    let zone = table.preamble.iter().filter(|line| zones::is_of_times(line)).find_map(|line| zones::told(line))?;
    Some(ZoneIs::Told(zone, "a line before the table".into()))
}

pub(super) fn field(table: &Table<'_>, at: usize, readings: &[Reading], asked: &mut Vec<Asked>) -> Field {
    let (reading, mut evidence, order) = choose(table, at, readings);
    let what = if reading.midnight && !reading.zoned { What::Date } else { reading.what };
    let mut field = table.field(at, FieldType::Date, String::new());
    let question = order.as_ref().filter(|asked| asked.is_open()).map(|asked| asked.question.id.clone());
    let form = toml_text::one_or_list(&reading.forms);
    let plain = matches!((what, reading.forms.as_slice()), (What::Date, [form]) if form == "%Y-%m-%d")
        || matches!((what, reading.forms.as_slice()), (What::Time, [form]) if form == "%H:%M:%S" || form == "%H:%M:%S%.f");
    if !plain || question.is_some() {
        field.options.push(ColumnOption { name: "form", value: form, question });
    }
    field.form = Some(reading.forms.join(" or "));
    if let Some(months) = &reading.months {
        field.options.push(ColumnOption::new("months", toml_text::list(months)));
    }
    if reading.short_year {
        let century = century_question(table, at);
        let last = century.answer.clone().unwrap_or_else(|| "2099".into());
        field.options.push(ColumnOption::asked("pivot", last, &century));
        asked.push(century);
    }
    if reading.no_year {
        let (option, question) = outside::year(table, at);
        field.options.extend(option);
        asked.push(question);
    }
    let share = table.share(at);
    field.kind = match what {
        What::Date => FieldType::Date,
        What::Time => FieldType::Time,
        What::Moment => {
            let zone = if reading.zoned { ZoneIs::InCells } else { zone_of(table, at) };
            let (option, is_moment) = zone.option();
            field.options.extend(option);
            evidence.push(zone.evidence());
            if let ZoneIs::Asked(question) = zone {
                asked.push(question);
            }
            if is_moment { FieldType::Timestamp } else { FieldType::LocalTimestamp }
        }
    };
    if reading.midnight && !reading.zoned {
        evidence.push("every time of day is midnight".into());
    }
    let more = if evidence.is_empty() { String::new() } else { format!("; {}", evidence.join("; ")) };
    field.evidence = format!("{share} have this form{more}{}", table.others(at));
    asked.extend(order);
    field
}

/// One way to read the column, why, and the question if there are several.
fn choose(table: &Table<'_>, at: usize, readings: &[Reading]) -> (Reading, Vec<String>, Option<Asked>) {
    let first = readings[0].clone();
    if readings.len() == 1 {
        return (first, Vec::new(), None);
    }
    let with = |order: Order| readings.iter().find(|reading| reading.order == order).cloned();
    if let Some((order, name)) = table.convention.order(first.sign())
        && !table.is_answered(at, "day_month_order")
        && let Some(reading) = with(*order)
    {
        return (reading, vec![format!("column {name} decides which number is the day")], None);
    }
    let mut answers: Vec<String> = readings.iter().map(|reading| reading.order.name().to_owned()).collect();
    answers.dedup();
    let why = "no row decides which number is the day and which the month".to_owned();
    let known = answers.clone();
    let asked = table.ask(at, "day_month_order", why, (table.examples(at), answers), move |answer| {
        let order = Order::parse(answer)?.name().to_owned();
        known.contains(&order).then_some(order)
    });
    let chosen = asked.answer.as_deref().and_then(Order::parse).and_then(with);
    let evidence = chosen.iter().map(|_| "the order of day and month by your answer".to_owned()).collect();
    (chosen.unwrap_or(first), evidence, Some(asked))
}

fn century_question(table: &Table<'_>, at: usize) -> Asked {
    let why =
        "the years have two digits; the answer is their century, or the last year that two digits may mean".to_owned();
    table.ask(at, "century", why, (table.examples(at), vec!["20".into(), "19".into()]), |answer| {
        let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
        let number: i32 = digits.parse().ok()?;
        match (digits.len(), number) {
            (2, _) => Some(format!("{number}99")),
            (4, _) if number % 100 == 0 => Some(format!("{}99", number / 100)),
            (4, _) => Some(number.to_string()),
            (8, _) => digits.get(4..).map(str::to_owned),
            _ => None,
        }
    })
}

pub(super) fn workbook(table: &Table<'_>, at: usize, what: What, asked: &mut Vec<Asked>) -> Field {
    let share = table.share(at);
    let mut field = table.field(at, FieldType::Date, format!("{share} are true dates of the workbook"));
    match what {
        What::Date => {}
        What::Time => {
            field.kind = FieldType::Time;
            field.evidence = format!("{share} are true times of the workbook{}", table.others(at));
        }
        What::Moment => {
            let zone = zone_of(table, at);
            let (option, is_moment) = zone.option();
            field.options.extend(option);
            field.kind = if is_moment { FieldType::Timestamp } else { FieldType::LocalTimestamp };
            field.evidence = format!("{share} are true dates with times of the workbook; {}", zone.evidence());
            if let ZoneIs::Asked(question) = zone {
                asked.push(question);
            }
        }
    }
    field
}

/// A column of counted times. Whether 0 is the beginning of 1970 or no time at all is a question.
pub(super) fn epoch(table: &Table<'_>, at: usize, unit: &str, zeros: bool, asked: &mut Vec<Asked>) -> Field {
    let share = table.share(at);
    let what = match unit {
        "epoch_s" => "seconds",
        "epoch_ms" => "milliseconds",
        "epoch_us" => "microseconds",
        _ => "nanoseconds",
    };
    let mut field =
        table.field(at, FieldType::Timestamp, format!("{share} are {what} since 1970 that lie between 2000 and 2050"));
    field.options.push(ColumnOption::new("form", toml_text::text(unit)));
    field.form = Some(unit.to_owned());
    if zeros {
        let why =
            "some times are 0: either no time is there (null), or they mean the beginning of 1970 (epoch)".to_owned();
        let answers = vec!["null".to_owned(), "epoch".to_owned()];
        let question = table.ask(at, "zero_time", why, (vec!["0".into()], answers), |answer| {
            Some(answer.to_ascii_lowercase()).filter(|answer| ["null", "epoch"].contains(&answer.as_str()))
        });
        if question.answer.as_deref() != Some("epoch") {
            let values = table.found[at].values.iter().flatten();
            let mut own: Vec<&str> = values.map(String::as_str).filter(|value| is_zero(value)).collect();
            own.sort_unstable();
            own.dedup();
            field.options.retain(|option| option.name != "null_values");
            let nulls = table.nulls_with(own);
            field.options.push(ColumnOption::asked("null_values", nulls.value, &question));
            field.required = false;
        }
        asked.push(question);
    }
    field
}
