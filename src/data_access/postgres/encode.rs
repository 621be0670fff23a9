//! Columns of Arrow, as the staging database returns them, in the binary form of Postgres.

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, StringArray};

use crate::data_access::cipher::{Cipher, Place};
use crate::domain::{Column, Dataset};
use crate::error::{Error, ErrorKind, Result};

/// The Postgres type in which a column is copied.
pub(super) fn postgres_type(column: &Column) -> &'static str {
    if column.encrypt { "bytea" } else { column.kind.table_type() }
}

/// The values of a column that is not encrypted, in the form that Postgres sends and receives.
pub(super) fn encoded(column: &Column, values: &ArrayRef) -> Result<BinaryArray> {
    check(column, values)?;
    Ok(column.kind.encode(values))
}

/// The values of an encrypted column. `keys` are those of their rows.
pub(super) fn encrypted(
    dataset: &Dataset,
    column: &Column,
    values: &ArrayRef,
    keys: &StringArray,
    cipher: &Cipher,
) -> Result<BinaryArray> {
    check(column, values)?;
    let plain = column.kind.print(values);
    let mut stored = BinaryBuilder::new();
    for (row, value) in plain.iter().enumerate() {
        match value {
            None => stored.append_null(),
            Some(value) => {
                let place = Place { dataset: &dataset.name, column: &column.name, key: keys.value(row) };
                stored.append_value(cipher.encrypt(place, value.as_bytes())?);
            }
        }
    }
    Ok(stored.finish())
}

/// The values of a column as the ledger knows keys.
pub(super) fn keys(column: &Column, values: &ArrayRef) -> Result<StringArray> {
    check(column, values)?;
    Ok(column.kind.print_stored(values))
}

fn check(column: &Column, values: &ArrayRef) -> Result<()> {
    let (has, needs) = (values.data_type(), column.kind.arrow_type());
    if *has == needs {
        return Ok(());
    }
    let message = format!("column {} comes from the staging database as {has}, not as {needs}", column.name);
    Err(Error::new(ErrorKind::System, message))
}
