//! Content keys: a hash of the values of a row, and which copy of it in its file the row is.
//!
//! The nth copy of a row in a file is the nth copy in the table. So exports that overlap never double a row, and rows that really
//! came several times stay as many.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, NullArray, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use sha2::{Digest, Sha256};

use super::Extracted;
use super::resubmissions::resubmission_at;
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::postgres::{Claim, Database, TakenCopy};
use crate::data_access::retry::retrying;
use crate::domain::content::CONTENT_KEY;
use crate::domain::{BatchNumber, Column, Dataset, Resubmission};
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

/// The hashes of rows of the table, from the plain cells of the columns that the key covers in the order of their names. `None` for a row with
/// a value that the definition does not allow.
#[must_use]
pub(crate) fn hashes_of(dataset: &Dataset, cells: &[StringArray]) -> Vec<Option<String>> {
    let Some(keys) = ContentKeys::of(dataset) else { return Vec::new() };
    let rows = cells.first().map_or(0, Array::len);
    let nothing: ArrayRef = Arc::new(NullArray::new(rows));
    let mut values = vec![nothing; dataset.file_columns().len()];
    let mut is_unread = vec![false; rows];
    for ((place, column), cells) in keys.columns.iter().zip(cells) {
        let read = column.kind.read(cells);
        for (row, is_unread) in is_unread.iter_mut().enumerate() {
            *is_unread |= read.is_null(row) && (column.required || !cells.is_null(row));
        }
        values[*place] = read;
    }
    let made = keys.first_copies(&values, &is_unread);
    made.iter().map(|key| key.map(|key| key[..HASH].to_owned())).collect()
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

/// Numbers the copies of rows of a load beside those that its object has in other loads, and those that mend rejects.
///
/// # Errors
/// `File` if two rows of the file are one and the same then, or one mends a reject that is not known; `Connection`, also while another
/// worker loads the object of such a reject; `System`.
pub(crate) async fn number_in_ledger(
    database: &Database,
    claim: &Claim,
    parts: &[String],
    stage: &Arc<Stage>,
    extracted: &Extracted,
) -> Result<()> {
    // Otherwise no other load of the object can have given a number.
    if claim.run > 0 || parts.len() > 1 {
        number_beside(database, claim, stage, extracted.read).await?;
    }
    if extracted.mends { number_mended(database, claim, stage).await } else { Ok(()) }
}

/// How many records of the stage are compared with the ledger at once.
const RECORDS_AT_ONCE: i32 = 100_000;

/// Gives rows the lowest numbers that no other row of their object has.
async fn number_beside(database: &Database, claim: &Claim, stage: &Arc<Stage>, read: i64) -> Result<()> {
    let on = Arc::clone(stage);
    let table = "(hash varchar, copy bigint, line bigint, record bigint, place integer)";
    blocking(move || on.create_table("taken", table)).await?;
    for batch in BatchNumber::all(read, RECORDS_AT_ONCE) {
        let ((first, last), on) = (batch.records(read, RECORDS_AT_ONCE), Arc::clone(stage));
        let hashes = blocking(move || hashes(&on, first, last)).await?;
        let taken = match &hashes[..] {
            [] => Vec::new(),
            some => retrying(|| database.copies_taken(claim, some)).await?,
        };
        let on = Arc::clone(stage);
        blocking(move || keep_taken(&on, &taken)).await?;
    }
    let on = Arc::clone(stage);
    blocking(move || on.execute(&number_free()).map(|_| ())).await
}

fn hashes(stage: &Stage, first: i64, last: i64) -> Result<Vec<String>> {
    let sql = format!(
        "select distinct left({CONTENT_KEY}, {HASH}) from staged where {CONTENT_KEY} is not null and _record between {first} and {last}"
    );
    let rows = stage.query(&sql)?;
    Ok(rows.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned)).collect())
}

fn keep_taken(stage: &Stage, taken: &[TakenCopy]) -> Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    let hash: ArrayRef = Arc::new(StringArray::from_iter_values(taken.iter().map(|taken| &taken.hash)));
    let copy: ArrayRef = Arc::new(Int64Array::from_iter_values(taken.iter().map(|taken| taken.copy)));
    let line: ArrayRef = Arc::new(taken.iter().map(|taken| taken.line).collect::<Int64Array>());
    let record: ArrayRef = Arc::new(taken.iter().map(|taken| taken.record).collect::<Int64Array>());
    let place: ArrayRef =
        Arc::new(Int32Array::from_iter_values(taken.iter().map(|taken| i32::from(!taken.is_written))));
    let columns = [("hash", hash), ("copy", copy), ("line", line), ("record", record), ("place", place)];
    let rows = RecordBatch::try_from_iter(columns).map_err(|error| Error::system("keep the copies of rows", error))?;
    stage.insert(|mut put| put("taken", rows))
}

/// Keeps the numbers that rows of the stage have already, and gives the others of the same content the lowest that are not `taken`.
fn number_free() -> String {
    format!(
        "update staged set {CONTENT_KEY} = numbered.hash || '-' || numbered.copy::varchar from ( \
             with content as materialized ( \
                 select _record, _line, left({CONTENT_KEY}, {HASH}) as hash from staged \
                 where left({CONTENT_KEY}, {HASH}) in (select hash from taken) \
             ), known as materialized ( \
                 select _record, any_value(hash) as hash, arg_min(copy, place) as copy from ( \
                     select c._record, t.hash, t.copy, t.place from content c join taken t on t.hash = c.hash and t.line = c._line \
                     union all \
                     select c._record, t.hash, t.copy, t.place from content c join taken t on t.hash = c.hash and t.record = c._record) each_row \
                 group by _record \
             ), other as materialized ( \
                 select _record, hash, row_number() over (partition by hash order by _record) as nth \
                 from content where _record not in (select _record from known) \
             ), free as ( \
                 select hash, copy, row_number() over (partition by hash order by copy) as nth from ( \
                     select hash, unnest(range(1, most + 1)) as copy from ( \
                         select o.hash, max(o.nth) + any_value(t.copies) as most from other o \
                             join (select hash, count(distinct copy) as copies from taken group by hash) t on t.hash = o.hash \
                         group by o.hash)) each_number \
                 where not exists (select 1 from taken t where t.hash = each_number.hash and t.copy = each_number.copy) \
             ) \
             select _record, hash, copy from known \
             union all select o._record, o.hash, f.copy from other o join free f on f.hash = o.hash and f.nth = o.nth \
         ) as numbered where staged._record = numbered._record"
    )
}

/// Numbers the rows of a file that mend rejects: in a rejects file each may be the first copy, and be the next one of the file in which it
/// was bad.
async fn number_mended(database: &Database, claim: &Claim, stage: &Arc<Stage>) -> Result<()> {
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
        let (keys, good) = (rows.column(4).as_string::<i32>(), rows.column(5).as_boolean());
        let resubmissions = (0..rows.num_rows()).map(|row| resubmission_at(&rows, row));
        found.extend(resubmissions.enumerate().map(|(row, sent)| (sent, keys.value(row).to_owned(), good.value(row))));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_access::duckdb::{StageOptions, Stages};
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

    /// The numbers of the rows of a file, all of one content, beside numbers that are taken, some of them by records of the file.
    fn numbered(rows: usize, taken: &[(i64, Option<i64>, bool)]) -> Vec<String> {
        let options = StageOptions { memory_limit_mb: 64, threads: 1, temp_folder: None };
        let stage = Stages::new(options).open(Arc::default()).unwrap();
        stage.create_table("staged", &format!("(_record bigint, _line bigint, {CONTENT_KEY} varchar)")).unwrap();
        stage.create_table("taken", "(hash varchar, copy bigint, line bigint, record bigint, place integer)").unwrap();
        let hash = "a".repeat(HASH);
        for row in 1..=rows {
            stage.execute(&format!("insert into staged values ({row}, {row} + 1, '{hash}-1')")).unwrap();
        }
        stage.execute(&format!("insert into staged values (99, 100, '{}-1')", "b".repeat(HASH))).unwrap();
        stage.execute(&number_copies()).unwrap();
        let taken = taken.iter().map(|(copy, line, is_written)| TakenCopy {
            hash: hash.clone(),
            copy: *copy,
            line: *line,
            record: None,
            is_written: *is_written,
        });
        keep_taken(&stage, &taken.collect::<Vec<_>>()).unwrap();
        stage.execute(&number_free()).unwrap();
        let keys =
            stage.query(&format!("select substr({CONTENT_KEY}, {HASH} + 2) from staged order by _record")).unwrap();
        keys.iter().flat_map(|keys| keys.column(0).as_string::<i32>().iter().flatten().map(str::to_owned)).collect()
    }

    #[test]
    fn rows_take_the_lowest_numbers_that_no_other_row_of_their_object_has() {
        assert_eq!(numbered(3, &[]), ["1", "2", "3", "1"]);
        assert_eq!(numbered(3, &[(1, None, false), (3, None, false)]), ["2", "4", "5", "1"]);
        assert_eq!(numbered(1, &[(1, None, false), (1, None, false), (2, None, false)]), ["3", "1"]);
        // A row that has a number keeps it, also one that is not in order.
        assert_eq!(numbered(3, &[(2, Some(2), false), (1, Some(4), true)]), ["2", "3", "1", "1"]);
        assert_eq!(numbered(2, &[(7, Some(3), false), (5, Some(4), false)]), ["1", "7", "1"]);
        // What the load itself has written goes before what an earlier run had.
        assert_eq!(numbered(2, &[(4, Some(3), false), (6, Some(3), true)]), ["1", "6", "1"]);
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
