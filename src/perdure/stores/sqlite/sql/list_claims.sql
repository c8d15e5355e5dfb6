-- Of the claims ?1, a JSON list of [position, deliveries], the positions of those that are still claims.
select cast(json_group_array(c.position) as blob)
from json_each(?1) as w cross join claim as c on c.position = w.value->>0 and c.deliveries = w.value->>1
