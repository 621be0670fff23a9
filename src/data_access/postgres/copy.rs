//! Encodes rows for binary COPY. Source: the manual of Postgres, `COPY`, "Binary Format".

use std::pin::pin;

use arrow::array::{Array as _, AsArray as _, BinaryArray, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error as PostgresError, Statement, Transaction};

use super::encode::{encoded as plain, encrypted, keys};
use crate::data_access::cipher::Cipher;
use crate::domain::{Column, Dataset};
use crate::error::{Error, ErrorKind, Result};

/// Signature, flags, and the length of a header extension, which is zero.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Comes instead of the number of columns of a further row.
const END: i16 = -1;
const NULL: i32 = -1;
/// How many bytes are sent at once.
const PART: usize = 128 * 1024;

/// How many columns of the stage come before those of the dataset: the record and its line.
const PLACE: u8 = 2;
/// The same, as a length.
pub(super) const PLACES: usize = PLACE as usize;

/// Rows of a dataset, encoded once for every use: to compare them, and to write them to the table or to the stage.
pub struct CopyRows {
    columns: i16,
    fields: Vec<u8>,
    rows: Vec<CopyRow>,
}

/// One encoded row.
pub(super) struct CopyRow {
    /// Its record in the file.
    pub(super) record: i64,
    /// The line on which the record begins.
    pub(super) line: i64,
    /// The key as Postgres prints it.
    pub(super) key: String,
    begin: usize,
    end: usize,
}

impl CopyRows {
    /// Encodes rows that consist of the record, the line, and then the columns of the table in the order of the dataset.
    ///
    /// # Errors
    /// `System` if Postgres cannot represent a value.
    pub fn encode(dataset: &Dataset, cipher: Option<&Cipher>, chunk: &[RecordBatch]) -> Result<Self> {
        let columns = i16::try_from(dataset.table_columns().len()).unwrap_or(i16::MAX);
        let is_key = |column: &Column| dataset.key.contains(&column.name);
        let mut encoded = Self { columns, fields: Vec::new(), rows: Vec::new() };
        for rows in chunk {
            let (places, values) = rows.columns().split_at_checked(PLACE.into()).unwrap_or_default();
            let place = |at: usize| places.get(at).and_then(|place| place.as_primitive_opt());
            let places = place(0).zip(place(1)).filter(|_| values.len() == dataset.table_columns().len());
            let places = places.ok_or_else(|| Error::new(ErrorKind::System, "rows to copy lack a column"))?;
            let keys =
                keys(dataset.table_columns().iter().zip(values).filter(|(column, _)| is_key(column)), &dataset.key)?;
            let columns = dataset.table_columns().iter().zip(values).map(|(column, values)| match cipher {
                Some(cipher) if column.encrypt => encrypted(dataset, column, values, &keys, cipher),
                _ => plain(column, values),
            });
            encoded.append(&columns.collect::<Result<Vec<_>>>()?, &keys, places);
        }
        Ok(encoded)
    }

    /// Appends rows whose columns are already encoded.
    fn append(&mut self, columns: &[BinaryArray], keys: &StringArray, (records, lines): (&Int64Array, &Int64Array)) {
        self.rows.reserve(keys.len());
        for row in 0..keys.len() {
            let begin = self.fields.len();
            for column in columns {
                if column.is_null(row) {
                    self.fields.extend_from_slice(&NULL.to_be_bytes());
                    continue;
                }
                let value = column.value(row);
                self.fields.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
                self.fields.extend_from_slice(value);
            }
            // A row without a key was rejected before.
            let key = keys.value(row).to_owned();
            let (record, line, end) = (records.value(row), lines.value(row), self.fields.len());
            self.rows.push(CopyRow { record, line, key, begin, end });
        }
    }

    /// Returns the rows in the order of the file.
    pub(super) fn rows(&self) -> &[CopyRow] {
        &self.rows
    }

    /// Returns the values of a row in the order of the dataset's columns; `None` for a null.
    pub(super) fn values(&self, row: &CopyRow) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.fields[row.begin..row.end];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = behind;
                return Some(None);
            };
            let (value, behind) = behind.split_at(length);
            rest = behind;
            Some(Some(value))
        })
    }

    /// Copies rows to where the statement says. Returns how many were taken.
    pub(super) async fn write(
        &self,
        transaction: &Transaction<'_>,
        copy: &Statement,
        rows: &[&CopyRow],
        target: Target<'_>,
    ) -> Result<u64, PostgresError> {
        let mut sink = pin!(transaction.copy_in::<_, Bytes>(copy).await?);
        let mut out = BytesMut::with_capacity(PART);
        out.put_slice(HEAD);
        for row in rows {
            match target {
                Target::Table(origin) => out.put_i16(self.columns + origin.fields),
                Target::Stage => {
                    out.put_i16(i16::from(PLACE) + self.columns);
                    for place in [row.record, row.line] {
                        out.put_i32(8);
                        out.put_i64(place);
                    }
                }
            }
            out.put_slice(&self.fields[row.begin..row.end]);
            if let Target::Table(origin) = target {
                out.put_slice(&origin.bytes);
            }
            if out.len() >= PART {
                sink.send(std::mem::replace(&mut out, BytesMut::with_capacity(PART)).freeze()).await?;
            }
        }
        out.put_i16(END);
        sink.send(out.freeze()).await?;
        sink.finish().await
    }
}

/// Fields that are the same in all rows of a batch that are copied to the table, in the form of binary COPY.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) fields: i16,
    pub(super) bytes: Vec<u8>,
}

/// The table that rows are copied to.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The table of the dataset, with what the program fills there.
    Table(&'a Origin),
    /// The stage of a batch, which also has record and line of each row.
    Stage,
}

/// A value in the binary form of Postgres, whatever its type.
#[derive(Debug)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl ToSql for Raw<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
