-- The chosen runs, as one row: a JSON list of objects, the length of each state, all states in a row.
-- One row, because every row that Python fetches costs a turn at the interpreter lock.
select
    cast(json_group_array(json_object(
        'id', id, 'definition', definition, 'version', version, 'status', status, 'input_hash', input_hash, 'parent', parent,
        'parent_call', parent_call, 'tags', json(tags), 'created_us', created_us, 'updated_us', updated_us, 'wake_us', wake_us,
        'base', base, 'reason', reason
    )) as blob),
    cast(json_group_array(length(state)) as blob),
    cast(group_concat(state, '') as blob)
from ({source})
