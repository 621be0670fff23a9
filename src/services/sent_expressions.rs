//! Columns of a source that are expressions over the cells of a record: the staging database computes them, many records at once.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;

use crate::data_access::duckdb::{Stage, is_of_a_value};
use crate::domain::expression::Expression;
use crate::domain::source::binding::{Binding, PlainRow};
use crate::domain::source::fault::Fault;
use crate::domain::source::model::{Origin, Source};
use crate::domain::source::row::Row;
use crate::error::{Error, Result};

const TABLE: &str = "sent_cell";

/// The value of a column, or why there is none.
type Value = std::result::Result<Option<String>, Fault>;

/// An expression of a column.
#[derive(Clone, Debug)]
struct Computed {
    /// The place of the column in its dataset.
    index: usize,
    expression: Expression,
    /// The names of the cells that it reads.
    reads: Vec<String>,
}

/// The expressions of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Expressions(Vec<Computed>);

/// The cells that one expression reads of one record.
pub(super) type Inputs = std::result::Result<Vec<Option<String>>, Fault>;

impl Expressions {
    pub(super) fn of(source: &Source) -> Self {
        let columns = source.columns.iter().enumerate();
        Self(
            columns
                .filter_map(|(index, column)| match &column.origin {
                    Origin::Expression(expression) => Some(Computed {
                        index,
                        expression: expression.clone(),
                        reads: expression.reads().iter().cloned().collect(),
                    }),
                    _ => None,
                })
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a column is one.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.iter().any(|computed| computed.index == index)
    }

    /// What a record gives to each expression.
    pub(super) fn inputs(&self, binding: &Binding, row: &Row) -> Vec<Inputs> {
        let owned = |cells: Vec<Option<&str>>| cells.into_iter().map(|cell| cell.map(str::to_owned)).collect();
        self.0.iter().map(|computed| binding.inputs(row, computed.index).map(owned)).collect()
    }

    /// Computes every expression of every record, and gives the columns their values.
    ///
    /// # Errors
    /// `System` when the staging database fails.
    pub(super) fn fill(&self, stage: &Stage, inputs: &[Vec<Inputs>], rows: &mut [PlainRow]) -> Result<()> {
        for (nth, computed) in self.0.iter().enumerate() {
            let values = computed.values(stage, inputs.iter().map(|inputs| &inputs[nth]))?;
            for (row, value) in rows.iter_mut().zip(values) {
                row.set(computed.index, value.as_ref().map(Option::as_deref).map_err(|fault| *fault));
            }
        }
        Ok(())
    }

    /// The expressions, each with a row of what it reads.
    pub(super) fn with_rows(&self) -> impl Iterator<Item = (&Expression, String)> {
        self.0.iter().map(|computed| {
            let names = computed.reads.iter().map(|name| format!("null::varchar as {}", quoted_cell(name)));
            let names: Vec<String> = std::iter::once("0 as \"_ number\"".to_owned()).chain(names).collect();
            (&computed.expression, format!("(select {})", names.join(", ")))
        })
    }
}

fn quoted_cell(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Computed {
    fn values<'i>(&self, stage: &Stage, inputs: impl Iterator<Item = &'i Inputs>) -> Result<Vec<Value>> {
        let inputs: Vec<&Inputs> = inputs.collect();
        // The records of several batches may be read again at once.
        let _alone = stage.exclusively();
        let cells = self.reads.iter().map(|name| format!("{} varchar", quoted_cell(name)));
        let columns: Vec<String> = std::iter::once("\"_ number\" bigint".to_owned()).chain(cells).collect();
        stage.create_table(TABLE, &format!("({})", columns.join(", ")))?;
        stage.insert(|mut put| put(TABLE, self.rows(&inputs)?))?;
        let values = self.computed(stage, 0, inputs.len())?;
        let checked = |(input, value): (&Inputs, Value)| input.as_ref().map_err(|fault| *fault).and(value);
        Ok(inputs.into_iter().zip(values).map(checked).collect())
    }

    /// Computes the rows from `first` on. If the database gives up on all of them for the sake of one, halves are computed.
    fn computed(&self, stage: &Stage, first: usize, count: usize) -> Result<Vec<Value>> {
        match self.query(stage, first, count) {
            Err(error) if is_of_a_value(&error) && count == 1 => Ok(vec![Err(Fault::NotComputed)]),
            Err(error) if is_of_a_value(&error) => {
                let half = count / 2;
                let mut values = self.computed(stage, first, half)?;
                values.extend(self.computed(stage, first + half, count - half)?);
                Ok(values)
            }
            outcome => outcome,
        }
    }

    /// An error makes a value null, so that it is asked apart whether the value is null. In one statement the database would compute
    /// what both have in common only once, and outside of `try`.
    fn query(&self, stage: &Stage, first: usize, count: usize) -> Result<Vec<Value>> {
        let Self { expression: sql, .. } = self;
        let rows =
            format!("from {TABLE} where \"_ number\" between {first} and {} order by \"_ number\"", first + count - 1);
        let texts = stage.query(&format!("select try(({sql})::varchar) {rows}"))?;
        let nulls = stage.query(&format!("select try(({sql}) is null) {rows}"))?;
        let texts = texts
            .iter()
            .flat_map(|batch| batch.column(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
        let nulls = nulls.iter().flat_map(|batch| batch.column(0).as_boolean().iter());
        let value = |pair| match pair {
            (Some(text), Some(false)) => Ok(Some(text)),
            (None, Some(true)) => Ok(None),
            _ => Err(Fault::NotComputed),
        };
        Ok(texts.zip(nulls).map(value).collect())
    }

    /// The cells as rows of the table.
    fn rows(&self, inputs: &[&Inputs]) -> Result<RecordBatch> {
        let numbers = Int64Array::from_iter_values((0..).take(inputs.len()));
        let cells = (0..self.reads.len()).map(|nth| {
            let cell = |input: &&Inputs| input.as_ref().ok().and_then(|cells| cells[nth].clone());
            Arc::new(inputs.iter().map(cell).collect::<StringArray>()) as ArrayRef
        });
        let columns = std::iter::once(Arc::new(numbers) as ArrayRef).chain(cells);
        let names = std::iter::once("_ number".to_owned()).chain(self.reads.iter().cloned());
        RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true)))
            .map_err(|error| Error::system("gather cells for an expression", error))
    }
}
