delete from blob_use
where owner = '' and is_reply = 0 and hash in (select hash from blob_use where owner = '' and is_reply = 0 limit ?1)
returning hash
