//! Datasets, columns, rules, violations and the ledger's arithmetic. Pure: no I/O, no async.

pub mod arrival;
pub mod calendar;
pub mod cell;
pub mod column;
pub mod dataset;
mod definition;
pub mod expression;
pub mod manifest;
pub mod object;
pub mod outcome;
pub mod progress;
pub mod violation;

pub use arrival::{Arrival, RecordBatch, StreamRecord};
pub use calendar::Calendar;
pub use column::{Column, ColumnType};
pub use dataset::{Dataset, Datasets, ManifestRule, Reference, RowRule, Severity};
pub use object::{Location, ObjectKey, ObjectVersion};
pub use outcome::{BatchNumber, Counts, LoadId, LoadReport, LoadStatus};
pub use progress::Progress;
pub use violation::{ByteRange, LineNumber, RecordNumber, RejectedChunk, Resubmission, Violation};
