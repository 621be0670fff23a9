-- Writes the rows of `candidate` that are new, changed, or tied and won. A row that another load wrote since the look-up is left alone,
-- unless :update says otherwise.
written as (
    insert into :table as t (:columns)
    select :values from candidate
    where _plan in ('new', 'changed') or _plan = 'tied' and :key_text in (select _key from won)
    order by :key
    on conflict (:key) do :update
    returning :key_of_t, (t.xmax = 0) as _inserted
)
