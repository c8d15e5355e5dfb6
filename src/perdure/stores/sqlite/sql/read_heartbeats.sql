-- The heartbeats of the runs in a JSON list, as one row: a JSON list of [run, call, attempt, length of body, length of data], and their bytes.
select
    cast(json_group_array(json_array(run, call, attempt, length(body), length(data))) as blob),
    cast(group_concat(body, '') as blob),
    cast(group_concat(data, '') as blob)
from (select h.* from json_each(?1) as r cross join heartbeat as h on h.run = r.value)
