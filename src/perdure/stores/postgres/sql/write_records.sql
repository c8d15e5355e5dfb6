select {schema}.write_records_1($1, $2, $3, $4, $5)
