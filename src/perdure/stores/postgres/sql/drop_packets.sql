select {schema}.drop_packets_1($1, $2)
