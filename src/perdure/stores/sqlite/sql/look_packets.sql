select id, rank, position, content_type, headers, body from packet
where address = ?1 and (?2 is null or (rank, position) > (?2, ?3)) order by rank, position limit ?4
