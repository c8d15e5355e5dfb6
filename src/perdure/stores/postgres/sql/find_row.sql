select exists (select 1 from {schema}.journal where run = $1 and number = $2 and at_us = $3)
