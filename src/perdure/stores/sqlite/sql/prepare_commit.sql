-- A commit is ONE statement, an insert into the view `batch`, and this trigger does the work inside it.
--
-- Why: Python's sqlite3 lets go of the interpreter lock at every execution of a statement (executemany: at every row) and may wait 5 ms to
-- get it back while the event loop computes. One statement is one such wait, whatever the batch holds. Run outside a transaction it is
-- also a transaction of its own, which spares SQLite the savepoint that it needs for a statement inside one.
--
-- Each column is a JSON list of short lists. Whatever can be long, or can hold any byte, lies in `bytes`; the lists give its place as
-- (first byte counted from 1, length), or nulls for null.

create temp view batch as
select
    null as epoch, null as replaced, null as starts, null as tags, null as blobs, null as rows, null as heartbeats, null as changes,
    null as truncated, null as posts, null as consumed, null as replies, null as uses, null as bytes;

-- One row per changed run, so that two changes of one run in a batch apply in order.
create temp view change as
select
    null as id, null as status, null as updated_us, null as wake_us, null as version, null as base, null as sets_reason,
    null as reason, null as sets_state, null as state, null as is_final;

create temp trigger change_write instead of insert on change begin
    update run set
        status = new.status,
        updated_us = new.updated_us,
        wake_us = new.wake_us,
        version = coalesce(new.version, version),
        base = coalesce(new.base, base),
        reason = case when new.sets_reason then new.reason else reason end,
        state = case when new.sets_state then new.state else state end
    where id = new.id;
    delete from heartbeat where new.is_final and run = new.id;
end;

-- One row per run to delete, with all that belongs to it but its blobs.
create temp view ended as select null as id;

create temp trigger ended_delete instead of insert on ended
when exists (select 1 from run where id = new.id and status in ('completed', 'failed', 'cancelled')) begin
    delete from run where id = new.id;
    delete from journal where run = new.id;
    delete from inbox where run = new.id;
    delete from heartbeat where run = new.id;
    delete from tag where run = new.id;
end;

-- What few batches have lies in two triggers of its own: opening eight empty lists costs a third of a small commit.
create temp view early as select null as replaced, null as tags, null as blobs, null as uses, null as heartbeats, null as bytes;

create temp trigger early_write instead of insert on early begin
    -- Only what has ended can be replaced; an open run of that id stays, and the start below is in conflict with it.
    insert into ended select value from json_each(new.replaced);

    insert or ignore into tag select value->>0, value->>1 from json_each(new.tags);

    insert or ignore into blob select value->>0, substr(new.bytes, value->>1, value->>2) from json_each(new.blobs);

    insert or ignore into blob_use select value->>0, value->>1, value->>2 from json_each(new.uses);

    insert or replace into heartbeat
    select
        value->>0, value->>1, value->>2, substr(new.bytes, value->>3, value->>4), substr(new.bytes, value->>5, value->>6)
    from json_each(new.heartbeats);
end;

create temp view late as select null as truncated, null as posts, null as consumed, null as replies, null as bytes;

create temp trigger late_write instead of insert on late begin
    delete from journal where rowid in (
        select j.rowid from json_each(new.truncated) as t cross join journal as j
        where j.run = t.value->>0 and j.number < t.value->>1
    );

    insert or ignore into inbox (run, id, at_us, body, data)
    select
        value->>0, value->>1, value->>2, substr(new.bytes, value->>3, value->>4), substr(new.bytes, value->>5, value->>6)
    from json_each(new.posts);

    -- After the posts: a message that was posted and consumed in one batch is gone.
    delete from inbox where position in (
        select i.position from json_each(new.consumed) as c cross join inbox as i
        where i.run = c.value->>0 and i.id = c.value->>1
    );

    insert or ignore into reply
    select
        value->>0, value->>1, substr(new.bytes, value->>2, value->>3), substr(new.bytes, value->>4, value->>5)
    from json_each(new.replies);
end;

create temp trigger batch_write instead of insert on batch begin
    -- The fence: the write lock is held here, so nobody can take the lease between this look and the end of the commit.
    select raise(abort, 'lease lost')
    where new.epoch is not null and not exists (select 1 from lease where epoch = new.epoch and node is not null);

    insert into early
    select new.replaced, new.tags, new.blobs, new.uses, new.heartbeats, new.bytes
    where coalesce(new.replaced, new.tags, new.blobs, new.heartbeats) is not null;

    insert into run
    select
        value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9, value->>10, value->>11,
        cast(substr(new.bytes, value->>12, value->>13) as text), substr(new.bytes, value->>14, value->>15)
    from json_each(new.starts);

    insert into journal
    select
        value->>0, value->>1, value->>2, substr(new.bytes, value->>3, value->>4), substr(new.bytes, value->>5, value->>6)
    from json_each(new.rows);

    insert into change
    select
        value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
        cast(substr(new.bytes, value->>7, value->>8) as text), value->>9, substr(new.bytes, value->>10, value->>11), value->>12
    from json_each(new.changes);

    insert into late
    select new.truncated, new.posts, new.consumed, new.replies, new.bytes
    where coalesce(new.truncated, new.posts, new.consumed, new.replies) is not null;
end;
