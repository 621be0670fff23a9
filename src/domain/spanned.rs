//! A value with its place in the text of a definition.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

/// A value, and the bytes of the text that it was read from. In a schema it is the value alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub(in crate::domain) struct Spanned<T>(toml::Spanned<T>);

impl<T> Spanned<T> {
    /// A value that was read from there.
    pub(in crate::domain) fn new(span: Range<usize>, value: T) -> Self {
        Self(toml::Spanned::new(span, value))
    }

    /// The bytes of the text.
    pub(in crate::domain) fn span(&self) -> Range<usize> {
        self.0.span()
    }

    /// The value.
    pub(in crate::domain) fn get_ref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
