-- One statement sees one state of all tables: no commit comes in between. `part` tells whose row it is.
with chosen as materialized (
    select r.* from unnest($1::text[]) as i (id) join {schema}.run_packed as r on r.id = i.id
), wanted as materialized (
    select id, base from chosen where $2::int[] is null or partition = any ($2::int[])
)
select 0 as part, packed as run, 0::bigint as number, 0::bigint as at_us, null as name, reason as body, state as data from chosen
union all
select 1, j.run, j.number, j.at_us, null, j.facts, j.data
from wanted as w cross join lateral (select * from {schema}.journal as j where j.run = w.id and j.number >= w.base) as j
union all
select 2, i.run, i.position, i.at_us, i.id, i.body, i.data
from wanted as w cross join lateral (select * from {schema}.inbox as i where i.run = w.id) as i
union all
select 3, h.run, h.attempt, 0, h.call, h.body, h.data
from wanted as w cross join lateral (select * from {schema}.heartbeat as h where h.run = w.id) as h
