select {schema}.prune_runs_1($1, $2, $3, $4)
