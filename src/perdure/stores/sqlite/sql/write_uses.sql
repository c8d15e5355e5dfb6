-- References to blobs that are there: a JSON list of [hash, owner, is_reply].
insert or ignore into blob_use
select u.value ->> 0, u.value ->> 1, u.value ->> 2 from json_each(?1) as u where exists (select 1 from blob where hash = u.value ->> 0)
