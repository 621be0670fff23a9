//! The ciphers of encrypted columns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::data_access::cipher::Cipher;

/// The ciphers of the data keys that were needed so far. They are kept between calls.
#[derive(Default)]
pub(super) struct Ciphers {
    /// The key of KMS whose data keys encrypt new values.
    pub(super) kms_key: Option<String>,
    pub(super) opened: Mutex<HashMap<i64, Arc<Cipher>>>,
}

impl Ciphers {
    pub(super) fn new(kms_key: Option<String>) -> Self {
        Self { kms_key, opened: Mutex::default() }
    }
}
