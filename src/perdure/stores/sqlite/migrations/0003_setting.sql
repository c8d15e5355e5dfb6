-- A few texts of the store's own, such as the policy of the namespace.
create table setting (name text primary key, value text not null) without rowid;
