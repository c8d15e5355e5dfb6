-- Packets on their way to whoever takes them. Claims lie apart: SQLite writes a row anew, body and all, for each change of it.
create table packet (
    position integer primary key autoincrement,
    address text not null,
    id text not null,
    rank int not null,              -- the priority, turned round: lowest first
    at_us int not null,
    content_type text,              -- null: application/json
    headers text,                   -- a JSON object; null: none
    body blob not null,
    unique (address, id)
);
create index packet_by_rank on packet (address, rank, position);

-- `owner` is the number of whoever took it. A claim that has ended stays, for its count of deliveries.
create table claim (position integer primary key, owner int not null, until_us int not null, deliveries int not null);

create trigger packet_unclaim after delete on packet begin
    delete from claim where position = old.position;
end;
