//! What every mode must say.

use std::fmt;

/// What a file does to the table of its dataset.
pub trait Mode: fmt::Debug + Send + Sync {
    /// The name in definitions.
    fn name(&self) -> &'static str;

    /// Whether a definition says what the key of a row is, and what tells a newer row from an older one. If not, a row
    /// is known by its place: the load that brought it, and its record there.
    fn has_key(&self) -> bool {
        true
    }

    /// The options of a definition that this mode alone has.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether of two rows with one key that of the object that arrived later is always the newer one, because the files
    /// themselves follow one after the other.
    fn is_by_arrival(&self) -> bool {
        false
    }

    /// Whether a load may take rows out of the table.
    fn takes_away(&self) -> bool {
        false
    }
}
