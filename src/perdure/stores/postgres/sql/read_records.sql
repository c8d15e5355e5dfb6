select r.key, r.value, r.version, r.expires_us from {schema}.record as r where r.kind = $1 and r.key = any ($2::text[])
