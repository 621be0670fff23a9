//! What tells which of two versions of an object is the newer one.

use chrono::{DateTime, Utc};

/// The place of a version among those of its key. Those of events and those of listings cannot be compared with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequencer {
    /// Of an event of S3: a hexadecimal number, which is larger for each later version. The shorter one is padded with zeros on the right.
    OfEvent(String),
    /// Of a listing of all versions.
    InListing {
        /// When the listing began, in milliseconds. Those of later listings come after those of earlier ones.
        began: DateTime<Utc>,
        /// How many older versions the key has in the listing.
        rank: u64,
        /// Whether a newer version was claimed before.
        is_late: bool,
    },
}

impl Sequencer {
    /// The sequencer of an event of S3; `None` for a text that could not stand beside ranks in a ledger.
    #[must_use]
    pub fn of_event(text: String) -> Option<Self> {
        (!text.is_empty() && !text.starts_with('#')).then_some(Self::OfEvent(text))
    }

    /// Reads what [`Sequencer::to_string`] writes, as it stands in the ledger; `None` if it is nothing of the kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(digits) = text.strip_prefix('#') else { return Self::of_event(text.to_owned()) };
        let (digits, is_late) = digits.strip_suffix('-').map_or((digits, false), |digits| (digits, true));
        let (began, rank) = digits.split_at_checked(15)?;
        let began = DateTime::from_timestamp_millis(began.parse().ok()?)?;
        Some(Self::InListing { began, rank: rank.parse().ok()?, is_late })
    }
}

impl std::fmt::Display for Sequencer {
    /// Of a listing `#`, fifteen digits of milliseconds since 1970, twelve of the rank, and `-` if it is late, so that texts have the order of versions.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfEvent(number) => f.write_str(number),
            Self::InListing { began, rank, is_late } => {
                write!(f, "#{:015}{rank:012}{}", began.timestamp_millis(), if *is_late { "-" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sequencer_is_read_as_it_was_written(began in 0_i64..=253_402_300_799_999, rank in 0_u64..=999_999_999_999, is_late: bool, number in "[0-9A-Fa-f]{1,40}") {
            let began = DateTime::from_timestamp_millis(began).unwrap();
            for sequencer in [Sequencer::InListing { began, rank, is_late }, Sequencer::OfEvent(number)] {
                prop_assert_eq!(Sequencer::parse(&sequencer.to_string()), Some(sequencer));
            }
        }
    }

    #[test]
    fn a_rank_contains_the_time_of_its_listing() {
        let began = DateTime::from_timestamp_millis(1_766_413_800_123).unwrap();
        let sequencer = Sequencer::InListing { began, rank: 7, is_late: true };
        assert_eq!(sequencer.to_string(), "#001766413800123000000000007-");
        for other in ["", "#", "#short", "#99999999999999é", "#001766413800123", "#001766413800123x"] {
            assert_eq!(Sequencer::parse(other), None, "{other}");
        }
    }
}
