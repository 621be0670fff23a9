//! `etl.data_key`: the wrapped keys of encrypted columns, the ciphers made from them, and the values that are decrypted
//! with them.

use std::sync::{Arc, PoisonError};

use futures::{Stream, TryStreamExt};
use secrecy::ExposeSecret;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::key::Key;
use super::sql_names::{quoted, table_name};
use super::{Database, query_error};
use crate::data_access::cipher::{Cipher, Place, data_key_of};
use crate::data_access::kms::{new_data_key, open_data_key};
use crate::domain::{ColumnType, Dataset, LoadId, RecordNumber, Violation, row_key};
use crate::error::{Error, ErrorKind, Result};

/// A data key as it is stored, wrapped by a key of KMS.
struct WrappedKey {
    id: i64,
    kms_key: String,
    wrapped: Vec<u8>,
}

/// The key of a row and its encrypted values, in the order of the dataset's encrypted columns.
pub type SealedRow = (String, Vec<Option<Vec<u8>>>);

impl Database {
    /// Returns the cipher for new values of a dataset, or `None` if it has no encrypted column.
    ///
    /// # Errors
    /// `Configuration` if no key of KMS is set or it may not be used, `Connection`, `System`.
    pub(super) async fn cipher_for(&self, dataset: &Dataset) -> Result<Option<Arc<Cipher>>> {
        let Some(column) = dataset.encrypted().next() else { return Ok(None) };
        let Some(kms_key) = &self.ciphers.kms_key else {
            let (dataset, column) = (&dataset.name, &column.name);
            return Err(Error::configuration(format!(
                "dataset {dataset} encrypts column {column}; set encryption.kms_key to a key of AWS KMS"
            )));
        };
        // The first data key is used, so that two workers that each created one agree.
        let statement = "select id, kms_key, wrapped from etl.data_key where configured_as = $1 order by id limit 1";
        if let Some(key) = self.wrapped_key(statement, kms_key).await? {
            return self.open(key).await.map(Some);
        }
        let (arn, wrapped) = Box::pin(new_data_key(kms_key)).await?;
        let keep = "insert into etl.data_key (configured_as, kms_key, wrapped) values ($1, $2, $3)";
        let kept = self.connection("cipher_for").await?.execute(keep, &[kms_key, &arn, &wrapped]).await;
        kept.map_err(|error| query_error("keep a data key", error))?;
        match self.wrapped_key(statement, kms_key).await? {
            Some(key) => self.open(key).await.map(Some),
            None => Err(Error::new(ErrorKind::System, "the data key that was just kept is gone")),
        }
    }

    /// Returns the cipher of the data key with this number.
    ///
    /// # Errors
    /// `Configuration` if KMS refuses to unwrap the key, `Connection`, `System` if there is no such key.
    async fn cipher(&self, id: i64) -> Result<Arc<Cipher>> {
        if let Some(known) = self.known_cipher(id) {
            return Ok(known);
        }
        let key = self.wrapped_key("select id, kms_key, wrapped from etl.data_key where id = $1", &id).await?;
        self.open(key.ok_or_else(|| Error::new(ErrorKind::System, format!("there is no data key {id}")))?).await
    }

    async fn wrapped_key(&self, statement: &str, parameter: &(dyn ToSql + Sync)) -> Result<Option<WrappedKey>> {
        let row = self.connection("wrapped_key").await?.query_opt(statement, &[parameter]).await;
        let row = row.map_err(|error| query_error("read a data key", error))?;
        Ok(row.map(|row| WrappedKey { id: row.get(0), kms_key: row.get(1), wrapped: row.get(2) }))
    }

    async fn open(&self, key: WrappedKey) -> Result<Arc<Cipher>> {
        if let Some(known) = self.known_cipher(key.id) {
            return Ok(known);
        }
        let plain = Box::pin(open_data_key(&key.kms_key, &key.wrapped)).await?;
        let cipher = Arc::new(Cipher::new(key.id, plain.expose_secret())?);
        self.ciphers.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, Arc::clone(&cipher));
        Ok(cipher)
    }

    fn known_cipher(&self, id: i64) -> Option<Arc<Cipher>> {
        // The map only grows, so a panic elsewhere cannot leave it half changed.
        self.ciphers.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Records in `etl.audit` that records of these loads are being decrypted.
    pub(super) async fn note_decryption(&self, loads: &[i64]) -> Result<()> {
        let statement = "insert into etl.audit (action, load_id, detail) \
            select 'rejects decrypted', load, jsonb_build_object('records', count(*)) from unnest($1::bigint[]) as load group by load";
        let noted = self.connection("note_decryption").await?.execute(statement, &[&loads]).await;
        noted.map(|_| ()).map_err(|error| query_error("note in etl.audit that rejects are decrypted", error))
    }

    /// Decrypts the bytes of a rejected record.
    pub(super) async fn opened(&self, data_key: i64, row: &Row, stored: &[u8]) -> Result<Vec<u8>> {
        let (dataset, load, record) = (row.get("dataset"), LoadId(row.get("load_id")), row.get("record"));
        self.cipher(data_key).await?.decrypt(record_place(dataset, &record_key(load, record)), stored)
    }

    /// Decrypts a value.
    ///
    /// # Errors
    /// `Configuration` if KMS refuses to unwrap the data key, `Connection`, `System` if the value was changed or moved.
    pub async fn decrypted(&self, place: Place<'_>, stored: &[u8]) -> Result<String> {
        let Place { dataset, column, key } = place;
        let broken =
            || Error::new(ErrorKind::System, format!("{dataset} {key}: column {column} holds no encrypted value"));
        let plain = self.cipher(data_key_of(stored).ok_or_else(broken)?).await?.decrypt(place, stored)?;
        String::from_utf8(plain).map_err(|_| broken())
    }

    /// Reads the encrypted values of a dataset's table, either of one row, whose key is given as in the ledger, or of
    /// all rows. The reading is first recorded in `etl.audit`.
    ///
    /// # Errors
    /// `Configuration` if the reading may not be recorded, `Connection`, `System`.
    pub async fn encrypted_values(
        &self,
        dataset: &Dataset,
        key: Option<&str>,
    ) -> Result<impl Stream<Item = Result<SealedRow>> + use<>> {
        let failed = |error| query_error("read encrypted values", error);
        // A session of its own, which ends with the stream: unwrapping a data key needs another one.
        let connection = self.connection("encrypted_values").await?.take();
        let columns: Vec<String> = dataset.encrypted().map(|column| column.name.clone()).collect();
        let noted = "insert into etl.audit (action, detail) values ('values decrypted', \
            jsonb_build_object('dataset', $1::text, 'key', $2::text, 'columns', $3::text[]))";
        connection.execute(noted, &[&dataset.name, &key, &columns]).await.map_err(failed)?;
        let own = Key::of(dataset);
        let kinds: Vec<ColumnType> = dataset.key_columns().iter().map(|column| column.kind.clone()).collect();
        let cells = dataset.key.iter().zip(&kinds).map(|(name, kind)| kind.export(&quoted(name)));
        let list: Vec<String> = cells.chain(columns.iter().map(|column| quoted(column))).collect();
        let statement = format!(
            "select {} from {} where $1::text is null or {} order by {}",
            list.join(", "),
            table_name(&dataset.table),
            own.is_text(1),
            own.list(""),
        );
        let parameters: Vec<Option<String>> = match key {
            Some(key) => row_key::split(key, own.len()).unwrap_or_default().into_iter().map(Some).collect(),
            None => vec![None; own.len()],
        };
        let rows = connection.query_raw(&statement, &parameters).await.map_err(failed)?;
        let width = columns.len();
        Ok(rows.map_err(failed).map_ok(move |row| {
            let _ = &connection;
            // If the column is wider than the dataset's, it prints a key differently from the ledger.
            let stored = kinds.iter().enumerate().map(|(index, kind)| {
                let cell: String = row.get(index);
                kind.canonical(&cell).unwrap_or(cell)
            });
            let stored: Vec<String> = stored.collect();
            let key = row_key::joined(stored.iter().map(String::as_str));
            (key, (kinds.len()..kinds.len() + width).map(|index| row.get(index)).collect())
        }))
    }
}

/// Prepares violations for storing. If the dataset has an encrypted column, the bytes of each record are encrypted too,
/// and nothing is revealed of the cells in such a column.
pub(super) fn sealed(
    cipher: Option<&Cipher>,
    dataset: &Dataset,
    load: LoadId,
    mut violations: Vec<Violation>,
) -> Result<Vec<Violation>> {
    let Some(cipher) = cipher else { return Ok(violations) };
    let mut last: Option<(RecordNumber, Arc<[u8]>)> = None;
    for violation in &mut violations {
        violation.raw = match &last {
            Some((record, sealed)) if *record == violation.record => Arc::clone(sealed),
            _ => {
                let key = record_key(load, violation.record.0);
                cipher.encrypt(record_place(&dataset.name, &key), &violation.raw)?.into()
            }
        };
        last = Some((violation.record, Arc::clone(&violation.raw)));
        violation.data_key = Some(cipher.data_key());
        if dataset.encrypted().any(|column| violation.column.as_ref() == Some(&column.name)) {
            violation.value = None;
            violation.message = format!("the value breaks rule {}; it is encrypted and not told", violation.rule);
        }
    }
    Ok(violations)
}

fn record_key(load: LoadId, record: i64) -> String {
    format!("{load} {record}")
}

/// The place of a whole record. Names of columns do not begin with `_`.
fn record_place<'a>(dataset: &'a str, key: &'a str) -> Place<'a> {
    Place { dataset, column: "_record", key }
}
