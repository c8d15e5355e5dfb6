select cast(json_group_array(id) as blob)
from (select id from run where status = ?1 and status in ('completed', 'failed', 'cancelled') and created_us < ?2 and updated_us < ?2 order by created_us, id limit ?3)
