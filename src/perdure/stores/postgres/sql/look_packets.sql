select p.id, p.rank, p.position, p.content_type, p.headers, p.body from {schema}.packet as p
where p.address = $1 and ($2::int is null or (p.rank, p.position) > ($2::int, $3::bigint)) order by p.rank, p.position limit $4::int
