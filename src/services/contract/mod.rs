//! Writes a contract in the forms that people and other programs read.

mod described;
mod frictionless;
mod json_schema;
mod markdown;
mod odcs;
mod page;
mod yaml;

use serde_json::Value;

pub use described::Described;

use crate::error::{Error, Result};

/// The form of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A web page of one file that loads nothing.
    Html,
    /// Text with tables.
    Markdown,
    /// A JSON Schema of a record.
    JsonSchema,
    /// A Table Schema of Frictionless Data.
    Frictionless,
    /// An Open Data Contract of Bitol.
    Odcs,
}

impl Described<'_> {
    /// Writes the contract.
    ///
    /// # Errors
    /// `System` if JSON cannot be written.
    pub fn write(&self, form: Form) -> Result<String> {
        let json = |value: &Value| {
            let text = serde_json::to_string_pretty(value).map_err(|error| Error::system("write JSON", error));
            text.map(|text| text + "\n")
        };
        match form {
            Form::Html => Ok(page::page(self)),
            Form::Markdown => Ok(markdown::markdown(self)),
            Form::JsonSchema => json(&json_schema::schema(self)),
            Form::Frictionless => json(&frictionless::schema(self)),
            Form::Odcs => Ok(yaml::yaml(&odcs::contract(self))),
        }
    }
}
