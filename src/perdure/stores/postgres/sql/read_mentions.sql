-- As load_runs.sql, of one run, and of its journal and inbox only what contains the text.
with chosen as materialized (
    select r.* from {schema}.run_packed as r where r.id = $1
)
select 0 as part, packed as run, 0::bigint as number, 0::bigint as at_us, null as name, reason as body, state as data from chosen
union all
select 1, j.run, j.number, j.at_us, null, j.facts, j.data
from chosen as c cross join lateral (select * from {schema}.journal as j where j.run = c.id and j.number >= c.base) as j
where position($2::bytea in j.facts) > 0
union all
select 2, i.run, i.position, i.at_us, i.id, i.body, i.data
from {schema}.inbox as i where i.run = $1 and position($2::bytea in i.body) > 0
