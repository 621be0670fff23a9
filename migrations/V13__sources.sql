-- What the ledger knows of a file that a declared source describes: which source, what the file told around its table (so that a
-- mended reject still has it), and how many of its lines are no records.
alter table etl.load
    add column source text,
    add column around jsonb,
    add column dropped jsonb;
