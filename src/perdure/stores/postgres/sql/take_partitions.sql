select {schema}.take_partitions_1($1, $2, $3)
