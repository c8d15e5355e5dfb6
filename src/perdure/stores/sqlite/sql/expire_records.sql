delete from record where version in (select version from record where expires_us <= ?1 order by expires_us limit ?2)
