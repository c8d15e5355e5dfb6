-- The chosen inbox items, as one row: a JSON list of [position, run, id, at_us, length of body, length of data], and their bytes.
select
    cast(json_group_array(json_array(position, run, id, at_us, length(body), length(data))) as blob),
    cast(group_concat(body, '') as blob),
    cast(group_concat(data, '') as blob)
from ({source})
