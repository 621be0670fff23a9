//! What units look like that stand behind numbers.

use regex::Regex;

/// A pattern for units. It matches the whole of one.
#[derive(Clone, Debug)]
pub struct UnitPattern {
    pattern: Regex,
    /// Whether it matches what a number may go on with as well, so that only what looks like a word is a unit.
    is_broad: bool,
}

/// What numbers may go on with: groups, decimals and signs.
const GOES_ON: [&str; 10] = [",234.50", ".234,50", "\u{2019}234", "000", " 000", "_000", "-", "\u{2212}", "–", "△"];

impl UnitPattern {
    /// Units that `pattern` matches, which is anchored at both ends.
    #[must_use]
    pub fn new(pattern: Regex) -> Self {
        let is_broad = GOES_ON.iter().any(|rest| pattern.is_match(rest));
        Self { pattern, is_broad }
    }

    /// Whether the text behind a number is a unit; `is_apart` if blanks stand between the two.
    #[must_use]
    pub fn matches(&self, text: &str, is_apart: bool) -> bool {
        let is_unit = if self.is_broad { is_word(text) && !is_power(text) } else { is_apart || !is_power(text) };
        self.pattern.is_match(text) && is_unit
    }

    /// The pattern as it is declared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.pattern.as_str()
    }
}

impl std::fmt::Display for UnitPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = if self.is_broad { ", and only words" } else { "" };
        write!(f, "{}{words}", self.pattern)
    }
}

/// Whether a text is a power of ten, or times a number, rather than a unit: `E5`, `e+10`, `x10`.
fn is_power(text: &str) -> bool {
    let rest = text.strip_prefix(['e', 'E', 'x', 'X']).map(|rest| rest.trim_start_matches(['+', '-', '^']));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a text is a word or an abbreviation, which may end in digits: `USD`, `(HK)`, `C98`, `m²`, `€/kWh`.
fn is_word(text: &str) -> bool {
    let is_currency = |c: char| matches!(c, '$' | '¢' | '£' | '¥' | '\u{20a0}'..='\u{20cf}' | '￥');
    let fits = |c: char| c.is_alphabetic() || c.is_ascii_digit() || is_currency(c) || "()[]. &/-_²³°".contains(c);
    let begins = text.starts_with(|c: char| c.is_alphabetic() || is_currency(c) || "([°".contains(c));
    // Digits behind a bracket or a sign of a currency are those of the number.
    let first = text.chars().find(|c| c.is_alphanumeric());
    begins && first.is_none_or(char::is_alphabetic) && text.chars().all(fits) && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broad_pattern_takes_words_alone_and_a_narrow_one_what_it_says() {
        let of = |pattern: &str| UnitPattern::new(Regex::new(&format!("^(?:{pattern})$")).unwrap());
        let parts = [
            ",234.50",
            ".234,50",
            "\u{2019}234.50",
            "٬234",
            "٫5",
            "，234",
            "·5",
            " 000",
            "-",
            "\u{2212}",
            "–",
            "△",
            "USD\u{2212}",
            "E5",
            "e+5",
            "E5USD",
            "x10",
            "x10^5",
            "×10",
            "(00)",
            "$00",
            "/8",
            ":30",
            ".0.0",
            "%",
            "_000",
            "#",
        ];
        for pattern in [r"\S+", r"\w+", "[A-Z0-9]+", r"[\s\S]+", "[A-Za-z][A-Za-z0-9]*"] {
            let pattern = of(pattern);
            for text in parts {
                assert!(!pattern.matches(text, false), "{} takes {text:?}", pattern.as_str());
            }
            assert!(pattern.matches("USD", false) && pattern.matches("C98", false), "{}", pattern.as_str());
            assert_ne!(
                pattern.matches("E10", true),
                pattern.is_broad,
                "{}: a blank stands before it",
                pattern.as_str()
            );
        }
        assert!(
            of(r"\S+").matches("(HK)", false) && of(r"\S+").matches("€", false) && of(r"\S+").matches("Stk.", false)
        );
        for unit in ["m²", "°C", "USD/t", "€/kWh", "元/股", "A-Shares", "BTC_USD"] {
            assert!(of(r"\D+").matches(unit, true) && of(r"\S+").matches(unit, false), "{unit}");
        }
        assert!(!of("[^0-9.,-]+").matches("%", false) && !of("[^0-9.,-]+").matches("\u{2212}", false));
        // A narrow one may look like an exponent only where it stands apart.
        for pattern in ["[A-Z0-9]{3}", "[A-Z0-9]{3,5}"] {
            assert!(!of(pattern).matches("000", true) && !of(pattern).matches("E10", true), "{pattern}");
        }
        for pattern in [r"[A-Z]\w{2,}", r"E\d+"] {
            assert!(!of(pattern).matches("E10", false) && of(pattern).matches("E10", true), "{pattern}");
        }
        for (pattern, texts) in [
            (r"%|bps|[A-Z]{3}", &["%", "bps", "USD"][..]),
            ("/[a-z]+", &["/kg"]),
            (r"\*|\*\*|#", &["*", "**", "#"]),
            (r"\d+Y|\d+M", &["10Y"]),
            (r"[A-Z]+\+", &["AB+"]),
            (r"\s?kg", &["kg", "\u{3000}kg"]),
            ("股|份", &["股"]),
        ] {
            assert!(texts.iter().all(|text| of(pattern).matches(text, false)), "{pattern}");
        }
    }
}
