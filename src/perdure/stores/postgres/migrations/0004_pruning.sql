-- Who refers to a blob, so that it can go with the last of them. An owner is a run, or the id of a reply.
create table {schema}.blob_use (
    hash text collate "C", owner text collate "C", is_reply boolean not null, primary key (hash, owner, is_reply)
);
create index blob_use_by_owner on {schema}.blob_use (owner, is_reply);

-- Nobody wrote down who refers to the blobs that are there: an owner that is never pruned keeps them.
insert into {schema}.blob_use select hash, '', false from {schema}.blob;

-- The references of a batch to its own blobs. Called inside its commit, after the blobs were written; it holds them against `drop_blobs`.
create function {schema}.use_blobs_1(
    hashes text[], row_run text[], row_facts bytea[], post_run text[], post_body bytea[], reply_id text[], reply_body bytea[]
) returns void language plpgsql volatile as $$
begin
    insert into {schema}.blob_use
    select distinct m.found[1], t.owner, t.is_reply
    from (
        select r.run, r.facts, false from unnest(row_run, row_facts) as r (run, facts)
        union all select p.run, p.body, false from unnest(post_run, post_body) as p (run, body)
        union all select a.id, a.body, true from unnest(reply_id, reply_body) as a (id, body)
    ) as t (owner, body, is_reply)
    cross join lateral regexp_matches(encode(t.body, 'escape'), '"blob":"([0-9a-f]{64})"', 'g') as m (found)
    where m.found[1] = any (hashes)
    order by 1, 2, 3
    on conflict do nothing;
end
$$;

-- The owners refer to no blob any more, and blobs that nobody refers to are gone.
create function {schema}.drop_uses_1(owners text[], is_reply boolean) returns void language plpgsql volatile as $$
declare
    dropped text[];
begin
    with gone as (
        delete from {schema}.blob_use as u where u.owner = any (owners) and u.is_reply = drop_uses_1.is_reply returning u.hash
    )
    select array_agg(distinct hash) into dropped from gone;
    if dropped is not null then
        -- Locked first: a commit that refers to one holds it until its reference can be seen here.
        perform 1 from {schema}.blob as b where b.hash = any (dropped) order by b.hash for update;
        delete from {schema}.blob as b
        where b.hash = any (dropped) and not exists (select 1 from {schema}.blob_use as u where u.hash = b.hash);
    end if;
end
$$;

create function {schema}.prune_runs_1(status text, before_us bigint, partitions int[], most int) returns int
language plpgsql volatile as $$
declare
    gone text[];
begin
    perform set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '10s', true);
    with chosen as (
        select r.id from {schema}.run as r
        where r.status = prune_runs_1.status and r.created_us < prune_runs_1.before_us and r.updated_us < prune_runs_1.before_us
            and r.partition = any (partitions) and r.status in ('completed', 'failed', 'cancelled')
        order by r.created_us, r.id limit most for update skip locked
    ), deleted as (
        delete from {schema}.run as r using chosen as c where r.id = c.id returning r.id
    )
    select coalesce(array_agg(id), '{}') into gone from deleted;
    if cardinality(gone) > 0 then
        delete from {schema}.journal as j using unnest(gone) as g (id) where j.run = g.id;
        delete from {schema}.inbox as i using unnest(gone) as g (id) where i.run = g.id;
        delete from {schema}.heartbeat as h using unnest(gone) as g (id) where h.run = g.id;
        delete from {schema}.tag as t using unnest(gone) as g (id) where t.run = g.id;
        perform {schema}.drop_uses_1(gone, false);
    end if;
    return cardinality(gone);
end
$$;

create function {schema}.prune_replies_1(before_us bigint) returns int language plpgsql volatile as $$
declare
    gone text[];
begin
    perform set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '10s', true);
    with deleted as (
        delete from {schema}.reply as a where a.at_us < before_us returning a.id
    )
    select coalesce(array_agg(id), '{}') into gone from deleted;
    perform {schema}.drop_uses_1(gone, true);
    return cardinality(gone);
end
$$;
