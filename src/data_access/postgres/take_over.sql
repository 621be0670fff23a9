-- Takes over a load that another worker has left, or takes it once more for the worker that has it ($4).
-- Parameters: 1 the load, 2 the seconds of the lease, 3 the token, 4 whether the claim is that of this very token.
update etl.load l set state = 'loading', lease_token = $3,
    attempt = attempt + case when $4 then 0 else 1 end, stalled = stalled + case when $4 then 0 else 1 end,
    lease_expires_at = clock_timestamp() + make_interval(secs => $2)
where id = $1
returning id, coalesce(origin, id) as origin, run, late, attempt, started_at, extract(epoch from clock_timestamp() - started_at)::float8 as age,
    stalled, dataset, source, dataset_version, batch_size, max_rejects, max_reject_rate, max_future_seconds, etl.since(l) as since, claimed_tick
