-- {schema} is the quoted name of the schema: all of a namespace lies in one, and goes with it.
--
-- Ids are compared byte by byte (collate "C"): the same order in every database, and the quickest.

create table {schema}.setting (name text primary key, value text not null);

create table {schema}.run (
    id text collate "C" primary key,
    definition text not null,
    version int not null,
    status text not null,
    input_hash text not null,
    parent text collate "C",
    parent_call text,
    tags text not null,                 -- a JSON list; the table `tag` finds runs by them
    created_us bigint not null,
    updated_us bigint not null,
    wake_us bigint,                     -- 0: a node holds it live; null: only an outside stimulus can move it
    base int not null,
    reason bytea,                       -- UTF-8; not text, because it quotes the world, and the world sends NUL
    state bytea,
    partition int not null,
    durability text,
    told xid8                           -- who started it does not hold its partition, and it will be due: the transaction, see `news`
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05);
create index run_by_wake on {schema}.run (partition, wake_us) where wake_us is not null;
create index run_by_created on {schema}.run (created_us, id);
create index run_by_status on {schema}.run (status, created_us, id);
create index run_by_parent on {schema}.run (parent, created_us, id) where parent is not null;
create index run_by_told on {schema}.run (told) where told is not null;

create table {schema}.tag (tag text collate "C", run text collate "C", primary key (tag, run));
create index tag_by_run on {schema}.tag (run);

-- Appended to, never changed: what is inserted is what autovacuum has to freeze one day.
create table {schema}.journal (
    run text collate "C" not null,
    number int not null,
    at_us bigint not null,
    facts bytea not null,               -- a JSON list of facts
    data bytea,                         -- bytes that facts point into
    primary key (run, number)
);

create table {schema}.blob (hash text collate "C" primary key, data bytea not null);

-- `position` is the order of arrival. `arrived` and `writer` tell others what is new to them: see `news`.
create table {schema}.inbox (
    position bigint generated always as identity primary key,
    run text collate "C" not null,
    id text collate "C" not null,
    at_us bigint not null,
    body bytea not null,
    data bytea,
    partition int not null,
    arrived xid8 not null,
    writer bigint not null,
    unique (run, id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.1);
create index inbox_by_partition on {schema}.inbox (partition, position);
create index inbox_by_arrival on {schema}.inbox (arrived);

create table {schema}.reply (id text collate "C" primary key, at_us bigint not null, body bytea not null, data bytea);
create index reply_by_age on {schema}.reply (at_us);

create table {schema}.heartbeat (
    run text collate "C" not null,
    call text collate "C" not null,
    attempt int not null,
    body bytea not null,
    data bytea,
    primary key (run, call)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- A row is a live node, whatever its lease says: to fence a node is to delete its row.
create table {schema}.node (
    epoch bigint generated always as identity primary key,
    name text not null,
    until_us bigint not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);

-- One row for each partition there is; `epoch` is null while nobody has it.
create table {schema}.partition (
    number int primary key,
    epoch bigint references {schema}.node on delete set null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
create index partition_by_epoch on {schema}.partition (epoch);

-- For people and tools: one row per transition, its facts as JSON text.
create view {schema}.journal_json as
select
    run,
    number,
    to_char(to_timestamp(at_us / 1000000) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.') || lpad((at_us % 1000000)::text, 6, '0') || 'Z' as at,
    convert_from(facts, 'UTF8') as facts,
    length(data) as data_bytes
from {schema}.journal;

-- For people and tools: one row per fact; `position` counts from 0 within its transition.
create view {schema}.fact as
select
    j.run,
    j.number,
    f.position - 1 as position,
    j.at,
    f.value ->> 'fact' as fact,
    f.value ->> 'call' as call,
    f.value as json
from {schema}.journal_json as j, json_array_elements(j.facts::json) with ordinality as f (value, position);

-- A run as clients of this schema read it: the row as JSON, and beside it what JSON cannot hold.
create view {schema}.run_packed as
select
    id, partition, base, created_us, status, definition, parent, reason, state,
    json_build_object(
        'id', id, 'definition', definition, 'version', version, 'status', status, 'input_hash', input_hash, 'parent', parent,
        'parent_call', parent_call, 'tags', tags::json, 'created_us', created_us, 'updated_us', updated_us, 'wake_us', wake_us,
        'base', base, 'partition', partition, 'durability', durability
    )::text as packed
from {schema}.run;
