//! Cells at fixed places: the columns of characters that are blank in every line lie between them.

use super::sample::{Record, SampleCell};
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::layout::is_drawn;

/// Where a cell stands, in characters from 0; the end is the first that is not in it.
pub type At = (usize, usize);

/// The places of the cells of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPlaces {
    /// The places, one after the other.
    pub places: Vec<At>,
    /// Whether a blank stands between any two cells.
    pub apart: bool,
}

/// How many lines are needed to believe in columns.
const FEWEST_LINES: usize = 3;

/// The lines of a text that tell where its cells are.
struct Lines {
    /// Those with values.
    data: Vec<Vec<char>>,
    /// Those before them, which may name the columns.
    names: Vec<Vec<char>>,
    width: usize,
}

impl Lines {
    fn of(text: &str) -> Option<Self> {
        let all: Vec<Vec<char>> = lines(text)
            .filter(|line| !line.trim().is_empty() && !is_drawn(line))
            .map(|line| line.chars().collect())
            .collect();
        if all.len() < FEWEST_LINES || text.contains('\t') {
            return None;
        }
        let has_digit = |line: &Vec<char>| line.iter().any(char::is_ascii_digit);
        let width = all.iter().map(Vec::len).max().unwrap_or(0);
        let first = all.iter().position(has_digit).unwrap_or(0);
        let data: Vec<Vec<char>> = all[first..].iter().filter(|line| has_digit(line)).cloned().collect();
        // What names columns may reach over their edges, and does not tell where they are.
        let tells = data.len() >= FEWEST_LINES && first <= 2;
        Some(if tells {
            Self { data, names: all[..first].to_vec(), width }
        } else {
            Self { data: all, names: Vec::new(), width }
        })
    }

    fn is_blank(&self, at: usize) -> bool {
        self.data.iter().all(|line| line.get(at).is_none_or(|c| *c == ' '))
    }

    /// The runs of characters that are not blank in every line.
    fn runs(&self) -> Vec<At> {
        let mut runs = Vec::new();
        let mut start = None;
        for at in 0..=self.width {
            match (start, at == self.width || self.is_blank(at)) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    runs.push((from, at));
                    start = None;
                }
                _ => {}
            }
        }
        runs
    }

    /// Checks whether the cells of a column end at the same character, and begin at different ones.
    fn is_right_aligned(&self, (from, to): At) -> bool {
        let mut starts = std::collections::BTreeSet::new();
        let ends = self.data.iter().all(|line| {
            let cell = line.get(from..to.min(line.len())).unwrap_or_default();
            starts.extend(cell.iter().position(|c| *c != ' '));
            cell.iter().all(|c| *c == ' ') || cell.len() == to - from && cell.last() != Some(&' ')
        });
        ends && starts.len() > 1
    }

    /// Where one cell ends and the next one begins, between the characters that were seen of both: where the cell that grows has
    /// room, or else where no name is cut.
    fn boundary(&self, one: At, next: At) -> usize {
        let (end, start) = (one.1, next.0);
        let blank = |line: &Vec<char>, at: usize| line.get(at).is_none_or(|c| *c == ' ');
        let cuts_nothing =
            |at: &usize| self.names.iter().all(|line| *at == 0 || blank(line, at - 1) || blank(line, *at));
        let wanted = if self.is_right_aligned(next) { end } else { start };
        if cuts_nothing(&wanted) { wanted } else { (end..=start).find(cuts_nothing).unwrap_or(wanted) }
    }

    /// Puts together what blanks cut within the texts of one column: of two runs, the second has no name of its own.
    fn named_runs(&self, runs: Vec<At>) -> Vec<At> {
        if self.names.is_empty() {
            return runs;
        }
        let mut named = vec![false; runs.len()];
        for line in &self.names {
            let mut at = 0;
            for word in line.split(|c| *c == ' ') {
                let (from, to) = (at, at + word.len());
                at = to + 1;
                if word.is_empty() {
                    continue;
                }
                let common = |run: &At| run.1.min(to).saturating_sub(run.0.max(from));
                let apart = |run: &At| from.saturating_sub(run.1).max(run.0.saturating_sub(to));
                let nearest =
                    (0..runs.len()).min_by_key(|nth| (std::cmp::Reverse(common(&runs[*nth])), apart(&runs[*nth])));
                named[nearest.unwrap_or(0)] = true;
            }
        }
        let mut joined: Vec<At> = Vec::new();
        for (run, is_named) in runs.into_iter().zip(named) {
            match joined.last_mut() {
                Some(last) if !is_named => last.1 = run.1,
                _ => joined.push(run),
            }
        }
        joined
    }
}

/// Finds the places of cells in a text whose lines have no delimiter.
#[must_use]
pub fn find_places(text: &str) -> Option<FoundPlaces> {
    let lines = Lines::of(text)?;
    let runs = lines.named_runs(lines.runs());
    // Where blanks stand between cells, letters beside digits are one cell.
    let apart = runs.len() > 1;
    let cut: Vec<Vec<At>> = runs.iter().map(|run| if apart { vec![*run] } else { split(&lines.data, *run) }).collect();
    let count: usize = cut.iter().map(Vec::len).sum();
    if count < 2 || runs.len() < 2 && lines.data.iter().any(|line| line.len() != lines.width) {
        return None;
    }
    let mut places: Vec<At> = Vec::new();
    for (nth, run) in cut.iter().enumerate() {
        // A cell of a run without blanks begins where the one before it ends.
        let begin = match nth {
            0 => runs[0].0,
            _ => lines.boundary(runs[nth - 1], runs[nth]),
        };
        let end = runs.get(nth + 1).map_or(lines.width, |next| lines.boundary(runs[nth], *next));
        let last = run.len() - 1;
        places.extend(
            run.iter()
                .enumerate()
                .map(|(at, (from, to))| (if at == 0 { begin } else { *from }, if at == last { end } else { *to })),
        );
    }
    Some(FoundPlaces { places, apart })
}

impl FoundPlaces {
    /// Checks whether a text is cut at places rather than at this delimiter, which then is a part of its numbers or words.
    #[must_use]
    pub fn beat(&self, text: &str, delimiter: &str) -> bool {
        let all: Vec<&str> = lines(text).filter(|line| !line.trim().is_empty() && !is_drawn(line)).collect();
        if !self.apart || self.places.len() < 3 || all.first().is_none_or(|first| first.contains(delimiter)) {
            return false;
        }
        let has = all.iter().filter(|line| line.contains(delimiter)).count();
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let in_number = |line: &&str| {
            line.match_indices(delimiter).all(|(at, sign)| {
                digit(line[..at].chars().next_back()) && digit(line[at + sign.len()..].chars().next())
            })
        };
        has * 10 < all.len() * 7 || all.iter().all(in_number)
    }
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
        let found = find_places(text).unwrap();
        // Longer numbers grow to the left.
        assert_eq!((found.places.as_slice(), found.apart), (&[(0, 7), (7, 17), (17, 25)][..], true));
        assert_eq!(cut(text, &found.places)[1].cell(2), " 1234.00");
        assert_eq!(cut(text, &found.places).len(), 3);
        assert!(find_places("one text\nand another one\nof words alone here\n").is_none());
    }

    #[test]
    fn a_blank_in_a_name_is_not_the_end_of_a_column() {
        let text = "Account  Trade Date    Net Amount\n\
                    A-1      2025-01-02         12.50\n\
                    A-2      2025-01-03     12,345.00\n\
                    A-3      2025-01-04         -3.25\n";
        let found = find_places(text).unwrap();
        let records = cut(text, &found.places);
        let names: Vec<&str> = records[0].cells.iter().map(|cell| cell.text.trim()).collect();
        assert_eq!(names, ["Account", "Trade Date", "Net Amount"]);
        assert_eq!(records[2].cell(2).trim(), "12,345.00");
        assert!(found.beat(text, ",") && !found.beat("a,b c d\n1,2 3 4\n", ","));
    }
}
