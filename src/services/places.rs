//! The places of rows: by those the rows of a dataset are known that has no key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;

use super::resubmissions::resubmission_at;
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::postgres::{Claim, Database};
use crate::data_access::retry::retrying;
use crate::domain::mode::Filled;
use crate::domain::{Dataset, LineNumber, LoadId, RecordNumber, Resubmission, Violation, row_key};
use crate::error::{Error, Reason, Result};

/// The place of each row of a load: the load that brought it first, and its record there. A row that mends a reject takes
/// the place of the bad row. So however often a file or a mended row comes, the row is the same.
#[derive(Debug)]
pub struct Places {
    origin: LoadId,
    mended: HashMap<i64, (i64, i64)>,
}

impl Places {
    /// Those of a staged file; `None` for a dataset whose rows have a key.
    ///
    /// # Errors
    /// `File` if two rows of the file mend the same one, if one mends a reject that is not known, or if records have other
    /// numbers than in an earlier run; `Connection`, `System`.
    pub(crate) async fn find(
        database: &Database,
        claim: &Claim,
        dataset: &Dataset,
        (stage, mends): (&Arc<Stage>, bool),
    ) -> Result<Option<Arc<Self>>> {
        if !dataset.is_known_by_place() {
            return Ok(None);
        }
        if claim.origin != claim.load_id {
            retrying(|| keep_places(database, claim, stage)).await?;
            let staged = Arc::clone(stage);
            blocking(move || check_numbers(&staged)).await?;
        }
        let mut mended = HashMap::new();
        if mends {
            let said = Arc::clone(stage);
            let rows = blocking(move || mending(&said)).await?;
            let said: Vec<Resubmission> = rows.iter().map(|(said, _)| *said).collect();
            let places = retrying(|| database.places_of_mended(claim, &said)).await?;
            mended.extend(places.into_iter().map(|(record, load, place)| (record.0, (load.0, place.0))));
            check(&rows, &mended)?;
        }
        Ok(Some(Arc::new(Self { origin: claim.origin, mended })))
    }

    fn of(&self, record: i64) -> (i64, i64) {
        self.mended.get(&record).copied().unwrap_or((self.origin.0, record))
    }

    /// Gives rejects the place of their record as key.
    pub(crate) fn key(&self, violations: &mut [Violation]) {
        for violation in violations {
            let (load, record) = self.of(violation.record.0);
            violation.key = Some(row_key::joined([load.to_string().as_str(), &record.to_string()].into_iter()));
        }
    }
}

/// Adds the columns that the program fills to rows that have `_record`, `_line` and the columns of the stage.
pub(super) fn fill(dataset: &Dataset, places: Option<&Places>, rows: &RecordBatch) -> Result<RecordBatch> {
    let failed = |error| Error::system("fill columns of rows", error);
    let records = rows.column(0).as_primitive::<Int64Type>();
    let place = |record: &i64| places.map_or((0, *record), |places| places.of(*record));
    let (loads, numbers): (Vec<i64>, Vec<i64>) = records.values().iter().map(place).unzip();
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    for (at, filled) in (2 + dataset.file_columns().len()..).zip(&dataset.filled) {
        let values: ArrayRef = match filled {
            Filled::LoadId => Arc::new(Int64Array::from(loads.clone())),
            Filled::Record => Arc::new(Int64Array::from(numbers.clone())),
            Filled::Deleted(_) => Arc::new(BooleanArray::from(vec![false; rows.num_rows()])),
        };
        fields.insert(at, Arc::new(Field::new(filled.name(), values.data_type().clone(), true)));
        columns.insert(at, values);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
}

/// The rows of a file that say which reject they mend, and whether they are good.
fn mending(stage: &Stage) -> Result<Vec<(Resubmission, bool)>> {
    let sql = "select r.*, coalesce(s._ok, false) from resubmission r left join staged s using (_record) order by 1";
    let mut found = Vec::new();
    for rows in stage.query(sql)? {
        let good = rows.column(4).as_boolean();
        found.extend((0..rows.num_rows()).map(|row| (resubmission_at(&rows, row), good.value(row))));
    }
    Ok(found)
}

/// Puts the places that rows of the file have since earlier runs into the stage.
async fn keep_places(database: &Database, claim: &Claim, stage: &Arc<Stage>) -> Result<()> {
    let on = Arc::clone(stage);
    blocking(move || on.create_table("placed", "(line bigint, record bigint)")).await?;
    let keep = async |places: Vec<(LineNumber, RecordNumber)>| {
        let line: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|(line, _)| line.0)));
        let record: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|(_, record)| record.0)));
        let rows = RecordBatch::try_from_iter([("line", line), ("record", record)]);
        let rows = rows.map_err(|error| Error::system("keep the places of rows", error))?;
        let on = Arc::clone(stage);
        blocking(move || on.insert(|mut put| put("placed", rows))).await
    };
    database.places_before(claim, keep).await
}

/// Refuses a file whose records have other numbers than before: a row would take the place of another one. Records at its end may be left out.
fn check_numbers(stage: &Stage) -> Result<()> {
    let moved = stage.query(
        "with now as materialized (select _line, _record from staged union select _line, _record from violation) \
         select p.line, p.record, n._record from placed p left join now n on n._line = p.line \
         where n._record is distinct from p.record and not (n._record is null and p.record > (select coalesce(max(_record), 0) from now)) \
         order by p.line limit 1",
    )?;
    let Some(moved) = moved.iter().find(|rows| rows.num_rows() > 0) else { return Ok(()) };
    let number = |at: usize| moved.column(at).as_primitive::<Int64Type>();
    let (line, record) = (number(0).value(0), number(1).value(0));
    let now = if number(2).is_null(0) {
        "is left out now".to_owned()
    } else {
        format!("is record {} now", number(2).value(0))
    };
    let message = format!(
        "line {line} was record {record} when its row was loaded, and {now}, so that rows would take the places of others. Load the file under the \
         definition of then; or undo its loads and those of its mended rows (small-etl undo), and load them once more"
    );
    Err(Error::file(Reason::RecordsRenumbered, message))
}

/// Refuses a file of which a row would be there twice.
fn check(rows: &[(Resubmission, bool)], places: &HashMap<i64, (i64, i64)>) -> Result<()> {
    let mut lines: HashMap<(i64, i64), LineNumber> = HashMap::new();
    for (row, _) in rows.iter().filter(|(_, is_good)| *is_good) {
        let Some(place) = places.get(&row.record.0) else {
            let message = format!(
                "line {} is to mend record {} of load {}, and there is no such reject of a file in this bucket, so that it is not known \
                 whether the row is in the table already; load rejects in the bucket of their file; a row that is new must not have the \
                 columns that begin with _",
                row.line.0, row.of_record.0, row.of_load.0
            );
            return Err(Error::file(Reason::Malformed, message));
        };
        if let Some(other) = lines.insert(*place, row.line) {
            let message = format!("lines {} and {} mend the same row; keep one", other.0, row.line.0);
            return Err(Error::file(Reason::Malformed, message));
        }
    }
    Ok(())
}
