//! Generates the SQL that loads parked rows when their reference has arrived, and that ends the waiting of those that have waited too long.

use postgres_protocol::escape::escape_literal;

use super::checked_table::Storage;
use super::decide::Decision;
use super::encode::postgres_type;
use super::key::Key;
use super::sql_file::filled;
use super::sql_names::{list, moment, quoted, table_name, version};
use super::tie::{Window, outcome, rank_of_row};
use crate::domain::{Dataset, Reference};

/// Which parked rows are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Those that load 1 has parked.
    Own,
    /// Those that wait for rows which load 2 has brought or released. So a load need not look at all that wait. What came otherwise, the
    /// nightly run finds.
    Brought,
    /// Those of a page: their reference keys lie between parameters 4 and 5. Parameters 1 and 2 are null.
    Page,
}

impl Among {
    fn condition(self, dataset: &Dataset, reference: &Reference) -> String {
        match self {
            Self::Brought if is_written_once(dataset, reference) => {
                // As an array, it is looked up in the index, key by key. A join might read all that wait, in the order of their keys.
                format!(" and p.reference_key = any (array({}))", brought(reference))
            }
            Self::Own | Self::Brought => String::new(),
            Self::Page => " and p.reference_key >= $4 and p.reference_key <= $5".to_owned(),
        }
    }
}

/// SQL `from … where …`: the parked rows of `dataset` whose reference has arrived and that have every required value.
/// Parameter 1 is the load that parked them, or null for any load. Parameter 2 is the load that releases them, or null.
fn ready(dataset: &Dataset, reference: &Reference, among: Among) -> String {
    format!("{} and ({}){}", arrived(dataset, reference), complete(dataset), among.condition(dataset, reference))
}

/// Whether a key of the referred rows is always written in one way. Equal keys of other types may be written in two ways.
fn is_written_once(dataset: &Dataset, reference: &Reference) -> bool {
    let plain = ["text", "uuid", "date", "bool", "int2", "int4", "int8"];
    let columns = reference.columns.iter().filter_map(|name| dataset.column(name));
    let mut types = columns.map(postgres_type).chain(reference.key_kinds.iter().map(|kind| kind.table_type()));
    types.all(|kind| plain.contains(&kind))
}

/// SQL query: the keys of the rows that load 2 has brought or released, as `key`.
fn brought(reference: &Reference) -> String {
    format!(
        "select n.key from etl.lineage i cross join lateral unnest(i.keys) as n (key) \
         where i.load_id = $2 and i.dataset = '{target}' \
         union all select f.key from etl.parked f where f.released_by = $2 and f.dataset = '{target}'",
        target = reference.dataset,
    )
}

/// SQL condition: a parked row has a value in each column that is required now. The column may have become required
/// after the row was parked.
fn complete(dataset: &Dataset) -> String {
    let required = dataset.table_columns().iter().filter(|column| column.required);
    let names: Vec<String> = required.map(|column| format!("'{}'", column.name)).collect();
    format!("jsonb_strip_nulls(p.content) ?& array[{}]::text[]", names.join(", "))
}

/// Counts the rows of a page that stay parked although their reference has arrived, because they lack a required value. The
/// parameters are those of [`release`], of which 1 to 3 are null.
pub(super) fn incomplete(dataset: &Dataset, reference: &Reference) -> String {
    format!(
        "select count(*) {} and not ({}){} and ($2::bigint is null and $3::bigint is null)",
        arrived(dataset, reference),
        complete(dataset),
        Among::Page.condition(dataset, reference)
    )
}

fn arrived(dataset: &Dataset, reference: &Reference) -> String {
    let there = Key::referred(dataset, reference);
    let types = reference.key_kinds.iter().map(|kind| kind.table_type());
    let waiting: Vec<String> = if there.is_single() {
        types.map(|kind| format!("p.reference_key::{kind}")).collect()
    } else {
        let columns = reference.columns.iter().zip(types);
        columns.map(|(column, kind)| format!("(p.content ->> '{column}')::{kind}")).collect()
    };
    format!(
        "from etl.parked p join etl.load l on l.id = p.load_id \
             join {table} r on {is_there} \
         where p.dataset = '{name}' and p.reference_dataset = '{target}' and p.released_by is null \
             and ($1::bigint is null or p.load_id = $1)",
        table = table_name(&reference.table),
        is_there = there.equals("r.", waiting.into_iter()),
        target = reference.dataset,
        name = dataset.name,
    )
}

/// Ends the waiting of rows that have waited longer than the days in parameter 2, and whose reference has not arrived: at most as many as parameter 3
/// says. Parameter 1 is null. Returns the loads that parked them with the number of their rows.
pub(super) fn expire(dataset: &Dataset, reference: &Reference) -> String {
    let column = match reference.columns.as_slice() {
        [column] => escape_literal(column),
        _ => "null".to_owned(),
    };
    filled(
        include_str!("expire.sql"),
        &[
            ("dataset", &escape_literal(&dataset.name)),
            ("target", &escape_literal(&reference.dataset)),
            ("arrived", &arrived(dataset, reference)),
            ("column", &column),
        ],
    )
}

/// Whether there are rows that are [`ready`].
pub(super) fn any_ready(dataset: &Dataset, reference: &Reference, among: Among) -> String {
    format!("select $2::bigint is not null and exists (select {})", ready(dataset, reference, among))
}

/// Loads the rows of [`Among`] that are [`ready`]. Parameters 2 and 3 are the load that releases them, and the most rows. Without a
/// load, the loads that parked the rows release them, if they have ended. Rows that are unsettled because another load wrote them
/// meanwhile stay parked for the next call. So do rows that another call had locked, which has released them by then. `freed` are the
/// loads that parked the rows, one for each row.
///
/// A parked row may have waited for a long time. It replaces a row with the same time only if the lineage names the
/// load of that row: a row of unknown origin stays.
pub(super) fn release(dataset: &Dataset, reference: &Reference, storage: Storage, among: Among) -> String {
    let key = Key::of(dataset);
    let row_version = version(dataset).map(|column| match moment(dataset) {
        Some(_) => "p.row_version".to_owned(),
        None => format!("(p.content ->> '{}')::{}", column.name, postgres_type(column)),
    });
    let window = Window { since: "0", but: None };
    let decision = Decision { dataset, storage, source: "ready", rank: "s._rank", load: "s._load", window };
    let is_candidate =
        if key.is_single() { key.is_text_in("c.", "r.key") } else { format!("{} = r.key", key.text("c.")) };
    let typed = list(dataset.table_columns(), |column| format!("{} {}", quoted(&column.name), postgres_type(column)));
    filled(
        include_str!("release.sql"),
        &[
            ("ready", &ready(dataset, reference, among)),
            ("rank", &rank_of_row(dataset, "p.load_id", ["l.rank", "l.ranks_from"], "m.record = p.record")),
            ("row_version", &row_version.as_ref().map_or_else(String::new, |of| format!(", {of} as row_version"))),
            ("newest", if row_version.is_some() { "row_version desc nulls last," } else { "" }),
            ("typed", &typed),
            ("decision", &decision.sql()),
            ("table", &table_name(&dataset.table)),
            ("key", &key.list("")),
            ("key_of_t", &key.list("t.")),
            ("key_of_c", &key.list("c.")),
            ("outcome", &outcome(&key)),
            ("is_candidate", &is_candidate),
            ("is_written", &key.equal("w.", "c.")),
        ],
    )
}
