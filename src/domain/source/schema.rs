//! The keys of a `[[source]]`, as they stand in the text of a definition.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::number::{Grouping, Negative, Percent};
use super::values::{Several, ZoneDefinition, with_values};
use super::zone::{Fold, Gap};
use crate::domain::column::Literal;
use crate::domain::spanned::Spanned;

with_values! {
    /// How one sender writes the table of a dataset.
    struct SourceDefinition {
        /// The name of the source, unique within its dataset.
        pub(super) name: Spanned<String>,
        /// Patterns of the object keys that it reads.
        pub(super) files: Spanned<Vec<String>>,
        /// The format of its files.
        #[serde(default)]
        pub(super) format: FormatName,
        /// A glob for the members of a zip archive that it reads; each is a load of its own.
        pub(super) member: Option<Spanned<String>>,
        /// The sheet of a workbook: its name, a glob of names, or its number from 1.
        pub(super) sheet: Option<Spanned<SheetDefinition>>,
        /// The first cell of the line that begins the section of this table.
        pub(super) section: Option<Spanned<String>>,
        /// The label of an encoding, as browsers know them.
        pub(super) encoding: Option<Spanned<String>>,
        /// The character between two cells; a comma by default.
        pub(super) delimiter: Option<Spanned<String>>,
        /// The quote around a cell: `"` by default, and "none" if quotes are ordinary characters.
        pub(super) quote: Option<Spanned<String>>,
        /// The character before a quote that is content, if quotes are not doubled.
        pub(super) escape: Option<Spanned<char>>,
        /// The character that begins a comment. Such a line is not part of the table.
        pub(super) comment: Option<Spanned<char>>,
        /// How lines end.
        pub(super) line_end: Option<Spanned<LineEnd>>,
        /// Where the header is.
        pub(super) header: Option<Spanned<HeaderDefinition>>,
        /// How many lines the header has.
        pub(super) header_lines: Option<Spanned<usize>>,
        /// What ends the table: the beginning of a first cell, one of several, or "blank" for a blank line.
        pub(super) end: Option<Spanned<EndDefinition>>,
        /// How many lines at the end, not counting blank ones, are not records.
        pub(super) footer_lines: Option<Spanned<usize>>,
        /// Whether anything may follow the end; otherwise a record that does is refused.
        pub(super) anything_after_end: Option<Spanned<bool>>,
        /// Whether empty cells at the end of a line do not count.
        pub(super) trailing_delimiter: Option<Spanned<bool>>,
        /// What becomes of cells after the last column of the header.
        pub(super) longer: Option<Spanned<Longer>>,
        /// What becomes of cells that a record lacks at its end.
        pub(super) shorter: Option<Spanned<Shorter>>,
        /// Whether lines between the records that repeat the header are dropped.
        pub(super) repeated_header: Option<Spanned<bool>>,
        /// Whether lines of nothing but dashes and the like are dropped.
        pub(super) ruled: Option<Spanned<bool>>,
        /// First cells of lines to drop between the records, such as subtotals; one that ends in `*` is a beginning.
        pub(super) skip: Option<Spanned<Vec<String>>>,
        /// Whether a blank stands between any two cells at fixed places; a record in which two of them touch is refused.
        pub(super) blank_between: Option<Spanned<bool>>,
        /// How many significant digits of the numbers of a workbook are kept.
        pub(super) significant_digits: Option<Spanned<usize>>,
        /// What becomes of a file that lacks an optional column, or has one that is not read: "strict" fails it.
        pub(super) columns: Option<Spanned<ColumnsRule>>,
        /// The columns whose totals the footer states.
        pub(super) total: Option<Spanned<Several<String>>>,
        /// Columns that are written in another way than the plain form, or under another name.
        #[serde(default)]
        pub(super) column: Vec<Spanned<ColumnDefinition>>,
    }
}

with_values! {
    /// How one sender writes a column.
    struct ColumnDefinition {
        /// The column of the dataset.
        pub(super) name: Spanned<String>,
        /// The name of the column in the file, or all names that it has had.
        pub(super) header: Option<Spanned<Several<String>>>,
        /// Which of several columns of that name, from 1.
        pub(super) nth: Option<Spanned<usize>>,
        /// Whether a file may lack the column; it is null then.
        pub(super) optional: Option<Spanned<bool>>,
        /// The place of the cell in its record, from 1.
        pub(super) position: Option<Spanned<usize>>,
        /// The first character of the cell in its line, from 0, and the one after its last.
        pub(super) at: Option<Spanned<[usize; 2]>>,
        /// The names of several columns whose cells are read as one, with a blank between them.
        pub(super) join: Option<Spanned<Vec<String>>>,
        /// What the value is if only some of the joined cells are empty; a reject by default.
        pub(super) partial: Option<Spanned<Partial>>,
        /// Where the value comes from, if not from a cell.
        pub(super) from: Option<Spanned<FromDefinition>>,
        /// The value of a constant.
        pub(super) value: Option<Spanned<Literal>>,
        /// A regular expression; its group, or all that it matches, is the value.
        pub(super) pattern: Option<Spanned<String>>,
        /// An expression over the cells of the record.
        pub(super) expression: Option<Spanned<String>>,
        /// Which part of a number is the value.
        pub(super) part: Option<Spanned<PartDefinition>>,
        /// The form of a date or time, or several that are tried in turn.
        pub(super) form: Option<Spanned<Several<String>>>,
        /// The values that the cells stand for.
        pub(super) map: Option<Spanned<BTreeMap<String, Literal>>>,
        /// Where the year comes from, if the dates have none.
        pub(super) year: Option<Spanned<YearDefinition>>,
    }
}

impl ColumnDefinition {
    /// Whether the column says where its times are.
    pub(super) fn has_zone(&self) -> bool {
        self.zone.as_ref().is_some_and(|zone| *zone.get_ref() != ZoneDefinition::Named("none".into()))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatName {
    #[default]
    Csv,
    Fixed,
    JsonLines,
    Parquet,
    Xlsx,
}

impl FormatName {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Fixed => "fixed",
            Self::JsonLines => "json_lines",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ColumnsRule {
    /// It fails.
    Strict,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the name of a sheet, or its number from 1")]
pub(super) enum SheetDefinition {
    Numbered(usize),
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LineEnd {
    /// LF, or CR and LF.
    Lf,
    /// CR alone, or either of those.
    Cr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "\"first\", \"find\", \"none\", or the number of a line")]
pub(super) enum HeaderDefinition {
    Line(u64),
    Named(HeaderName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeaderName {
    First,
    Find,
    None,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "\"blank\", or a list of beginnings of first cells")]
pub(super) enum EndDefinition {
    Blank(BlankName),
    Cells(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BlankName {
    Blank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Longer {
    /// They are ignored.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shorter {
    /// They are empty.
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Partial {
    /// The value is null.
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromDefinition {
    /// The object's key.
    Key,
    /// A line before the header.
    Preamble,
    /// The name of the member, the sheet or the section.
    Part,
    /// The same for every record.
    Constant,
    /// The number of the record in its file.
    Record,
    /// The line on which the record begins.
    Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PartDefinition {
    /// Its unit or currency sign.
    Unit,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a year, or where one is told: { from = \"key\", pattern = \"…\" }")]
pub(super) enum YearDefinition {
    /// The same for every file.
    Fixed(i32),
    /// What a file tells.
    Told(ToldYear),
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToldYear {
    /// Where the year is.
    pub(super) from: YearOrigin,
    /// The first group is the year, the second the month of the statement: a later month belongs to the year before.
    pub(super) pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum YearOrigin {
    Key,
    Preamble,
    Part,
}
