//! Datasets, columns, rules, violations and the arithmetic of the ledger. No I/O, no async.

pub mod arrival;
pub mod calendar;
pub mod column;
mod column_definition;
pub mod dataset;
mod datasets;
mod definition;
mod definition_text;
pub mod expression;
mod files;
pub mod guess;
mod key_definition;
mod limits;
pub mod manifest;
pub mod object;
pub mod outcome;
pub mod progress;
pub mod row_key;
mod rule;
pub mod source;
pub mod types;
pub mod violation;

pub use arrival::{Arrival, RecordBatch, StreamRecord};
pub use calendar::Calendar;
pub use column::Column;
pub use dataset::{Dataset, ManifestRule, Reference};
pub use datasets::Datasets;
pub use limits::LoadLimits;
pub use object::{Location, ObjectKey, ObjectVersion};
pub use outcome::{BatchNumber, Counts, LoadId, LoadReport, LoadStatus};
pub use progress::Progress;
pub use rule::{RowRule, Severity};
pub use types::ColumnType;
pub use violation::{ByteRange, LineNumber, RecordNumber, RejectedChunk, Resubmission, Violation};
