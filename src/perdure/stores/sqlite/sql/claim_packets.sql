-- Another process may have come in between: what it has claimed since is left to it.
insert into claim (position, owner, until_us, deliveries)
select p.position, ?2, ?3, 1 from json_each(?1) as w cross join packet as p on p.position = w.value where true
on conflict (position) do update set owner = excluded.owner, until_us = excluded.until_us, deliveries = deliveries + 1
where until_us <= ?4
