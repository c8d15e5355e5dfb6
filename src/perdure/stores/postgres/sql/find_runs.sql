select packed, reason, state from {schema}.run_packed {conditions} order by created_us {direction}, id {direction} limit $1
