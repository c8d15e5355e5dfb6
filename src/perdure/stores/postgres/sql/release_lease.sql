select {schema}.release_lease_1($1)
