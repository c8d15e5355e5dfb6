select key, value from {schema}.add_records_1($1, $2, $3, $4)
