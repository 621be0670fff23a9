//! Arrow columns, as the staging database returns them, in the binary form of Postgres.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, SecondsFormat};
use rust_decimal::Decimal;
use tokio_postgres::types::{ToSql, Type};

use crate::domain::{Column, ColumnType};
use crate::error::{Error, ErrorKind, Result};

/// Microseconds from 1970 to 2000, where the times of Postgres begin.
const EPOCH: i64 = 946_684_800_000_000;

/// The Postgres type in which a column is copied.
pub(super) fn postgres_type(column: &Column) -> Type {
    if column.encrypt { Type::BYTEA } else { plain_type(column.kind) }
}

/// The Postgres type of a value that is not encrypted.
pub(super) fn plain_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Text => Type::TEXT,
        ColumnType::Integer => Type::INT4,
        ColumnType::BigInt => Type::INT8,
        ColumnType::Decimal { .. } => Type::NUMERIC,
        ColumnType::Timestamp => Type::TIMESTAMPTZ,
    }
}

/// One column of a record batch, typed once and then read cell by cell.
pub(super) enum Cells<'a> {
    Text(&'a StringArray),
    Integer(&'a Int32Array),
    BigInt(&'a Int64Array),
    Decimal(&'a Decimal128Array, u32),
    Timestamp(&'a TimestampMicrosecondArray),
}

impl<'a> Cells<'a> {
    /// The columns of `rows`, in their order.
    pub(super) fn columns(rows: &'a RecordBatch) -> Result<Vec<Self>> {
        rows.columns().iter().map(Self::of).collect()
    }

    fn of(column: &'a ArrayRef) -> Result<Self> {
        match column.data_type() {
            DataType::Utf8 => Ok(Self::Text(column.as_string())),
            DataType::Int32 => Ok(Self::Integer(column.as_primitive())),
            DataType::Int64 => Ok(Self::BigInt(column.as_primitive())),
            DataType::Decimal128(_, scale) => Ok(Self::Decimal(column.as_primitive(), u32::from(scale.unsigned_abs()))),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(Self::Timestamp(column.as_primitive())),
            other => Err(Error::new(ErrorKind::System, format!("no Postgres type for a column of type {other}"))),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(array) => array.is_null(row),
            Self::Integer(array) => array.is_null(row),
            Self::BigInt(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
        }
    }

    /// Appends the value in `row`, in the form that Postgres sends and receives; returns false for a null.
    pub(super) fn write(&self, row: usize, out: &mut BytesMut) -> Result<bool> {
        if self.is_null(row) {
            return Ok(false);
        }
        match self {
            Self::Text(array) => out.put_slice(array.value(row).as_bytes()),
            Self::Integer(array) => out.put_i32(array.value(row)),
            Self::BigInt(array) => out.put_i64(array.value(row)),
            Self::Decimal(array, scale) => {
                let written = decimal(array.value(row), *scale)?.to_sql(&Type::NUMERIC, out);
                written.map_err(|error| Error::with_source(ErrorKind::System, "encode a decimal", error))?;
            }
            Self::Timestamp(array) => {
                let since = array.value(row).checked_sub(EPOCH);
                out.put_i64(since.ok_or_else(|| Error::new(ErrorKind::System, "encode a timestamp out of range"))?);
            }
        }
        Ok(true)
    }

    /// The value in `row` as text; none for a null.
    pub(super) fn text(&self, row: usize) -> Result<Option<String>> {
        if self.is_null(row) {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Text(array) => array.value(row).to_owned(),
            Self::Integer(array) => array.value(row).to_string(),
            Self::BigInt(array) => array.value(row).to_string(),
            Self::Decimal(array, scale) => decimal(array.value(row), *scale)?.to_string(),
            Self::Timestamp(array) => {
                let time = DateTime::from_timestamp_micros(array.value(row));
                let time = time.ok_or_else(|| Error::new(ErrorKind::System, "read a timestamp out of range"))?;
                time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            }
        }))
    }
}

fn decimal(value: i128, scale: u32) -> Result<Decimal> {
    Decimal::try_from_i128_with_scale(value, scale).map_err(|error| Error::system("read a decimal", error))
}
