//! How a sender writes a table, as `[[source]]` declares it: everything exact, nothing guessed.

pub mod binding;
pub mod cell_form;
mod column_definition;
mod columns;
mod definition;
pub mod drift;
pub mod exact;
pub mod fault;
mod fixed_form;
pub mod kind;
pub mod layout;
mod layout_definition;
pub mod model;
pub mod number;
pub mod row;
mod schema;
pub mod split;
mod time_definition;
pub mod time_form;
mod time_items;
pub mod unit_pattern;
mod values;
pub mod zone;

pub(super) use definition::read_sources;
pub(super) use schema::SourceDefinition;

pub use definition::parse_sources;
