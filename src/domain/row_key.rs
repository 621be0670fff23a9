//! The text by which the ledger knows the key of a row.
//!
//! A key of one column is its value as Postgres prints it. Of a key of several columns the values stand one after the other with a comma
//! between them, and a comma or a backslash in a value has a backslash before it.

/// The text of a key with these values.
pub fn joined<'v>(values: impl ExactSizeIterator<Item = &'v str>) -> String {
    if values.len() == 1 {
        return values.map(String::from).collect();
    }
    let values: Vec<String> = values.map(|value| value.replace('\\', r"\\").replace(',', r"\,")).collect();
    values.join(",")
}

/// The values of a key of so many columns; `None` if the text is not that of such a key.
#[must_use]
pub fn split(text: &str, columns: usize) -> Option<Vec<String>> {
    if columns == 1 {
        return Some(vec![text.to_owned()]);
    }
    let (mut values, mut rest) = (vec![String::new()], text.chars());
    while let Some(next) = rest.next() {
        match next {
            ',' => values.push(String::new()),
            '\\' => values.last_mut()?.push(rest.next().filter(|escaped| matches!(escaped, ',' | '\\'))?),
            _ => values.last_mut()?.push(next),
        }
    }
    (values.len() == columns).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_one_column_is_its_value() {
        for value in ["A1", "a,b", "\\", ""] {
            assert_eq!(joined([value].into_iter()), value);
            assert_eq!(split(value, 1), Some(vec![value.to_owned()]));
        }
    }

    #[test]
    fn keys_of_several_columns_have_different_texts_and_come_apart_again() {
        let values = ["", "a", ",", "\\", "\\,", ",,", "a,b", "b\\", "é"];
        let mut texts = std::collections::BTreeSet::new();
        for one in values {
            for two in values {
                let text = joined([one, two].into_iter());
                assert_eq!(split(&text, 2), Some(vec![one.to_owned(), two.to_owned()]), "{text}");
                assert!(texts.insert(text));
            }
        }
    }

    #[test]
    fn what_no_key_is_printed_as_is_none() {
        for text in ["a", "a,b,c", "a\\", "a,\\b"] {
            assert_eq!(split(text, 2), None, "{text}");
        }
    }
}
