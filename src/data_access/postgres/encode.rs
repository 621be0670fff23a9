//! Arrow columns, as the staging database returns them, into the binary COPY of Postgres.

use std::error::Error as StdError;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::BytesMut;
use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::domain::{Column, ColumnType};
use crate::error::{Error, ErrorKind, Result};

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

    fn array(&self) -> &'a dyn Array {
        match self {
            Self::Text(array) => *array,
            Self::Integer(array) => *array,
            Self::BigInt(array) => *array,
            Self::Decimal(array, _) => *array,
            Self::Timestamp(array) => *array,
        }
    }

    /// The cell in `row`.
    pub(super) fn cell(&self, row: usize) -> Result<Cell<'a>> {
        if self.array().is_null(row) {
            return Ok(Cell::Null);
        }
        Ok(match self {
            Self::Text(array) => Cell::Text(array.value(row)),
            Self::Integer(array) => Cell::Integer(array.value(row)),
            Self::BigInt(array) => Cell::BigInt(array.value(row)),
            Self::Decimal(array, scale) => {
                let number = Decimal::try_from_i128_with_scale(array.value(row), *scale);
                Cell::Decimal(number.map_err(|error| Error::system("encode a decimal", error))?)
            }
            Self::Timestamp(array) => {
                let time = DateTime::from_timestamp_micros(array.value(row));
                Cell::Timestamp(time.ok_or_else(|| Error::new(ErrorKind::System, "encode a timestamp out of range"))?)
            }
        })
    }
}

/// One value on its way to Postgres.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Null,
    Text(&'a str),
    Integer(i32),
    BigInt(i64),
    Decimal(Decimal),
    Timestamp(DateTime<Utc>),
    Encrypted(Vec<u8>),
}

impl Cell<'_> {
    /// The value as text, as Postgres would print it; none for a null.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Null | Self::Encrypted(_) => None,
            Self::Text(text) => Some((*text).to_owned()),
            Self::Integer(number) => Some(number.to_string()),
            Self::BigInt(number) => Some(number.to_string()),
            Self::Decimal(number) => Some(number.to_string()),
            Self::Timestamp(time) => Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Integer(number) => number.to_sql(ty, out),
            Self::BigInt(number) => number.to_sql(ty, out),
            Self::Decimal(number) => number.to_sql(ty, out),
            Self::Timestamp(time) => time.to_sql(ty, out),
            Self::Encrypted(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
