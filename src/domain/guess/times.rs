//! The forms that a date or a time may have, from one cell: every reading of its digits that makes sense.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::source::zone::Zone;

/// A pattern that a date begins with, and the forms that it may have.
struct DatePart {
    pattern: Regex,
    forms: Vec<String>,
}

fn texts(forms: &[String]) -> Vec<&str> {
    forms.iter().map(String::as_str).collect()
}

static DATES: LazyLock<Vec<DatePart>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |pattern: &str, forms: &[&str]| {
        // The patterns are constants, and a test compiles them all.
        if let Ok(pattern) = Regex::new(&format!("^(?:{pattern})")) {
            all.push(DatePart { pattern, forms: forms.iter().map(|form| (*form).to_owned()).collect() });
        }
    };
    add(r"\d{4}年\d{1,2}月\d{1,2}日", &["%Y年%m月%d日"]);
    add(r"\d{4}년 ?\d{1,2}월 ?\d{1,2}일", &["%Y년 %m월 %d일", "%Y년%m월%d일"]);
    add(r"\d{1,2}월 ?\d{1,2}일", &["%m월 %d일", "%m월%d일"]);
    add(r"\d{1,2}月\d{1,2}日", &["%m月%d日"]);
    for sign in ["-", "/", ".", " ", "_"] {
        let quoted = regex::escape(sign);
        add(&format!(r"\d{{4}}{quoted}\d{{1,2}}{quoted}\d{{1,2}}"), &[&format!("%Y{sign}%m{sign}%d")]);
        let day_first = format!("%d{sign}%m{sign}");
        let month_first = format!("%m{sign}%d{sign}");
        let pair = format!(r"\d{{1,2}}{quoted}\d{{1,2}}{quoted}");
        // With points the day comes first, wherever that is usual.
        let mut long = vec![format!("{day_first}%Y")];
        let mut short = vec![format!("{day_first}%y")];
        if sign != "." {
            long.push(format!("{month_first}%Y"));
            short.push(format!("{month_first}%y"));
        }
        short.push(format!("%y{sign}%m{sign}%d"));
        add(&format!(r"{pair}\d{{4}}"), &texts(&long));
        add(&format!(r"{pair}\d{{2}}(?:$|[^\d])"), &texts(&short));
        let name = r"[^\W\d_]{3,12}\.?";
        add(&format!(r"\d{{1,2}}{quoted}{name}{quoted}\d{{4}}"), &[&format!("%d{sign}%b{sign}%Y")]);
        add(&format!(r"\d{{1,2}}{quoted}{name}{quoted}\d{{2}}(?:$|[^\d])"), &[&format!("%d{sign}%b{sign}%y")]);
        add(&format!(r"\d{{4}}{quoted}{name}{quoted}\d{{1,2}}"), &[&format!("%Y{sign}%b{sign}%d")]);
        if sign != " " && sign != "_" {
            let end = if sign == "." { r"(?:$|[ T]|\.$|\. )" } else { r"(?:$|[ T])" };
            let mut forms = vec![format!("%d{sign}%m")];
            if sign != "." {
                forms.push(format!("%m{sign}%d"));
            }
            add(&format!(r"\d{{1,2}}{quoted}\d{{1,2}}{end}"), &texts(&forms));
        }
    }
    let name = r"[^\W\d_]{3,12}\.?";
    add(&format!(r"{name} \d{{1,2}}, ?\d{{4}}"), &["%b %d, %Y", "%b %d,%Y"]);
    add(&format!(r"{name} \d{{1,2}} \d{{4}}"), &["%b %d %Y"]);
    add(&format!(r"{name}-\d{{1,2}}-\d{{4}}"), &["%b-%d-%Y"]);
    add(&format!(r"{name}/\d{{1,2}}/\d{{4}}"), &["%b/%d/%Y"]);
    add(&format!(r"\d{{1,2}}\.? {name},? \d{{4}}"), &["%d. %b %Y", "%d %b, %Y", "%d %b. %Y", "%d. %b. %Y"]);
    add(&format!(r"\d{{1,2}}{name}\d{{4}}"), &["%d%b%Y"]);
    add(&format!(r"\d{{1,2}}{name}\d{{2}}(?:$|[^\d])"), &["%d%b%y"]);
    add(&format!(r"\d{{1,2}}[ -]{name}(?:$| \d\d:)"), &["%d %b", "%d-%b"]);
    add(&format!(r"{name} \d{{1,2}}(?:$| \d\d:)"), &["%b %d"]);
    add(r"\d{1,2} de [^\W\d_]{3,12} de \d{4}", &["%d de %b de %Y"]);
    add(r"\d{8}(?:$|[^\d]|\d{4}(?:$|[^\d])|\d{6}(?:$|[^\d])|\d{9}(?:$|[^\d]))", &["%Y%m%d"]);
    add(r"\d{2}\.\d{2}\.\d{4}\.", &["%d.%m.%Y."]);
    add(r"\d{4}\. ?\d{1,2}\. ?\d{1,2}\.?", &["%Y. %m. %d.", "%Y.%m.%d.", "%Y. %m. %d"]);
    all
});

static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?:(\d{1,2}):(\d{2})(?::(\d{2})(?:([.,:])(\d{1,9}))?)?( ?[AaPp][Mm])?|(\d{1,2})(时|時|시)( ?)(\d{1,2})(?:分|분)(?:( ?)(\d{1,2})(?:秒|초))?)").ok()
});
/// `오후 `, `午前`: half a day, in front of its time.
static HALF_DAY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(.*?)(?:오전|오후|午前|午後|上午|下午)( ?)$").ok());

/// All forms that a cell may have.
pub(super) fn forms_of(cell: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let mut push = |form: String| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    // Half a day in front of a time alone.
    let digits = cell.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    if HALF_DAY.as_ref().is_some_and(|half| half.is_match(&cell[..digits])) {
        for form in tails(cell, "") {
            push(form);
        }
    }
    for (time, rest) in time_forms(cell) {
        if let Some(zone) = zone_form(rest) {
            push(format!("{time}{zone}"));
        }
        // The time first, then the date.
        if let Some(after) = rest.strip_prefix([' ', ',']) {
            let after = after.trim_start();
            let between = &rest[..rest.len() - after.len()];
            for date in dates_that_are_all_of(after) {
                push(format!("{time}{between}{date}"));
            }
        }
    }
    let (weekday, dated) = weekday(cell);
    for part in DATES.iter().filter(|part| part.pattern.is_match(dated)) {
        for date in &part.forms {
            for (length, form) in ends_of(dated, date) {
                for tail in tails(&dated[length..], &form) {
                    push(format!("{weekday}{form}{tail}"));
                }
            }
        }
    }
    forms
}

fn dates_that_are_all_of(text: &str) -> Vec<String> {
    let whole = |part: &&DatePart| part.pattern.find(text).is_some_and(|found| found.end() == text.len());
    DATES.iter().filter(whole).flat_map(|part| part.forms.clone()).collect()
}

/// `Fri, 28 Nov 2025`: the form of the weekday, and what follows it.
fn weekday(cell: &str) -> (&'static str, &str) {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let lower = cell.to_ascii_lowercase();
    if !DAYS.iter().any(|day| lower.starts_with(day)) {
        return ("", cell);
    }
    let letters = cell.bytes().take_while(u8::is_ascii_alphabetic).count();
    match cell.get(letters..letters + 2) {
        Some(", ") => ("%a, ", &cell[letters + 2..]),
        _ if cell[letters..].starts_with(' ') => ("%a ", &cell[letters + 1..]),
        _ => ("", cell),
    }
}

/// Where a date of this form may end in the cell, by its digits: before what is neither digit nor part of the form.
fn ends_of(cell: &str, form: &str) -> Vec<(usize, String)> {
    let mut ends = Vec::new();
    if form == "%Y%m%d" {
        return vec![(8, form.to_owned())];
    }
    let mut at = 0;
    let mut items = form.chars().peekable();
    while let Some(item) = items.next() {
        let rest = &cell[at..];
        if item != '%' {
            let Some(next) = rest.strip_prefix(item) else { return ends };
            at = cell.len() - next.len();
            continue;
        }
        let kind = items.next().unwrap_or('%');
        let length = match kind {
            'b' => rest
                .char_indices()
                .take_while(|(_, c)| c.is_alphabetic())
                .map(|(at, c)| at + c.len_utf8())
                .last()
                .unwrap_or(0),
            'Y' => 4.min(rest.len()),
            _ => rest.bytes().take_while(u8::is_ascii_digit).count().min(2),
        };
        at += length;
        // An abbreviated name may end with a point.
        if kind == 'b' && cell[at..].starts_with('.') && items.peek() != Some(&'.') {
            let rest: String = items.clone().collect();
            let with_point = form.strip_suffix(&rest).map(|begin| format!("{begin}.{rest}"));
            if let Some(with_point) = with_point {
                ends.extend(ends_of(cell, &with_point));
            }
            return ends;
        }
    }
    if cell.is_char_boundary(at) {
        ends.push((at, form.to_owned()));
    }
    ends
}

/// What may follow a date: nothing, or something between, a time and a zone.
fn tails(rest: &str, date: &str) -> Vec<String> {
    if rest.is_empty() {
        return vec![String::new()];
    }
    let between_length = rest
        .char_indices()
        .take_while(|(_, c)| !c.is_ascii_digit())
        .map(|(at, c)| at + c.len_utf8())
        .last()
        .unwrap_or(0);
    let (between, time) = rest.split_at(between_length);
    if let Some(found) = HALF_DAY.as_ref().and_then(|half| half.captures(between)) {
        let group = |at: usize| found.get(at).map_or("", |group| group.as_str());
        let before = group(1);
        if !matches!(before.trim(), "" | "." | ",") {
            return Vec::new();
        }
        let with_half = time_forms(time).into_iter().filter(|(form, _)| form.starts_with("%H"));
        let with_half = with_half.filter_map(|(form, after)| {
            Some(format!("{before}%p{}{}{}", group(2), form.replacen("%H", "%I", 1), zone_form(after)?))
        });
        return with_half.collect();
    }
    if time.is_empty() {
        // A zone alone after a date says nothing of a date; a sign at its end is a part of the form.
        let sign = between.chars().count() == 1 && !between.starts_with(char::is_alphanumeric);
        return if sign { vec![between.to_owned()] } else { Vec::new() };
    }
    if !matches!(between.trim(), "" | "T" | "t" | "-" | "," | ":" | "_" | "/" | "at" | "|" | ", " | "." | "@" | ";")
        || between.contains('%')
    {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (form, after) in time_forms(time).into_iter().chain(compact_times(time, between.is_empty(), date)) {
        if let Some(zone) = zone_form(after) {
            all.push(format!("{between}{form}{zone}"));
        }
    }
    all
}

/// The forms of a time at the start of a text, with what follows each.
fn time_forms(text: &str) -> Vec<(String, &str)> {
    let Some(found) = TIME.as_ref().and_then(|time| time.captures(text)) else { return Vec::new() };
    let whole = found.get(0).map_or(0, |whole| whole.end());
    let rest = &text[whole..];
    if let Some(sign) = found.get(8) {
        let (minute, second) = if sign.as_str() == "시" { ("분", "초") } else { ("分", "秒") };
        let blank = |group: usize| found.get(group).map_or("", |blank| blank.as_str());
        let mut form = format!("%H{}{}%M{minute}", sign.as_str(), blank(9));
        if found.get(12).is_some() {
            form = format!("{form}{}%S{second}", blank(11));
        }
        return vec![(form, rest)];
    }
    let mut form = String::from("%M");
    if found.get(3).is_some() {
        form.push_str(":%S");
    }
    if let (Some(mark), Some(digits)) = (found.get(4), found.get(5)) {
        match (mark.as_str(), digits.len()) {
            (".", _) => form.push_str("%.f"),
            (sign, length @ (3 | 6 | 9)) => form = format!("{form}{sign}%{length}f"),
            _ => return Vec::new(),
        }
    }
    match found.get(6) {
        Some(half) if half.as_str().starts_with(' ') => vec![(format!("%I:{form} %p"), rest)],
        Some(_) => vec![(format!("%I:{form}%p"), rest)],
        None => vec![(format!("%H:{form}"), rest)],
    }
}

/// `093105`, `0931` and `093105366` after a date.
fn compact_times<'t>(text: &'t str, adjacent: bool, date: &str) -> Vec<(String, &'t str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let form = match digits {
        6 => "%H%M%S",
        4 => "%H%M",
        9 => "%H%M%S%3f",
        _ => return Vec::new(),
    };
    if adjacent && date != "%Y%m%d" {
        return Vec::new();
    }
    let rest = &text[digits..];
    if digits == 6 && rest.starts_with('.') {
        let length = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        return vec![(format!("{form}%.f"), &rest[1 + length..])];
    }
    vec![(form.to_owned(), rest)]
}

/// Abbreviations of zones that are not the same everywhere, or all year.
const ZONES: &[&str] = &[
    "ET", "CT", "MT", "PT", "CST", "CDT", "AKST", "AKDT", "HST", "AST", "ADT", "NST", "NDT", "BST", "IST", "WET",
    "WEST", "CET", "CEST", "MEZ", "MESZ", "EET", "EEST", "MSK", "TRT", "SAST", "GST", "PKT", "ICT", "WIB", "SGT",
    "MYT", "PHT", "HKT", "JST", "KST", "AWST", "ACST", "ACDT", "AEST", "AEDT", "NZST", "NZDT", "BRT", "ART", "CLT",
];

/// Abbreviations that one zone has in winter and in summer.
const OF_ONE_ZONE: &[&[&str]] = &[
    &["CET", "CEST", "MEZ", "MESZ"],
    &["WET", "WEST"],
    &["EET", "EEST"],
    &["CST", "CDT"],
    &["AKST", "AKDT"],
    &["AST", "ADT"],
    &["NST", "NDT"],
    &["ACST", "ACDT"],
    &["AEST", "AEDT"],
    &["NZST", "NZDT"],
];

/// Whether times of these forms can be in one zone. One answer cannot be true of `HKT` and `JST`.
pub(super) fn are_of_one_zone(forms: &[String]) -> bool {
    let mut zones = forms.iter().filter_map(|form| {
        let last = form.rsplit(|c: char| !c.is_ascii_uppercase()).next()?;
        ZONES.iter().find(|zone| **zone == last)
    });
    let Some(first) = zones.next() else { return true };
    let same = OF_ONE_ZONE.iter().find(|names| names.contains(first));
    zones.all(|zone| zone == first || same.is_some_and(|names| names.contains(zone)))
}

/// The form of the zone that follows a time; `None` if something else does.
fn zone_form(rest: &str) -> Option<String> {
    if rest.is_empty() {
        return Some(String::new());
    }
    let trimmed = rest.trim_start();
    let blanks = &rest[..rest.len() - trimmed.len()];
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    let zone = match trimmed {
        "Z" => "Z".to_owned(),
        _ if trimmed.starts_with(['+', '-']) && matches!(digits(trimmed), 2 | 4) => {
            if trimmed.contains(':') {
                "%:z".to_owned()
            } else {
                "%z".to_owned()
            }
        }
        _ if trimmed.starts_with('(') && trimmed.ends_with(')') => "(%Z)".to_owned(),
        _ if Zone::named_offsets().any(|name| name == trimmed)
            || trimmed.contains('/') && Zone::parse(trimmed).is_some()
            || (trimmed.starts_with("UTC") || trimmed.starts_with("GMT")) && Zone::parse(trimmed).is_some() =>
        {
            "%Z".to_owned()
        }
        // An abbreviation such as CST or BST is one of several zones: it is a part of the form, and its zone a question.
        _ if ZONES.contains(&trimmed) => trimmed.to_owned(),
        _ => return None,
    };
    Some(format!("{blanks}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::super::months::months;
    use super::*;
    use crate::domain::source::time_form::{Calendar, StatementYear, TimeForm};

    fn reads(cell: &str) -> Vec<String> {
        let calendar =
            |months| Calendar { pivot: Some(2068), months, year: Some(StatementYear { year: 2024, month: None }) };
        let reads = |form: &String| {
            let form = TimeForm::parse(form).unwrap_or_else(|message| panic!("{cell}: {message}"));
            months().any(|months| form.read(cell, &calendar(months)).is_ok())
        };
        forms_of(cell).into_iter().filter(reads).collect()
    }

    #[test]
    fn a_cell_has_the_form_that_it_was_written_in() {
        for (cell, form) in [
            ("2025-03-10", "%Y-%m-%d"),
            ("2025/3/10", "%Y/%m/%d"),
            ("20250310", "%Y%m%d"),
            ("20250310093105", "%Y%m%d%H%M%S"),
            ("20251222-09:31:00.366", "%Y%m%d-%H:%M:%S%.f"),
            ("20250310 093105", "%Y%m%d %H%M%S"),
            ("20250310;093105", "%Y%m%d;%H%M%S"),
            ("23.01.2025 00:08:32", "%d.%m.%Y %H:%M:%S"),
            ("28 Nov 2025", "%d %b %Y"),
            ("28-Nov-25", "%d-%b-%y"),
            ("Nov 28, 2025", "%b %d, %Y"),
            ("Nov 28, 2025 1:05 PM", "%b %d, %Y %I:%M %p"),
            ("Fri, 28 Nov 2025", "%a, %d %b %Y"),
            ("28. März 2025", "%d. %b %Y"),
            ("3 févr. 2025", "%d %b. %Y"),
            ("06/01/25 15:00:00", "%d/%m/%y %H:%M:%S"),
            ("2025-11-04 21:15:02-05:00", "%Y-%m-%d %H:%M:%S%:z"),
            ("2025-11-04 21:15:02 +0100", "%Y-%m-%d %H:%M:%S %z"),
            ("2025-11-04T21:15:02.123456Z", "%Y-%m-%dT%H:%M:%S%.fZ"),
            ("2025-11-04 21:15:02 UTC", "%Y-%m-%d %H:%M:%S %Z"),
            ("2025-11-04, 21:15:02", "%Y-%m-%d, %H:%M:%S"),
            ("2025.11.04 21:15:02", "%Y.%m.%d %H:%M:%S"),
            ("2025年1月2日 09:31", "%Y年%m月%d日 %H:%M"),
            ("12/27", "%m/%d"),
            ("27.12.", "%d.%m."),
            ("09:51", "%H:%M"),
            ("09:51:03.25", "%H:%M:%S%.f"),
            ("09:51:03,250", "%H:%M:%S,%3f"),
            ("1:05:00 PM", "%I:%M:%S %p"),
            ("2025-01-02 09:31:00:250", "%Y-%m-%d %H:%M:%S:%3f"),
            ("09:30 12/05/2025", "%H:%M %m/%d/%Y"),
            ("02JAN2025", "%d%b%Y"),
            ("Jan 5", "%b %d"),
            ("오후 1:05:00", "%p %I:%M:%S"),
            ("2025. 1. 2. 오후 1:05:00", "%Y. %m. %d. %p %I:%M:%S"),
            ("2025-01-02 오전 9:05", "%Y-%m-%d %p %I:%M"),
            ("2025年1月2日 午後1時05分", "%Y年%m月%d日 %p%I時%M分"),
            ("2025년 1월 2일 9시 5분 3초", "%Y년 %m월 %d일 %H시 %M분 %S초"),
            ("2025/01/02 下午 1:05:00", "%Y/%m/%d %p %I:%M:%S"),
            ("2025-01-02 09:30:00 EDT", "%Y-%m-%d %H:%M:%S %Z"),
            ("2025-01-02 09:30:00 CST", "%Y-%m-%d %H:%M:%S CST"),
        ] {
            assert!(reads(cell).contains(&form.to_owned()), "{cell}: {:?}", reads(cell));
        }
    }

    #[test]
    fn what_is_no_time_has_no_form() {
        for cell in ["12,50", "99/99/9999", "hello", "123456789", "12-3456-7", "", "T+2", "600519", "1/2/3/4"] {
            assert_eq!(reads(cell), Vec::<String>::new(), "{cell}");
        }
    }

    #[test]
    fn an_order_that_no_cell_decides_has_two_forms() {
        assert_eq!(reads("05/06/2025"), ["%d/%m/%Y", "%m/%d/%Y"]);
        assert_eq!(reads("05.06.2025"), ["%d.%m.%Y"]);
        // Every pattern compiles.
        assert_eq!(DATES.len(), 4 + 5 * 6 + 3 + 13);
    }
}
