//! What a file looks like: from a sample of it to the definition of a dataset, with the evidence for each choice.
//!
//! Everything here is pure. A hypothesis is tested with the forms of [`source`](super::source) on every row of the sample, so
//! that what is believed here is what a load will do. What no file can tell becomes a [`Question`](question::Question).

pub mod against;
pub mod amended;
pub mod answers;
pub mod between;
mod booleans;
mod column;
mod combined;
mod convention;
pub mod dataset;
pub mod definition;
pub mod dialect;
pub mod encoding;
pub mod field;
mod field_number;
mod field_time;
mod fields;
mod file_code;
mod file_name;
pub mod fixed;
mod footer;
pub mod key;
mod known_table;
mod language;
pub mod migration;
mod moments;
mod months;
pub mod names;
mod nulls;
mod numbers;
mod outside;
pub mod place;
pub mod question;
pub mod sample;
mod shape;
pub mod standard;
pub mod table;
mod terms;
mod times;
pub mod toml_text;
pub mod zones;
