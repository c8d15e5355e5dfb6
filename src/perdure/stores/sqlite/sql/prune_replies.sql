delete from reply where at_us < ?1
