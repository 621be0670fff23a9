-- Takes over a load that another worker has left, or takes it once more for the worker that has it by this very token (`:ours`).
update etl.load l set state = 'loading', lease_token = :token,
    attempt = attempt + case when :ours then 0 else 1 end, stalled = stalled + case when :ours then 0 else 1 end,
    lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
where id = :load
returning id, coalesce(origin, id) as origin, run, late, attempt, started_at, extract(epoch from clock_timestamp() - started_at)::float8 as age,
    stalled, dataset, source, dataset_version, batch_size, max_rejects, max_reject_rate, max_future_seconds, etl.since(l) as since, claimed_tick
