//! Names of members and files as patterns of those of other days.

use crate::domain::source::time_form::MONTHS;

/// A glob for the name, in which any number may stand for each number.
pub(super) fn general(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut pattern = String::new();
    let mut at = 0;
    while at < letters.len() {
        // A month before a number is a part of a date.
        let month = month_at(&letters, at).filter(|length| begins_number(&letters, at + length));
        if !letters[at].is_ascii_digit() && month.is_none() {
            pattern.push_str(&escaped(letters[at]));
            at += 1;
            continue;
        }
        // Further numbers and months of the date, with or without a sign between them.
        at += month.unwrap_or(0);
        while at < letters.len() {
            let sign = usize::from(is_between(letters[at]));
            let Some(length) = number_at(&letters, at + sign).or_else(|| month_at(&letters, at + sign)) else { break };
            at += sign + length;
        }
        pattern.push('*');
    }
    pattern
}

fn is_between(letter: char) -> bool {
    matches!(letter, '-' | '.' | '_')
}

/// How many digits stand there.
fn number_at(letters: &[char], at: usize) -> Option<usize> {
    let digits = letters.get(at..)?.iter().take_while(|letter| letter.is_ascii_digit()).count();
    (digits > 0).then_some(digits)
}

fn begins_number(letters: &[char], at: usize) -> bool {
    let sign = usize::from(letters.get(at).is_some_and(|letter| is_between(*letter)));
    number_at(letters, at + sign).is_some()
}

/// How many letters the name of a month has that stands there as a word.
fn month_at(letters: &[char], at: usize) -> Option<usize> {
    let is_inside = at.checked_sub(1).is_some_and(|before| letters[before].is_alphabetic());
    let word: String = letters.get(at..)?.iter().take_while(|letter| letter.is_alphabetic()).collect();
    let word = word.to_lowercase();
    let is_month = |month: &&str| word == **month || word.len() == 3 && month.starts_with(&word);
    (!is_inside && MONTHS.iter().any(is_month)).then_some(word.len())
}

/// A sign that means itself in a glob.
fn escaped(letter: char) -> String {
    if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
        format!("[{letter}]").replace("[\\]", "\\\\")
    } else {
        letter.to_string()
    }
}

/// Checks whether a member of an archive may hold a table.
pub(super) fn may_be_a_table(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let hidden = file.starts_with('.') || name.starts_with("__MACOSX");
    let other = ["pdf", "png", "jpg", "jpeg", "gif", "html", "htm", "xml", "md", "exe", "doc", "docx"];
    let extension = file.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_lowercase());
    !hidden && !file.is_empty() && !other.contains(&extension.as_str())
}

/// What a member is called without its folder, its numbers and its extension.
pub(super) fn label(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let label: String = stem.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    label.trim_matches(['_', '-', ' ', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_name_may_be_others() {
        for (name, pattern) in [
            ("trades_20251222.csv", "trades_*.csv"),
            ("transaktioner_2024-11-01_2025-04-30.csv", "transaktioner_*.csv"),
            ("0417/trades_20251222.csv", "*/trades_*.csv"),
            ("a[1].csv", "a[[]*[]].csv"),
            ("statement.csv", "statement.csv"),
            ("Positions_Jan-31-2025.csv", "Positions_*.csv"),
            ("Positions_31-Jan-2025.xlsx", "Positions_*.xlsx"),
            ("2025March_trades.csv", "*_trades.csv"),
            ("marketdata_may_be_2.csv", "marketdata_may_be_*.csv"),
        ] {
            assert_eq!(general(name), pattern, "{name}");
        }
        assert_eq!(label("0417/trades_20251222.csv"), "trades");
        assert!(may_be_a_table("a/b.csv") && !may_be_a_table("a/b.pdf") && !may_be_a_table("__MACOSX/a.csv"));
    }
}
