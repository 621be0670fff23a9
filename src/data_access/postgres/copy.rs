//! Rows on their way through binary COPY.
//! Source: the manual of Postgres, `COPY`, "Binary Format".

use std::pin::pin;

use arrow::record_batch::RecordBatch;
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error as PostgresError, Statement, Transaction};

use super::encode::Cells;
use crate::data_access::cipher::{Cipher, Place};
use crate::domain::Dataset;
use crate::error::Result;

/// Signature, flags, and the length of an extension that is not there.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Stands where the number of columns of a next row would.
const END: i16 = -1;
const NULL: i32 = -1;
/// So much is sent at once.
const PART: usize = 128 * 1024;

/// Columns of the stage before those of the dataset: the record and its line.
const PLACE: i16 = 2;

/// Rows of a dataset, encoded once for whatever becomes of them: looked at, written to the table, or to the stage.
pub struct CopyRows {
    columns: i16,
    fields: BytesMut,
    rows: Vec<CopyRow>,
}

/// One of them.
pub(super) struct CopyRow {
    /// Its record in the file.
    pub(super) record: i64,
    /// The line where that begins.
    pub(super) line: i64,
    /// Its key, as Postgres prints it.
    pub(super) key: String,
    begin: usize,
    end: usize,
}

impl CopyRows {
    /// Encodes rows that are the record and the line, then the dataset's columns in their order.
    ///
    /// # Errors
    /// `System` for a value that Postgres does not know.
    pub fn encode(dataset: &Dataset, cipher: Option<&Cipher>, chunk: &[RecordBatch]) -> Result<Self> {
        let columns = i16::try_from(dataset.columns.len()).unwrap_or(i16::MAX);
        let key_at = dataset.columns.iter().position(|column| column.name == dataset.key).unwrap_or_default();
        let mut encoded = Self { columns, fields: BytesMut::new(), rows: Vec::new() };
        for rows in chunk {
            let cells = Cells::columns(rows)?;
            let [Cells::BigInt(records), Cells::BigInt(lines), cells @ ..] = &cells[..] else { continue };
            for row in 0..rows.num_rows() {
                let text = cells[key_at].text(row)?;
                let key = text.and_then(|text| dataset.key_kind().canonical(&text)).unwrap_or_default();
                let begin = encoded.fields.len();
                for (column, cells) in dataset.columns.iter().zip(cells) {
                    let length_at = encoded.fields.len();
                    encoded.fields.put_i32(NULL);
                    let is_there = match cipher.filter(|_| column.encrypt) {
                        None => cells.write(row, &mut encoded.fields)?,
                        Some(cipher) => match cells.text(row)? {
                            None => false,
                            Some(value) => {
                                let place = Place { dataset: &dataset.name, column: &column.name, key: &key };
                                encoded.fields.put_slice(&cipher.encrypt(place, value.as_bytes())?);
                                true
                            }
                        },
                    };
                    if is_there {
                        let length = encoded.fields.len() - length_at - size_of::<i32>();
                        let length = i32::try_from(length).unwrap_or(i32::MAX);
                        encoded.fields[length_at..][..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
                    }
                }
                let (record, line, end) = (records.value(row), lines.value(row), encoded.fields.len());
                encoded.rows.push(CopyRow { record, line, key, begin, end });
            }
        }
        Ok(encoded)
    }

    /// The rows, in the order of the file.
    pub(super) fn rows(&self) -> &[CopyRow] {
        &self.rows
    }

    /// The values of a row, in the order of the dataset's columns; none for a null.
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

    /// Copies rows to where the statement says; returns how many were taken.
    pub(super) async fn write(
        &self,
        transaction: &Transaction<'_>,
        copy: &Statement,
        rows: &[&CopyRow],
        target: Target,
    ) -> Result<u64, PostgresError> {
        let mut sink = pin!(transaction.copy_in::<_, Bytes>(copy).await?);
        let mut out = BytesMut::with_capacity(PART);
        out.put_slice(HEAD);
        for row in rows {
            match target {
                Target::Table => out.put_i16(self.columns),
                Target::Stage => {
                    out.put_i16(PLACE + self.columns);
                    for place in [row.record, row.line] {
                        out.put_i32(8);
                        out.put_i64(place);
                    }
                }
            }
            out.put_slice(&self.fields[row.begin..row.end]);
            if out.len() >= PART {
                sink.send(std::mem::replace(&mut out, BytesMut::with_capacity(PART)).freeze()).await?;
            }
        }
        out.put_i16(END);
        sink.send(out.freeze()).await?;
        sink.finish().await
    }
}

/// Where rows are copied to.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The dataset's table.
    Table,
    /// The stage of a batch, where their places stand beside them.
    Stage,
}

/// A value as it goes to Postgres and comes from there, whatever its type.
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
