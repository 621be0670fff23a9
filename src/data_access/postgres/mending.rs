//! Rejects are kept, with the records that name the reject that they mend.

use std::pin::pin;

use deadpool_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::query_error;
use crate::domain::{Dataset, LoadId, Resubmission, Violation};
use crate::error::Result;

/// Copies violations of whole records to `etl.reject`. The bytes of a record are stored with its first violation only.
pub(super) async fn copy_rejects(transaction: &Transaction<'_>, load: LoadId, violations: &[Violation]) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    let failed = |error| query_error("keep the rejects", error);
    let copy = "copy etl.reject (load_id, record, line, \"column\", rule, message, value, raw, byte_offset, byte_length, key, \
        first_load_id, first_record, data_key) from stdin binary";
    let (number, text) = (Type::INT8, Type::TEXT);
    let types = [
        &number,
        &number,
        &number,
        &text,
        &text,
        &text,
        &text,
        &Type::BYTEA,
        &number,
        &number,
        &text,
        &number,
        &number,
        &number,
    ]
    .map(Type::clone);
    let sink = transaction.copy_in(copy).await.map_err(failed)?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    let mut last = None;
    for violation in violations {
        let Violation { record, line, column, rule, message, value, raw, bytes, key, data_key } = violation;
        let raw = (last.replace(record) != Some(record)).then_some(&**raw);
        let (offset, length) = (bytes.map(|bytes| bytes.offset), bytes.map(|bytes| bytes.length));
        writer
            .as_mut()
            .write(&[
                &load.0, &record.0, &line.0, column, rule, message, value, &raw, &offset, &length, key, &load.0,
                &record.0, data_key,
            ])
            .await
            .map_err(failed)?;
    }
    writer.finish().await.map(|_| ()).map_err(failed)
}

/// Records that name the reject that they mend, and their keys.
pub(super) struct Mending<'a> {
    /// In the order of the file.
    said: &'a [Resubmission],
    with_keys: Vec<(&'a Resubmission, Option<String>)>,
}

impl<'a> Mending<'a> {
    pub(super) fn of(said: &'a [Resubmission]) -> Self {
        Self { said, with_keys: Vec::new() }
    }

    /// Notes the keys of those records, good or bad, that name a reject; `None` for a key that cannot be read.
    pub(super) fn note<'k>(&mut self, records: impl Iterator<Item = (i64, Option<&'k str>)>) {
        for (record, key) in records {
            if let Ok(place) = self.said.binary_search_by_key(&record, |said| said.record.0) {
                self.with_keys.push((&self.said[place], key.map(String::from)));
            }
        }
    }

    /// Stores the records whose claim is valid. A sender can write any numbers into a file. So a claim is valid only if
    /// it names a reject of the same dataset from the same bucket, and if the row has the key of that reject. The key
    /// does not matter if that of the reject could not be read or was itself at fault. All other claims are ignored.
    pub(super) async fn keep(
        &mut self,
        transaction: &Transaction<'_>,
        load: LoadId,
        dataset: &Dataset,
    ) -> Result<(), tokio_postgres::Error> {
        if self.with_keys.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&Resubmission) -> i64| self.with_keys.iter().map(|(row, _)| of(row)).collect::<Vec<_>>();
        let statement = "insert into etl.resubmission (load_id, record, line, first_load_id, first_record, ranks_with) \
            select $1, n.record, n.line, r.first_load_id, r.first_record, coalesce(( \
                select m.ranks_with from etl.resubmission m where m.load_id = n.of_load_id and m.record = n.of_record), n.of_load_id) \
            from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) \
                    as n (record, line, of_load_id, of_record, key) \
                join etl.load own on own.id = $1 \
                join etl.load old on old.id = n.of_load_id and old.dataset = own.dataset and old.bucket = own.bucket \
                join lateral ( \
                    select first_load_id, first_record, key, bool_or(\"column\" = any ($7) or rule = 'unique') over () as key_was_wrong \
                    from etl.reject where load_id = n.of_load_id and record = n.of_record limit 1) r on true \
            where old.id < own.id and old.finished_at is not null and (r.key is null or r.key_was_wrong or $8 or r.key = n.key) \
            on conflict do nothing";
        let (records, lines) = (column(|row| row.record.0), column(|row| row.line.0));
        let (of_loads, of_records) = (column(|row| row.of_load.0), column(|row| row.of_record.0));
        let keys: Vec<Option<&str>> = self.with_keys.iter().map(|(_, key)| key.as_deref()).collect();
        // A row that is mended gets another content key.
        let is_content = dataset.content.is_some() || dataset.is_known_by_place();
        transaction
            .execute(statement, &[&load.0, &records, &lines, &of_loads, &of_records, &keys, &dataset.key, &is_content])
            .await?;
        self.with_keys.clear();
        Ok(())
    }
}
