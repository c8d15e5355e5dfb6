-- A node is its row: no row, no writes. Its partitions go with it (`on delete set null`).
--
-- Leases are synced to this disk whatever the session's default is: an epoch that was given must not be given again after a crash.

create function {schema}.take_lease_1(name text, now_us bigint, lease_us bigint, forget_us bigint) returns bigint
language plpgsql volatile as $$
declare
    given bigint;
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    -- Nodes that died with no partition are nobody's to fence: they would stay for ever.
    delete from {schema}.node as n where n.until_us < take_lease_1.now_us - forget_us;
    insert into {schema}.node (name, until_us)
    values (take_lease_1.name, take_lease_1.now_us + lease_us)
    returning epoch into given;
    return given;
end
$$;

-- Gives no row if the epoch is no more. Otherwise the live nodes as three lists, the holder of each partition, and the server's clock.
create function {schema}.renew_lease_1(mine bigint, now_us bigint, lease_us bigint)
returns table (epochs bigint[], names text[], untils bigint[], holders bigint[], clock_us bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    update {schema}.node set until_us = renew_lease_1.now_us + lease_us where epoch = mine;
    if found then
        return query
        select
            array_agg(n.epoch order by n.epoch), array_agg(n.name order by n.epoch), array_agg(n.until_us order by n.epoch),
            (select array_agg(p.epoch order by p.number) from {schema}.partition as p),
            (extract(epoch from clock_timestamp()) * 1000000)::bigint
        from {schema}.node as n
        where n.until_us >= renew_lease_1.now_us;
    end if;
end
$$;

create function {schema}.take_partitions_1(mine bigint, wanted int[], now_us bigint) returns int[]
language plpgsql volatile as $$
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    perform 1 from {schema}.node as n where n.epoch = mine for key share;
    if not found then
        raise exception using errcode = 'PDL01', message = {schema}.seats_1();
    end if;
    -- Locked first, then looked at again: a commit of that node that is under way ends before, a renewal keeps it alive.
    perform 1 from {schema}.node as n
    where n.until_us < take_partitions_1.now_us and n.epoch <> mine
        and n.epoch in (select p.epoch from {schema}.partition as p where p.number = any (wanted))
    order by n.epoch for update;
    delete from {schema}.node as n
    where n.until_us < take_partitions_1.now_us and n.epoch <> mine
        and n.epoch in (select p.epoch from {schema}.partition as p where p.number = any (wanted));
    -- In one order, so that two takers wait for each other in turn; the second then sees what the first has taken.
    perform 1 from {schema}.partition as p where p.number = any (wanted) and p.epoch is null order by p.number for no key update;
    update {schema}.partition as p set epoch = mine where p.number = any (wanted) and p.epoch is null;
    return array(
        select p.number from {schema}.partition as p join unnest(wanted) with ordinality as w (number, position) on w.number = p.number
        where p.epoch = mine order by w.position
    );
end
$$;

create function {schema}.give_partitions_1(mine bigint, given int[]) returns void
language plpgsql volatile as $$
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    update {schema}.partition as p set epoch = null where p.number = any (given) and p.epoch = mine;
end
$$;

create function {schema}.release_lease_1(mine bigint) returns void
language plpgsql volatile as $$
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    delete from {schema}.node as n where n.epoch = mine;
end
$$;
