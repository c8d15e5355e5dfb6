-- Of the positions ?1 those that ?2 has until ?3, as one row: a JSON list of heads, and the bodies.
select
    cast(json_group_array(json_array(address, id, rank, position, deliveries, content_type, headers, length(body))) as blob),
    cast(group_concat(body, '') as blob)
from (
    select p.*, c.deliveries from json_each(?1) as w
    cross join claim as c on c.position = w.value and c.owner = ?2 and c.until_us = ?3
    cross join packet as p on p.position = w.value
)
