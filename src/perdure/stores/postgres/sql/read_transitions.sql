select run, number, at_us, facts, data from {schema}.journal where run = $1 and number > $2 order by number limit $3
