//! Encrypts single values with AES-256-GCM. Each stored value names its data key and is bound to its place.
//!
//! The nonce is not random: it is a MAC over the place and the value, as in a synthetic initialization vector (RFC
//! 5297). The same value in the same place is always encrypted to the same bytes, so loading a file again changes
//! nothing. Two different values share a nonce only if 96 bits collide.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};

/// The first byte of an encrypted value.
const FORMAT: u8 = 1;
/// The length of format byte, data key number and nonce.
const HEAD: usize = 1 + 8 + NONCE;
const NONCE: usize = 12;

/// Encrypts and decrypts with one data key.
pub struct Cipher {
    id: i64,
    aead: Aes256Gcm,
    nonces: Hmac<Sha256>,
}

/// The place of a value: dataset, column, and key of the row. The value can be decrypted only with the same place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The dataset.
    pub dataset: &'a str,
    /// The column.
    pub column: &'a str,
    /// The key of the row.
    pub key: &'a str,
}

impl Place<'_> {
    /// Each part is preceded by its length, so that two different places never give the same bytes.
    fn bytes(self) -> Vec<u8> {
        let parts = [self.dataset, self.column, self.key];
        parts.iter().flat_map(|part| [&part.len().to_be_bytes(), part.as_bytes()].concat()).collect()
    }
}

impl Cipher {
    /// The number of the data key.
    #[must_use]
    pub fn data_key(&self) -> i64 {
        self.id
    }

    /// Creates a cipher for data key `id`, whose bytes are `key`: 32 of them.
    ///
    /// # Errors
    /// `System` if the key has another length.
    pub fn new(id: i64, key: &[u8]) -> Result<Self> {
        let wrong = |_| Error::new(ErrorKind::System, format!("data key {id} does not have 32 bytes"));
        let aead = Aes256Gcm::new_from_slice(key).map_err(wrong)?;
        let mut derive = mac(key)?;
        derive.update(b"small-etl nonces");
        Ok(Self { id, aead, nonces: mac(&derive.finalize().into_bytes())? })
    }

    /// Encrypts `value` and returns the stored form: format, number of the data key, nonce, ciphertext with its tag.
    ///
    /// # Errors
    /// `System` if the value is longer than 64 GB.
    pub fn encrypt(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>> {
        let place = place.bytes();
        let mut nonces = self.nonces.clone();
        nonces.update(&place);
        nonces.update(value);
        let nonce = &nonces.finalize().into_bytes()[..NONCE];
        let failed = |_| Error::new(ErrorKind::System, "a value is too long to be encrypted");
        let sealed = self.aead.encrypt(&as_nonce(nonce)?, Payload { msg: value, aad: &place }).map_err(failed)?;
        Ok([&[FORMAT], &self.id.to_be_bytes()[..], nonce, &sealed].concat())
    }

    /// Decrypts the value that was stored in this place.
    ///
    /// # Errors
    /// `System` if the bytes are not an encrypted value, were changed, or were moved here from another place.
    pub fn decrypt(&self, place: Place<'_>, stored: &[u8]) -> Result<Vec<u8>> {
        let Place { dataset, column, key } = place;
        let broken = || {
            let message =
                format!("{dataset} {key}: column {column}: the value was changed or moved, or is not encrypted");
            Error::new(ErrorKind::System, message)
        };
        if data_key_of(stored) != Some(self.id) {
            return Err(broken());
        }
        let payload = Payload { msg: &stored[HEAD..], aad: &place.bytes() };
        self.aead.decrypt(&as_nonce(&stored[HEAD - NONCE..HEAD])?, payload).map_err(|_| broken())
    }
}

/// Returns the number of the data key with which a stored value was encrypted, or `None` if it is not an encrypted
/// value.
#[must_use]
pub fn data_key_of(stored: &[u8]) -> Option<i64> {
    let number = stored.get(1..9)?.try_into().ok()?;
    (stored[0] == FORMAT && stored.len() >= HEAD).then(|| i64::from_be_bytes(number))
}

fn mac(key: &[u8]) -> Result<Hmac<Sha256>> {
    Hmac::new_from_slice(key).map_err(|error| Error::system("derive a key", error))
}

fn as_nonce(bytes: &[u8]) -> Result<Nonce<aes_gcm::aead::consts::U12>> {
    Nonce::try_from(bytes).map_err(|error| Error::system("read a nonce", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { dataset: "trade", column: "order_remark", key: "T1" };

    fn cipher(id: i64) -> Cipher {
        Cipher::new(id, &[7; 32]).unwrap()
    }

    #[test]
    fn a_value_can_be_decrypted_and_does_not_show_in_what_is_stored() {
        let stored = cipher(5).encrypt(PLACE, "正常交易".as_bytes()).unwrap();
        assert_eq!(data_key_of(&stored), Some(5));
        assert_eq!(cipher(5).decrypt(PLACE, &stored).unwrap(), "正常交易".as_bytes());
        assert!(!stored.windows(3).any(|bytes| bytes == "正".as_bytes()));
    }

    #[test]
    fn the_same_value_is_stored_as_the_same_bytes_only_in_the_same_place() {
        let encrypt = |key| cipher(1).encrypt(Place { key, ..PLACE }, b"x").unwrap();
        assert_eq!(encrypt("T1"), encrypt("T1"));
        assert_ne!(encrypt("T1")[9..], encrypt("T2")[9..]);
    }

    #[test]
    fn a_stored_value_that_was_changed_or_moved_is_refused() {
        let stored = cipher(1).encrypt(PLACE, b"x").unwrap();
        for index in 0..stored.len() {
            let mut changed = stored.clone();
            changed[index] ^= 1;
            assert!(cipher(1).decrypt(PLACE, &changed).is_err(), "byte {index}");
        }
        assert!(cipher(1).decrypt(Place { key: "T2", ..PLACE }, &stored).is_err());
        assert!(cipher(1).decrypt(Place { dataset: "tradeorder", column: "_remark", key: "T1" }, &stored).is_err());
        assert!(cipher(1).decrypt(PLACE, &stored[..20]).is_err());
        assert!(Cipher::new(1, &[7; 16]).is_err());
    }
}
