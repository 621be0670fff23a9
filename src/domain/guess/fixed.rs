//! Cells at fixed places: the columns of characters that are blank in every line lie between them.

use super::sample::{Record, SampleCell};
use crate::domain::source::cell_form::CellKind;

/// Where a cell stands, in characters from 0; the end is the first that is not in it.
pub type At = (usize, usize);

/// How many lines are needed to believe in columns.
const FEWEST_LINES: usize = 3;

/// Finds the places of cells in a text whose lines have no delimiter.
#[must_use]
pub fn find_places(text: &str) -> Option<Vec<At>> {
    let lines: Vec<Vec<char>> = lines(text)
        .map(|line| line.chars().collect())
        .filter(|line: &Vec<char>| line.iter().any(|c| !c.is_whitespace()))
        .collect();
    if lines.len() < FEWEST_LINES || text.contains('\t') {
        return None;
    }
    let width = lines.iter().map(Vec::len).max().unwrap_or(0);
    let blank = |at: usize| lines.iter().all(|line| line.get(at).is_none_or(|c| *c == ' '));
    let mut places: Vec<At> = Vec::new();
    let mut start = None;
    for at in 0..=width {
        match (start, at == width || blank(at)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                places.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    let blanks = places.len() > 1;
    let places: Vec<At> = places.into_iter().flat_map(|place| split(&lines, place)).collect();
    if places.len() < 2 || !blanks && lines.iter().any(|line| line.len() != width) {
        return None;
    }
    // A cell reaches up to the next one, so that a longer value still fits.
    let next: Vec<usize> = places.iter().skip(1).map(|place| place.0).chain([width]).collect();
    Some(places.iter().zip(next).map(|(place, next)| (place.0, next)).collect())
}

/// Cuts a place where in every line letters follow digits, or digits letters.
fn split(lines: &[Vec<char>], (from, to): At) -> Vec<At> {
    let class = |line: &[char], at: usize| line.get(at).map(|c| (c.is_ascii_digit(), c.is_alphabetic()));
    let changes = |at: usize| {
        let pairs = lines.iter().map(|line| (class(line, at - 1), class(line, at)));
        let mut kinds: Vec<_> = pairs.collect();
        kinds.dedup();
        let plain = |kind: Option<(bool, bool)>| kind.is_some_and(|(digit, letter)| digit != letter);
        matches!(kinds.as_slice(), [(before, after)] if plain(*before) && plain(*after) && before != after)
    };
    // A single line of names among the values has no digits.
    let mut ends: Vec<usize> = (from + 1..to).filter(|at| changes(*at)).collect();
    ends.push(to);
    let starts = std::iter::once(from).chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

/// Cuts a text at these places.
#[must_use]
pub fn cut(text: &str, places: &[At]) -> Vec<Record> {
    let record = |(number, line): (i64, &str)| {
        let letters: Vec<char> = line.chars().collect();
        let cell = |(from, to): &At| {
            let text: String = letters.iter().skip(*from).take(to - from).collect();
            SampleCell { text, kind: CellKind::Text }
        };
        Record { line: number, cells: places.iter().map(cell).collect(), text: line.to_owned() }
    };
    let mut records: Vec<Record> = (1..).zip(lines(text)).map(record).collect();
    records.pop_if(|record| record.text.is_empty());
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lie_between_blank_columns() {
        let text = "600519 2025-01-02   12.50\n000001 2025-01-03 1234.00\n300861 2025-01-04    3.25\n";
        let places = find_places(text).unwrap();
        assert_eq!(places, [(0, 7), (7, 18), (18, 25)]);
        assert_eq!(cut(text, &places)[1].cell(2), "1234.00");
        assert_eq!(cut(text, &places).len(), 3);
        assert!(find_places("one text\nand another one\nof words alone here\n").is_none());
    }
}
