//! Generates the SQL that brings rows of a dataset into its table.
//!
//! Names of our own begin with `_`. A column of a dataset may not, so the two never collide.

use super::checked_table::Storage;
use super::decide::Decision;
use super::encode::postgres_type;
use super::key::Key;
use super::lineage::noted;
use super::row_history::origin_names;
use super::sql_file::filled;
use super::sql_names::{list, moment, names, quoted, table_name};
use super::tie::{Window, outcome, rank_of_row};
use crate::domain::{Dataset, Reference};

/// The statements of one batch.
pub(super) struct UpsertStatements {
    /// Copies rows directly to the table.
    pub(super) insert: String,
    /// Creates the temporary table that a batch is copied to, once per session.
    pub(super) create_stage: String,
    /// Copies rows to the temporary table: `_record`, `_line`, then the columns of the table in the order of the dataset.
    pub(super) copy: String,
    /// Writes the rows of the temporary table where they belong, and records their outcomes (`upsert.sql`).
    pub(super) upsert: String,
    /// Deletes all records except those of parameter 1 from the temporary table.
    pub(super) keep: String,
}

impl UpsertStatements {
    /// Generates the statements for rows of `dataset` under one version of the definitions.
    pub(super) fn new(dataset: &Dataset, dataset_version: &str, storage: Storage) -> Self {
        // An older load that continues may have been claimed with other columns.
        let name = quoted(&format!("stage_{}_{dataset_version}", dataset.name));
        let stage = format!("pg_temp.{name}");
        let typed =
            list(dataset.table_columns(), |column| format!("{} {}", quoted(&column.name), postgres_type(column)));
        Self {
            insert: format!(
                "copy {} ({}{}) from stdin binary",
                table_name(&dataset.table),
                names(dataset, ""),
                origin_names(dataset)
            ),
            create_stage: format!(
                "set local client_min_messages = warning; \
                 create temporary table if not exists {name} (_record bigint, _line bigint, {typed}) on commit delete rows"
            ),
            copy: format!("copy {stage} (_record, _line, {}) from stdin binary", names(dataset, "")),
            upsert: upsert(dataset, &stage, storage),
            keep: format!("delete from {stage} where _record <> all ($1)"),
        }
    }
}

fn upsert(dataset: &Dataset, stage: &str, storage: Storage) -> String {
    let key = Key::of(dataset);
    let own = ["(select rank from own)", "(select ranks_from from own)"];
    let rank = rank_of_row(dataset, "$1", own, "m.record = s._record");
    let window = Window { since: "$3", but: Some("$1") };
    let decision = Decision { dataset, storage, source: stage, rank: &rank, load: "$1", window };
    filled(
        include_str!("upsert.sql"),
        &[
            ("decision", &decision.sql()),
            ("parked", &dataset.reference.as_ref().map_or_else(String::new, |reference| park(dataset, reference))),
            ("noted", &noted(dataset)),
            ("outcome", &outcome(&key)),
            ("is_written", &key.equal("w.", "c.")),
            ("key_text", &key.text("c.")),
        ],
    )
}

fn park(dataset: &Dataset, reference: &Reference) -> String {
    format!(
        ", parked as ( \
             insert into etl.parked \
                 (load_id, record, line, dataset, key, reference_dataset, reference_key, row_version, content) \
             select $1, c._record, c._line, '{name}', {key}, '{target}', {column}, {version}, to_jsonb(_x) \
             from candidate c cross join lateral (select {columns}) as _x where c._plan = 'parked')",
        name = dataset.name,
        key = Key::of(dataset).text("c."),
        target = reference.dataset,
        column = Key::referring(dataset, reference).text("c."),
        version = moment(dataset).map_or_else(|| "null".to_owned(), |version| format!("c.{}", quoted(&version.name))),
        columns = names(dataset, "c."),
    )
}
