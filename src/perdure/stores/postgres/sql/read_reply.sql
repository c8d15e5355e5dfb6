select id, at_us, body, data from {schema}.reply where id = $1
