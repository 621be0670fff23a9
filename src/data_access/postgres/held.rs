//! Loads that a worker holds, or that a dead one has left.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

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
