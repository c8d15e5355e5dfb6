select address, id, rank, position, deliveries, content_type, headers, body from {schema}.take_packets_1($1, $2, $3, $4, $5)
