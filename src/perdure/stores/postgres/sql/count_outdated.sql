select count(*) from {schema}.run where status = $1 and status in ('completed', 'failed', 'cancelled') and created_us < $2 and updated_us < $2
