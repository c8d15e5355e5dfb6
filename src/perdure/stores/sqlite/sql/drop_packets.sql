delete from packet where address = ?1 and (?2 is null or id in (select value from json_each(?2)))
