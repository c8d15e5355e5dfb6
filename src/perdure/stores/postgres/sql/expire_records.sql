select {schema}.expire_records_1($1, $2)
