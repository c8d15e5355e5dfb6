select count(*) from packet as p
where p.address = ?1 and not exists (select 1 from claim as c where c.position = p.position and c.until_us > ?2)
