//! The beginning of a form of dates and times in which every part has its own place: most cells are read there at once.

use super::time_items::{Field, Item};

/// The items of a form, up to the first whose length is not known.
#[derive(Clone, Debug)]
pub(super) struct FixedForm {
    /// The signs of a cell, each as the first of those that may stand there, and how many follow it: digits, and between them others.
    signs: Vec<(u8, u8)>,
    parts: Vec<(Part, usize)>,
    items: usize,
}

const DIGIT: (u8, u8) = (b'0', 9);

/// A number of a date or time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The year, of four digits.
    Year,
    /// Anything else, of two.
    Of(Field),
}

impl FixedForm {
    /// Returns the places of these items; `None` if the first one has none.
    pub(super) fn of(items: &[Item]) -> Option<Self> {
        let mut form = Self { signs: Vec::new(), parts: Vec::new(), items: 0 };
        for item in items {
            let at = form.signs.len();
            match item {
                Item::Literal(text) if text.is_ascii() => form.signs.extend(text.bytes().map(|sign| (sign, 0))),
                Item::Year => {
                    form.signs.extend([DIGIT; 4]);
                    form.parts.push((Part::Year, at));
                }
                // Where one digit would do, most cells have two, and the first of two is never read alone.
                Item::Two(field, _) => {
                    form.signs.extend([DIGIT; 2]);
                    form.parts.push((Part::Of(*field), at));
                }
                _ => break,
            }
            form.items += 1;
        }
        (!form.parts.is_empty()).then_some(form)
    }

    /// How many items of the form it has.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// The beginning of a cell, if all of its signs are at their places.
    pub(super) fn digits<'c>(&self, cell: &'c [u8]) -> Option<&'c [u8]> {
        let begin = cell.get(..self.signs.len())?;
        let is_at_place = |(byte, (first, more)): (&u8, &(u8, u8))| byte.wrapping_sub(*first) <= *more;
        // All of them are compared, at once.
        let are_at_places = begin.iter().zip(&self.signs).fold(true, |all, sign| all & is_at_place(sign));
        are_at_places.then_some(begin)
    }

    /// Where each part begins.
    pub(super) fn parts(&self) -> &[(Part, usize)] {
        &self.parts
    }
}
