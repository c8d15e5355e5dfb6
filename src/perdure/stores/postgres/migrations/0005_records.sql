-- Small things that are neither runs nor calls. One sequence for all versions, so that none is given twice, whatever was deleted.
create sequence {schema}.record_version as bigint;

create table {schema}.record (
    kind text collate "C" not null,
    key text collate "C" not null,
    value bytea not null,
    version bigint not null,
    expires_us bigint,
    primary key (kind, key)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200, autovacuum_analyze_scale_factor = 0.05);
create index record_by_expiry on {schema}.record (expires_us) where expires_us is not null;

-- Gives the keys with another version than the expected one (-1: any; 0: there is none); nothing is written then. Two that write a key
-- which is not there meet at its insertion: a unique violation, and whoever asks again finds the conflict.
create function {schema}.write_records_1(kinds text[], keys text[], new_values bytea[], expected bigint[], expiries bigint[]) returns text[]
language plpgsql volatile as $$
declare
    refused text[];
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    -- Locked in one order, so that two writers of the same records wait for each other in turn.
    perform 1 from unnest(kinds, keys) as c (kind, key) join {schema}.record as r on r.kind = c.kind and r.key = c.key
    order by r.kind, r.key for update of r;
    select array_agg(c.key order by c.position) into refused
    from unnest(kinds, keys, expected) with ordinality as c (kind, key, expected, position)
    left join {schema}.record as r on r.kind = c.kind and r.key = c.key
    where c.expected >= 0 and c.expected <> coalesce(r.version, 0);
    if refused is not null then
        return refused;
    end if;
    delete from {schema}.record as r using unnest(kinds, keys, new_values) as c (kind, key, value)
    where r.kind = c.kind and r.key = c.key and c.value is null;
    insert into {schema}.record as r (kind, key, value, version, expires_us)
    select c.kind, c.key, c.value, nextval('{schema}.record_version'), c.expires_us
    from unnest(kinds, keys, new_values, expected, expiries) as c (kind, key, value, expected, expires_us)
    where c.value is not null and c.expected = 0
    order by c.kind, c.key;
    insert into {schema}.record as r (kind, key, value, version, expires_us)
    select c.kind, c.key, c.value, nextval('{schema}.record_version'), c.expires_us
    from unnest(kinds, keys, new_values, expected, expiries) as c (kind, key, value, expected, expires_us)
    where c.value is not null and c.expected <> 0
    order by c.kind, c.key
    on conflict on constraint record_pkey do update
    -- Drawn when the row is locked: of two writers the later one has the higher version.
    set value = excluded.value, version = nextval('{schema}.record_version'), expires_us = excluded.expires_us;
    return '{}';
end
$$;

-- Gives what was there before. What another adds or deletes at the same time makes a second round: then it is there, or it is not.
create function {schema}.add_records_1(kind text, keys text[], new_values bytea[], expires_us bigint) returns table (key text, value bytea)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    left_over text[] := keys;
    done text[];
begin
    perform set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '10s', true);
    while cardinality(left_over) > 0 loop
        with added as (
            insert into {schema}.record (kind, key, value, version, expires_us)
            select add_records_1.kind, c.key, c.value, nextval('{schema}.record_version'), add_records_1.expires_us
            from unnest(keys, new_values) as c (key, value) where c.key = any (left_over)
            order by c.key
            on conflict on constraint record_pkey do nothing
            returning record.key
        )
        select coalesce(array_agg(a.key), '{}') into done from added as a;
        left_over := array(select l.key from unnest(left_over) as l (key) where not l.key = any (done));
        -- Locked: what is given as there cannot go before this has ended.
        select coalesce(array_agg(f.key), '{}') into done from (
            select r.key from {schema}.record as r
            where r.kind = add_records_1.kind and r.key = any (left_over) order by r.key for key share
        ) as f;
        return query select r.key, r.value from {schema}.record as r where r.kind = add_records_1.kind and r.key = any (done);
        left_over := array(select l.key from unnest(left_over) as l (key) where not l.key = any (done));
    end loop;
end
$$;

create function {schema}.expire_records_1(now_us bigint, most int) returns int
language plpgsql volatile as $$
declare
    gone int;
begin
    perform set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '10s', true);
    with chosen as (
        select r.kind, r.key from {schema}.record as r where r.expires_us <= expire_records_1.now_us
        order by r.expires_us limit most for update skip locked
    )
    delete from {schema}.record as r using chosen as c where r.kind = c.kind and r.key = c.key;
    get diagnostics gone = row_count;
    return gone;
end
$$;
