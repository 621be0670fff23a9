//! Keys that are made of the content of rows.

/// The column that a key made of the content of rows is kept in: the last of its dataset.
pub const CONTENT_KEY: &str = "content_key";

/// A key that is made of the content of rows: a hash of their values, and the number of the copy in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The columns that the hash covers, in the order of their names.
    pub columns: Vec<String>,
    /// Whether the rows bring their key, as those of a table do that is checked. Then it is compared with their values.
    pub is_given: bool,
}
