select cast(json_group_array(id) as blob) from (select id from reply where at_us < ?1)
