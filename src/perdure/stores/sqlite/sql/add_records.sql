insert or ignore into record (kind, key, value, expires_us)
select value->>0, value->>1, substr(?2, value->>2, value->>3), value->>4 from json_each(?1)
