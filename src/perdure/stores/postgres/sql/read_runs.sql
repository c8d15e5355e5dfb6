select packed, reason, state from {schema}.run_packed where id = any ($1::text[])
