delete from blob_use where is_reply = ?2 and owner in (select value from json_each(?1)) returning hash
