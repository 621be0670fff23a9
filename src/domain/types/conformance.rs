//! Tests of every registered type, on its samples and on cells that are almost values. A type is tested by being
//! registered.

use arrow::array::{Array as _, ArrayRef, StringArray};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::source::exact::{Exact, Unit};
use super::{Cells, ColumnType, Samples, Sum, TYPES};

/// Every type with its samples, with a name for messages.
fn all() -> Vec<(String, ColumnType, &'static Samples)> {
    let of = |registered: &'static super::Registration| {
        registered.samples.iter().map(|samples| {
            let kind = registered.kind(&toml::from_str(samples.options).unwrap()).unwrap();
            (format!("{} {}", registered.name, kind.name()), kind, samples)
        })
    };
    TYPES.iter().flat_map(|registered| of(registered)).collect()
}

fn read(kind: &ColumnType, cells: &[&str]) -> ArrayRef {
    kind.read(&StringArray::from(cells.to_vec()))
}

fn is_value(kind: &ColumnType, cell: &str) -> bool {
    read(kind, &[cell]).is_valid(0)
}

#[test]
fn every_type_has_samples_and_a_name_of_its_own() {
    for registered in TYPES {
        assert!(!registered.samples.is_empty(), "{}", registered.name);
        assert_eq!(TYPES.iter().filter(|other| other.name == registered.name).count(), 1, "{}", registered.name);
    }
    for (name, kind, samples) in all() {
        // The rule of a type must have the name of a type: a definition can then give that name to no other rule.
        assert!(TYPES.iter().any(|registered| registered.name == kind.rule()), "{name}");
        assert!(samples.values.len() > 1 && samples.values[0].1 != samples.values[1].1, "{name}");
    }
}

#[test]
fn a_value_is_printed_as_postgres_prints_it() {
    for (name, kind, samples) in all() {
        for (cell, stored) in samples.values {
            assert_eq!(kind.canonical(cell).as_deref(), Some(*stored), "{name}: {cell}");
            assert_eq!(
                (kind.key(cell).as_deref(), kind.key(stored).as_deref()),
                (Some(*stored), Some(*stored)),
                "{name}: {cell}"
            );
            assert!(!kind.can_be_compared() || kind.literal(cell).is_some(), "{name}: {cell}");
        }
    }
}

#[test]
fn a_cell_that_is_almost_a_value_is_refused_and_explained() {
    for (name, kind, samples) in all() {
        for cell in samples.others {
            assert!(!is_value(&kind, cell) && kind.canonical(cell).is_none(), "{name}: {cell}");
            assert!(kind.explain(cell).starts_with(&crate::domain::violation::quoted(cell)), "{name}: {cell}");
        }
    }
}

/// Whatever is done with a column, a null stays in its row, and each value is the same as it is alone.
#[test]
fn a_column_holds_what_its_cells_hold_one_by_one() {
    for (name, kind, samples) in all() {
        let values = samples.values.iter().map(|(cell, _)| Some(*cell));
        let cells: Vec<Option<&str>> = [None].into_iter().chain(values).chain([None]).collect();
        let column = kind.read(&StringArray::from(cells.clone()));
        assert_eq!(*column.data_type(), kind.arrow_type(), "{name}");
        let encoded = kind.encode(&column);
        let printed = [kind.print(&column), kind.print_stored(&column)];
        for (row, cell) in cells.iter().enumerate() {
            let Some(cell) = cell else {
                assert!(column.is_null(row) && encoded.is_null(row), "{name}");
                assert!(printed.iter().all(|texts| texts.is_null(row)), "{name}");
                continue;
            };
            let alone = read(&kind, &[cell]);
            assert_eq!(*column.slice(row, 1), *alone, "{name}: {cell}");
            assert_eq!(encoded.value(row), kind.encode(&alone).value(0), "{name}: {cell}");
            assert_eq!(*read(&kind, &[printed[0].value(row)]), *alone, "{name}: {cell}");
        }
        assert_ne!(encoded.value(1), encoded.value(2), "{name}");
    }
}

#[test]
fn values_written_to_a_parquet_file_are_read_back() {
    for (name, kind, samples) in all() {
        let cells: Vec<&str> = samples.values.iter().map(|(cell, _)| *cell).collect();
        let values = read(&kind, &cells);
        let lake = kind.to_lake(&values);
        assert_eq!(*lake.data_type(), kind.lake_type(), "{name}");
        assert!(kind.takes(lake.data_type()), "{name}");
        assert_eq!(*kind.read(&kind.cells(&lake).unwrap()), *values, "{name}");
    }
}

/// A cell similar to one of the samples: with other digits, and perhaps one more, one less, or one different character.
fn cell_like(samples: &'static Samples) -> impl Strategy<Value = String> {
    let known: Vec<&str> = samples.values.iter().map(|(cell, _)| *cell).chain(samples.others.iter().copied()).collect();
    let digits = prop::collection::vec(0..10_u32, 1..60);
    let noise = select(vec!["", "-", "+", ".", "e", "E", "_", " ", "0", ":", "T", "Z", "٣", "−", "\"", ",", "}", "a"]);
    (select(known), digits, any::<(bool, bool, Index)>(), noise).prop_map(
        |(cell, digits, (other, noisy, at), noise)| {
            let mut digits = digits.into_iter().cycle();
            let mut changed: Vec<String> = cell
                .chars()
                .map(|old| match digits.next().and_then(|digit| char::from_digit(digit, 10)) {
                    Some(new) if other && old.is_ascii_digit() => new.to_string(),
                    _ => old.to_string(),
                })
                .collect();
            if noisy && !changed.is_empty() {
                let at = at.index(changed.len());
                changed[at] = if other { noise.to_owned() } else { format!("{}{noise}", changed[at]) };
            }
            changed.concat()
        },
    )
}

/// A value of a type that was written in another form than a plain cell.
fn a_count() -> impl Strategy<Value = (Unit, i64, u8)> {
    let units = [Unit::One, Unit::Day, Unit::TimeOfDay, Unit::Instant, Unit::Local];
    // Days and moments of the years that a form reads, and numbers of up to 18 digits.
    let count = |unit| match unit {
        Unit::One => -10_i64.pow(18) + 1..10_i64.pow(18),
        Unit::Day => -719_162..2_932_897,
        Unit::TimeOfDay => 0..86_400_000_000,
        Unit::Instant | Unit::Local => -62_135_596_800_000_000..253_402_300_800_000_000,
    };
    (select(units.to_vec()), 0..19_u32, 0..10_u8).prop_flat_map(move |(unit, less, decimals)| {
        let decimals = if unit == Unit::One { decimals } else { 0 };
        count(unit).prop_map(move |count| {
            let count = if unit == Unit::One { count / 10_i64.pow(less.min(18)) } else { count };
            (unit, count, decimals)
        })
    })
}

proptest! {
    /// Whatever a column is filled with, it holds what its plain cells would be read as.
    #[test]
    fn a_count_is_the_value_of_its_plain_cell(
        (_, kind, _) in select(all()),
        first in a_count(),
        cells in prop::collection::vec(prop::option::of(prop::option::of(a_count())), 0..6),
        mixed in any::<bool>(),
    ) {
        let (mut column, mut plain, mut unread) = (Cells::default(), Vec::new(), 0);
        for cell in [Some(Some(first))].into_iter().chain(cells) {
            match cell {
                // In most columns all cells are alike.
                Some(Some((unit, count, decimals))) if mixed || unit == first.0 => {
                    let value = Exact::Counted { unit, count, decimals };
                    let mut text = String::new();
                    value.write(&mut text);
                    column.push(value);
                    plain.push(Some(text));
                }
                Some(None) if mixed => {
                    column.push_text("x");
                    plain.push(Some("x".to_owned()));
                }
                None if mixed => {
                    column.push_unread();
                    plain.push(None);
                    unread += 1;
                }
                _ => {
                    column.push_null();
                    plain.push(None);
                }
            }
        }
        let texts = StringArray::from(plain);
        let mut sums = kind.digits().map(|digits| (Sum::of(digits), Sum::of(digits)));
        let (values, bad) = column.read(&kind, sums.as_mut().map(|(sum, _)| sum));
        let expected = kind.read(&texts);
        prop_assert_eq!(&*values, &*expected);
        let is_bad = |row: &usize| texts.is_valid(*row) && expected.is_null(*row);
        prop_assert_eq!(bad, (0..texts.len()).filter(is_bad).collect::<Vec<_>>());
        if let Some((sum, mut other)) = sums {
            other.add(&texts, &expected);
            other.add_unread(unread);
            prop_assert_eq!(sum.total(), other.total());
        }
    }

    #[test]
    fn a_value_is_printed_as_a_cell_that_reads_as_the_same_value(
        (name, kind, cell) in select(all()).prop_flat_map(|(name, kind, samples)| (Just(name), Just(kind), cell_like(samples)))
    ) {
        let value = read(&kind, &[&cell]);
        if value.is_null(0) {
            prop_assert!(kind.canonical(&cell).is_none());
            prop_assert!(!kind.explain(&cell).is_empty());
        } else {
            let plain = kind.print(&value).value(0).to_owned();
            prop_assert_eq!(&*read(&kind, &[&plain]), &*value, "{}: {:?} as {:?}", name, cell, plain);
            prop_assert_eq!(kind.canonical(&plain), kind.canonical(&cell), "{}: {:?}", name, cell);
        }
    }
}
