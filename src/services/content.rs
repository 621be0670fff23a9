//! Content keys: a hash of the values of a row, and which copy of it in its file the row is.
//!
//! The nth copy of a row in a file is the nth copy in the table. So exports that overlap never double a row, and rows that really
//! came several times stay as many.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use sha2::{Digest, Sha256};

use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::postgres::{Claim, Database};
use crate::data_access::retry::retrying;
use crate::domain::dataset::CONTENT_KEY;
use crate::domain::{Column, Dataset, LineNumber, LoadId, RecordNumber, Resubmission};
use crate::error::{Error, Reason, Result};

/// Characters of a hash.
const HASH: usize = 64;

/// The columns of a dataset that its content keys cover.
pub(super) struct ContentKeys<'a> {
    /// Where each of them stands among the columns of files, in the order of their names.
    columns: Vec<(usize, &'a Column)>,
    /// Whether rows bring their key, as the last column.
    pub(super) is_given: bool,
}

impl<'a> ContentKeys<'a> {
    /// Those of a dataset; `None` if a column is its key.
    pub(super) fn of(dataset: &'a Dataset) -> Option<Self> {
        let content = dataset.content.as_ref()?;
        let place = |name: &String| dataset.file_columns().iter().enumerate().find(|(_, column)| column.name == *name);
        Some(Self { columns: content.columns.iter().filter_map(place).collect(), is_given: content.is_given })
    }

    /// Whether the column at this place is one of them.
    pub(super) fn covers(&self, place: usize) -> bool {
        self.columns.iter().any(|(covered, _)| *covered == place)
    }

    /// The keys of rows as if each were the first copy of its content. `None` for a row of which a value could not be read.
    ///
    /// The hash is that of one text: for each column, in the order of their names, the number of bytes of its plain cell, a colon
    /// and the cell, or a hyphen for a null. A decimal has no zeros at its end, so that more decimals in the definition change no key.
    pub(super) fn first_copies(&self, values: &[ArrayRef], is_unread: &[bool]) -> StringArray {
        let cells: Vec<(StringArray, &Column)> =
            self.columns.iter().map(|(place, column)| (column.kind.print(&values[*place]), *column)).collect();
        let mut keys = StringBuilder::with_capacity(is_unread.len(), is_unread.len() * (HASH + 2));
        for (row, is_unread) in is_unread.iter().enumerate() {
            let is_cut =
                |(cells, column): &(StringArray, &Column)| !cells.is_null(row) && is_longer(cells.value(row), column);
            if *is_unread || cells.iter().any(is_cut) {
                keys.append_null();
                continue;
            }
            let mut hash = Hash(Sha256::new());
            for (cells, column) in &cells {
                hash.add((!cells.is_null(row)).then(|| plain(cells.value(row), column)));
            }
            keys.append_value(format!("{}-1", hex::encode(hash.0.finalize())));
        }
        keys.finish()
    }

    /// The rows whose given key is not made of their values.
    pub(super) fn mismatches(&self, values: &[ArrayRef], is_unread: &[bool]) -> Vec<usize> {
        let Some(given) = values.last() else { return Vec::new() };
        let (given, made) = (given.as_string::<i32>(), self.first_copies(values, is_unread));
        let is_known = |row: &usize| !made.is_null(*row) && !given.is_null(*row);
        let rows = (0..made.len()).filter(is_known);
        rows.filter(|row| !is_copy(given.value(*row), made.value(*row))).collect()
    }
}

/// A text that is longer than its column allows was cut in the stage.
fn is_longer(cell: &str, column: &Column) -> bool {
    column.max_length().is_some_and(|most| cell.len() > most as usize && cell.chars().count() > most as usize)
}

fn plain<'c>(cell: &'c str, column: &Column) -> &'c str {
    match column.kind.digits() {
        Some(_) if cell.contains('.') => cell.trim_end_matches('0').trim_end_matches('.'),
        _ => cell,
    }
}

/// Whether `key` is that of a copy of the row with the key `first`.
fn is_copy(key: &str, first: &str) -> bool {
    let number = key.strip_prefix(&first[..=HASH]).unwrap_or_default();
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}

struct Hash(Sha256);

impl Hash {
    fn add(&mut self, cell: Option<&str>) {
        let Some(cell) = cell else { return self.0.update("-") };
        self.0.update(cell.len().to_string());
        self.0.update(":");
        self.0.update(cell);
    }
}

/// Whether some content of the stage comes more than once.
pub(super) const ANY_COPY: &str =
    "select 1 from staged where content_key is not null group by content_key having count(*) > 1 limit 1";

/// Numbers the copies of each row of the stage in the order of the file. Rejected ones count as well, since they may be mended.
pub(super) fn number_copies() -> String {
    let end = HASH + 1;
    format!(
        "update staged set {CONTENT_KEY} = left({CONTENT_KEY}, {end}) || numbered.number::varchar from ( \
             select _record as record, row_number() over (partition by {CONTENT_KEY} order by _record) as number from staged \
             where {CONTENT_KEY} in (select {CONTENT_KEY} from staged group by {CONTENT_KEY} having count(*) > 1)) as numbered \
         where numbered.number > 1 and _record = numbered.record"
    )
}

/// Numbers the rows of a file that mend rejects: in a rejects file each may be the first copy, and be the next one of the file in which it
/// was bad.
///
/// # Errors
/// `File` if two rows of the file are one and the same then, or one mends a reject that is not known; `Connection`, `System`.
pub(super) async fn number_mended(database: &Database, claim: &Claim, stage: &Arc<Stage>) -> Result<()> {
    let said = Arc::clone(stage);
    let rows = blocking(move || mending(&said)).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let (said, good): (Vec<_>, Vec<bool>) = rows.into_iter().map(|(said, key, is_good)| ((said, key), is_good)).unzip();
    let numbered = retrying(|| database.copies_of_mended(claim, &said)).await?;
    let known: HashSet<i64> = numbered.iter().map(|(record, _)| *record).collect();
    let mut unknown = said.iter().zip(good).filter(|((said, _), is_good)| *is_good && !known.contains(&said.record.0));
    if let Some(((said, _), _)) = unknown.next() {
        let message = format!(
            "line {} is to mend record {} of load {}, and there is no such reject of a file in this bucket that has been loaded, so that it \
             is not known which copy of the row it is. Load a file that failed once more, with --again, before its rejects are mended; load \
             rejects in the bucket of their file; a row that is new must not have the columns that begin with _",
            said.line.0, said.of_record.0, said.of_load.0
        );
        return Err(Error::file(Reason::Malformed, message));
    }
    let stage = Arc::clone(stage);
    blocking(move || {
        for rows in numbered.chunks(ROWS_IN_A_STATEMENT) {
            let (records, keys): (Vec<i64>, Vec<&str>) = rows.iter().map(|(record, key)| (*record, key.as_str())).unzip();
            let keys = keys.join("', '");
            stage.execute(&format!(
                "update staged set {CONTENT_KEY} = new.key \
                 from (select unnest({records:?}) as record, unnest(['{keys}']) as key) as new where _record = new.record"
            ))?;
        }
        let twice = format!(
            "select min(_line), max(_line) from staged where _ok group by {CONTENT_KEY} having count(*) > 1 order by 1 limit 1"
        );
        let twice = stage.query(&twice)?;
        let Some(lines) = twice.iter().find(|rows| rows.num_rows() > 0) else { return Ok(()) };
        let line = |at: usize| lines.column(at).as_primitive::<Int64Type>().value(0);
        let message = format!("lines {} and {} have the same content and mend the same row; keep one", line(0), line(1));
        Err(Error::file(Reason::Malformed, message))
    })
    .await
}

const ROWS_IN_A_STATEMENT: usize = 2000;

/// The rows of a file that say which reject they mend, with their keys, and whether they are good. Bad ones are numbered as well, since
/// their key is that of the reject which they become.
fn mending(stage: &Stage) -> Result<Vec<(Resubmission, String, bool)>> {
    let sql = format!(
        "select r.*, s.{CONTENT_KEY}, s._ok from resubmission r join staged s using (_record) \
         where s.{CONTENT_KEY} is not null order by 1"
    );
    let mut found = Vec::new();
    for rows in stage.query(&sql)? {
        let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>();
        let (keys, good) = (rows.column(4).as_string::<i32>(), rows.column(5).as_boolean());
        found.extend((0..rows.num_rows()).map(|row| {
            let resubmission = Resubmission {
                record: RecordNumber(numbers(0).value(row)),
                line: LineNumber(numbers(1).value(row)),
                of_load: LoadId(numbers(2).value(row)),
                of_record: RecordNumber(numbers(3).value(row)),
            };
            (resubmission, keys.value(row).to_owned(), good.value(row))
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Datasets;

    fn dataset(columns: &[(&str, &str)]) -> Datasets {
        let mut text =
            "name = \"flow\"\ntable = \"flow\"\nkey = \"content\"\nversion = \"arrival\"\nfiles = [\"*\"]\n".to_owned();
        let columns = columns.iter().map(|(name, kind)| format!("[[column]]\nname = \"{name}\"\ntype = {kind}\n"));
        text.extend(columns);
        Datasets::parse([("flow.toml", text.as_str())]).unwrap()
    }

    /// The key of one row of texts.
    fn key(cells: &[Option<&str>], columns: &[(&str, &str)]) -> Option<String> {
        let datasets = dataset(columns);
        let keys = ContentKeys::of(datasets.get("flow").unwrap()).unwrap();
        let columns = datasets.get("flow").unwrap().file_columns();
        let values: Vec<ArrayRef> =
            cells.iter().zip(columns).map(|(cell, column)| column.kind.read(&StringArray::from(vec![*cell]))).collect();
        let keys = keys.first_copies(&values, &[false]);
        (!keys.is_null(0)).then(|| keys.value(0).to_owned())
    }

    const TEXTS: &[(&str, &str)] = &[("a", "\"text\""), ("b", "\"text\"")];

    #[test]
    fn a_key_can_be_made_anew_by_hand() {
        let made = key(&[Some("é"), None], TEXTS).unwrap();
        assert_eq!(made, format!("{}-1", hex::encode(Sha256::digest("2:é-"))));
    }

    #[test]
    fn rows_that_differ_have_different_keys() {
        let rows: &[[Option<&str>; 2]] = &[
            [None, None],
            [Some(""), None],
            [None, Some("")],
            [Some("ab"), Some("c")],
            [Some("a"), Some("bc")],
            [Some("1:a"), None],
            [Some("-"), None],
            [Some("a"), Some("1:b")],
        ];
        let keys: std::collections::BTreeSet<_> = rows.iter().map(|row| key(row, TEXTS)).collect();
        assert_eq!(keys.len(), rows.len());
    }

    #[test]
    fn neither_the_form_of_a_value_nor_the_order_of_columns_makes_a_difference() {
        let wide = "\"decimal\"\nprecision = 20\nscale = 4";
        let one = [("day", "\"timestamp\""), ("sum", "\"decimal\"\nprecision = 10\nscale = 2"), ("n", "\"integer\"")];
        let two = [("n", "\"bigint\""), ("day", "\"timestamp\""), ("sum", wide)];
        let made = key(&[Some("2025-12-22T14:30:00"), Some("100"), Some("7")], &one);
        assert_eq!(made, key(&[Some("7"), Some("2025-12-22T14:30:00Z"), Some("100.0000")], &two));
        assert_ne!(made, key(&[Some("7"), Some("2025-12-22T14:30:00Z"), Some("100.0001")], &two));
        assert_ne!(made, key(&[Some("7"), Some("2025-12-22T14:30:00Z"), Some("10")], &two));
    }

    #[test]
    fn a_row_whose_content_is_not_known_has_no_key() {
        let short = [("a", "\"text\"\nmax_length = 2"), ("b", "\"text\"")];
        assert!(key(&[Some("éé"), None], &short).is_some());
        assert_eq!(key(&[Some("ééé"), None], &short), None);
    }

    #[test]
    fn a_given_key_is_that_of_any_copy() {
        let first = format!("{}-1", "a".repeat(HASH));
        for (number, is_one) in [("1", true), ("120", true), ("", false), ("0", false), ("01", false), ("x", false)] {
            assert_eq!(is_copy(&format!("{}-{number}", "a".repeat(HASH)), &first), is_one, "{number}");
        }
        assert!(!is_copy(&format!("{}-1", "b".repeat(HASH)), &first));
        assert!(!is_copy("short", &first));
    }
}
