//! What a file does to the table of its dataset: each mode is one file in this folder and one line in [`MODES`]. What a
//! mode does in the database is in the file of the same name in `data_access::postgres::mode`.

mod append;
mod contract;
mod filled;
mod replace;
mod upsert;

pub use contract::Mode;
pub use filled::Filled;

use super::expression::unknown;

/// Every mode. The first one is that of a definition that names none.
pub const MODES: &[&dyn Mode] = &[&upsert::Upsert, &append::Append, &replace::Replace];

/// Returns the mode with that name.
///
/// # Errors
/// A message that suggests the nearest name.
pub fn mode(name: &str) -> Result<&'static dyn Mode, String> {
    let names = || MODES.iter().map(|mode| mode.name()).collect::<Vec<_>>();
    MODES.iter().find(|mode| mode.name() == name).copied().ok_or_else(|| unknown("mode", name, &names()))
}
