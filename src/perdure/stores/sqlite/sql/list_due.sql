select cast(json_group_array(id) as blob)
from (select id from run where wake_us > 0 and wake_us <= ?1 order by wake_us, id limit ?2)
