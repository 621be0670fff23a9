//! The options that say how cells are written. A source declares them for all of its columns, and a column for itself.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cell_form::Clean;
use super::kind::Kind;
use super::model::Origin;
use super::number::{Grouping, Negative, NumberForm, Percent};
use super::unit_pattern::UnitPattern;
use super::zone::{Fold, Gap};
use crate::domain::spanned::Spanned;

/// One value or several.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T: Clone> Several<T> {
    pub(super) fn to_vec(&self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// Where local times are.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the name of a zone, \"none\", or { header = \"…\" }")]
pub(super) enum ZoneDefinition {
    Named(String),
    Cell(ZoneCell),
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneCell {
    /// The name of the column, or all names that it has had.
    pub(super) header: Several<String>,
}

/// What the options of a group apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Cells,
    Numbers,
    Moments,
    Dates,
    Booleans,
}

impl Group {
    pub(super) fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Cells => true,
            Self::Numbers => kind.is_number(),
            Self::Moments => matches!(kind, Kind::Timestamp | Kind::LocalTimestamp),
            Self::Dates => kind.is_time(),
            Self::Booleans => kind == Kind::Boolean,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Numbers => "numbers",
            Self::Moments => "timestamps",
            Self::Dates => "dates and times",
            Self::Booleans => "booleans",
        }
    }
}

/// Defines the options once, as a struct and as the fields of each definition that has them.
macro_rules! value_options {
    ($dollar:tt $($(#[$doc:meta])* $group:ident $field:ident: $type:ty,)+) => {
        /// The options, each where it was declared.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Values {
            $($(#[$doc])* pub(super) $field: Option<Spanned<$type>>,)+
        }

        impl Values {
            /// These options, and those of `base` where these say nothing.
            pub(super) fn over(self, base: &Self) -> Self {
                Self { $($field: self.$field.or_else(|| base.$field.clone()),)+ }
            }

            /// The first option that says nothing of a column of this kind: its name, where it stands, and what it applies to.
            pub(super) fn misplaced(&self, kind: Kind) -> Option<(&'static str, Spanned<()>, &'static str)> {
                $(if let Some(found) = &self.$field && !Group::$group.fits(kind) {
                    return Some((stringify!($field), Spanned::new(found.span(), ()), Group::$group.name()));
                })+
                None
            }
        }

        impl Values {
            /// The first option of a group: its name, and where it stands.
            pub(super) fn first_of(&self, group: Group) -> Option<(&'static str, Spanned<()>)> {
                $(if let Some(found) = &self.$field && Group::$group == group {
                    return Some((stringify!($field), Spanned::new(found.span(), ())));
                })+
                None
            }
        }

        /// Defines a part of a definition that has all of these options besides its own.
        macro_rules! with_values {
            ($dollar(#[$dollar meta:meta])* struct $dollar name:ident { $dollar($dollar body:tt)* }) => {
                $dollar(#[$dollar meta])*
                #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
                #[serde(deny_unknown_fields)]
                pub(in crate::domain) struct $dollar name {
                    $dollar($dollar body)*
                    $($(#[$doc])* $field: Option<crate::domain::spanned::Spanned<$type>>,)+
                }

                impl $dollar name {
                    pub(super) fn values(&self) -> super::values::Values {
                        super::values::Values { $($field: self.$field.clone(),)+ }
                    }
                }
            };
        }
        pub(super) use with_values;
    };
}

value_options! { $
    /// White space at either end of a cell is taken off.
    Cells trim: bool,
    /// `="600000"` is 600000.
    Cells excel_text: bool,
    /// `'600000` and `'600000'` are 600000.
    Cells apostrophes: bool,
    /// The cells that mean null, instead of those of the dataset.
    Cells null_values: Vec<String>,
    /// Between a whole number and its decimals; a point otherwise.
    Numbers decimal_mark: char,
    /// What may stand between groups of three digits.
    Numbers thousands: Several<char>,
    /// How digits are grouped, if not by three: indian.
    Numbers grouping: Grouping,
    /// Signs that may stand before or after a number; they are dropped.
    Numbers currency: Several<String>,
    /// Units that may stand after a number; they are dropped.
    Numbers unit: Several<String>,
    /// A regular expression for units that may stand after a number; they are dropped. One that would also match what a number goes on with,
    /// such as `\S+`, takes only words.
    Numbers unit_pattern: String,
    /// How negative numbers may be written, in addition to `-`.
    Numbers negative: Several<Negative>,
    /// Whether `+5` is a number.
    Numbers plus: bool,
    /// Whether the value before a percent sign is kept or divided by 100, or that of a workbook is multiplied by 100.
    Numbers percent: Percent,
    /// Whether `1.9E-4` is a number.
    Numbers exponent: bool,
    /// Whether `.5` and `5.` are numbers.
    Numbers bare_point: bool,
    /// The zone of local times: its name, an offset, a column that has it, or "none".
    Moments zone: ZoneDefinition,
    /// Which moment a local time means that occurred twice, when the clocks went back.
    Moments fold: Fold,
    /// How a local time is read that the clocks skipped when they went forward.
    Moments gap: Gap,
    /// The last year that two digits may mean.
    Dates pivot: i32,
    /// The names of the twelve months, where they are not English.
    Dates months: Vec<String>,
    /// Words for true.
    Booleans true_values: Several<String>,
    /// Words for false.
    Booleans false_values: Several<String>,
}

impl Values {
    /// The first option of times: its name, and where it stands.
    pub(super) fn first_time(&self) -> Option<(&'static str, Spanned<()>)> {
        self.first_of(Group::Moments).or_else(|| self.first_of(Group::Dates))
    }

    /// The first option that has no effect on a column which comes from there: its name, and where it stands.
    pub(super) fn useless(&self, origin: &Origin) -> Option<(&'static str, Spanned<()>)> {
        let forms = [Group::Numbers, Group::Moments, Group::Dates, Group::Booleans];
        match origin {
            origin if origin.is_sent() => None,
            // It reads cells, but computes its value itself.
            Origin::Expression(_) => forms.into_iter().find_map(|group| self.first_of(group)),
            _ => [Group::Cells].into_iter().chain(forms).find_map(|group| self.first_of(group)),
        }
    }
}

/// The words for true, and those for false.
pub(super) type Words = (Vec<String>, Vec<String>);

/// An option that cannot stand as it does: where, and why.
pub(super) type Wrong = (Spanned<()>, String);

fn wrong<T>(at: &Spanned<T>, message: impl Into<String>) -> Wrong {
    (Spanned::new(at.span(), ()), message.into())
}

fn is<T: Copy + Default>(option: Option<&Spanned<T>>) -> T {
    option.map(|value| *value.get_ref()).unwrap_or_default()
}

impl Values {
    pub(super) fn clean(&self) -> Clean {
        Clean {
            trim: is(self.trim.as_ref()),
            excel_text: is(self.excel_text.as_ref()),
            apostrophes: is(self.apostrophes.as_ref()),
        }
    }

    /// Whether anything is said of how numbers are written.
    pub(super) fn has_numbers(&self) -> bool {
        let Self { decimal_mark, thousands, grouping, currency, unit, unit_pattern, .. } = self;
        let Self { negative, plus, percent, exponent, bare_point, .. } = self;
        decimal_mark.is_some()
            || thousands.is_some()
            || grouping.is_some()
            || currency.is_some()
            || unit.is_some()
            || unit_pattern.is_some()
            || negative.is_some()
            || plus.is_some()
            || percent.is_some()
            || exponent.is_some()
            || bare_point.is_some()
    }

    /// Whether a number may have a unit.
    pub(super) fn has_unit(&self) -> bool {
        self.currency.is_some() || self.unit.is_some() || self.unit_pattern.is_some()
    }

    /// How numbers are written.
    pub(super) fn number(&self, kind: Kind) -> Result<NumberForm, Wrong> {
        let texts = |option: &Option<Spanned<Several<String>>>| {
            option.as_ref().map(|texts| texts.get_ref().to_vec()).unwrap_or_default()
        };
        let form = NumberForm {
            decimal_mark: self.decimal_mark.as_ref().map_or('.', |mark| *mark.get_ref()),
            thousands: self.thousands.as_ref().map(|marks| marks.get_ref().to_vec()).unwrap_or_default(),
            grouping: self.grouping.as_ref().map(|grouping| *grouping.get_ref()),
            currency: texts(&self.currency),
            units: texts(&self.unit),
            unit_pattern: self.unit_pattern.as_ref().map(whole_pattern).transpose()?.map(UnitPattern::new),
            negative: self.negative.as_ref().map(|ways| ways.get_ref().to_vec()).unwrap_or_default(),
            plus: is(self.plus.as_ref()),
            percent: self.percent.as_ref().map(|percent| *percent.get_ref()),
            exponent: is(self.exponent.as_ref()) || kind == Kind::Double,
            bare_point: is(self.bare_point.as_ref()),
            whole: kind == Kind::Whole,
            double: kind == Kind::Double,
        };
        self.check_marks(&form)?;
        for texts in self.currency.iter().chain(&self.unit) {
            for text in texts.get_ref().to_vec() {
                check_unit(&text, &form).map_err(|message| wrong(texts, message))?;
            }
        }
        Ok(form)
    }

    fn check_marks(&self, form: &NumberForm) -> Result<(), Wrong> {
        let is_mark = |mark: char| !mark.is_alphanumeric() && !matches!(mark, '+' | '-' | '%' | '(' | ')');
        if let Some(mark) = self.decimal_mark.as_ref().filter(|mark| !is_mark(*mark.get_ref())) {
            return Err(wrong(mark, format!("decimal_mark {:?} is not a mark between digits", mark.get_ref())));
        }
        let Some(thousands) = &self.thousands else {
            return match &self.grouping {
                Some(at) => Err(wrong(at, "grouping goes with thousands, which say what stands between the groups")),
                None => Ok(()),
            };
        };
        if let Some(mark) = form.thousands.iter().find(|mark| !is_mark(**mark)) {
            return Err(wrong(thousands, format!("thousands {mark:?} is not a mark between digits")));
        }
        if form.thousands.contains(&form.decimal_mark) {
            let message = format!("thousands and decimal_mark are both {:?}; a number would be two", form.decimal_mark);
            return Err(wrong(thousands, message));
        }
        Ok(())
    }

    /// The words for true and false, if any are declared.
    pub(super) fn words(&self) -> Result<Option<Words>, Wrong> {
        match (&self.true_values, &self.false_values) {
            (None, None) => Ok(None),
            (Some(only), None) | (None, Some(only)) => {
                Err(wrong(only, "true_values and false_values need each other: a word that is not listed is refused"))
            }
            (Some(yes), Some(no)) => {
                let (yes_words, no_words) = (yes.get_ref().to_vec(), no.get_ref().to_vec());
                if let Some(word) = yes_words.iter().find(|word| no_words.contains(word)) {
                    return Err(wrong(no, format!("{word:?} cannot be both true and false")));
                }
                Ok(Some((yes_words, no_words)))
            }
        }
    }
}

/// A unit stands beside digits, so that it must not look like a part of the number.
fn check_unit(unit: &str, form: &NumberForm) -> Result<(), String> {
    let is_part =
        |c: char| c.is_numeric() || c.is_whitespace() || matches!(c, '+' | '-' | '.' | ',') || c == form.decimal_mark;
    match (unit.chars().next(), unit.chars().next_back()) {
        _ if unit.contains('%') => Err("a percent sign is not a unit; declare percent".into()),
        (Some(first), Some(last)) if !is_part(first) && !is_part(last) => Ok(()),
        (None, _) => Err("a unit is not empty".into()),
        _ => Err(format!(
            "{unit:?} cannot be told from a part of a number; a unit begins and ends with another character"
        )),
    }
}

/// A regular expression that matches a whole text.
pub(super) fn whole_pattern(pattern: &Spanned<String>) -> Result<Regex, Wrong> {
    let text = pattern.get_ref();
    Regex::new(&format!("^(?:{text})$")).map_err(|error| wrong(pattern, format!("{text:?} is not a pattern: {error}")))
}

/// A regular expression of which one part counts: its only group, or all that it matches.
pub(super) fn part_pattern(pattern: &Spanned<String>) -> Result<Regex, Wrong> {
    let text = pattern.get_ref();
    let regex = Regex::new(text).map_err(|error| wrong(pattern, format!("{text:?} is not a pattern: {error}")))?;
    match regex.captures_len() {
        1 | 2 => Ok(regex),
        _ => Err(wrong(
            pattern,
            format!("{text:?} has several groups; mark the part that counts with one, others with (?:…)"),
        )),
    }
}
