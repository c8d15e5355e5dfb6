-- The chosen journal rows, as one row: a JSON list of [run, number, at_us, length of facts, length of data], and their bytes.
select
    cast(json_group_array(json_array(run, number, at_us, length(facts), length(data))) as blob),
    cast(group_concat(facts, '') as blob),
    cast(group_concat(data, '') as blob)
from ({source})
