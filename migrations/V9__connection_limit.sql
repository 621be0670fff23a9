-- A role of ingest that was there before V3 has no limit of connections; it gets the one that V3 gives. A limit that somebody has
-- set stays.

do $$
begin
    if exists (select from pg_roles where rolname = 'small_etl_ingest' and rolconnlimit < 0) then
        alter role small_etl_ingest connection limit 9;
    end if;
exception
    -- Whoever manages the roles of this server has to do it.
    when insufficient_privilege then
        raise warning 'small_etl_ingest has no limit: alter role small_etl_ingest connection limit 9';
end
$$;
