//! Retention: prunes old loads from the ledger, lets parked rows expire that wait too long, and forgets settled versions that are gone.

use std::collections::HashSet;
use std::time::Duration;

use super::Deadline;
use super::reconciliation::Reconciliation;
use crate::data_access::postgres::{Database, Pass, SettledVersion};
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::{Dataset, Datasets};
use crate::error::{ErrorKind, Result};

/// How many parked rows one transaction lets expire.
const EXPIRED_AT_ONCE: i64 = 1_000;
/// How many pages of a listing one run reads to find out which settled versions are gone.
const MOST_PAGES: usize = 200;

/// Prunes the loads that ended more than `days` ago, a few in each transaction, and then what else the ledger has of that time. Returns whether there was
/// time for all of it.
///
/// # Errors
/// `Configuration` if the ledger says that it is kept longer; `Connection`, `System`.
pub async fn prune(
    database: &Database,
    days: u32,
    (pass, deadline): (&Pass, &Deadline),
    result: &mut Reconciliation,
) -> Result<bool> {
    let before = retrying(|| database.cut_off(days)).await?;
    let mut after = pass.load();
    loop {
        if !deadline.has_time_for(Duration::ZERO) {
            return Ok(false);
        }
        let pruned = retrying(|| database.prune_loads(before, after)).await?;
        result.tidied.loads_pruned += pruned.count;
        let Some(last) = pruned.last else { break };
        retrying(|| database.advance_pass(pass, &last)).await?;
        after = last;
    }
    while retrying(|| database.prune_records(before)).await? > 0 {
        if !deadline.has_time_for(Duration::ZERO) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Turns parked rows that have waited for more than `days` into rejects. Returns whether there was time for all of them.
///
/// # Errors
/// `Connection`, `System`.
pub async fn expire(
    database: &Database,
    datasets: &Datasets,
    days: u32,
    deadline: &Deadline,
    result: &mut Reconciliation,
) -> Result<bool> {
    let waiting = |dataset: &&Dataset| dataset.reference.is_some();
    for dataset in datasets.all().filter(waiting) {
        loop {
            if !deadline.has_time_for(Duration::ZERO) {
                return Ok(false);
            }
            let expired = retrying(|| database.expire_parked(dataset, days, EXPIRED_AT_ONCE)).await?;
            if expired == 0 {
                break;
            }
            tracing::warn!(dataset = dataset.name, expired, "parked rows have waited too long and are rejects now");
            result.tidied.parked_expired += expired;
        }
    }
    Ok(true)
}

/// Forgets the versions of pruned loads whose objects do not lie in their buckets any more. One run looks at as many as some pages of a listing have, and
/// the next one continues there. Returns whether it came to the end.
///
/// # Errors
/// `Connection`, `System`, and `Configuration` if S3 refuses.
pub async fn forget_gone(
    (store, database): (&ObjectStore, &Database),
    (pass, deadline): (&Pass, &Deadline),
    result: &mut Reconciliation,
) -> Result<bool> {
    let mut pages = 0;
    let mut after: (String, String) = pass.cursor.as_deref().and_then(place).unwrap_or_default();
    loop {
        let found = retrying(|| database.settled_versions((&after.0, &after.1))).await?;
        let Some(first) = found.first() else { return Ok(true) };
        // A listing is of one bucket.
        let versions: Vec<&SettledVersion> = found.iter().filter(|version| version.bucket == first.bucket).collect();
        let last = versions.last().map_or(&first.key, |version| &version.key).clone();
        let Some(present) = present(store, &versions, &last, (&mut pages, deadline)).await? else { return Ok(false) };
        let gone: Vec<&SettledVersion> = versions
            .iter()
            .copied()
            .filter(|version| !present.contains(&(version.key.clone(), version.version.clone())))
            .collect();
        if !gone.is_empty() {
            retrying(|| database.forget_settled(&gone)).await?;
            result.tidied.settled_forgotten += gone.len() as u64;
        }
        after = (first.bucket.clone(), last);
        let cursor = format!("{}\n{}", after.0, after.1);
        retrying(|| database.advance_pass(pass, &cursor)).await?;
    }
}

/// A cursor: bucket and key, which have no line end between them.
fn place(cursor: &str) -> Option<(String, String)> {
    cursor.split_once('\n').map(|(bucket, key)| (bucket.to_owned(), key.to_owned()))
}

/// The keys and versions that lie in the bucket, among them all up to the key `last` that begin as those of `versions` do. `None` if that would take more
/// pages, or more time, than this run has.
async fn present(
    store: &ObjectStore,
    versions: &[&SettledVersion],
    last: &str,
    (pages, deadline): (&mut usize, &Deadline),
) -> Result<Option<HashSet<(String, String)>>> {
    let (Some(first), mut present) = (versions.first(), HashSet::new()) else { return Ok(Some(HashSet::new())) };
    let prefix = common_prefix(&first.key, last);
    // The listing begins after a key, so the first one is looked at by itself.
    let mut listing = store.list(&first.bucket, &first.key, None);
    let mut alone = true;
    loop {
        if *pages >= MOST_PAGES || !deadline.has_time_for(Duration::ZERO) {
            return Ok(None);
        }
        *pages += 1;
        let page = match listing.next_keys().await {
            Ok(page) => page,
            // A bucket that this program may not list any more says nothing about what lies there.
            Err(error) if error.kind() == ErrorKind::Configuration => {
                tracing::warn!(bucket = first.bucket, error = %error.chain(), "it is not known which settled versions are gone");
                return Ok(Some(versions.iter().map(|found| (found.key.clone(), found.version.clone())).collect()));
            }
            Err(error) => return Err(error),
        };
        let ended = page.as_ref().is_none_or(|keys| {
            let end = if alone { first.key.as_str() } else { last };
            keys.last().is_some_and(|versions| versions[0].key.as_str() > end)
        });
        for object in page.into_iter().flatten().flatten() {
            present.insert((object.key.as_str().to_owned(), object.version));
        }
        match (ended, alone) {
            (true, true) => (listing, alone) = (store.list(&first.bucket, prefix, Some(&first.key)), false),
            (true, false) => return Ok(Some(present)),
            (false, _) => {}
        }
    }
}

/// What both texts begin with.
fn common_prefix<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.char_indices().zip(other.chars()).find(|((_, own), their)| own != their);
    let end = same.map_or(one.len().min(other.len()), |((place, _), _)| place);
    &one[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_prefix_ends_between_characters() {
        for (one, other, same) in
            [("in/ä1", "in/ä2", "in/ä"), ("in/ä", "in/ö", "in/"), ("a", "ab", "a"), ("ab", "a", "a"), ("", "a", "")]
        {
            assert_eq!(common_prefix(one, other), same);
        }
    }
}
