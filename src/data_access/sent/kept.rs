//! Rows of files that are no text, kept as lines of JSON: from these a bad record is read again.

use std::io::Write;

use serde_json::{Value, json};

use super::Rows;
use crate::data_access::csv::SplitError;
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::row::{Row, RowFault};

/// Rows, each of which is kept when it is read.
pub struct Kept<R, W> {
    rows: R,
    copy: W,
    offset: u64,
}

impl<R: Rows, W: Write> Kept<R, W> {
    /// Keeps the rows in `copy`.
    pub fn new(rows: R, copy: W) -> Self {
        Self { rows, copy, offset: 0 }
    }
}

impl<R: Rows, W: Write + Send> Rows for Kept<R, W> {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        if !self.rows.read(row)? {
            return Ok(false);
        }
        fault_of(row);
        let line = line_of(row);
        row.offset = self.offset;
        row.raw.extend_from_slice(line.as_bytes());
        self.copy.write_all(line.as_bytes()).and_then(|()| self.copy.write_all(b"\n")).map_err(SplitError::Read)?;
        self.offset += line.len() as u64 + 1;
        Ok(true)
    }

    fn absent(&self) -> Vec<String> {
        self.rows.absent()
    }

    fn others(&self) -> Vec<String> {
        self.rows.others()
    }
}

/// A row as JSON: texts as they are, anything else with what it is.
fn line_of(row: &Row) -> String {
    let cell = |text: &str, kind| match kind {
        CellKind::Text => json!(text),
        CellKind::Number => json!({ "number": text }),
        CellKind::Moment => json!({ "moment": text }),
        CellKind::Error => json!({ "error": text }),
        CellKind::Null => Value::Null,
        CellKind::Literal => json!({ "literal": text }),
        CellKind::Typed => json!({ "typed": text }),
    };
    Value::Array(row.cells().map(|known| cell(known.text, known.kind)).collect()).to_string()
}

/// Reads the cells of a row from its kept bytes.
pub fn kept_row(row: &mut Row) {
    let cells: Vec<Value> = serde_json::from_slice(&row.raw).unwrap_or_default();
    for cell in &cells {
        let kinds = [
            ("number", CellKind::Number),
            ("moment", CellKind::Moment),
            ("error", CellKind::Error),
            ("literal", CellKind::Literal),
            ("typed", CellKind::Typed),
        ];
        let null = cell.is_null().then_some(("", CellKind::Null));
        let known = null.or_else(|| kinds.into_iter().find_map(|(name, kind)| Some((cell[name].as_str()?, kind))));
        let (text, kind) = known.unwrap_or_else(|| (cell.as_str().unwrap_or_default(), CellKind::Text));
        row.push_cell(text, kind);
    }
    fault_of(row);
}

/// No database keeps a NUL.
fn fault_of(row: &mut Row) {
    if row.text().contains('\0') {
        row.fault = Some(RowFault::Encoding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let mut row = Row::default();
        let cells = [
            ("a\n\"b", CellKind::Text),
            ("4.990", CellKind::Number),
            ("2025-01-12T00:00:00", CellKind::Moment),
            ("#N/A", CellKind::Error),
            ("", CellKind::Null),
            ("1.50", CellKind::Literal),
            ("2025-01-12", CellKind::Typed),
            ("", CellKind::Text),
        ];
        for (text, kind) in cells {
            row.push_cell(text, kind);
        }
        let mut again = Row::default();
        again.raw = line_of(&row).into_bytes();
        kept_row(&mut again);
        let all = |row: &Row| row.cells().map(|cell| (cell.text.to_owned(), cell.kind)).collect::<Vec<_>>();
        assert_eq!(all(&again), all(&row));
    }
}
