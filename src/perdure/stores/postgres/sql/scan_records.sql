-- $4: the first text after all with the prefix $2; null if there is none.
select r.key, r.value, r.version, r.expires_us from {schema}.record as r
where r.kind = $1 and r.key >= $2 and r.key > $3 and ($4::text is null or r.key < $4::text collate "C")
order by r.key limit $5
