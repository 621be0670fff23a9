//! A connection that is out of the pool for one operation, and the span of that operation.

use std::ops::{Deref, DerefMut};

use deadpool_postgres::{ClientWrapper, Object};
use tracing::Span;

/// A connection that has just answered. It goes back to the pool when it is dropped.
pub(super) struct Connection {
    object: Object,
    /// Ends with the operation. The statements of an operation have no spans of their own.
    _operation: Span,
}

impl Connection {
    pub(super) fn new(object: Object, operation: Span) -> Self {
        Self { object, _operation: operation }
    }

    /// Takes the connection out of the pool for good.
    pub(super) fn take(self) -> ClientWrapper {
        Object::take(self.object)
    }
}

impl Deref for Connection {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.object
    }
}
