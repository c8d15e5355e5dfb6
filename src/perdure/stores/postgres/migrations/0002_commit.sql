-- Who is there, for the message of an error.
create function {schema}.seats_1() returns text language sql stable as $$
    select coalesce(string_agg(format('node %L is there with epoch %s', name, epoch), '; ' order by epoch), 'its lease was ended')
    from {schema}.node
$$;

-- Whether this batch took effect when it was committed before. A row of it that is there is proof; a start with an id that nobody chose is,
-- too, and that one may have lost its rows since.
create function {schema}.is_written_1(
    checked text[], start_id text[], start_created text, start_input_hash text[], row_run text[], row_number text, row_at text,
    row_facts bytea[]
) returns boolean language sql stable as $$
    select exists (
        select 1 from unnest(row_run, row_number::int[], row_at::bigint[], row_facts) as r (run, number, at_us, facts)
        join {schema}.journal as j on j.run = r.run and j.number = r.number and j.at_us = r.at_us and j.facts = r.facts
    ) or exists (
        select 1 from unnest(start_id, start_created::bigint[], start_input_hash) as s (id, created_us, input_hash)
        join {schema}.run as o on o.id = s.id and o.created_us = s.created_us and o.input_hash = s.input_hash
        where row_run is null or not s.id = any (coalesce(checked, '{}'))
    )
$$;

-- One call is one commit: one round trip, one transaction, whatever the batch holds.
--
-- Parts that the batch does not have are null. Lists run in parallel, one for each column; a column that is null throughout may be null.
-- Numbers come as the text of an array, which costs the client a tenth of what binding them does.
--
-- writer: a number of the calling store object. is_again: an earlier call with this batch has an outcome that the caller does not know.
-- server: the start of the server that the caller believes to talk to. Errors: PDL01 fenced, PDL02 another server, PDL03 a start that
-- cannot be in conflict is, PDL04 one of the linked starts is in conflict: the caller has to say what falls with it.
create function {schema}.commit_1(
    writer bigint, is_again boolean, sync text, server bigint, epoch bigint,
    replaced text[], checked text[], linked text[],
    start_id text[], start_definition text[], start_version text, start_status text[], start_input_hash text[],
    start_parent text[], start_parent_call text[], start_tags text[], start_created text, start_updated text, start_wake text,
    start_base text, start_reason bytea[], start_state bytea[], start_partition text, start_durability text[],
    tag_run text[], tag_tag text[],
    blob_hash text[], blob_data bytea[],
    row_run text[], row_number text, row_at text, row_facts bytea[], row_data bytea[],
    beat_run text[], beat_call text[], beat_attempt text, beat_body bytea[], beat_data bytea[],
    change_id text[], change_status text[], change_updated text, change_wake text, change_version text, change_base text,
    change_sets_reason text, change_reason bytea[], change_sets_state text, change_state bytea[],
    ended text[],
    truncated_run text[], truncated_below text,
    post_run text[], post_id text[], post_at text, post_body bytea[], post_data bytea[],
    consumed_run text[], consumed_id text[],
    reply_id text[], reply_at text, reply_body bytea[], reply_data bytea[]
) returns table (packed text, reason bytea, state bytea)
language plpgsql volatile
-- Lists have any length: a plan made for one that was seen may be a plan for none of the others.
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    taken text[] := '{}';
    begun text[];
    found_blobs int;
begin
    -- Without a class of its own the batch is part of a transaction of somebody else, whose settings stay unless they are too weak.
    if commit_1.sync is not null then
        perform set_config('synchronous_commit', commit_1.sync, true), set_config('lock_timeout', '10s', true);
    elsif current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;

    -- The fence. Whoever deletes the node's row waits for the end of this commit, or this finds the row gone. `key share` leaves the node
    -- free to renew its lease meanwhile.
    if commit_1.epoch is not null then
        perform 1 from {schema}.node as n where n.epoch = commit_1.epoch for key share;
        if not found then
            raise exception using errcode = 'PDL01', message = {schema}.seats_1();
        end if;
        -- Behind a connection pooler a client does not see that the server has become another one.
        if commit_1.server <> (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint then
            raise exception using errcode = 'PDL02', message = 'the server is not the one that the node began on';
        end if;
    end if;

    if start_id is not null or row_run is not null then
        if not is_again then
            perform pg_advisory_xact_lock_shared(commit_1.writer);
        else
            -- The call whose outcome is unknown may still be at work: its end is waited for, then what it left is looked at.
            perform pg_advisory_xact_lock(commit_1.writer);
            if {schema}.is_written_1(checked, start_id, start_created, start_input_hash, row_run, row_number, row_at, row_facts) then
                return query
                select p.packed, p.reason, p.state from {schema}.run_packed as p
                where p.id = any (checked) and not exists (
                    select 1
                    from unnest(row_run, row_number::int[], row_at::bigint[], row_facts) as r (run, number, at_us, facts)
                    join {schema}.journal as j on j.run = r.run and j.number = r.number and j.at_us = r.at_us and j.facts = r.facts
                    where r.run = p.id
                ) and not exists (
                    select 1 from unnest(start_id, start_created::bigint[], start_input_hash) as s (id, created_us, input_hash)
                    join {schema}.run as o on o.id = s.id and o.created_us = s.created_us and o.input_hash = s.input_hash
                    where s.id = p.id and not s.id = any (coalesce(row_run, '{}'))
                );
                return;
            end if;
        end if;
    end if;

    -- Only what has ended can be replaced; an open run of that id stays, and the start below is in conflict with it.
    if replaced is not null then
        with gone as (
            delete from {schema}.run as o where o.id = any (replaced) and o.status in ('completed', 'failed', 'cancelled') returning o.id
        ), journals as (
            delete from {schema}.journal as j using gone where j.run = gone.id
        ), inboxes as (
            delete from {schema}.inbox as i using gone where i.run = gone.id
        ), heartbeats as (
            delete from {schema}.heartbeat as h using gone where h.run = gone.id
        )
        delete from {schema}.tag as t using gone where t.run = gone.id;
    end if;

    -- In the order of their ids, so that two writers of the same starts wait for each other in turn and not crosswise.
    if start_id is not null then
        with begun as (
            insert into {schema}.run
            select
                s.id, s.definition, s.version, s.status, s.input_hash, s.parent, s.parent_call, coalesce(s.tags, '[]'), s.created_us,
                s.updated_us, s.wake_us, s.base, s.reason, s.state, s.partition, s.durability,
                case when s.wake_us > 0 and (commit_1.epoch is null or not exists (
                    select 1 from {schema}.partition as p where p.number = s.partition and p.epoch = commit_1.epoch
                )) then pg_current_xact_id() end
            from unnest(
                start_id, start_definition, start_version::int[], start_status, start_input_hash, start_parent, start_parent_call, start_tags,
                start_created::bigint[], start_updated::bigint[], start_wake::bigint[], start_base::int[], start_reason, start_state,
                start_partition::int[], start_durability
            ) as s (
                id, definition, version, status, input_hash, parent, parent_call, tags, created_us, updated_us, wake_us, base, reason, state,
                partition, durability
            )
            order by s.id
            on conflict (id) do nothing
            returning id
        )
        select coalesce(array_agg(begun.id), '{}') into begun from begun;
        if cardinality(begun) < cardinality(start_id) then
            select coalesce(array_agg(s.id), '{}') into taken from unnest(start_id) as s (id) where not s.id = any (begun);
            if not taken <@ coalesce(checked, '{}') or cardinality(taken) + cardinality(begun) <> cardinality(start_id) then
                raise exception using errcode = 'PDL03', message = array_to_string(taken, ', ');
            end if;
            if taken && linked then
                raise exception using errcode = 'PDL04', message = array_to_json(taken)::text;
            end if;
            return query select p.packed, p.reason, p.state from {schema}.run_packed as p where p.id = any (taken);
        end if;
    end if;

    if tag_run is not null then
        insert into {schema}.tag select t.tag, t.run from unnest(tag_run, tag_tag) as t (run, tag)
        where not t.run = any (taken) order by t.run, t.tag on conflict do nothing;
    end if;

    if blob_hash is not null then
        -- What is there already is locked against a pruner, and written again if that was quicker.
        loop
            insert into {schema}.blob select * from unnest(blob_hash, blob_data) as b (hash, data) order by b.hash on conflict do nothing;
            perform 1 from {schema}.blob as b where b.hash = any (blob_hash) order by b.hash for key share;
            get diagnostics found_blobs = row_count;
            exit when found_blobs = cardinality(blob_hash);
        end loop;
        perform {schema}.use_blobs_1(blob_hash, row_run, row_facts, post_run, post_body, reply_id, reply_body);
    end if;

    if row_run is not null then
        insert into {schema}.journal
        select * from unnest(row_run, row_number::int[], row_at::bigint[], row_facts, row_data) as r (run, number, at_us, facts, data)
        where not r.run = any (taken);
    end if;

    if beat_run is not null then
        insert into {schema}.heartbeat as old
        select distinct on (h.run, h.call) h.run, h.call, h.attempt, h.body, h.data
        from unnest(beat_run, beat_call, beat_attempt::int[], beat_body, beat_data)
            with ordinality as h (run, call, attempt, body, data, position)
        order by h.run, h.call, h.position desc
        on conflict (run, call) do update set attempt = excluded.attempt, body = excluded.body, data = excluded.data;
    end if;

    if change_id is not null then
        update {schema}.run as o set
            status = c.status,
            updated_us = c.updated_us,
            wake_us = c.wake_us,
            version = coalesce(c.version, o.version),
            base = coalesce(c.base, o.base),
            reason = case when c.sets_reason then c.reason else o.reason end,
            state = case when c.sets_state then c.state else o.state end,
            told = null
        from unnest(
            change_id, change_status, change_updated::bigint[], change_wake::bigint[], change_version::int[], change_base::int[],
            change_sets_reason::boolean[], change_reason, change_sets_state::boolean[], change_state
        ) as c (id, status, updated_us, wake_us, version, base, sets_reason, reason, sets_state, state)
        where o.id = c.id and not c.id = any (taken);
    end if;

    if ended is not null then
        delete from {schema}.heartbeat as h using unnest(ended) as e (run) where h.run = e.run and not e.run = any (taken);
    end if;

    if truncated_run is not null then
        delete from {schema}.journal as j using unnest(truncated_run, truncated_below::int[]) as t (run, below)
        where j.run = t.run and j.number < t.below;
    end if;

    -- A post lies in the partition of its run; where there is no run, nobody would ever look. What a client leaves is news to its own node
    -- too: only a node's commits are taken in where they are made.
    if post_run is not null then
        insert into {schema}.inbox (run, id, at_us, body, data, partition, arrived, writer)
        select m.run, m.id, m.at_us, m.body, m.data, o.partition, pg_current_xact_id(), case when commit_1.epoch is null then 0 else commit_1.writer end
        from unnest(post_run, post_id, post_at::bigint[], post_body, post_data)
            with ordinality as m (run, id, at_us, body, data, position)
        join {schema}.run as o on o.id = m.run
        where not (m.run = any (taken) and m.id = m.run || '#start')
        order by m.position
        on conflict (run, id) do nothing;
    end if;

    -- After the posts: a message that was posted and consumed in one batch is gone.
    if consumed_run is not null then
        delete from {schema}.inbox as i using unnest(consumed_run, consumed_id) as c (run, id) where i.run = c.run and i.id = c.id;
    end if;

    if reply_id is not null then
        insert into {schema}.reply
        select r.id, r.at_us, r.body, r.data
        from unnest(reply_id, reply_at::bigint[], reply_body, reply_data) with ordinality as r (id, at_us, body, data, position)
        order by r.position
        on conflict (id) do nothing;
    end if;
end
$$;
