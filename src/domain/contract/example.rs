//! Rows that a dataset might accept: the cells to try. Which rows it does accept the rules themselves decide.

use crate::domain::column::{Column, Constraint, Literal};
use crate::domain::dataset::Dataset;
use crate::domain::types::TYPES;

use regex_syntax::hir::{Class, Hir, HirKind};

/// How many rows are tried at most. They are combinations of the cells that each column would accept alone.
pub const TRIED: usize = 3000;

/// Cells for a column that are likely to keep its own rules; `place` is that of the column, so that not all begin alike.
#[must_use]
pub fn cells(column: &Column) -> Vec<String> {
    let constraint =
        |find: fn(&Constraint) -> Option<Vec<String>>| column.constraints.iter().find_map(|(one, _)| find(one));
    let allowed = constraint(|one| match one {
        Constraint::Allowed(values) => Some(values.iter().map(Literal::to_string).collect()),
        _ => None,
    });
    if let Some(allowed) = allowed {
        return allowed;
    }
    let pattern = constraint(|one| match one {
        Constraint::Pattern(pattern) => Some((0..4).filter_map(|nth| matching(pattern, nth)).collect()),
        _ => None,
    });
    let bounds = column.constraints.iter().filter_map(|(one, _)| match one {
        Constraint::Min(bound) | Constraint::Max(bound) | Constraint::Above(bound) | Constraint::Below(bound) => {
            Some(bound.to_string())
        }
        _ => None,
    });
    let plain = if column.kind.is_text() { texts(column) } else { samples(column) };
    let mut cells: Vec<String> = pattern.unwrap_or_default().into_iter().chain(plain).chain(bounds).collect();
    cells.retain(|cell| column.kind.canonical(cell).is_some());
    let mut seen = std::collections::BTreeSet::new();
    cells.retain(|cell| seen.insert(cell.clone()));
    cells
}

/// Texts that say which column they are of, and codes of six digits, which markets use.
fn texts(column: &Column) -> Vec<String> {
    let cut = |text: String| match column.max_length() {
        Some(most) => text.chars().take(most as usize).collect(),
        None => text,
    };
    let named = column.name.trim_end_matches("_id").trim_end_matches("_name").to_owned();
    ["1", "2", "3"]
        .iter()
        .map(|nth| cut(format!("{named}-{nth}")))
        .chain(["600000", "600519", "A1"].map(|text| cut(text.to_owned())))
        .collect()
}

/// Simple values of the type, the simplest first, then some of its samples.
fn samples(column: &Column) -> Vec<String> {
    let simple = ["1", "100", "2", "0", "15.5", "0.01", "1550"]
        .map(str::to_owned)
        .into_iter()
        .filter(|_| column.kind.digits().is_some() || column.kind.rule() == "double");
    let name = column.kind.name();
    let is_of = |name: &str, registered: &str| name.split('(').next() == Some(registered);
    let known =
        TYPES.iter().filter(|registered| is_of(&name, registered.name)).flat_map(|registered| registered.samples);
    let known = known.flat_map(|samples| samples.values.iter().take(2)).map(|(cell, _)| (*cell).to_owned());
    simple.chain(known).collect()
}

/// A text that a regular expression matches as a whole; `nth` varies it.
fn matching(pattern: &str, nth: usize) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    generate(&hir, nth, &mut text)?;
    let whole = regex::Regex::new(&format!("^(?:{pattern})$")).ok()?;
    whole.is_match(&text).then_some(text)
}

fn generate(hir: &Hir, nth: usize, out: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            let range = ranges.get(nth % ranges.len().max(1))?;
            let offset = u32::try_from(nth).ok()? % (u32::from(range.end()) - u32::from(range.start()) + 1);
            out.push(char::from_u32(u32::from(range.start()) + offset)?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repeated) => {
            let times = repeated.min.max(u32::from(repeated.max != Some(0)));
            for at in 0..times {
                generate(&repeated.sub, nth + at as usize, out)?;
            }
        }
        HirKind::Capture(capture) => generate(&capture.sub, nth, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| generate(part, nth, out))?,
        HirKind::Alternation(parts) => generate(parts.get(nth % parts.len().max(1))?, nth, out)?,
    }
    Some(())
}

/// Rows to try, in the order of the columns of files: every cell of `columns` at least once, then combinations. Keys differ.
#[must_use]
pub fn rows(dataset: &Dataset, columns: &[Vec<String>], count: usize) -> Vec<Vec<String>> {
    // A linear congruential generator: the same definition gives the same page.
    let mut state: u64 = 7;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    let is_key: Vec<bool> = dataset
        .file_columns()
        .iter()
        .map(|column| dataset.key.contains(&column.name) && column.kind.is_text())
        .collect();
    let row = |nth: usize| {
        let cell = |(at, cells): (usize, &Vec<String>)| {
            let chosen = if nth < 8 { nth % cells.len().max(1) } else { next(cells.len()) };
            let cell = cells.get(chosen).cloned().unwrap_or_default();
            if is_key[at] { numbered(&cell, nth) } else { cell }
        };
        columns.iter().enumerate().map(cell).collect()
    };
    (0..count).map(row).collect()
}

/// The same text with a number in the place of its last digits, so that keys differ.
fn numbered(cell: &str, nth: usize) -> String {
    let digits = cell.chars().rev().take_while(char::is_ascii_digit).count();
    let (head, tail) = cell.split_at(cell.len() - digits);
    let shown = format!("{nth:0digits$}");
    if shown.len() > tail.len().max(4) || digits == 0 { cell.to_owned() } else { format!("{head}{shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_that_the_pattern_matches() {
        for pattern in ["[0-9]{6}", "T[0-9]{8}[0-9]+", "(SH|SZ)\\.[A-Z]+", "[^ ]+", "\\d{2}-\\p{Lu}?", ""] {
            let made: Vec<Option<String>> = (0..4).map(|nth| matching(pattern, nth)).collect();
            assert!(made.iter().all(Option::is_some), "{pattern}: {made:?}");
        }
        assert_ne!(matching("[0-9]{6}", 0), matching("[0-9]{6}", 1));
        assert_eq!(matching("a\\bb", 0), None);
    }
}
