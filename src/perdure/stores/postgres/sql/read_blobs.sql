select hash, data from {schema}.blob where hash = any ($1::text[])
