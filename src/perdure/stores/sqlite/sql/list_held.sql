select cast(json_group_array(id) as blob) from (select id from run where wake_us = 0)
