//! In which zone the times of a file are, where it tells.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::source::zone::Zone;

/// Zones that a question offers, besides all others.
pub(super) const OFFERED: &[&str] = &[
    "Asia/Shanghai",
    "Asia/Hong_Kong",
    "Asia/Tokyo",
    "Asia/Singapore",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Amsterdam",
    "Europe/Paris",
    "Europe/Warsaw",
    "Europe/Bucharest",
    "Europe/Moscow",
    "America/New_York",
    "America/Chicago",
    "America/Toronto",
    "UTC",
    "none",
];

static TOLD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[^A-Za-z0-9/])((?:UTC|GMT) ?[+-] ?\d{1,2}(?::?\d{2})?|UTC|GMT|(?:Africa|America|Asia|Atlantic|Australia|Europe|Pacific)/[A-Z][A-Za-z_]+)(?:$|[^A-Za-z0-9])").ok()
});

/// The zone that a header or a line before the table tells.
pub(super) fn told(text: &str) -> Option<String> {
    // `timestamp_utc` and `TimeUTC` tell it as well.
    let lower = text.to_ascii_lowercase();
    if !text.contains(' ') && (lower.ends_with("utc") || lower.starts_with("utc_")) {
        return Some("UTC".into());
    }
    if text.contains("北京时间") {
        return Some("Asia/Shanghai".into());
    }
    let found = TOLD
        .as_ref()?
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .map(|found| found.as_str().replace(' ', ""));
    // The longest says most: `UTC+08:00` is not UTC.
    let zone = found.max_by_key(String::len)?;
    Zone::parse(&zone).map(|_| plain(&zone))
}

/// `UTC+08:00` as `+08:00`, which reads better in a definition.
fn plain(zone: &str) -> String {
    match zone.strip_prefix("UTC").or_else(|| zone.strip_prefix("GMT")) {
        Some("") => "UTC".into(),
        Some(offset) => offset.to_owned(),
        None => zone.to_owned(),
    }
}

static MOMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d{4}|\d{1,2}[:.h]\d{2}").ok());

/// Whether a line before the table speaks of the times in it, and not of when and where the file was made. One that has a time itself may be the
/// latter.
pub(super) fn is_of_times(line: &str) -> bool {
    const OF_ZONES: &[&str] = &[
        "zone",
        "zones",
        "timezone",
        "timezones",
        "tz",
        "zeitzone",
        "tidszon",
        "fuseau",
        "fuso",
        "huso",
        "时区",
        "時區",
    ];
    const OF_TIMES: &[&str] = &["time", "times", "dates", "uhrzeit", "uhrzeiten", "zeiten", "时间", "時間"];
    const OF_FILES: &[&str] = &[
        "server",
        "generated",
        "created",
        "printed",
        "erstellt",
        "as",
        "导出",
        "打印",
        "生成",
        "下载",
        "制表",
        "匯出",
        "列印",
    ];
    let as_sent = line;
    let line = line.to_lowercase();
    let words: Vec<&str> = line.split(|letter: char| !letter.is_alphanumeric()).collect();
    // Chinese has no blanks between words.
    let has = |list: &[&str]| {
        list.iter().any(|word| if word.is_ascii() { words.contains(word) } else { line.contains(word) })
    };
    let has_moment = || {
        let rest = TOLD.as_ref().map_or(as_sent.into(), |zone| zone.replace_all(as_sent, " "));
        MOMENT.as_ref().is_some_and(|moment| moment.is_match(&rest))
    };
    !has(&["server"]) && has(OF_ZONES) || has(OF_TIMES) && !has(OF_FILES) && !has_moment()
}

/// Checks whether every cell names a zone. Letters such as `EST` also name shares and countries, unless the header speaks of zones.
pub(super) fn are_zones(header: &str, cells: &[&str]) -> bool {
    let header = header.to_lowercase();
    let of_zones =
        ["zone", "时区", "時區"].iter().any(|word| header.contains(word)) || ["tz", "utc"].contains(&header.as_str());
    let named = |cell: &&str| {
        (cell.contains('/')
            || matches!(*cell, "UTC" | "GMT")
            || of_zones && cell.bytes().all(|byte| byte.is_ascii_uppercase())
            || cell.starts_with(['+', '-']) && cell.contains(':'))
            && Zone::of_cell(cell).is_some()
    };
    !cells.is_empty() && cells.iter().all(named)
}

/// An answer to a question for a zone, as a definition has it.
pub(super) fn understood(answer: &str) -> Option<String> {
    let none = ["none", "local", "unknown"].contains(&answer.to_ascii_lowercase().as_str());
    if none {
        return Some("none".into());
    }
    Zone::parse(answer).map(|_| answer.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_told_by_a_header_or_a_line() {
        for (text, zone) in [
            ("4. 文中时间均为UTC+08:00时间", Some("+08:00")),
            ("Date(UTC)", Some("UTC")),
            ("Time (UTC+2)", Some("+2")),
            ("timestamp_utc", Some("UTC")),
            ("Trade time (America/New_York)", Some("America/New_York")),
            ("All times are GMT", Some("GMT")),
            ("Time", None),
            ("UTCB fund", None),
            ("Date/Time", None),
        ] {
            assert_eq!(
                told(text)
                    .map(|zone| if zone == "UTC" && text.contains("GMT") { "GMT".into() } else { zone })
                    .as_deref(),
                zone,
                "{text}"
            );
        }
    }

    #[test]
    fn cells_that_name_zones_are_all_zones() {
        assert!(are_zones("", &["Europe/Amsterdam", "UTC"]) && are_zones("TimeZone", &["PST", "PDT"]));
        assert!(!are_zones("Symbol", &["MET"]) && !are_zones("Country", &["EST"]));
        assert!(!are_zones("Zone", &["Europe/Amsterdam", "EUR"]) && !are_zones("", &[]) && !are_zones("", &["1/2"]));
        assert!(OFFERED.iter().all(|zone| understood(zone).is_some()) && understood("Europe/Nowhere").is_none());
    }
}
