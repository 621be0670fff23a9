//! Content keys: which columns the keys in a table cover, and which copy of its content a mended row is.

use super::claim::Claim;
use super::upsert::table_name;
use super::{Database, query_error};
use crate::domain::{Dataset, Datasets, Resubmission};
use crate::error::{Error, Result};

impl Database {
    /// Refuses a definition under which the keys of the rows that are in the table would be others.
    pub(super) async fn check_content(&self, dataset: &Dataset) -> Result<()> {
        if dataset.content.is_none() {
            return Ok(());
        }
        let failed = |error| query_error("compare the content key with that of earlier loads", error);
        let connection = self.connection().await?;
        let last = "select d.definition from etl.load l join etl.dataset d on d.version = l.dataset_version and d.name = l.dataset \
            where l.dataset = $1 and exists ( \
                select from etl.load_batch b where b.load_id = l.id and b.inserted + b.updated + b.unchanged > 0) \
            order by l.id desc limit 1";
        let Some(last) = connection.query_opt(last, &[&dataset.name]).await.map_err(failed)? else { return Ok(()) };
        let before = Datasets::content_of(&dataset.name, last.get(0)).map_err(Error::configuration)?;
        let now = dataset.content_form();
        if before == now {
            return Ok(());
        }
        let any = format!("select exists (select from {})", table_name(&dataset.table));
        if !connection.query_one(&any, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(());
        }
        let form = |columns: &[(String, &str)]| {
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
            columns.join(", ")
        };
        let (name, table) = (&dataset.name, &dataset.table);
        Err(Error::configuration(if before.is_empty() {
            format!(
                "dataset {name}: the rows of table {table} were loaded by another key; empty it, and load its files with --again"
            )
        } else {
            format!(
                "dataset {name}: the content key covers {}, but for the rows of table {table} it covered {}; let `content` name just \
                 those columns, or empty the table and load its files with --again",
                form(&now),
                form(&before)
            )
        }))
    }

    /// The keys of accepted rows that say which reject they mend, for those that do: each is the next copy of its content after those of
    /// the file in which it was bad first. The same row gets the same number whenever it comes again.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn copies_of_mended(&self, claim: &Claim, rows: &[(Resubmission, String)]) -> Result<Vec<(i64, String)>> {
        let failed = |error| query_error("number mended rows", error);
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        let alone = "select pg_advisory_xact_lock(hashtextextended('etl.content_copy ' || $1, 0))";
        transaction.execute(alone, &[&claim.dataset]).await.map_err(failed)?;
        let number = |of: fn(&Resubmission) -> i64| rows.iter().map(|(row, _)| of(row)).collect::<Vec<i64>>();
        let (records, of_loads) = (number(|row| row.record.0), number(|row| row.of_load.0));
        let of_records = number(|row| row.of_record.0);
        let keys: Vec<&str> = rows.iter().map(|(_, key)| key.as_str()).collect();
        let numbered = transaction
            .query(include_str!("content_copy.sql"), &[&claim.load_id.0, &records, &of_loads, &of_records, &keys])
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(numbered.iter().map(|row| (row.get("record"), row.get("key"))).collect())
    }
}
