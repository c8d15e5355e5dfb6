delete from tag where (tag, run) in (
    select t.value, r.id from run as r, json_each(r.tags) as t where r.id in (select value from json_each(?1))
)
