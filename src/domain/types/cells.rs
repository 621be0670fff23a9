//! The cells of one column of a chunk, until they are read as values of its type.

use arrow::array::{Array, ArrayBuilder as _, ArrayRef, Int64Array, Int64Builder, StringArray, StringBuilder};

use super::super::source::exact::{Exact, Unit, push_counted};
use super::contract::ColumnType;
use super::sum::Sum;

/// Cells, row by row. As long as all of them count the same unit, none of them is spelled out.
#[derive(Default)]
pub struct Cells {
    state: State,
    texts: StringBuilder,
    counts: Int64Builder,
    decimals: Vec<u8>,
    /// How many of the nulls are cells that could not be read.
    unread: i64,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// There are only nulls, so many of them.
    #[default]
    Empty,
    Nulls(usize),
    Texts,
    Counts(Unit),
}

impl Cells {
    /// Adds a null.
    pub fn push_null(&mut self) {
        match self.state {
            State::Empty => self.state = State::Nulls(1),
            State::Nulls(nulls) => self.state = State::Nulls(nulls + 1),
            State::Texts => self.texts.append_null(),
            State::Counts(_) => {
                self.counts.append_null();
                self.decimals.push(0);
            }
        }
    }

    /// Adds a null for a cell that could not be read.
    pub fn push_unread(&mut self) {
        self.push_null();
        self.unread += 1;
    }

    /// Adds a plain cell.
    #[inline]
    pub fn push_text(&mut self, text: &str) {
        if self.state != State::Texts {
            self.spell_out();
        }
        self.texts.append_value(text);
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: Exact<'_>) {
        match value {
            Exact::Null => self.push_null(),
            Exact::Plain(text) => self.push_text(text),
            Exact::Counted { unit, count, decimals } => {
                if let State::Empty | State::Nulls(_) = self.state {
                    let nulls = self.nulls();
                    self.counts.append_nulls(nulls);
                    self.decimals.resize(nulls, 0);
                    self.state = State::Counts(unit);
                }
                if self.state == State::Counts(unit) {
                    self.counts.append_value(count);
                    self.decimals.push(decimals);
                } else {
                    let mut text = String::new();
                    push_counted(unit, count, decimals, &mut text);
                    self.push_text(&text);
                }
            }
        }
    }

    fn nulls(&self) -> usize {
        if let State::Nulls(nulls) = self.state { nulls } else { 0 }
    }

    /// Makes plain cells of all that there is.
    fn spell_out(&mut self) {
        match self.state {
            State::Texts => {}
            State::Empty | State::Nulls(_) => self.texts.append_nulls(self.nulls()),
            State::Counts(unit) => {
                let counts = self.counts.finish();
                self.append_counts(unit, &counts);
            }
        }
        self.state = State::Texts;
    }

    fn append_counts(&mut self, unit: Unit, counts: &Int64Array) {
        let mut text = String::new();
        for (count, decimals) in counts.iter().zip(std::mem::take(&mut self.decimals)) {
            text.clear();
            match count {
                None => self.texts.append_null(),
                Some(count) => {
                    push_counted(unit, count, decimals, &mut text);
                    self.texts.append_value(&text);
                }
            }
        }
    }

    /// Takes the cells out. Those that follow are expected to be like them.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let texts = StringBuilder::with_capacity(self.texts.len(), self.texts.values_slice().len());
        std::mem::replace(self, Self { texts, ..Self::default() })
    }

    /// Reads the cells as values of a type and adds them to `sum`. Also returns the rows whose cells are not values.
    ///
    /// Counts that are not values are spelled out, and read as any other cell.
    #[must_use]
    pub fn read(mut self, kind: &ColumnType, mut sum: Option<&mut Sum>) -> (ArrayRef, Vec<usize>) {
        if let Some(sum) = &mut sum {
            sum.add_unread(self.unread);
        }
        if let State::Counts(unit) = self.state {
            let counts = self.counts.finish();
            if let Some(values) = kind.of_counts(unit, &counts, &self.decimals) {
                if let Some(sum) = sum {
                    sum.add_values(&values);
                }
                return (values, Vec::new());
            }
            self.append_counts(unit, &counts);
            self.state = State::Texts;
        }
        self.spell_out();
        let cells = self.texts.finish();
        let values = kind.read(&cells);
        if let Some(sum) = sum {
            sum.add(&cells, &values);
        }
        let bad = rows_of(&cells, &values);
        (values, bad)
    }
}

/// The rows that have a cell and no value.
fn rows_of(cells: &StringArray, values: &dyn Array) -> Vec<usize> {
    if values.null_count() == cells.null_count() {
        return Vec::new();
    }
    (0..cells.len()).filter(|row| values.is_null(*row) && !cells.is_null(*row)).collect()
}
