//! What is wrong with a row, and where it is.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::outcome::LoadId;

/// The rule of a cell that is null although a value is required.
pub const REQUIRED: &str = "required";
/// The rule of bytes that are not text.
pub const UNPRINTABLE: &str = "unprintable";
/// The rule of a row that lost to another row with the same key.
pub const UNIQUE: &str = "unique";
/// The rule of a record in which text follows a closing quote.
pub const QUOTING: &str = "quoting";
/// The rule of a record that has more or fewer fields than its header.
pub const FIELD_COUNT: &str = "field_count";
/// The rule of a line that is not a JSON object.
pub const JSON: &str = "json";

/// The rule of a version that is too far in the future.
pub const FUTURE: &str = "future";

/// The rule of a row of a table whose content key is not made of its values. Files have no such column.
pub const CONTENT: &str = "content_key";

/// The rules that apply to every file, whatever its columns are.
pub const OF_EVERY_FILE: &[&str] = &[REQUIRED, UNPRINTABLE, UNIQUE, QUOTING, FIELD_COUNT, JSON, FUTURE];

/// The rule of a cell that is not in a form that its source declares.
pub const FORM: &str = "form";
/// The rule of a record with bytes that are not in the encoding of its source.
pub const ENCODING: &str = "encoding";
/// The rule of a record after the end of a table.
pub const END: &str = "end";

/// The rules that come with a source, whatever it declares.
pub const OF_EVERY_SOURCE: &[&str] =
    &[FORM, ENCODING, END, "zone", "number", "cell", "map", "part", "join", "expression"];

/// The position of a record in its file; 1 is the first after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RecordNumber(pub i64);

/// A physical line of a file; the header is on line 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LineNumber(pub i64);

impl fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LineNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One rule that a record breaks. The JSON form leaves out the bytes of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The record of the file.
    pub record: RecordNumber,
    /// The physical line where the record begins.
    pub line: LineNumber,
    /// The column; `None` if the record as a whole is wrong.
    pub column: Option<String>,
    /// The id of the rule, such as `decimal` or `lot_size`.
    pub rule: String,
    /// What is wrong and what to do, without the position.
    pub message: String,
    /// The cell as it is in the file; unprintable bytes are escaped.
    pub value: Option<String>,
    /// The bytes of the record, without its line end.
    #[serde(skip)]
    pub raw: Arc<[u8]>,
    /// Where the bytes are in the file; `None` for rejects from before this was recorded.
    pub bytes: Option<ByteRange>,
    /// The key of the row in the form of the table, if it can be read.
    pub key: Option<String>,
    /// The number of the data key, if `raw` is encrypted.
    #[serde(skip)]
    pub data_key: Option<i64>,
}

/// A part of the unpacked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ByteRange {
    /// How many bytes come before it.
    pub offset: i64,
    /// How many bytes it has.
    pub length: i64,
}

impl Violation {
    /// Returns the whole message: position, column, what is wrong, rule.
    #[must_use]
    pub fn describe(&self, file: &str) -> String {
        let column = self.column.as_ref().map_or(String::new(), |name| format!("column {name}: "));
        format!("{file} line {}: {column}{} (rule {})", self.line, self.message, self.rule)
    }
}

/// A record that names the reject that it mends: a line of a rejects file that was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resubmission {
    /// The record of this file.
    pub record: RecordNumber,
    /// The physical line on which the record begins.
    pub line: LineNumber,
    /// The load that rejected it: `_load_id`.
    pub of_load: LoadId,
    /// The record in the file of that load: `_record`.
    pub of_record: RecordNumber,
}

/// A part of what a file that is not loaded leaves behind: violations and resubmissions.
#[derive(Clone, Debug, Default)]
pub struct RejectedChunk {
    /// The violations, in the order of the file.
    pub violations: Vec<Violation>,
    /// The rejects that these records, and perhaps others between them, claim to mend, in the order of the file.
    pub resubmissions: Vec<Resubmission>,
}

/// Returns a cell for a message: in quotes, and cut after 40 characters.
#[must_use]
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_what_and_which_rule() {
        let violation = Violation {
            record: RecordNumber(4),
            line: LineNumber(5),
            column: Some("traded_price".into()),
            rule: "decimal".into(),
            message: format!("{} has more than 2 decimals", quoted("15.555")),
            value: Some("15.555".into()),
            raw: b"15.555".as_slice().into(),
            bytes: None,
            key: None,
            data_key: None,
        };
        assert_eq!(
            violation.describe("trades.csv"),
            r#"trades.csv line 5: column traded_price: "15.555" has more than 2 decimals (rule decimal)"#
        );
    }

    #[test]
    fn a_long_value_is_cut_and_a_control_character_escaped() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"x".repeat(50)), format!("\"{}…\"", "x".repeat(40)));
    }
}
