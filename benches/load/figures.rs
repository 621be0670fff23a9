//! What was measured, and how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The figures of several runs.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Returns the figures without decimals.
    pub fn rounded(&self) -> Self {
        self.0.iter().map(|figure| figure.round()).collect()
    }

    /// Divides each figure by that of `other`, run by run.
    pub fn ratios(pairs: &[(f64, f64)]) -> Self {
        pairs.iter().map(|(own, other)| own / other).collect()
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        let mut all = Self::default();
        figures.into_iter().for_each(|figure| all.push(figure));
        all
    }
}

impl fmt::Display for Figures {
    /// Prints the median and the range.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let (median, lowest, highest) = (self.median(), self.0[0], self.max());
        if self.0.len() == 1 {
            return write!(f, "{median:.decimals$}");
        }
        write!(f, "{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
    }
}

/// One line of the table: the work, what was measured, what it is compared with, and whether the bound holds.
#[derive(Deserialize, Serialize)]
pub struct Line {
    pub work: String,
    pub own: String,
    pub other: String,
    pub figure: String,
    pub bound: String,
    /// `None` if nothing was promised.
    pub holds: Option<bool>,
}

impl Line {
    /// A line that holds if the median of `figure` is at most `bound`. It is printed at once.
    pub fn at_most(work: &str, own: String, other: String, (figure, unit): (&Figures, &str), bound: f64) -> Self {
        let holds = figure.median() <= bound;
        Self::new(work, own, other, format!("{figure}{unit}"), format!("<= {bound}{unit}"), Some(holds))
    }

    /// A line that holds if the median of `figure` is at least `bound`. It is printed at once.
    pub fn at_least(work: &str, own: String, other: String, (figure, unit): (&Figures, &str), bound: f64) -> Self {
        let holds = figure.median() >= bound;
        Self::new(work, own, other, format!("{figure}{unit}"), format!(">= {bound}{unit}"), Some(holds))
    }

    /// A line that reports a figure without a bound.
    pub fn reported(work: &str, own: String, other: String, (figure, unit): (&Figures, &str)) -> Self {
        Self::new(work, own, other, format!("{figure}{unit}"), "-".into(), None)
    }

    fn new(work: &str, own: String, other: String, figure: String, bound: String, holds: Option<bool>) -> Self {
        let line = Self { work: work.to_owned(), own, other, figure, bound, holds };
        println!(
            "{}: {} against {}: {} (bound {}, {})",
            line.work,
            line.own,
            line.other,
            line.figure,
            line.bound,
            line.verdict()
        );
        line
    }

    pub fn verdict(&self) -> &'static str {
        match self.holds {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "-",
        }
    }
}
