insert or ignore into packet (address, id, rank, at_us, content_type, headers, body)
select
    value->>0, value->>1, value->>2, ?3, value->>3, cast(substr(?2, value->>4, value->>5) as text), substr(?2, value->>6, value->>7)
from json_each(?1)
