-- Of the changes ?1, a JSON list of [kind, key, expected version], the keys where another version is.
select cast(json_group_array(c.value->>1) as blob)
from json_each(?1) as c left join record as r on r.kind = c.value->>0 and r.key = c.value->>1
where c.value->>2 >= 0 and c.value->>2 <> coalesce(r.version, 0)
