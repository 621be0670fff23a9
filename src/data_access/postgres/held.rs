//! Loads that a worker holds, or that a dead one has left.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use crate::error::{Error, ErrorKind};

/// One of these loads that a worker holds: `id`, `attempt`, and the seconds that `remain` of its lease. If none is held, a worker of theirs
/// that still runs cannot commit any more: it does not know of the numbers that are about to be given.
pub(super) async fn take_from_the_dead(
    transaction: &Transaction<'_>,
    loads: &[i64],
) -> Result<Option<Row>, PostgresError> {
    if loads.is_empty() {
        return Ok(None);
    }
    let lock = "select id, attempt, extract(epoch from lease_expires_at - clock_timestamp())::float8 as remain from etl.load \
        where id = any ($1) and state = 'loading' order by id for no key update";
    let locked = transaction.query(lock, &[&loads]).await?;
    let held = locked.into_iter().find(|load| load.get::<_, f64>("remain") > 0.0);
    if held.is_none() {
        let take =
            "update etl.load set lease_token = nextval('etl.lease_token') where id = any ($1) and state = 'loading'";
        transaction.execute(take, &[&loads]).await?;
    }
    Ok(held)
}

/// SQL that selects the loads `l` of files in which rows were bad that others mend, as `id`, if they fulfil a condition; `first` is the load in which
/// they were bad first. Parameters: 1 the load of the mended rows, 2 and 3 the loads and records that they mend.
pub(super) fn loads_of_mended(condition: &str) -> String {
    format!(
        "select distinct l.id from etl.load own join etl.load old on old.bucket = own.bucket and old.dataset = own.dataset \
             join lateral (select distinct first_load_id from etl.reject where load_id = old.id and record = any ($3)) r on true \
             join etl.load first on first.id = r.first_load_id \
             join etl.load l on l.bucket = first.bucket and l.key = first.key and l.version = first.version and l.dataset = first.dataset \
         where own.id = $1 and old.id = any ($2) and l.id <> own.id and {condition}"
    )
}

/// Why rows cannot be loaded that mend a file while this load of it has not ended.
pub(super) fn mended_too_early(load: i64) -> Error {
    let message = format!("rows mend rejects of a file that load {load} is loading; send them again when it has ended");
    Error::new(ErrorKind::Connection, message)
}
