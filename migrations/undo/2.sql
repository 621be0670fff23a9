-- Takes V2 back: the rows of asset and trade are lost.
drop table public.trade;
drop table public.asset;
delete from refinery_schema_history where version = 2;
