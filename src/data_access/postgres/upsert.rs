//! Generates the SQL that brings rows of a dataset into its table.
//!
//! Names of our own begin with `_`. A column of a dataset may not, so the two never collide.

use std::fmt::Write as _;

use postgres_protocol::escape::escape_literal;

use super::checked_table::Storage;
use super::encode::postgres_type;
use super::key::Key;
use super::lineage::noted;
use super::row_history::{keep, origin_names, origin_set, origin_values};
use super::sql_names::{list, names, quoted, table_name, version};
use super::tie::{Window, outcome, rank_of_row, won};
use super::tombstone::{absent, graves};
use crate::domain::{Column, Dataset, Reference};

/// The statements of one batch.
pub(super) struct UpsertStatements {
    /// Copies rows directly to the table.
    pub(super) insert: String,
    /// Creates the temporary table that a batch is copied to, once per session.
    pub(super) create_stage: String,
    /// Copies rows to the temporary table: `_record`, `_line`, then the columns of the table in the order of the dataset.
    pub(super) copy: String,
    /// Writes the rows of the temporary table where they belong, and records their outcomes. Returns the counts, the
    /// keys of tied rows that were written, and the records that are unsettled because another load wrote their rows
    /// meanwhile. The parameters are the load, the batch, and the tick of the claim.
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
    let park = dataset.reference.as_ref().map_or(String::new(), |reference| park(dataset, reference));
    let own = ["(select rank from own)", "(select ranks_from from own)"];
    let rank = rank_of_row(dataset, "$1", own, "m.record = s._record");
    format!(
        "with own as materialized (select rank, ranks_from from etl.load where id = $1), {decision}{park}, ended as ( \
             select c._record, c._line, {key} as _key, c._rank, c._plan = 'tied' as _tied, c._disagreements, {outcome} as _outcome \
             from candidate c left join written w on {is_written} \
         ), {noted} \
         select count(*) filter (where _outcome = 'inserted') as inserted, \
             count(*) filter (where _outcome = 'updated') as updated, 0::bigint as removed, \
             count(*) filter (where _outcome = 'unchanged') as unchanged, \
             count(*) filter (where _outcome = 'stale') as stale, \
             count(*) filter (where _outcome = 'parked') as parked, \
             coalesce(sum(_disagreements) filter (where _outcome <> 'parked'), 0)::bigint as disagreements, \
             array_agg(_key) filter (where _tied and _outcome = 'updated') as overwritten, \
             array_agg(_rank) filter (where _tied and _outcome = 'updated') as ranks, \
             array_agg($1::bigint) filter (where _tied and _outcome = 'updated') as overwriting, \
             array_agg(_record) filter (where _outcome is null) as unsettled \
         from ended",
        noted = noted(dataset),
        decision = decide(dataset, (stage, storage), (&rank, "$1"), &Window { since: "$3", but: Some("$1") }),
        outcome = outcome(&key),
        is_written = key.equal("w.", "c."),
        key = key.text("c."),
    )
}

fn park(dataset: &Dataset, reference: &Reference) -> String {
    format!(
        ", held as ( \
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

/// The version column, if it holds times, as `etl.parked.row_version` does.
fn moment(dataset: &Dataset) -> Option<&Column> {
    version(dataset).filter(|column| ["timestamptz", "timestamp", "date"].contains(&postgres_type(column)))
}

/// SQL `candidate as (…), … written as (…)`: decides about each row of `source`, and writes rows that are new, changed,
/// or tied and won. A row that the table already has is neither written nor locked.
///
/// Two rows tie if they have the same version and different values. `rank` and `load` are those of a row of
/// `source`, and `window` says where to look for other loads. A row that another load wrote since the look-up is left
/// alone, unless our row is newer than that one too. A row without a version was not written by a load, and is older
/// than any other.
#[expect(clippy::too_many_lines, reason = "one statement, whose parts depend on each other")]
fn decide(
    dataset: &Dataset,
    (source, storage): (&str, Storage),
    (rank, load): (&str, &str),
    window: &Window<'_>,
) -> String {
    let (mut orphan, mut disagreements, mut join) = ("false".to_owned(), String::from("0"), String::new());
    if let Some(reference) = &dataset.reference {
        let there = Key::referred(dataset, reference);
        let target = there.first("");
        let here = || reference.columns.iter().map(|column| format!("s.{}", quoted(column)));
        let refers = here().map(|column| format!("{column} is not null"));
        orphan = refers.chain([format!("r.{target} is null")]).collect::<Vec<_>>().join(" and ");
        join = format!("left join {} r on {}", table_name(&reference.table), there.equals("r.", here()));
        for agreement in &reference.agreements {
            let (there, here) = (quoted(&agreement.equals), quoted(&agreement.column));
            let _ = write!(disagreements, " + (r.{target} is not null and r.{there} is distinct from s.{here})::int");
        }
    }
    let key = Key::of(dataset);
    // Without a version column all rows tie.
    let (mut older_or_newer, mut is_newer) = (String::new(), String::new());
    if let Some(version) = version(dataset) {
        let version = quoted(&version.name);
        older_or_newer = format!(
            "when t.{version} > s.{version} then 'stale' when t.{version} < s.{version} or t.{version} is null then 'changed' "
        );
        is_newer =
            format!("t.{version} < excluded.{version} or t.{version} is null or t.{version} = excluded.{version} and ");
    }
    let settable: Vec<Column> =
        dataset.table_columns().iter().filter(|column| !dataset.key.contains(&column.name)).cloned().collect();
    let settled = list(&settable, |column| format!("{0} = excluded.{0}", quoted(&column.name)));
    let update = if settable.is_empty() {
        "nothing".to_owned()
    } else {
        let seen = |plans: &str| {
            format!(
                "({}, t.ctid) in (select {}, _seen from candidate where _plan in ({plans}))",
                key.list("t."),
                key.list("")
            )
        };
        // What is kept of a row is what was seen, so that row alone may be overwritten.
        let condition = match (&dataset.history, storage) {
            (None, Storage::Plain) => format!("{is_newer}{}", seen("'tied'")),
            _ => seen("'changed', 'tied'"),
        };
        format!("update set {settled}{} where {condition}", origin_set(dataset))
    };
    let (mut placed, mut returned) = ("written", format!("{}, (t.xmax = 0) as _inserted", key.list("t.")));
    let (mut held, mut is_held, mut told) = (String::new(), String::new(), String::new());
    if storage == Storage::Partitioned {
        (placed, returned) = ("placed", key.list("t."));
        held = format!(
            ", held as materialized ( \
                 select {own} from {table} t \
                 where ({own}, t.ctid) in (select {list}, _seen from candidate where _plan in ('changed', 'tied')) \
                 order by {own} for no key update)",
            own = key.list("t."),
            list = key.list(""),
            table = table_name(&dataset.table),
        );
        is_held = format!(" and (_plan = 'new' or ({}) in (select * from held))", key.list(""));
        told = format!(
            ", written as (select p.*, c._plan = 'new' as _inserted from placed p join candidate c on {})",
            key.equal("p.", "c.")
        );
    }
    let kept = keep(
        dataset,
        "c._load",
        "updated",
        &format!(
            "join written w on {} join candidate c on {} where not w._inserted",
            key.equal("w.", "t."),
            key.equal("c.", "t.")
        ),
    );
    format!(
        "candidate as materialized ( \
             select s._record, s._line, {rank} as _rank, {load} as _load, {here}, t.ctid as _seen, \
                 case when {orphan} then 'parked' \
                      when {first} is null then {absent} \
                      when ({exactly}) is not distinct from ({here}) then 'unchanged' \
                      {older_or_newer}else 'tied' end as _plan, \
                 {disagreements} as _disagreements \
             from {source} s left join {table} t on {same} {join}{graves} \
         ), tied as materialized ( \
             select {text} as _key, _rank from candidate where _plan = 'tied' \
         ), {won}{held}, {placed} as ( \
             insert into {table} as t ({list}{origin_names}) \
             select {list}{origin_values} from candidate \
             where (_plan in ('new', 'changed') or _plan = 'tied' and {text} in (select _key from won)){is_held} order by {key} \
             on conflict ({key}) do {update} \
             returning {returned} \
         ){told}{kept}",
        origin_names = origin_names(dataset),
        origin_values = origin_values(dataset, "_load"),
        kept = kept.map(|kept| format!(", kept as ({kept})")).unwrap_or_default(),
        absent = absent(dataset, rank),
        graves = graves(dataset),
        won = won(dataset, window),
        first = key.first("t."),
        same = key.equal("t.", "s."),
        text = key.text(""),
        key = key.list(""),
        table = table_name(&dataset.table),
        exactly = list(dataset.table_columns(), exactly),
        here = names(dataset, "s."),
        list = names(dataset, ""),
    )
}

/// A column of the table, compared character by character: its collation may treat different texts as equal.
fn exactly(column: &Column) -> String {
    let collate = if postgres_type(column) == "text" { " collate \"C\"" } else { "" };
    format!("t.{}{collate}", quoted(&column.name))
}

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
/// says. They become rejects of the loads that parked them, each of the row as which it was bad first. Parameter 1 is null. Returns those loads with
/// the number of their rows.
pub(super) fn expire(dataset: &Dataset, reference: &Reference) -> String {
    let column = match reference.columns.as_slice() {
        [column] => escape_literal(column),
        _ => "null".to_owned(),
    };
    format!(
        "with due as materialized ( \
             select p.load_id, p.record from etl.parked p join etl.load l on l.id = p.load_id and l.finished_at is not null \
             where p.dataset = '{name}' and p.reference_dataset = '{target}' and p.released_by is null \
                 and p.parked_at < clock_timestamp() - make_interval(days => $2) \
                 and (p.load_id, p.record) not in (select p.load_id, p.record {arrived}) \
             order by 1, 2 limit $3 for update of p skip locked \
         ), expired as ( \
             update etl.parked p set released_by = p.load_id, released_at = clock_timestamp(), \
                 released_xid = pg_current_xact_id()::xid, tick = nextval('etl.clock'), outcome = 'expired' \
             from due d where p.load_id = d.load_id and p.record = d.record returning p.* \
         ), rejected as ( \
             insert into etl.reject (load_id, record, line, \"column\", rule, message, key, first_load_id, first_record) \
             select e.load_id, e.record, coalesce(e.line, 0), {column}, 'reference', \
                 format('refers to %s %s, which has not come within %s days', e.reference_dataset, e.reference_key, $2::integer), \
                 e.key, coalesce(s.first_load_id, e.load_id), coalesce(s.first_record, e.record) \
             from expired e left join etl.resubmission s on s.load_id = e.load_id and s.record = e.record \
         ) \
         update etl.load l set expired = l.expired + e.rows \
         from (select load_id, count(*) as rows from expired group by 1) e where l.id = e.load_id \
         returning l.id, e.rows",
        name = dataset.name,
        target = reference.dataset,
        arrived = arrived(dataset, reference),
    )
}

/// Whether there are rows that are [`ready`].
pub(super) fn any_ready(dataset: &Dataset, reference: &Reference, among: Among) -> String {
    format!("select $2::bigint is not null and exists (select {})", ready(dataset, reference, among))
}

/// Loads the rows of [`Among`] that are [`ready`]. Parameters 2 and 3 are the load that releases them, and the most rows. Without a
/// load, the loads that parked the rows release them, if they have ended. Of several rows with the same key, the newest
/// is loaded and the others are stale. Rows that are unsettled because another load wrote them meanwhile stay parked
/// for the next call. So do rows that another call had locked, which has released them by then. `freed` are the loads that parked the
/// rows, one for each row.
///
/// A parked row may have waited for a long time. It replaces a row with the same time only if the lineage names the
/// load of that row: a row of unknown origin stays. A row that it finds unchanged is locked, so that a load with a
/// lower rank sees this.
pub(super) fn release(dataset: &Dataset, reference: &Reference, storage: Storage, among: Among) -> String {
    let key = Key::of(dataset);
    let row_version = version(dataset).map(|column| match moment(dataset) {
        Some(_) => "p.row_version".to_owned(),
        None => format!("(p.content ->> '{}')::{}", column.name, postgres_type(column)),
    });
    format!(
        "with waiting as materialized ( \
             select p.load_id, p.record, p.line, p.key, {rank} as load_rank, p.content{row_version} {ready} \
                 and ($2::bigint is not null or l.finished_at is not null) \
             order by p.key, {newest}load_rank desc, p.record desc limit $3 for update of p \
         ), ranked as ( \
             select *, row_number() over ( \
                 partition by key order by {newest_first}load_rank desc, record desc) as rank \
             from waiting \
         ), ready as ( \
             select w.record as _record, w.line as _line, w.load_rank as _rank, w.load_id as _load, _x.* \
             from ranked w cross join lateral jsonb_to_record(w.content) as _x ({typed}) where w.rank = 1 \
         ), {decision}, confirmed as materialized ( \
             select {own} from {table} t \
             where ({own}, t.ctid) in (select {list}, _seen from candidate where _plan = 'unchanged') \
             order by {own} for no key update \
         ), settled as ( \
             select r.load_id, r.record, r.key, r.load_rank, r.rank = 1 and c._plan = 'tied' as tied, \
                 case when r.rank > 1 then 'stale' \
                      when c._plan = 'parked' or c._plan = 'unchanged' and ({candidate}) not in (select * from confirmed) then null \
                      else {outcome} end as outcome, \
                 case when r.rank = 1 then c._disagreements else 0 end as warnings \
             from ranked r join candidate c on {same} \
                 left join written w on {is_written} \
         ), released as ( \
             update etl.parked p \
             set released_by = coalesce($2, p.load_id), released_at = clock_timestamp(), released_xid = pg_current_xact_id()::xid, \
                 tick = nextval('etl.clock'), outcome = s.outcome, warnings = s.warnings \
             from settled s where p.load_id = s.load_id and p.record = s.record and s.outcome is not null \
         ) \
         select count(outcome) as released, array_agg(key) filter (where tied and outcome = 'updated') as overwritten, \
             array_agg(load_rank) filter (where tied and outcome = 'updated') as ranks, \
             array_agg(load_id) filter (where tied and outcome = 'updated') as overwriting, \
             array_agg(load_id) filter (where outcome is not null) as freed, \
             array_agg(warnings::bigint) filter (where outcome is not null) as freed_warnings from settled",
        ready = ready(dataset, reference, among),
        rank = rank_of_row(dataset, "p.load_id", ["l.rank", "l.ranks_from"], "m.record = p.record"),
        newest = row_version.as_ref().map_or_else(String::new, |version| format!("{version} desc nulls last, ")),
        row_version = row_version.as_ref().map_or_else(String::new, |version| format!(", {version} as row_version")),
        newest_first = if row_version.is_some() { "row_version desc nulls last, " } else { "" },
        table = table_name(&dataset.table),
        outcome = outcome(&key),
        own = key.list("t."),
        list = key.list(""),
        candidate = key.list("c."),
        same = if key.is_single() { key.is_text_in("c.", "r.key") } else { format!("{} = r.key", key.text("c.")) },
        is_written = key.equal("w.", "c."),
        typed = list(dataset.table_columns(), |column| format!("{} {}", quoted(&column.name), postgres_type(column))),
        decision = decide(dataset, ("ready", storage), ("s._rank", "s._load"), &Window { since: "0", but: None }),
    )
}
