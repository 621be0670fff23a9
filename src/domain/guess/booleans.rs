//! Words for true and false.

/// Words that are never anything else, then those that are if both of them are there: a column of `NO` may name Norway.
const SURE: &[(&str, &str)] = &[
    ("true", "false"),
    ("True", "False"),
    ("TRUE", "FALSE"),
    ("Yes", "No"),
    ("yes", "no"),
    ("是", "否"),
    ("oui", "non"),
    ("Oui", "Non"),
    ("ja", "nein"),
    ("Ja", "Nein"),
    ("Sí", "No"),
    ("wahr", "falsch"),
];
const IF_BOTH: &[(&str, &str)] =
    &[("YES", "NO"), ("Y", "N"), ("y", "n"), ("T", "F"), ("t", "f"), ("J", "N"), ("WAHR", "FALSCH"), ("Si", "No")];

/// The words for true and false that all cells are.
pub(super) fn words(cells: &[&str]) -> Option<(&'static str, &'static str)> {
    let all = |(yes, no): &&(&str, &str)| cells.iter().all(|cell| cell == yes || cell == no);
    let both = |(yes, no): &&(&str, &str)| cells.contains(yes) && cells.contains(no);
    if cells.is_empty() {
        return None;
    }
    SURE.iter().find(all).or_else(|| IF_BOTH.iter().find(|pair| all(pair) && both(pair))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_word_only_with_its_opposite() {
        assert_eq!(words(&["True", "True"]), Some(("True", "False")));
        assert_eq!(words(&["No"]), Some(("Yes", "No")));
        assert_eq!((words(&["NO", "NO"]), words(&["NO", "YES"])), (None, Some(("YES", "NO"))));
        assert_eq!(
            (words(&["Y", "N"]), words(&["Y"]), words(&["Yes", "maybe"]), words(&[])),
            (Some(("Y", "N")), None, None, None)
        );
    }
}
