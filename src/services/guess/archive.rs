//! Names of members and files as patterns of those of other days.

/// A glob for the name, in which any number may stand for each number.
pub(super) fn general(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut pattern = String::new();
    let mut at = 0;
    while at < letters.len() {
        if !letters[at].is_ascii_digit() {
            pattern.push_str(&escaped(letters[at]));
            at += 1;
            continue;
        }
        // What stands between two numbers is a part of a date.
        while at < letters.len() {
            let between =
                matches!(letters[at], '-' | '.' | '_') && letters.get(at + 1).is_some_and(char::is_ascii_digit);
            if !letters[at].is_ascii_digit() && !between {
                break;
            }
            at += 1;
        }
        pattern.push('*');
    }
    pattern
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
        ] {
            assert_eq!(general(name), pattern, "{name}");
        }
        assert_eq!(label("0417/trades_20251222.csv"), "trades");
        assert!(may_be_a_table("a/b.csv") && !may_be_a_table("a/b.pdf") && !may_be_a_table("__MACOSX/a.csv"));
    }
}
