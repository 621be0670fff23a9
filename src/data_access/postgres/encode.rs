//! Arrow columns, as the staging database returns them, in the binary form of Postgres.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, SecondsFormat};
use rust_decimal::Decimal;
use tokio_postgres::types::Type;

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
                put_numeric(array.value(row), *scale, out);
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

/// Appends a decimal of at most 28 digits as Postgres itself sends it, so that equal values are equal bytes: digits of base 10,000
/// without zeros at either end. Source: `numeric_send` in `src/backend/utils/adt/numeric.c`.
fn put_numeric(value: i128, scale: u32, out: &mut BytesMut) {
    const BASE: u128 = 10_000;
    const POSITIVE: u16 = 0;
    const NEGATIVE: u16 = 0x4000;
    let behind_the_point = scale.div_ceil(4);
    let mut rest = value.unsigned_abs() * 10_u128.pow(4 * behind_the_point - scale);
    // The power of the base that the lowest digit counts.
    let mut lowest = -i16::try_from(behind_the_point).unwrap_or(i16::MAX);
    while rest > 0 && rest.is_multiple_of(BASE) {
        rest /= BASE;
        lowest += 1;
    }
    let mut digits: Vec<i16> = Vec::with_capacity(8);
    while rest > 0 {
        digits.push(i16::try_from(rest % BASE).unwrap_or_default());
        rest /= BASE;
    }
    let count = i16::try_from(digits.len()).unwrap_or(i16::MAX);
    out.put_i16(count);
    out.put_i16(if count == 0 { 0 } else { lowest + count - 1 });
    out.put_u16(if value < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(u16::try_from(scale).unwrap_or(u16::MAX));
    digits.iter().rev().for_each(|digit| out.put_i16(*digit));
}

fn decimal(value: i128, scale: u32) -> Result<Decimal> {
    Decimal::try_from_i128_with_scale(value, scale).map_err(|error| Error::system("read a decimal", error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::types::FromSql;

    use super::*;

    fn numeric(value: i128, scale: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_numeric(value, scale, &mut out);
        out.to_vec()
    }

    #[test]
    fn a_decimal_is_written_as_postgres_writes_it() {
        // What `numeric_send` of Postgres 15 answers for them.
        let known = [
            (0, 2, "0000000000000002"),
            (10_000_000_000, 2, "00010002000000020001"),
            (-123_456_789, 2, "0003000140000002007b11d722c4"),
            (5, 2, "0001ffff0000000201f4"),
            (1550, 2, "0002000000000002000f1388"),
            (1234, 8, "0001fffe0000000804d2"),
            (-5, 0, "00010000400000000005"),
            (30_000_000, 3, "00010001000000030003"),
        ];
        for (value, scale, bytes) in known {
            assert_eq!(hex::encode(numeric(value, scale)), bytes, "{value} {scale}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_comes_back_and_has_one_form(value in -(10_i128.pow(28) - 1)..10_i128.pow(28), zeros in 0..20_u32, scale in 0..=10_u32) {
            let value = value / 10_i128.pow(zeros) * 10_i128.pow(zeros);
            let bytes = numeric(value, scale);
            let back = Decimal::from_sql(&Type::NUMERIC, &bytes).unwrap();
            prop_assert_eq!(back, decimal(value, scale).unwrap());
            let digits: Vec<&[u8]> = bytes[8..].chunks(2).collect();
            prop_assert!(digits.first().is_none_or(|digit| *digit != [0, 0]) && digits.last().is_none_or(|digit| *digit != [0, 0]));
        }
    }
}
