select i.run, i.id, i.at_us, i.body, i.data
from unnest($1::int[]) as p (number) cross join lateral (
    select * from {schema}.inbox as i where i.partition = p.number order by i.position limit $2
) as i
order by i.position limit $2
