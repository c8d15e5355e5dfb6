select packed, reason, state from {schema}.run_packed {conditions} order by created_us desc, id desc limit $1
