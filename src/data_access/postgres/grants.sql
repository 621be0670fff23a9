-- The rights of the role of ingest in schema etl. `migrate` runs this each time, after the migrations, so that nothing
-- else is granted. Whatever the program reads, adds or changes is listed here. A new table or column must be added.

revoke all on all tables in schema etl from small_etl_ingest;
revoke all on all sequences in schema etl from small_etl_ingest;
grant usage on schema etl, public to small_etl_ingest;
grant execute on function etl.key_values(text) to small_etl_ingest;
-- They prune nothing that is younger than `etl.retention` says, which only the owner changes. What is settled is older than that.
grant execute on function etl.prune_loads(timestamptz, bigint, integer), etl.prune_records(timestamptz, integer) to small_etl_ingest;
grant delete on etl.settled to small_etl_ingest;
grant usage on sequence etl.lease_token, etl.clock to small_etl_ingest;
grant select on public.refinery_schema_history to small_etl_ingest;

grant select on etl.dataset, etl.load, etl.load_batch, etl.reject, etl.parked, etl.lineage, etl.resubmission, etl.content_copy, etl.tombstone, etl.scope, etl.replacement, etl.reconciliation,
    etl.reconciliation_step, etl.data_key, etl.delivery, etl.outbox, etl.outbox_sender, etl.forgotten, etl.schema_change, etl.retention, etl.settled, etl.pruned, etl.known_load, etl.open_reject, etl.rejected_record, etl.load_history, etl.parked_age
    to small_etl_ingest;

grant insert (version, name, definition) on etl.dataset to small_etl_ingest;
-- The identity of a load, its terms and the time of its first claim never change.
grant
    insert (bucket, key, version, run, sequencer, dataset, dataset_version, size_bytes, batch_size, max_rejects, max_reject_rate,
        max_future_seconds, lease_token, lease_expires_at, version_id, modified_at, stalled, late, arrival, precedes, source, part, parts, origin),
    update (state, reason, error, attempt, stalled, lease_token, lease_expires_at, sequencer, modified_at, header, read, inserted, updated,
        removed, unchanged, stale, parked, rejected, withheld, warnings, released, expired, deleted, statistics, finished_at, rejects_bucket, rejects_key, source, around, dropped, ranks_from, drift)
    on etl.load to small_etl_ingest;
grant insert (load_id, batch, first_record, last_record, inserted, updated, removed, unchanged, stale, parked, rejected, warnings)
    on etl.load_batch to small_etl_ingest;
-- The violation and the bytes of a record never change, until the reject is deleted, and that is audited.
grant
    insert (load_id, record, line, "column", rule, message, value, raw, byte_offset, byte_length, key, first_load_id,
        first_record, data_key),
    update (first_load_id, first_record, state, resolved_by, resolved_at),
    delete
    on etl.reject to small_etl_ingest;
grant insert (load_id, record, line, first_load_id, first_record, ranks_with) on etl.resubmission to small_etl_ingest;
grant insert (first_load_id, first_record, hash, copy) on etl.content_copy to small_etl_ingest;
grant
    insert (load_id, record, line, dataset, key, reference_dataset, reference_key, row_version, content),
    update (released_by, released_at, released_xid, tick, outcome, warnings)
    on etl.parked to small_etl_ingest;
grant
    insert (load_id, batch, dataset, lowest_key, highest_key, keys, lines, outcomes),
    update (lowest_key, highest_key, keys, lines, outcomes)
    on etl.lineage to small_etl_ingest;
grant insert (dataset, scope, load_id), update (load_id) on etl.scope to small_etl_ingest;
grant
    insert (load_id, dataset, scopes, flagged, rows_before),
    update (kept, inserted, deleted, elsewhere, rows_after, deleted_keys, ended_at, xid)
    on etl.replacement to small_etl_ingest;
grant
    insert (dataset, key, version, load_id),
    update (version, load_id, before, at),
    delete
    on etl.tombstone to small_etl_ingest;
grant insert (load_id, loader, rows) on etl.delivery to small_etl_ingest;
grant insert (dataset, source, change, "column", load_id) on etl.schema_change to small_etl_ingest;
grant
    insert (bucket, prefix),
    update (state, finished_at, compared, sent, released, discrepancies, missing_files, report, report_bucket, report_key, error)
    on etl.reconciliation to small_etl_ingest;
grant insert (step, part, dataset_version, began_at, touched_at), update (dataset_version, cursor, began_at, since, touched_at)
    on etl.reconciliation_step to small_etl_ingest;
-- Lines can be added to the audit trail, but not even read.
grant insert (action, load_id, detail) on etl.audit to small_etl_ingest;
grant insert (configured_as, kms_key, wrapped) on etl.data_key to small_etl_ingest;
-- Events are written by triggers.
grant update (sent_at), delete on etl.outbox to small_etl_ingest;
grant update (token, expires_at) on etl.outbox_sender to small_etl_ingest;
