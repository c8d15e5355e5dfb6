-- Small things that are neither runs nor calls. The number of the row is the version of the record: each write makes a new row, and
-- `autoincrement` gives no number twice.
create table record (
    version integer primary key autoincrement,
    kind text not null,
    key text not null,
    value blob not null,
    expires_us int,
    unique (kind, key)
);
create index record_by_expiry on record (expires_us) where expires_us is not null;
