//! Generates the SQL that decides about rows which the table may have, and writes those that it must take.

use super::checked_table::Storage;
use super::encode::postgres_type;
use super::key::Key;
use super::row_history::{keep, origin_names, origin_set, origin_values};
use super::sql_file::filled;
use super::sql_names::{list, names, quoted, table_name, version};
use super::tie::{Window, won};
use super::tombstone::{absent, graves};
use crate::domain::{Column, Dataset};

/// Rows that wait for a decision, and what it depends on.
pub(super) struct Decision<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) storage: Storage,
    /// SQL for where the rows are: `_record`, `_line`, then the columns of the table.
    pub(super) source: &'a str,
    /// SQL for the rank of a row `s` of the source.
    pub(super) rank: &'a str,
    /// SQL for the load of that row.
    pub(super) load: &'a str,
    /// Where to look for other loads.
    pub(super) window: Window<'a>,
}

impl Decision<'_> {
    /// SQL `candidate as (…), … written as (…)`: decides about each row of the source, and writes rows that are new, changed,
    /// or tied and won. A row that the table already has is neither written nor locked.
    ///
    /// Two rows tie if they have the same version and different values. A row that another load wrote since the look-up is left
    /// alone, unless our row is newer than that one too. A row without a version was not written by a load, and is older
    /// than any other.
    pub(super) fn sql(&self) -> String {
        let key = Key::of(self.dataset);
        let (planned, won) = (self.planned(&key), won(self.dataset, &self.window));
        format!("{planned}, {won}, {}{}", self.written(&key), self.kept(&key))
    }

    fn planned(&self, key: &Key<'_>) -> String {
        let referred = Referred::of(self.dataset);
        filled(
            include_str!("decide.sql"),
            &[
                ("source", self.source),
                ("rank", self.rank),
                ("load", self.load),
                ("table", &table_name(&self.dataset.table)),
                ("row_of_s", &names(self.dataset, "s.")),
                ("row_of_t", &list(self.dataset.table_columns(), exactly)),
                ("first_of_t", &key.first("t.")),
                ("key_text", &key.text("")),
                ("is_same", &key.equal("t.", "s.")),
                ("absent", &absent(self.dataset, self.rank)),
                ("graves", &graves(self.dataset)),
                ("by_version", &by_version(self.dataset)),
                ("referred", &referred.join),
                ("is_orphan", &referred.is_orphan),
                ("disagreements", &referred.disagreements),
            ],
        )
    }

    fn written(&self, key: &Key<'_>) -> String {
        let file = match self.storage {
            Storage::Plain => include_str!("write_plain.sql"),
            Storage::Partitioned => include_str!("write_partitioned.sql"),
        };
        let columns = names(self.dataset, "");
        filled(
            file,
            &[
                ("table", &table_name(&self.dataset.table)),
                ("columns", &format!("{columns}{}", origin_names(self.dataset))),
                ("values", &format!("{columns}{}", origin_values(self.dataset, "_load"))),
                ("key", &key.list("")),
                ("key_of_t", &key.list("t.")),
                ("key_text", &key.text("")),
                ("is_placed", &key.equal("p.", "c.")),
                ("update", &self.update(key)),
            ],
        )
    }

    /// What happens to the row of the table that has the same key.
    fn update(&self, key: &Key<'_>) -> String {
        let is_settable = |column: &&Column| !self.dataset.key.contains(&column.name);
        let settable: Vec<Column> = self.dataset.table_columns().iter().filter(is_settable).cloned().collect();
        if settable.is_empty() {
            return "nothing".to_owned();
        }
        let settled = list(&settable, |column| format!("{0} = excluded.{0}", quoted(&column.name)));
        format!("update set {settled}{} where {}", origin_set(self.dataset), self.may_overwrite(key))
    }

    /// SQL condition: the row of the table is the one that was seen or, where nothing else depends on that, is older all the same.
    fn may_overwrite(&self, key: &Key<'_>) -> String {
        let is_seen = |plans: &str| {
            format!(
                "({}, t.ctid) in (select {}, _seen from candidate where _plan in ({plans}))",
                key.list("t."),
                key.list("")
            )
        };
        // What is kept of a row is what was seen, so that row alone may be overwritten.
        if self.dataset.history.is_some() || self.storage == Storage::Partitioned {
            return is_seen("'changed', 'tied'");
        }
        let is_seen = is_seen("'tied'");
        version(self.dataset).map_or_else(
            || is_seen.clone(),
            |column| {
                let version = quoted(&column.name);
                format!("t.{version} < excluded.{version} or t.{version} is null or t.{version} = excluded.{version} and {is_seen}")
            },
        )
    }

    /// SQL that keeps the rows as they were before they were overwritten.
    fn kept(&self, key: &Key<'_>) -> String {
        let overwritten = format!(
            "join written w on {} join candidate c on {} where not w._inserted",
            key.equal("w.", "t."),
            key.equal("c.", "t.")
        );
        let kept = keep(self.dataset, "c._load", "updated", &overwritten);
        kept.map(|kept| format!(", kept as ({kept})")).unwrap_or_default()
    }
}

/// SQL about the row `r` that a row `s` refers to.
struct Referred {
    join: String,
    is_orphan: String,
    /// SQL for how many values differ from those of that row.
    disagreements: String,
}

impl Referred {
    fn of(dataset: &Dataset) -> Self {
        let Some(reference) = &dataset.reference else {
            return Self { join: String::new(), is_orphan: "false".to_owned(), disagreements: "0".to_owned() };
        };
        let there = Key::referred(dataset, reference);
        let target = there.first("r.");
        let here = || reference.columns.iter().map(|column| format!("s.{}", quoted(column)));
        let refers = here().map(|column| format!("{column} is not null and "));
        let disagree = reference.agreements.iter().map(|agreement| {
            let (there, here) = (quoted(&agreement.equals), quoted(&agreement.column));
            format!(" + ({target} is not null and r.{there} is distinct from s.{here})::int")
        });
        Self {
            join: format!("left join {} r on {}", table_name(&reference.table), there.equals("r.", here())),
            is_orphan: format!("{}{target} is null", refers.collect::<String>()),
            disagreements: format!("0{}", disagree.collect::<String>()),
        }
    }
}

/// SQL branches: a row is older or newer than that of the table. Without a version column all rows tie.
fn by_version(dataset: &Dataset) -> String {
    version(dataset).map_or_else(String::new, |column| {
        let version = quoted(&column.name);
        format!(
            "when t.{version} > s.{version} then 'stale' when t.{version} < s.{version} or t.{version} is null then 'changed'"
        )
    })
}

/// A column of the table, compared character by character: its collation may treat different texts as equal.
fn exactly(column: &Column) -> String {
    let collate = if postgres_type(column) == "text" { " collate \"C\"" } else { "" };
    format!("t.{}{collate}", quoted(&column.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Datasets;

    const PRICE: &str = "name = \"price\"\ntable = \"price\"\nkey = \"code\"\nversion = \"at\"\nfiles = [\"p/**\"]\n\
        column = [{ name = \"code\", type = \"text\", required = true }, { name = \"at\", type = \"date\", required = true }, \
        { name = \"value\", type = \"double\" }]\n";

    fn sql(text: &str, storage: Storage) -> String {
        let datasets = Datasets::parse([("price.toml", text)]).unwrap();
        let (dataset, window) = (datasets.get("price").unwrap(), Window { since: "$3", but: None });
        let sql = Decision { dataset, storage, source: "stage", rank: "_rank", load: "$1", window }.sql();
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn assert_has(sql: &str, parts: &[&str], others: &[&str]) {
        for part in parts {
            assert!(sql.contains(part), "no {part} in {sql}");
        }
        for other in others {
            assert!(!sql.contains(other), "{other} in {sql}");
        }
    }

    const IS_SEEN: &str = "(t.\"code\", t.ctid) in (select \"code\", _seen from candidate where _plan in";

    #[test]
    fn a_row_with_a_version_overwrites_what_is_older_or_tied_as_it_was_seen() {
        assert_has(
            &sql(PRICE, Storage::Plain),
            &[
                "when (t.\"code\" collate \"C\", t.\"at\", t.\"value\") is not distinct from (s.\"code\", s.\"at\", s.\"value\") then 'unchanged'",
                "when t.\"at\" > s.\"at\" then 'stale' when t.\"at\" < s.\"at\" or t.\"at\" is null then 'changed' else 'tied'",
                "do update set \"at\" = excluded.\"at\", \"value\" = excluded.\"value\" where t.\"at\" < excluded.\"at\" \
                 or t.\"at\" is null or t.\"at\" = excluded.\"at\" and (t.\"code\"",
                &format!("{IS_SEEN} ('tied'))"),
                "case when false then 'parked'",
            ],
            &["held as", "kept as", "'changed', 'tied'", "left join etl.tombstone"],
        );
    }

    #[test]
    fn without_a_version_every_row_ties() {
        let arrival = PRICE.replace("version = \"at\"", "version = \"arrival\"");
        assert_has(
            &sql(&arrival, Storage::Plain),
            &["then 'unchanged' else 'tied'", &format!("where {IS_SEEN} ('tied'))")],
            &["then 'stale'", "< excluded"],
        );
    }

    #[test]
    fn a_table_of_keys_alone_has_nothing_to_update() {
        let keys = PRICE
            .replace("key = \"code\"", "key = [\"code\", \"at\"]")
            .replace(", { name = \"value\", type = \"double\" }", "");
        assert_has(&sql(&keys, Storage::Plain), &["on conflict (\"code\", \"at\") do nothing"], &["update set"]);
    }

    #[test]
    fn in_partitions_a_row_is_locked_before_it_is_overwritten_as_it_was_seen() {
        let sql = sql(PRICE, Storage::Partitioned);
        assert_has(
            &sql,
            &[
                "and (_plan = 'new' or (\"code\") in (select * from held))",
                &format!("\"value\" = excluded.\"value\" where {IS_SEEN} ('changed', 'tied'))"),
                "c._plan = 'new' as _inserted from placed p join candidate c on p.\"code\" = c.\"code\"",
            ],
            &["xmax", "< excluded"],
        );
        assert!(sql.find("held as") < sql.find("placed as") && sql.find("placed as") < sql.find("written as"), "{sql}");
    }

    #[test]
    fn what_a_history_keeps_is_what_was_seen() {
        assert_has(
            &sql(&format!("history = \"price_history\"\n{PRICE}"), Storage::Plain),
            &[
                "insert into \"public\".\"price\" as t (\"code\", \"at\", \"value\", \"written_by\", \"valid_from\") \
                 select \"code\", \"at\", \"value\", _load, now() from candidate",
                &format!("{IS_SEEN} ('changed', 'tied'))"),
                "kept as (insert into \"public\".\"price_history\"",
                "where not w._inserted",
            ],
            &["< excluded"],
        );
    }

    #[test]
    fn a_row_waits_for_the_row_that_it_refers_to_and_is_compared_with_it() {
        let reference = "[reference]\ncolumn = \"code\"\ndataset = \"price\"\n\
            warn_unless = [{ id = \"same\", column = \"value\", equals = \"value\" }]\n";
        assert_has(
            &sql(&format!("{PRICE}{reference}"), Storage::Plain),
            &[
                "case when s.\"code\" is not null and r.\"code\" is null then 'parked'",
                "0 + (r.\"code\" is not null and r.\"value\" is distinct from s.\"value\")::int as _disagreements",
                "left join \"public\".\"price\" r on r.\"code\" = s.\"code\"",
            ],
            &[],
        );
    }
}
