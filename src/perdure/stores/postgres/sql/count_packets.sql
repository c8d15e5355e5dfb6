select count(*) from {schema}.packet as p where p.address = $1 and p.until_us <= $2
