//! The name of a file, and the days and patterns in it.

use std::sync::LazyLock;

use regex::Regex;

/// A day in a name, with or without signs between its numbers.
pub(super) static DAY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[^\d])((?:19|20)\d{2}([-_.]?)(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01]))(?:$|[^\d])").ok()
});

/// What comes after the last slash of a key.
pub(super) fn file_name(key: &str) -> &str {
    key.rsplit(['/', '\\']).next().unwrap_or(key)
}

/// The text before a value as a pattern in which numbers may be others.
pub(super) fn general(text: &str) -> String {
    let mut pattern = String::new();
    let mut digits = false;
    for c in text.chars() {
        if c.is_ascii_digit() {
            if !digits {
                pattern.push_str(r"\d+");
            }
            digits = true;
            continue;
        }
        digits = false;
        pattern.push_str(&regex::escape(&c.to_string()));
    }
    pattern
}
