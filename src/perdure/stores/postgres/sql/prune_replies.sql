select {schema}.prune_replies_1($1)
