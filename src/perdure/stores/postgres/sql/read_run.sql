select packed, reason, state from {schema}.run_packed where id = $1
