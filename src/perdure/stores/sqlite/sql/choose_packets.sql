-- For each address of the JSON list ?1, the positions of the packets that come next, at most ?2: a list of lists. Those that
-- the owner ?4 has claimed until ?5 are among them.
select cast(json_group_array(json((
    select json_group_array(position) from (
        select p.position from packet as p
        where p.address = w.value and not exists (
            select 1 from claim as c where c.position = p.position and c.until_us > ?3 and not (c.owner = ?4 and c.until_us = ?5)
        )
        order by p.rank, p.position limit ?2
    )
))) as blob)
from json_each(?1) as w
