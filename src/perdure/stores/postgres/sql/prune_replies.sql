with gone as (delete from {schema}.reply where at_us < $1 returning 1) select count(*) from gone
