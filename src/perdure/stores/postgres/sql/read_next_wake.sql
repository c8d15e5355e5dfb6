select min(d.wake_us)
from unnest($1::int[]) as p (number) cross join lateral (
    select r.wake_us from {schema}.run as r where r.partition = p.number and r.wake_us > 0 order by r.wake_us limit 1
) as d
