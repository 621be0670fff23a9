//! Formats of files: what becomes rows, and how a record is cut again. Each is one file in this folder and one line in [`FORMATS`].

use super::file_format::FileFormat;
use super::{json_rows, parquet_rows, text_rows, workbook};
use crate::domain::source::model::Source;

/// Every format.
pub const FORMATS: [&dyn FileFormat; 4] =
    [&text_rows::TextFormat, &workbook::WorkbookFormat, &json_rows::JsonLinesFormat, &parquet_rows::ParquetFormat];

/// Returns the format of the files of a source.
#[must_use]
pub fn format_of(source: &Source) -> &'static dyn FileFormat {
    let is_it = |format: &&&'static dyn FileFormat| format.is_of(&source.format);
    FORMATS.iter().find(is_it).copied().unwrap_or(&text_rows::TextFormat)
}
