-- Packets on their way to whoever takes them: a queue table, written thousands of times a second.
--
-- A claim changes no column that an index has, so it is a heap-only update: `fillfactor` leaves room for it on the packet's own page. Both
-- indexes are needed: one finds what is sent again, the other what comes next. A row lives for moments, so vacuum comes often.
create table {schema}.packet (
    address text collate "C" not null,
    id text collate "C" not null,
    rank int not null,                  -- the priority, turned round: lowest first
    position bigint generated always as identity,
    at_us bigint not null,
    until_us bigint not null default 0, -- the end of its claim; 0: nobody has it
    owner bigint not null default 0,    -- whose claim it is
    deliveries int not null default 0,
    content_type text,                  -- null: application/json
    headers text,                       -- a JSON object; null: none
    body bytea not null
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.2,
    autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0.01
);
create unique index packet_by_id on {schema}.packet (address, id);
create index packet_by_rank on {schema}.packet (address, rank, position);

-- What is asked here of a table that was empty when it was last analysed must not become a scan of a million rows: plans are cached.
create function {schema}.use_packet_indexes_1(sync text) returns void language plpgsql volatile as $$
begin
    perform
        set_config('synchronous_commit', sync, true), set_config('lock_timeout', '10s', true), set_config('enable_seqscan', 'off', true),
        set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true),
        set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true);
end
$$;

create function {schema}.put_packets_1(
    addresses text[], ids text[], ranks text, content_types text[], headers text[], bodies bytea[], now_us bigint
) returns void language plpgsql volatile as $$
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    insert into {schema}.packet (address, id, rank, at_us, content_type, headers, body)
    select p.address, p.id, p.rank, put_packets_1.now_us, p.content_type, p.headers, p.body
    from unnest(addresses, ids, ranks::int[], content_types, put_packets_1.headers, bodies) with ordinality
        as p (address, id, rank, content_type, headers, body, place)
    order by p.place
    on conflict do nothing;
end
$$;

-- Not synced: a claim that is lost in a crash lets its packet come again. What this very taking has claimed before is given again.
create function {schema}.take_packets_1(addresses text[], mosts int[], owner bigint, now_us bigint, until_us bigint)
returns table (
    address text, id text, rank int, "position" bigint, deliveries int, content_type text, headers text, body bytea
) language plpgsql volatile as $$
#variable_conflict use_column
begin
    perform {schema}.use_packet_indexes_1('off');
    return query
    with chosen as materialized (
        select c.place
        from unnest(addresses, mosts) as w (address, most)
        cross join lateral (
            select p.ctid as place from {schema}.packet as p
            where p.address = w.address and (
                p.until_us <= take_packets_1.now_us or p.until_us = take_packets_1.until_us and p.owner = take_packets_1.owner
            )
            order by p.rank, p.position limit w.most
            for no key update skip locked
        ) as c
    )
    update {schema}.packet as p set
        until_us = take_packets_1.until_us, owner = take_packets_1.owner,
        deliveries = p.deliveries + (p.until_us <= take_packets_1.now_us)::int
    from chosen as c where p.ctid = c.place
    returning p.address, p.id, p.rank, p.position, p.deliveries, p.content_type, p.headers, p.body;
end
$$;

-- Each list is of claims: addresses, ranks, positions, deliveries. Not synced: what is lost in a crash comes again.
create function {schema}.settle_packets_1(
    acked_address text[], acked_rank text, acked_position text, acked_deliveries text,
    back_address text[], back_rank text, back_position text, back_deliveries text,
    dead_address text[], dead_rank text, dead_position text, dead_deliveries text, dead_headers text[], dead text, now_us bigint
) returns void language plpgsql volatile as $$
declare
    letter record;
begin
    perform {schema}.use_packet_indexes_1('off');
    if acked_address is not null then
        delete from {schema}.packet as p
        using unnest(acked_address, acked_rank::int[], acked_position::bigint[], acked_deliveries::int[])
            as c (address, rank, position, deliveries)
        where p.address = c.address and p.rank = c.rank and p.position = c.position and p.deliveries = c.deliveries;
    end if;
    if back_address is not null then
        update {schema}.packet as p set until_us = 0
        from unnest(back_address, back_rank::int[], back_position::bigint[], back_deliveries::int[])
            as c (address, rank, position, deliveries)
        where p.address = c.address and p.rank = c.rank and p.position = c.position and p.deliveries = c.deliveries;
    end if;
    if dead_address is not null then
        for letter in
            delete from {schema}.packet as p
            using unnest(dead_address, dead_rank::int[], dead_position::bigint[], dead_deliveries::int[], dead_headers)
                as c (address, rank, position, deliveries, headers)
            where p.address = c.address and p.rank = c.rank and p.position = c.position and p.deliveries = c.deliveries
            returning p.id, p.rank, p.content_type, p.body, c.headers
        loop
            insert into {schema}.packet (address, id, rank, at_us, content_type, headers, body)
            values (dead, letter.id, letter.rank, now_us, letter.content_type, letter.headers, letter.body)
            on conflict do nothing;
        end loop;
    end if;
end
$$;

create function {schema}.drop_packets_1(address text, ids text[]) returns void language plpgsql volatile as $$
begin
    perform {schema}.use_packet_indexes_1('off');
    delete from {schema}.packet as p where p.address = drop_packets_1.address and (ids is null or p.id = any (ids));
end
$$;
