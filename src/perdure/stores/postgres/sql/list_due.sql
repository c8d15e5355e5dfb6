select d.id
from unnest($1::int[]) as p (number) cross join lateral (
    select r.id, r.wake_us from {schema}.run as r where r.partition = p.number and r.wake_us > 0 and r.wake_us <= $2
    order by r.wake_us limit $3
) as d
order by d.wake_us, d.id limit $3
