//! Why a sender's cell cannot be read as its source declares.

use crate::domain::violation::quoted;

/// What is wrong with a cell. It is small, so that a file full of bad cells costs no more than a good one; the message is
/// made when somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cell is in none of the declared forms.
    Form,
    /// The cell has a declared form, but its date or time does not exist.
    NoSuchDate,
    /// The cell has a time of day where a date is wanted.
    TimeOfDay,
    /// The weekday is not that of the date.
    Weekday,
    /// More than six decimals of a second.
    TooFine,
    /// The local time was skipped when the clocks went forward.
    Skipped,
    /// The local time came twice when the clocks went back.
    Repeated,
    /// The letters of the zone mean standard time, and the zone that they name had summer time then.
    SummerTime,
    /// The cell that names the zone names none.
    UnknownZone,
    /// The time lies outside of the years 1 to 9999.
    OutOfRange,
    /// The cell is not a number as the source declares it.
    NotNumber,
    /// The thousands are not groups of three digits.
    Grouping,
    /// The number has two signs, or a sign and parentheses.
    TwoSigns,
    /// The number has two units.
    TwoUnits,
    /// The percent sign is missing where the value is to be divided by 100.
    NoPercent,
    /// The exponent makes the number longer than any column holds.
    Exponent,
    /// A value from the lines before the table has a NUL, or text that could not be read.
    Undecodable,
    /// The number of a workbook has more digits than a workbook keeps.
    LostDigits,
    /// The cell of a workbook holds an error such as `#N/A`.
    ErrorCell,
    /// The cell is a formula that is more than a text in quotes.
    Formula,
    /// The map does not list the value.
    Unmapped,
    /// The cell is not one of the words for true and false.
    Word,
    /// The cell does not have the part that the pattern asks for.
    NoMatch,
    /// One of the cells that belong together is empty.
    Incomplete,
    /// The expression cannot be computed of these cells.
    NotComputed,
}

impl Fault {
    /// The rule that the cell breaks.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Form
            | Self::NoSuchDate
            | Self::TimeOfDay
            | Self::Weekday
            | Self::TooFine
            | Self::OutOfRange
            | Self::Word => "form",
            Self::Skipped | Self::Repeated | Self::SummerTime | Self::UnknownZone => "zone",
            Self::NotNumber
            | Self::Grouping
            | Self::TwoSigns
            | Self::TwoUnits
            | Self::NoPercent
            | Self::Exponent
            | Self::LostDigits => "number",
            Self::Undecodable => "encoding",
            Self::ErrorCell | Self::Formula => "cell",
            Self::Unmapped => "map",
            Self::NoMatch => "part",
            Self::Incomplete => "join",
            Self::NotComputed => "expression",
        }
    }

    /// Says what is wrong with `cell` and what to do. `declared` is what the source says of the column's cells.
    #[must_use]
    pub fn explain(self, cell: &str, declared: &str) -> String {
        let shown = quoted(cell);
        match self {
            Self::Form => format!("{shown} does not have the form {declared}"),
            Self::NoSuchDate => format!("{shown} has a date or time that does not exist (form {declared})"),
            Self::TimeOfDay => format!("{shown} has a time of day, which a date would lose"),
            Self::Weekday => format!("{shown} names a weekday that is not the date's"),
            Self::TooFine => format!("{shown} has more than 6 decimals of a second"),
            Self::Skipped => format!(
                "{shown} does not exist in its zone, where the clocks went forward; say with gap which time it means"
            ),
            Self::Repeated => {
                format!("{shown} came twice in its zone, where the clocks went back; say with fold which one it means")
            }
            Self::SummerTime => {
                format!("{shown} names standard time, and its date lies in summer time; write an offset such as +01:00")
            }
            Self::UnknownZone => {
                format!(
                    "the zone of {shown} is unknown; a zone is a name such as Europe/Paris or an offset such as +02:00"
                )
            }
            Self::OutOfRange => format!("{shown} lies outside of the years 0001 to 9999"),
            Self::NotNumber => format!("{shown} is not a number as the source declares it ({declared})"),
            Self::Grouping => format!("{shown} does not have groups of three digits ({declared})"),
            Self::TwoSigns => format!("{shown} has two signs"),
            Self::TwoUnits => format!("{shown} has two units"),
            Self::NoPercent => format!("{shown} has no percent sign, so it is not clear what to divide by 100"),
            Self::Exponent => format!("{shown} has more digits than a column holds"),
            Self::LostDigits => {
                format!(
                    "{shown} has more than 15 digits, and a workbook keeps no more; format the column there as text"
                )
            }
            Self::Undecodable => format!("{shown} has a NUL, or characters that could not be read"),
            Self::ErrorCell => format!("{shown} is an error of the workbook, not a value"),
            Self::Formula => format!("{shown} is a formula, not a value; write what it shows"),
            Self::Unmapped => format!("{shown} is not a value that the map lists"),
            Self::Word => format!("{shown} is not one of the words {declared}"),
            Self::NoMatch => format!("{shown} does not match {declared}"),
            Self::Incomplete => format!("{shown} lacks one of its cells"),
            Self::NotComputed => format!("the expression of the column cannot be computed of {shown}"),
        }
    }
}
