-- The arrays of the lineage are compressed with LZ4, which takes a tenth of the time. What is there stays as it is, and a server that was built
-- without LZ4 keeps its own way.

do $$
begin
    alter table etl.lineage
        alter column keys set compression lz4, alter column lines set compression lz4, alter column outcomes set compression lz4;
exception when feature_not_supported then null;
end
$$;
