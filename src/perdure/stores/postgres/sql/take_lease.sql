select {schema}.take_lease_1($1, $2, $3, $4)
