//! Columns whose values fit into one or two machine words.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, PrimitiveArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

/// Reads cells. A value is null if `parse` returns `None`.
pub(super) fn read<T: ArrowPrimitiveType>(
    cells: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    cells.iter().map(|cell| parse(cell?)).collect()
}

/// Reads cells as a column.
pub(super) fn column<T: ArrowPrimitiveType>(
    cells: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> ArrayRef {
    Arc::new(read::<T>(cells, parse))
}

/// Prints values.
pub(super) fn print<T: ArrowPrimitiveType>(values: &dyn Array, text: impl Fn(T::Native) -> String) -> StringArray {
    values.as_primitive::<T>().iter().map(|value| value.map(&text)).collect()
}

/// Encodes values; `put` appends each one.
pub(super) fn encode<T: ArrowPrimitiveType>(values: &dyn Array, put: impl Fn(T::Native, &mut Vec<u8>)) -> BinaryArray {
    let values = values.as_primitive::<T>();
    let mut bytes = Vec::with_capacity(values.len() * size_of::<T::Native>());
    let lengths = values.iter().map(|value| {
        let begin = bytes.len();
        if let Some(value) = value {
            put(value, &mut bytes);
        }
        bytes.len() - begin
    });
    let offsets = OffsetBuffer::from_lengths(lengths);
    BinaryArray::new(offsets, Buffer::from_vec(bytes), values.nulls().cloned())
}

/// Prints a column of a Parquet file in the form of Arrow itself: whole numbers, decimals and texts.
pub(super) fn cells(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let cell = |row| (!column.is_null(row)).then(|| array_value_to_string(column, row)).transpose();
    (0..column.len()).map(cell).collect()
}
