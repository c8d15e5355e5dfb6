select
    array_agg(n.epoch order by n.epoch) as epochs, array_agg(n.name order by n.epoch) as names, array_agg(n.until_us order by n.epoch) as untils,
    (select array_agg(p.epoch order by p.number) from {schema}.partition as p) as holders,
    (extract(epoch from clock_timestamp()) * 1000000)::bigint as clock_us
from {schema}.node as n
