select coalesce(max(value::int), 0) from {schema}.setting where name = 'version'
