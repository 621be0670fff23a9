//! What a column holds, as far as the forms of its cells go.

/// The family of a column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, and whatever is checked as text.
    Text,
    /// JSON.
    Json,
    /// Whole numbers.
    Whole,
    /// Numbers with decimals.
    Decimal,
    /// Numbers with decimals and exponents, the nearest double of which is kept.
    Double,
    /// Dates.
    Date,
    /// Times of day.
    Time,
    /// Moments, kept in UTC.
    Timestamp,
    /// Date and time of a clock in no zone.
    LocalTimestamp,
    /// True and false.
    Boolean,
}

impl Kind {
    /// Whether it is a number.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Self::Whole | Self::Decimal | Self::Double)
    }

    /// Whether it is a date or a time.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::Timestamp | Self::LocalTimestamp)
    }
}

/// A column of the dataset that a source fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}
