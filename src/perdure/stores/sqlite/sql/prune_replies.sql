delete from reply where id in (select value from json_each(?1))
