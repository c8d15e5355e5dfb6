-- The chosen records, as one row: a JSON list of [kind, key, length of value, version, expires_us], and their values.
select
    cast(json_group_array(json_array(kind, key, length(value), version, expires_us)) as blob),
    cast(group_concat(value, '') as blob)
from ({source})
