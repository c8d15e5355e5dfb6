select value from {schema}.setting where name = $1
