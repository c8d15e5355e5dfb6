delete from blob where hash in (select value from json_each(?1)) and not exists (select 1 from blob_use as u where u.hash = blob.hash)
