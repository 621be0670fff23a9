//! Converts Arrow columns, as the staging database returns them, into the binary form of Postgres.

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, StringArray};

use crate::data_access::cipher::{Cipher, Place};
use crate::domain::{Column, Dataset, row_key};
use crate::error::{Error, ErrorKind, Result};

/// The Postgres type in which a column is copied.
pub(super) fn postgres_type(column: &Column) -> &'static str {
    if column.encrypt { "bytea" } else { column.kind.table_type() }
}

/// Encodes the values of an unencrypted column in the binary form that Postgres sends and receives.
pub(super) fn encoded(column: &Column, values: &ArrayRef) -> Result<BinaryArray> {
    check(column, values)?;
    Ok(column.kind.encode(values))
}

/// Encrypts the values of a column. `keys` are the keys of their rows.
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

/// Returns the keys of rows as the ledger stores them. `names` are the columns of the key, in order.
pub(super) fn keys<'c>(
    columns: impl Iterator<Item = (&'c Column, &'c ArrayRef)>,
    names: &[String],
) -> Result<StringArray> {
    let mut printed = Vec::new();
    for (column, values) in columns {
        check(column, values)?;
        let place = names.iter().position(|name| *name == column.name).unwrap_or_default();
        printed.push((place, column.kind.print_stored(values)));
    }
    if let [_] = printed[..] {
        return Ok(printed.swap_remove(0).1);
    }
    printed.sort_unstable_by_key(|(place, _)| *place);
    let rows = printed.first().map_or(0, |(_, values)| values.len());
    let key = |row: usize| row_key::joined(printed.iter().map(|(_, values)| values.value(row)));
    Ok((0..rows).map(|row| Some(key(row))).collect())
}

fn check(column: &Column, values: &ArrayRef) -> Result<()> {
    let (has, needs) = (values.data_type(), column.kind.arrow_type());
    if *has == needs {
        return Ok(());
    }
    let message = format!("column {} comes from the staging database as {has}, not as {needs}", column.name);
    Err(Error::new(ErrorKind::System, message))
}
