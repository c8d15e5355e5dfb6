-- Journals are append-and-index: rows go to the end of the table whatever run they belong to, and the index finds them again.
-- Clustering them by run (`without rowid`) was 2.5 times slower to write.

create table run (
    id text primary key,
    definition text not null,
    version int not null,
    status text not null,
    input_hash text not null,
    parent text,
    parent_call text,
    tags text not null,             -- a JSON list; the table `tag` finds runs by them
    created_us int not null,
    updated_us int not null,
    wake_us int,                    -- 0: a node holds it live; null: only an outside stimulus can move it
    base int not null,
    reason text,
    state blob
);
create index run_by_wake on run (wake_us) where wake_us is not null;
create index run_by_created on run (created_us, id);
create index run_by_status on run (status, created_us, id);
create index run_by_parent on run (parent, created_us, id) where parent is not null;

create table tag (tag text, run text, primary key (tag, run)) without rowid;

create table journal (
    run text not null,
    number int not null,
    at_us int not null,
    facts blob not null,            -- a JSON list of facts
    data blob,                      -- bytes that facts point into
    primary key (run, number)
);

create table blob (hash text primary key, data blob not null);

-- `position` is the order of arrival.
create table inbox (
    position integer primary key,
    run text not null,
    id text not null,
    at_us int not null,
    body blob not null,
    data blob,
    unique (run, id)
);

create table reply (id text primary key, at_us int not null, body blob not null, data blob);
create index reply_by_age on reply (at_us);

create table heartbeat (
    run text not null,
    call text not null,
    attempt int not null,
    body blob not null,
    data blob,
    primary key (run, call)
);

-- One row. `node` is null while nobody holds the lease; `epoch` only grows.
create table lease (epoch int not null, node text, until_us int not null);
insert into lease values (0, null, 0);

-- For people and tools: one row per transition, its facts as JSON text.
create view journal_json as
select
    run,
    number,
    strftime('%Y-%m-%dT%H:%M:%S', at_us / 1000000, 'unixepoch') || printf('.%06dZ', at_us % 1000000) as at,
    cast(facts as text) as facts,
    length(data) as data_bytes
from journal;

-- For people and tools: one row per fact; `position` counts from 0 within its transition.
create view fact as
select
    j.run,
    j.number,
    f.key as position,
    j.at,
    json_extract(f.value, '$.fact') as fact,
    json_extract(f.value, '$.call') as call,
    f.value as json
from journal_json as j, json_each(j.facts) as f;
