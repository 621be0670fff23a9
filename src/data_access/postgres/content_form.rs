//! What content keys are made of: the keys in a table cover one list of columns, and rows under another list have other keys.

use deadpool_postgres::{GenericClient, Transaction};

use super::sql_names::table_name;
use super::{Database, query_error};
use crate::domain::object::BUCKETS_WITHOUT_FILES;
use crate::domain::{Dataset, Datasets};
use crate::error::{Error, Result};

/// The columns that content keys cover, each with what its values are.
pub(super) type ContentForm = Vec<(String, &'static str)>;

/// Returns what the content keys of the table cover (nothing, if the rows were loaded by another key), if it has rows and the definition says something else.
pub(super) async fn earlier_content(client: &impl GenericClient, dataset: &Dataset) -> Result<Option<ContentForm>> {
    let failed = |error| query_error("compare the content key with that of earlier loads", error);
    let last = "select d.definition from ( \
            (select l.id, l.dataset_version from etl.load l where l.dataset = $1 and exists ( \
                select from etl.load_batch b where b.load_id = l.id and b.inserted + b.updated + b.unchanged > 0) \
            order by l.id desc limit 1) \
            union all select p.wrote, p.dataset_version from etl.pruned p where p.dataset = $1 and p.wrote is not null) l \
            join etl.dataset d on d.version = l.dataset_version and d.name = $1 \
        order by l.id desc limit 1";
    let Some(last) = client.query_opt(last, &[&dataset.name]).await.map_err(failed)? else { return Ok(None) };
    let form = Datasets::content_of(&dataset.name, last.get(0)).map_err(Error::configuration)?;
    if form == dataset.content_form() {
        return Ok(None);
    }
    let any = format!("select exists (select from {})", table_name(&dataset.table));
    let any: bool = client.query_one(&any, &[]).await.map_err(failed)?.get(0);
    Ok(any.then_some(form))
}

/// Refuses a first claim if the rows in the table would have other keys under this definition. The same was checked when the program
/// started, but the rows may have got new keys since.
pub(super) async fn check_claim(transaction: &Transaction<'_>, dataset: &Dataset, version: &str) -> Result<()> {
    if dataset.content.is_none() {
        return Ok(());
    }
    if let Some(earlier) = earlier_content(transaction, dataset).await? {
        return Err(differs(dataset, &earlier));
    }
    // One that has begun, and has written nothing yet.
    let failed = |error| query_error("compare the content key with that of other loads", error);
    let begun = "select l.id, d.definition from etl.load l join etl.dataset d on d.version = l.dataset_version and d.name = l.dataset \
        where l.dataset = $1 and l.finished_at is null and l.dataset_version <> $2 and l.bucket <> all ($3) order by l.id";
    let begun = transaction.query(begun, &[&dataset.name, &version, &&BUCKETS_WITHOUT_FILES[..]]).await;
    for load in begun.map_err(failed)? {
        let form = Datasets::content_of(&dataset.name, load.get(1)).map_err(Error::configuration)?;
        if form != dataset.content_form() {
            let load: i64 = load.get(0);
            let (now, then) = (shown(&dataset.content_form()), shown(&form));
            return Err(Error::configuration(format!(
                "dataset {}: the content key covers {now}, but for load {load}, which has not ended, it covers {then}; let that load end \
                 under its definition",
                dataset.name
            )));
        }
    }
    Ok(())
}

/// The columns for people.
pub(super) fn shown(form: &[(String, &'static str)]) -> String {
    let columns: Vec<String> = form.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    columns.join(", ")
}

fn differs(dataset: &Dataset, form: &[(String, &'static str)]) -> Error {
    let (name, table) = (&dataset.name, &dataset.table);
    Error::configuration(if form.is_empty() {
        format!(
            "dataset {name}: the rows of table {table} were loaded by another key; empty it, and load its files with --again"
        )
    } else {
        format!(
            "dataset {name}: the content key covers {}, but for the rows of table {table} it covered {}; let `content` name just those \
             columns, or give the rows new keys with `small-etl rekey {name}`",
            shown(&dataset.content_form()),
            shown(form)
        )
    })
}

impl Database {
    /// Refuses a definition under which the keys of the rows that are in the table would be others.
    pub(super) async fn check_content(&self, dataset: &Dataset) -> Result<()> {
        if dataset.content.is_none() {
            return Ok(());
        }
        let connection = self.connection("check_content").await?;
        match earlier_content(&*connection, dataset).await? {
            None => Ok(()),
            Some(earlier) => Err(differs(dataset, &earlier)),
        }
    }
}
