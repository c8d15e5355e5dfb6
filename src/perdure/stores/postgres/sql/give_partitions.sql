select {schema}.give_partitions_1($1, $2)
