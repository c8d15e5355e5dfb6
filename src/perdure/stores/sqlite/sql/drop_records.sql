delete from record where version in (
    select r.version from json_each(?1) as c cross join record as r where r.kind = c.value->>0 and r.key = c.value->>1
)
