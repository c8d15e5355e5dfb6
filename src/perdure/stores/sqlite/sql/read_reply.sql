select id, at_us, body, data from reply where id = ?1
